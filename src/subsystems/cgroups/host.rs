//! Making, joining, killing and removing cgroups.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open, openat};
use nix::poll::PollFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::plan::{CgroupPlan, Group, Version, Write};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::c_string;
use crate::sys;
use crate::sys::bpf::Instruction;

/// The groups of a container that is being created. Dropped without [`Cgroups::keep`], what was made is removed.
#[derive(Debug)]
pub struct Cgroups {
    opened: Vec<Opened>,
    /// Outermost first.
    made: Vec<PathBuf>,
}

#[derive(Debug)]
struct Opened {
    group: Group,
    directory: OwnedFd,
    /// Whether we made it.
    is_new: bool,
}

impl Cgroups {
    /// Makes the groups and writes their limits. Nobody is inside yet.
    pub fn create(plan: &CgroupPlan) -> Result<Self> {
        let mut cgroups = Self { opened: Vec::new(), made: Vec::new() };
        for group in &plan.groups {
            let directory = cgroups.make(group)?;
            // SPEC(config-linux, "cgroupsPath"): below a frozen parent nothing would ever run.
            if is_frozen_group(group, &directory)? {
                let why = format!("container's cgroup unexpectedly frozen ({:?})", group.directory());
                return Err(Error::invalid("linux.cgroupsPath", why));
            }
            let is_new = cgroups.made.last() == Some(&group.directory());
            cgroups.opened.push(Opened { group: group.clone(), directory, is_new });
        }
        cgroups.enable_controllers(plan)?;
        for write in &plan.writes {
            cgroups.write(write)?;
        }
        Ok(cgroups)
    }

    /// Where the first process is to be born, on v2 and hybrid hosts.
    ///
    /// KERNEL(6.14): nobody can be born in a group that ever received `cgroup.kill`, so only in one that is new.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified().filter(|opened| opened.is_new).map(|opened| opened.directory.as_fd())
    }

    fn unified(&self) -> Option<&Opened> {
        self.opened.iter().find(|opened| opened.group.version == Version::V2)
    }

    fn to_join(&self) -> impl Iterator<Item = &Opened> {
        self.opened.iter().filter(|opened| opened.group.version == Version::V1 || !opened.is_new)
    }

    /// Whether there are groups that can only be joined by a write: all of v1, and one of v2 that was there before.
    pub fn must_be_joined(&self) -> bool {
        self.to_join().next().is_some()
    }

    /// Moves a process into all groups that it was not born in.
    ///
    /// KERNEL: the first of these writes waits for an RCU grace period when the machine was idle, 7-17 ms; the container
    /// builds its root meanwhile.
    pub fn join(&self, pid: i32) -> Result<()> {
        for opened in self.to_join() {
            write_file(&opened.directory, "cgroup.procs", &pid.to_string())
                .within(|| format!("join cgroup {:?}", opened.group.directory()))?;
        }
        Ok(())
    }

    /// Attaches the device program to the v2 group.
    pub fn attach_device_program(&self, program: &[Instruction]) -> Result<()> {
        let Some(unified) = self.unified().filter(|_| !program.is_empty()) else { return Ok(()) };
        let attach = || -> Result<()> {
            let loaded = sys::bpf::load_device_program(program).or_call(|| "bpf(PROG_LOAD, CGROUP_DEVICE)")?;
            sys::bpf::attach_device_program(&unified.directory, &loaded).or_call(|| "bpf(PROG_ATTACH, CGROUP_DEVICE)")
        };
        attach().within(|| "linux.resources.devices")
    }

    /// The container is complete: its groups stay.
    pub fn keep(mut self) {
        self.opened.clear();
        self.made.clear();
    }

    /// Another container that goes may take a parent along that it made, at any moment: then we begin again.
    fn make(&mut self, group: &Group) -> Result<OwnedFd> {
        const ATTEMPTS: usize = 16;
        let within = || format!("create cgroup {:?}", group.directory());
        for _ in 1..ATTEMPTS {
            match self.make_once(group).within(within) {
                Err(error) if error.kind() == Kind::NotFound => log::debug!("once more: {error}"),
                other => return other,
            }
        }
        self.make_once(group).within(within)
    }

    fn make_once(&mut self, group: &Group) -> Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut path = group.mount_point.clone();
        let mut current = open(&path, flags, Mode::empty()).or_call(|| format!("open({path:?})"))?;
        for name in group.path.split('/').filter(|name| !name.is_empty()) {
            path.push(name);
            let made = match mkdirat(&current, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(gone(format!("mkdir({path:?})"), errno)),
            };
            if made {
                self.made.push(path.clone());
            }
            let parent = current;
            current = openat(&parent, name, flags | OFlag::O_NOFOLLOW, Mode::empty())
                .map_err(|errno| gone(format!("openat({path:?})"), errno))?;
            // Also in one that was there: another create may have made it a moment ago and not filled it yet.
            if group.controllers.iter().any(|controller| controller == "cpuset") {
                inherit_cpuset(&parent, &current)?;
            }
        }
        Ok(current)
    }

    /// Hands every controller that there is down to the group, as runc does: engines read statistics of all of them.
    fn enable_controllers(&self, plan: &CgroupPlan) -> Result<()> {
        if plan.has_v1() {
            return Ok(());
        }
        let Some(Opened { group, directory: leaf, .. }) = self.opened.first() else { return Ok(()) };
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let root =
            open(&group.mount_point, flags, Mode::empty()).or_call(|| format!("open({:?})", group.mount_point))?;
        let arrived = controllers(leaf)?;
        if controllers(&root)?.iter().all(|controller| arrived.contains(controller)) {
            return Ok(());
        }
        let mut current = root;
        for name in group.path.split('/').filter(|name| !name.is_empty()) {
            for controller in &controllers(&current)? {
                // Some cannot be enabled below processes or in threaded groups. Whether that matters shows when a limit
                // of that controller is written.
                if let Err(error) = write_file(&current, "cgroup.subtree_control", &format!("+{controller}")) {
                    log::debug!("cgroup controller {controller} stays off above {name:?}: {error}");
                }
            }
            current = open_below(&current, name, flags)?;
        }
        Ok(())
    }

    fn write(&self, write: &Write) -> Result<()> {
        let Some(Opened { group, directory, .. }) = self.opened.get(write.group) else { return Ok(()) };
        write_file(directory, &write.file, &write.value)
            .within(|| format!("{}: set {:?} of cgroup {:?}", write.property, write.file, group.path))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let new = |opened: Opened| opened.is_new.then_some(opened.group);
        let groups: Vec<Group> = self.opened.drain(..).filter_map(new).collect();
        // Whoever was inside was killed, and needs a moment to be gone.
        let deadline = Instant::now() + PATIENCE;
        if let Err(error) = remove(&groups, &self.made, deadline) {
            log::warn!("after a failed create: {error}");
        }
    }
}

