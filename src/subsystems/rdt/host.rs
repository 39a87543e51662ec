//! The runtime's side: making, joining, changing, reading and removing groups.

use std::path::Path;

use super::resctrl::{self, MONITORS, Resctrl, named};
use super::schemata::difference;
use super::{Placement, RdtPlan, Stats, stats};
use crate::config::rdt::{Schema, Schemata};
use crate::error::{Error, Kind, Result, Within};
use crate::fs::directory::{Directory, is_gone};

const PROPERTY: &str = "linux.intelRdt";
const CLASS: &str = "linux.intelRdt.closID";
const MONITORING: &str = "linux.intelRdt.enableMonitoring";

const SCHEMATA: &str = "schemata";
const TASKS: &str = "tasks";

/// Where the container will be, and what will go with it.
pub fn expected(plan: &RdtPlan) -> Result<Placement> {
    let mount_point = resctrl::mount_point().within(|| PROPERTY)?;
    let is_there = open(&mount_point)?.find(plan.group.as_deref()).within(|| PROPERTY)?.is_some();
    Ok(Placement {
        mount_point,
        group: plan.group.clone(),
        group_goes: plan.is_own && !is_there,
        monitor: plan.monitor.clone(),
    })
}

/// A container's group, held open.
#[derive(Debug)]
struct Group {
    resctrl: Resctrl,
    directory: Directory,
    /// Name of the one in it that counts for the container.
    monitor: Option<String>,
}

impl Group {
    fn of(placement: &Placement) -> Result<Self> {
        let resctrl = open(&placement.mount_point)?;
        let directory = resctrl.group(placement.group.as_deref()).within(|| PROPERTY)?;
        Ok(Self { resctrl, directory, monitor: placement.monitor.clone() })
    }

    fn monitor(&self) -> Result<Option<Directory>> {
        let opening = |name: &String| self.directory.child(MONITORS.as_ref())?.child(name.as_ref());
        self.monitor.as_ref().map(opening).transpose().within(|| MONITORING)
    }

    /// KERNEL: who is counted in a group must be in the one above it first.
    fn join(&self, pid: i32) -> Result<()> {
        let pid = pid.to_string();
        self.resctrl.write(&self.directory, TASKS, &pid).within(|| PROPERTY)?;
        match self.monitor()? {
            Some(monitor) => self.resctrl.write(&monitor, TASKS, &pid).within(|| MONITORING),
            None => Ok(()),
        }
    }

    fn schemata(&self) -> Result<String> {
        self.directory.read(SCHEMATA).within(|| PROPERTY)
    }

    /// SPEC: one property after the other.
    fn limit(&self, schemata: &Schemata) -> Result<()> {
        let write = |schema: &Schema| {
            let written = self.resctrl.write(&self.directory, SCHEMATA, &schema.lines);
            written.within(|| schema.property.as_str())
        };
        schemata.0.iter().try_for_each(write)
    }

    fn give_back(&self, schemata: &str) -> Result<()> {
        self.resctrl.write(&self.directory, SCHEMATA, schemata).within(|| PROPERTY)
    }

    fn update(&self, schemata: &Schemata, then: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.schemata()?;
        self.limit(schemata).and_then(|()| then()).map_err(|error| match self.give_back(&before) {
            Ok(()) => error,
            Err(also) => error.also(&also),
        })
    }
}

/// The groups of a container that is being created. Dropped without [`Groups::keep`], what was made is removed, and a group
/// that was there before gets back what it had.
#[derive(Debug)]
pub struct Groups {
    group: Group,
    /// Its name, if create made it.
    made: Option<String>,
    /// What one that was there before had.
    before: Option<String>,
    /// Whether nobody else is meant to be in it.
    is_own: bool,
}

impl Groups {
    /// Makes what is missing, and says what it gets. Nobody is inside yet.
    pub fn create(plan: &RdtPlan, placement: &mut Placement) -> Result<Self> {
        let groups = Self::create_in(open(&placement.mount_point)?, plan)?;
        placement.group_goes = plan.is_own && groups.made.is_some();
        Ok(groups)
    }

    fn create_in(resctrl: Resctrl, plan: &RdtPlan) -> Result<Self> {
        // Whoever finds a group that another create has made finds it complete.
        let lock = resctrl.lock().within(|| PROPERTY)?;
        let mut groups = Self::begin(resctrl, plan)?;
        let complete = groups.limit(plan).and_then(|()| groups.count(plan));
        // ORDER: what was made is taken back under it, too.
        drop(lock);
        complete.map(|()| groups)
    }

    fn begin(resctrl: Resctrl, plan: &RdtPlan) -> Result<Self> {
        let property = || if plan.is_own { PROPERTY } else { CLASS };
        // SPEC: a class of which nothing is said must be there.
        let may_be_made = plan.is_own || !plan.schemata.0.is_empty();
        let made = match plan.group.as_ref().filter(|_| may_be_made) {
            Some(name) => resctrl.make_group(name).within(property)?.then(|| name.clone()),
            None => None,
        };
        let directory = resctrl.group(plan.group.as_deref()).within(property);
        let directory =
            directory.map_err(|error| match made.as_ref().map_or(Ok(()), |name| resctrl.remove_group(name)) {
                Ok(()) => error,
                Err(also) => error.also(&also),
            })?;
        let group = Group { resctrl, directory, monitor: None };
        Ok(Self { group, made, before: None, is_own: plan.is_own })
    }

    fn limit(&mut self, plan: &RdtPlan) -> Result<()> {
        if self.made.is_none() && !plan.schemata.0.is_empty() {
            let has = self.group.schemata()?;
            for schema in plan.schemata.0.iter().filter(|schema| schema.must_match && !plan.is_own) {
                self.check_match(schema, &has, plan)?;
            }
            self.before = Some(has);
        }
        self.group.limit(&plan.schemata)
    }

    /// SPEC: a class that is there must be as the container wants it.
    fn check_match(&self, schema: &Schema, has: &str, plan: &RdtPlan) -> Result<()> {
        let step = |resource: &str| self.group.resctrl.step(resource);
        let Some(found) = difference(&schema.lines, has, step) else { return Ok(()) };
        let asked = schema.lines.trim_end();
        let why = format!("{asked:?} is not what {} has: {found}", named(plan.group.as_deref()));
        Err(Error::invalid(schema.property.clone(), why))
    }

    fn count(&mut self, plan: &RdtPlan) -> Result<()> {
        let Some(name) = &plan.monitor else { return Ok(()) };
        let making = || -> Result<bool> {
            let unable = || Error::new(Kind::Unsupported, "this machine does not count what a group uses");
            let monitors = self.group.directory.find_child(MONITORS.as_ref())?.ok_or_else(unable)?;
            self.group.resctrl.make(&monitors, name)
        };
        if !making().within(|| MONITORING)? {
            let why = format!("{} has a monitoring group {name:?} already", named(plan.group.as_deref()));
            return Err(Error::new(Kind::AlreadyExists, why).within(MONITORING));
        }
        self.group.monitor = Some(name.clone());
        Ok(())
    }

    /// Puts the first process into them; those that it makes will be there, too.
    pub fn join(&self, pid: i32) -> Result<()> {
        self.group.join(pid)
    }

    /// The container is complete: its groups stay.
    pub fn keep(mut self) {
        (self.made, self.before, self.group.monitor) = (None, None, None);
    }

    fn take_back(&self) -> Result<()> {
        if self.made.is_none() && self.before.is_none() && self.group.monitor.is_none() {
            return Ok(());
        }
        let _lock = self.group.resctrl.lock()?;
        if let Some(name) = &self.group.monitor {
            resctrl::remove(&self.group.directory.child(MONITORS.as_ref())?, name)?;
        }
        if let Some(before) = &self.before {
            self.group.give_back(before)?;
        }
        self.removable().map_or(Ok(()), |name| self.group.resctrl.remove_group(name))
    }

    /// What create has made, unless another container has come into a class meanwhile.
    fn removable(&self) -> Option<&str> {
        let tasks = || self.group.directory.read(TASKS);
        let is_empty = || tasks().map_or_else(|error| is_gone(&error), |tasks| tasks.is_empty());
        self.made.as_deref().filter(|_| self.is_own || is_empty())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            log::warn!("after a failed create: {PROPERTY}: {error}");
        }
    }
}

/// Puts a further process into a container's groups.
pub fn join(placement: &Placement, pid: i32) -> Result<()> {
    Group::of(placement)?.join(pid)
}