/// How long what is left of a failed create may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory that was there a moment ago.
fn gone(call: String, errno: Errno) -> Error {
    let error = Error::call(call, errno);
    if matches!(errno, Errno::ENOENT | Errno::ENODEV) { error.of_kind(Kind::NotFound) } else { error }
}

fn open_below(directory: &OwnedFd, name: &str, flags: OFlag) -> Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    sys::fd::openat2(directory, &c_string(name)?, flags, Mode::empty(), resolve)
        .or_call(|| format!("openat2({name:?})"))
}

fn write_file(directory: &OwnedFd, name: &str, value: &str) -> Result<()> {
    let file = match open_below(directory, name, OFlag::O_WRONLY) {
        Ok(file) => file,
        Err(error) => {
            let controller = name.split_once('.').map_or(name, |(controller, _)| controller);
            return Err(error.hint(format!("is the cgroup controller {controller:?} enabled?")));
        }
    };
    nix::unistd::write(&file, value.as_bytes()).or_call(|| format!("write({name:?}, {value:?})")).map(drop)
}

fn read_file(directory: &OwnedFd, name: &str) -> Result<String> {
    let file = open_below(directory, name, OFlag::O_RDONLY)?;
    let content = sys::fd::read_all(&file).or_call(|| format!("read({name:?})"))?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

fn controllers(directory: &OwnedFd) -> Result<Vec<String>> {
    Ok(read_file(directory, "cgroup.controllers")?.split_ascii_whitespace().map(str::to_owned).collect())
}

/// A new v1 cpuset has no CPU and no memory node, and nobody can be moved into it.
fn inherit_cpuset(parent: &OwnedFd, child: &OwnedFd) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if read_file(child, name)?.trim().is_empty() {
            write_file(child, name, read_file(parent, name)?.trim())?;
        }
    }
    Ok(())
}

/// SPEC(config-linux, "cgroupsPath"): a group that is in use or frozen is refused.
///
/// ORDER: before the groups stand in a record: whatever is in them later is the container's, and is killed with it.
pub fn check_fitness(plan: &CgroupPlan) -> Result<()> {
    for group in &plan.groups {
        let Some(directory) = open_group(group)? else { continue };
        let unfit = |why: String| Err(Error::invalid("linux.cgroupsPath", format!("{why} ({:?})", group.directory())));
        let count = count_processes(&directory)?;
        if count > 0 {
            return unfit(format!("container's cgroup is not empty: {count} process(es) found"));
        }
        if is_frozen_group(group, &directory)? {
            return unfit("container's cgroup unexpectedly frozen".to_owned());
        }
    }
    Ok(())
}

/// Also of those below: whatever is there is killed with the container.
fn count_processes(directory: &OwnedFd) -> Result<usize> {
    let mut count = read_file(directory, "cgroup.procs").unwrap_or_default().lines().count();
    for child in children(directory)? {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        count += count_processes(&open_below(directory, &child, flags)?)?;
    }
    Ok(count)
}

/// Which directories create will have to make, outermost first. Parents too: a relative path often has new ones, and
/// SPEC(runtime, "Delete"): what create made MUST go again.
pub fn missing(plan: &CgroupPlan) -> Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for group in &plan.groups {
        let mut path = group.directory();
        let first = missing.len();
        while path != group.mount_point {
            match nix::unistd::access(&path, nix::unistd::AccessFlags::F_OK) {
                Ok(()) => break,
                Err(Errno::ENOENT) => missing.insert(first, path.clone()),
                Err(errno) => return Err(Error::call(format!("access({path:?})"), errno)),
            }
            path.pop();
        }
    }
    Ok(missing)
}

fn is_frozen_group(group: &Group, directory: &OwnedFd) -> Result<bool> {
    Ok(match group.version {
        // Not there in the root group of a namespace.
        Version::V2 => read_file(directory, "cgroup.events").is_ok_and(|events| events.contains("frozen 1")),
        Version::V1 if group.controllers.iter().any(|controller| controller == "freezer") => {
            // Unreadable: the group is going away.
            read_file(directory, "freezer.state").is_ok_and(|state| state.trim() != "THAWED")
        }
        Version::V1 => false,
    })
}

fn open_group(group: &Group) -> Result<Option<OwnedFd>> {
    let path = group.directory();
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    match open(&path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::call(format!("open({path:?})"), errno)),
    }
}

/// Whether somebody paused the container.
pub fn is_frozen(groups: &[Group]) -> Result<bool> {
    let freezes = |group: &&Group| match group.version {
        // The v2 hierarchy of a hybrid host has a freezer too, but engines there use the controller's.
        Version::V2 => groups.len() == 1,
        Version::V1 => group.controllers.iter().any(|controller| controller == "freezer"),
    };
    match groups.iter().find(freezes) {
        None => Ok(false),
        Some(group) => match open_group(group)? {
            Some(directory) => is_frozen_group(group, &directory),
            None => Ok(false),
        },
    }
}

/// Sends SIGKILL to everybody in the container's groups and below. Frozen ones die too.
pub fn kill_all(groups: &[Group]) -> Result<()> {
    if !kill_at_once(groups)? {
        for group in groups {
            if let Some(directory) = open_group(group)? {
                kill_one_by_one(&directory)?;
            }
        }
    }
    thaw_all(groups)
}

/// `false`: there is no v2 group, or the kernel cannot.
fn kill_at_once(groups: &[Group]) -> Result<bool> {
    for group in groups.iter().filter(|group| group.version == Version::V2) {
        let Some(directory) = open_group(group)? else { continue };
        // KERNEL(5.14): one write for all, also for those that are just being forked.
        match open_below(&directory, "cgroup.kill", OFlag::O_WRONLY) {
            Ok(file) => return nix::unistd::write(&file, b"1").or_call(|| "write(\"cgroup.kill\")").map(|_| true),
            Err(error) => log::debug!("killing one by one: {error}"),
        }
    }
    Ok(false)
}