/// Changes what a container's group gets, and does `then`. If one of it fails, the group has what it had before.
pub fn update(placement: &Placement, schemata: &Schemata, then: impl FnOnce() -> Result<()>) -> Result<()> {
    Group::of(placement)?.update(schemata, then)
}

/// What a container's processes have used, and what they may use.
pub fn read_stats(placement: &Placement) -> Result<Stats> {
    let group = Group::of(placement)?;
    let monitor = group.monitor()?;
    // What others have used, too, says nothing.
    let counts = monitor.as_ref().or(placement.group_goes.then_some(&group.directory));
    stats::read(&group.resctrl, &group.directory, counts).within(|| PROPERTY)
}

/// Removes what create made for the container alone. What is gone is fine.
pub fn remove(placement: &Placement) -> Result<()> {
    let removing = || -> Result<()> {
        let Some(resctrl) = Resctrl::at(&placement.mount_point)? else { return Ok(()) };
        let _lock = resctrl.lock()?;
        remove_from(&resctrl, placement)
    };
    removing().within(|| PROPERTY)
}

fn remove_from(resctrl: &Resctrl, placement: &Placement) -> Result<()> {
    let Some(group) = resctrl.find(placement.group.as_deref())? else { return Ok(()) };
    if let Some(name) = &placement.monitor
        && let Some(monitors) = group.find_child(MONITORS.as_ref())?
    {
        resctrl::remove(&monitors, name)?;
    }
    match &placement.group {
        Some(name) if placement.group_goes => resctrl.remove_group(name),
        Some(_) | None => Ok(()),
    }
}

fn open(mount_point: &Path) -> Result<Resctrl> {
    let gone = || Error::new(Kind::NotFound, format!("resctrl is not mounted at {mount_point:?} any more"));
    Resctrl::at(mount_point).and_then(|found| found.ok_or_else(gone)).within(|| PROPERTY)
}

/// On a tree of plain directories, which a test fills after each step, as the kernel does at once. The kernel removes a group with
/// its files; here a directory must be empty for that.
#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    struct Fake(TempDir);

    impl Fake {
        #[expect(clippy::disallowed_methods, reason = "a tree of the test's own")]
        fn new() -> Self {
            let fake = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(fake.path("info/MB")).unwrap();
            fs::write(fake.path("info/MB/bandwidth_gran"), "10\n").unwrap();
            fs::write(fake.path("info/last_cmd_status"), "ok\n").unwrap();
            fake
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn resctrl(&self) -> Resctrl {
            Directory::at(self.0.path()).unwrap().into()
        }

        /// A group that somebody has made.
        #[expect(clippy::disallowed_methods, reason = "a tree of the test's own")]
        fn with_group(self, name: &str) -> Self {
            fs::create_dir_all(self.path(name).join(MONITORS)).unwrap();
            self.fill(name);
            self
        }

        fn fill(&self, group: &str) {
            fs::write(self.path(group).join(SCHEMATA), HAS).unwrap();
            fs::write(self.path(group).join(TASKS), "").unwrap();
        }

        fn empty(&self, group: &str) {
            fs::remove_file(self.path(group).join(SCHEMATA)).unwrap();
            fs::remove_file(self.path(group).join(TASKS)).unwrap();
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.path(file)).unwrap()
        }

        fn exists(&self, name: &str) -> bool {
            self.path(name).exists()
        }
    }

    const HAS: &str = "    MB:0=100\n    L3:0=fff\n";

    fn class(name: &str, schemata: Schemata) -> RdtPlan {
        RdtPlan { group: Some(name.to_owned()), is_own: false, schemata, monitor: None }
    }

    fn own(schemata: Schemata) -> RdtPlan {
        RdtPlan { is_own: true, ..class("c1", schemata) }
    }

    fn schemata(l3_cache: &str, memory_bandwidth: &str) -> Schemata {
        Schemata::of(("cache", Some(l3_cache)), ("bandwidth", Some(memory_bandwidth))).unwrap()
    }

    fn placement(plan: &RdtPlan, group_goes: bool) -> Placement {
        let (group, monitor) = (plan.group.clone(), plan.monitor.clone());
        Placement { mount_point: "/unused".into(), group, group_goes, monitor }
    }

    #[test]
    fn a_group_of_its_own() {
        let fake = Fake::new();
        let mut plan = own(schemata("L3:0=f", "MB:0=20"));
        plan.schemata.0.push(Schema { property: "lines".into(), lines: "L2:0=1\nL3:0=1\n".into(), must_match: false });
        let mut groups = Groups::begin(fake.resctrl(), &plan).unwrap();
        // What is written to a pipe can be read in order.
        let pipe = fake.path("c1/schemata");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut pipe = fs::File::options().read(true).write(true).open(pipe).unwrap();
        groups.limit(&plan).unwrap();
        let mut written = [0; 64];
        let length = pipe.read(&mut written).unwrap();
        assert_eq!(&written[..length], b"L3:0=f\nMB:0=20\nL2:0=1\nL3:0=1\n");

        fs::write(fake.path("c1/tasks"), "").unwrap();
        groups.join(7).unwrap();
        assert_eq!(fake.read("c1/tasks"), "7");
        // Nobody else's: it goes whoever is in it.
        assert_eq!(groups.removable(), Some("c1"));
        fake.empty("c1");
        drop(groups);
        assert!(!fake.exists("c1"));
    }

    #[test]
    fn nothing_is_written_when_nothing_is_said() {
        let fake = Fake::new().with_group("gold");
        for plan in [class("gold", Schemata::default()), own(Schemata::default())] {
            let mut groups = Groups::begin(fake.resctrl(), &plan).unwrap();
            // There is no such file in the new one: to write to it would fail.
            groups.limit(&plan).unwrap();
            assert_eq!(groups.before, None);
        }
        assert_eq!((fake.read("gold/schemata"), fake.exists("c1")), (HAS.to_owned(), false));
    }

    #[test]
    fn the_default_group() {
        let fake = Fake::new();
        fake.fill(".");
        let plan = RdtPlan { group: None, ..class("", schemata("L3:0=fff", "")) };
        let mut groups = Groups::begin(fake.resctrl(), &plan).unwrap();
        groups.limit(&plan).unwrap();
        groups.join(7).unwrap();
        assert_eq!(fake.read("tasks"), "7");
        drop(groups);
        assert_eq!(fake.read("schemata"), HAS);
        remove_from(&fake.resctrl(), &placement(&plan, true)).unwrap();
        assert!(fake.exists("schemata"));
    }

    #[test]
    fn a_class_that_is_there_must_be_as_asked_for() {
        let fake = Fake::new().with_group("gold");
        for (l3_cache, memory_bandwidth, expected) in [
            ("L3:0=fff", "MB:0=100", None),
            ("L3:0=0FFF", "MB:0=91", None),
            ("L3:0=ff", "", Some("cache: \"L3:0=ff\" is not what group \"gold\" has: L3:0=fff")),
            ("", "MB:0=90", Some("bandwidth: \"MB:0=90\" is not what group \"gold\" has: MB:0=100")),
        ] {
            let plan = class("gold", schemata(l3_cache, memory_bandwidth));
            let limited = Groups::begin(fake.resctrl(), &plan).unwrap().limit(&plan);
            assert_eq!(limited.map_err(|error| error.to_string()).err().as_deref(), expected);
            assert_eq!(fake.read("gold/schemata"), HAS, "what was written is taken back");
        }
        // One that has the container's id is nobody's class, and gets what it is told.
        let fake = Fake::new().with_group("c1");
        let plan = own(schemata("L3:0=f", ""));
        let mut groups = Groups::begin(fake.resctrl(), &plan).unwrap();
        groups.limit(&plan).unwrap();
        assert!(fake.read("c1/schemata").starts_with("L3:0=f\n"));
        groups.keep();
        assert!(fake.read("c1/schemata").starts_with("L3:0=f\n"));
    }

    #[test]
    fn a_class_that_is_not_there() {
        let fake = Fake::new();
        let error = Groups::begin(fake.resctrl(), &class("gold", Schemata::default())).unwrap_err();
        assert_eq!(error.to_string(), "linux.intelRdt.closID: group \"gold\" is not there");
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(!fake.exists("gold"));

        // Said what it gets, it is made, and taken back unless somebody has come in.
        let plan = class("gold", schemata("L3:0=f", ""));
        let groups = Groups::begin(fake.resctrl(), &plan).unwrap();
        fake.fill("gold");
        assert_eq!(groups.removable(), Some("gold"));
        fs::write(fake.path("gold/tasks"), "12\n").unwrap();
        assert_eq!(groups.removable(), None);
        fake.empty("gold");
        drop(groups);
        assert!(!fake.exists("gold"));
    }

    #[test]
    fn a_group_that_counts() {
        let fake = Fake::new().with_group("gold");
        let plan = RdtPlan { monitor: Some("c1".to_owned()), ..class("gold", Schemata::default()) };
        let counting = || {
            let mut groups = Groups::begin(fake.resctrl(), &plan).unwrap();
            groups.count(&plan).map(|()| groups)
        };
        let groups = counting().unwrap();
        fs::write(fake.path("gold/mon_groups/c1/tasks"), "").unwrap();
        groups.join(7).unwrap();
        assert_eq!((fake.read("gold/tasks"), fake.read("gold/mon_groups/c1/tasks")), ("7".to_owned(), "7".to_owned()));
        fs::remove_file(fake.path("gold/mon_groups/c1/tasks")).unwrap();
        drop(groups);
        assert!(!fake.exists("gold/mon_groups/c1") && fake.exists("gold"));

        counting().unwrap().keep();
        let error = counting().unwrap_err();
        let why = "linux.intelRdt.enableMonitoring: group \"gold\" has a monitoring group \"c1\" already";
        assert_eq!((error.to_string(), error.kind()), (why.to_owned(), Kind::AlreadyExists));
        assert!(fake.exists("gold/mon_groups/c1"), "somebody else's");
        fs::remove_dir_all(fake.path("gold/mon_groups")).unwrap();
        let why = "linux.intelRdt.enableMonitoring: this machine does not count what a group uses";
        assert_eq!(counting().unwrap_err().to_string(), why);
    }

    #[test]
    fn delete_removes_what_create_made() {
        let fake = Fake::new().with_group("gold");
        let plan = RdtPlan { monitor: Some("c1".to_owned()), ..class("gold", Schemata::default()) };
        for _ in 0..2 {
            remove_from(&fake.resctrl(), &placement(&plan, false)).unwrap();
            assert!(fake.exists("gold/tasks"));
        }
        fs::create_dir(fake.path("gold/mon_groups/c1")).unwrap();
        remove_from(&fake.resctrl(), &placement(&plan, false)).unwrap();
        assert!(!fake.exists("gold/mon_groups/c1") && fake.exists("gold/tasks"));

        for (goes, stays) in [(false, true), (true, false), (true, false)] {
            let _ = fs::create_dir(fake.path("c1"));
            remove_from(&fake.resctrl(), &placement(&own(Schemata::default()), goes)).unwrap();
            assert_eq!(fake.exists("c1"), stays);
        }
        remove_from(&fake.resctrl(), &placement(&own(Schemata::default()), true)).unwrap();
    }

    #[test]
    fn what_the_kernel_says_of_a_refusal() {
        let fake = Fake::new();
        fs::write(fake.path("info/last_cmd_status"), "Mask f0f not allowed\n").unwrap();
        let plan = own(schemata("L3:0=f0f", ""));
        let before = std::time::Instant::now();
        let error = Groups::create_in(fake.resctrl(), &plan).unwrap_err().to_string();
        assert_eq!(error, "cache: openat2(\"schemata\"): no such file or directory (Mask f0f not allowed)");
        // Taken back, without waiting for our own lock.
        assert!(!fake.exists("c1") && before.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn an_update_that_fails_changes_nothing() {
        let fake = Fake::new().with_group("gold");
        let directory = fake.resctrl().group(Some("gold")).unwrap();
        let gold = Group { resctrl: fake.resctrl(), directory, monitor: None };
        let failed = gold.update(&schemata("L3:0=f", ""), || Err(Error::new(Kind::Failed, "limits")));
        assert_eq!(failed.unwrap_err().to_string(), "limits");
        assert_eq!(fake.read("gold/schemata"), HAS);
        gold.update(&schemata("L3:0=f", ""), || Ok(())).unwrap();
        assert!(fake.read("gold/schemata").starts_with("L3:0=f\n"));
    }
}