/// Lets frozen v1 processes go on, so that they take a SIGKILL; v2 kills frozen ones by itself.
pub fn thaw_all(groups: &[Group]) -> Result<()> {
    groups.iter().try_for_each(thaw)
}

/// A frozen v1 process takes its SIGKILL only when it is thawed.
fn thaw(group: &Group) -> Result<()> {
    if group.version == Version::V1
        && group.controllers.iter().any(|controller| controller == "freezer")
        && let Some(directory) = open_group(group)?
        && is_frozen_group(group, &directory)?
    {
        write_file(&directory, "freezer.state", "THAWED")?;
    }
    Ok(())
}

fn kill_one_by_one(directory: &OwnedFd) -> Result<()> {
    for child in children(directory)? {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        if let Ok(child) = open_below(directory, &child, flags) {
            kill_one_by_one(&child)?;
        }
    }
    for pid in processes(directory)? {
        let Ok(pidfd) = sys::pidfd::open(pid) else { continue };
        // The pid may have gone to somebody else between the read and the open: look again, with the pidfd in hand.
        if processes(directory)?.contains(&pid) {
            let _ = sys::pidfd::send_signal(&pidfd, libc::SIGKILL);
        }
    }
    Ok(())
}

fn processes(directory: &OwnedFd) -> Result<Vec<i32>> {
    Ok(read_file(directory, "cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).collect())
}

fn children(directory: &OwnedFd) -> Result<Vec<String>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut entries = nix::dir::Dir::openat(directory, ".", flags, Mode::empty()).or_call(|| "opendir")?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry.or_call(|| "readdir")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type() == Some(nix::dir::Type::Directory) && name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes the container's groups and those that it made below them, waiting until `deadline` for the last process to
/// have left. A group that is not there is fine. Then the parents that were `made` for it, unless others use them by now.
pub fn remove(groups: &[Group], made: &[PathBuf], deadline: Instant) -> Result<()> {
    for group in groups {
        let path = group.directory();
        remove_tree(&path, group.version, deadline).within(|| format!("remove cgroup {path:?}"))?;
    }
    for path in made.iter().rev() {
        match rmdir(path) {
            Ok(()) | Err(Errno::ENOENT | Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(Error::call(format!("rmdir({path:?})"), errno)),
        }
    }
    Ok(())
}

fn rmdir(path: &Path) -> nix::Result<()> {
    unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

fn remove_tree(path: &Path, version: Version, deadline: Instant) -> Result<()> {
    loop {
        match rmdir(path) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(Error::call(format!("rmdir({path:?})"), errno)),
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let directory = match openat(nix::fcntl::AT_FDCWD, path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(Error::call(format!("open({path:?})"), errno)),
        };
        for child in children(&directory)? {
            remove_tree(&path.join(child), version, deadline)?;
        }
        if !wait_until_empty(&directory, version, deadline)? {
            return Err(Error::new(Kind::Busy, "processes are still inside"));
        }
    }
}

/// `false`: `deadline` came first.
fn wait_until_empty(directory: &OwnedFd, version: Version, deadline: Instant) -> Result<bool> {
    match version {
        Version::V2 => {
            let events = open_below(directory, "cgroup.events", OFlag::O_RDONLY)?;
            loop {
                let content = sys::fd::read_all(&events).or_call(|| "read(\"cgroup.events\")")?;
                if !String::from_utf8_lossy(&content).contains("populated 1") {
                    return Ok(Instant::now() < deadline);
                }
                if !sys::wait::until_ready(&events, PollFlags::POLLPRI, deadline)
                    .or_call(|| "poll(\"cgroup.events\")")?
                {
                    return Ok(false);
                }
                nix::unistd::lseek(&events, 0, nix::unistd::Whence::SeekSet).or_call(|| "lseek(\"cgroup.events\")")?;
            }
        }
        Version::V1 => {
            for pid in processes(directory)? {
                if let Ok(pidfd) = sys::pidfd::open(pid)
                    && !sys::wait::until_ready(&pidfd, PollFlags::POLLIN, deadline).or_call(|| "poll(pidfd)")?
                {
                    return Ok(false);
                }
            }
            Ok(Instant::now() < deadline)
        }
    }
}
