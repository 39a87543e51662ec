//! `linux.intelRdt`: which share of caches and memory bandwidth the container gets.

use oci_spec::runtime;

use super::property::unless_empty;
use crate::error::{Error, Result};

/// The object, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rdt {
    /// Where the container's processes belong.
    pub class: Class,
    /// What that gets.
    pub schemata: Schemata,
    /// What they use is counted for them alone.
    pub monitoring: bool,
}

/// A class of service: a group of the resctrl filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// One for this container, named by its id.
    Own,
    /// The one that every process is in which is in no other.
    Default,
    /// One that others may be in, too.
    Named(String),
}

/// What is written to a group's `schemata`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schemata(pub Vec<Schema>);

/// What one property gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// `linux.intelRdt.memBwSchema`.
    pub property: String,
    /// Lines such as `MB:0=20;1=70`, each with its line break.
    pub lines: String,
    /// Whether a group that was there before must have these values already.
    pub must_match: bool,
}

impl Rdt {
    /// SPEC(config-linux, IntelRdt).
    pub(super) fn check(spec: &runtime::LinuxIntelRdt) -> Result<Self> {
        let property = |name: &str| format!("linux.intelRdt.{name}");
        let mut schemata = Schemata::of(
            (&property("l3CacheSchema"), spec.l3_cache_schema().as_deref()),
            (&property("memBwSchema"), spec.mem_bw_schema().as_deref()),
        )?;
        let mut lines = String::new();
        for (index, line) in spec.schemata().iter().flatten().enumerate() {
            check_line(&property(&format!("schemata[{index}]")), line)?;
            lines.push_str(line);
            lines.push('\n');
        }
        if !lines.is_empty() {
            // SPEC: written last. What they say of a group that is there need not be so.
            schemata.0.push(Schema { property: property("schemata"), lines, must_match: false });
        }
        Ok(Self {
            class: check_class(unless_empty(spec.clos_id().as_ref()))?,
            schemata,
            monitoring: spec.enable_monitoring().unwrap_or(false),
        })
    }
}

fn check_class(id: Option<String>) -> Result<Class> {
    let Some(id) = id else { return Ok(Class::Own) };
    if id == "/" {
        return Ok(Class::Default);
    }
    match why_not_a_group(&id) {
        Some(why) => Err(Error::invalid("linux.intelRdt.closID", format!("{id:?} is no name of a group: {why}"))),
        None => Ok(Class::Named(id)),
    }
}

/// Why nothing of this name can be a group in the root of a resctrl filesystem.
pub fn why_not_a_group(name: &str) -> Option<&'static str> {
    match name {
        "." | ".." => Some("it means another directory"),
        "info" | "mon_groups" | "mon_data" => Some("the kernel has a directory of that name"),
        _ if name.contains('/') => Some("it has a slash"),
        // KERNEL: rdtgroup_mkdir().
        _ if name.contains('\n') => Some("it has a line break"),
        _ => None,
    }
}

impl Schemata {
    /// The cache's and the memory bandwidth's, each with the name of its property; an empty one is none.
    pub fn of(l3_cache: (&str, Option<&str>), memory_bandwidth: (&str, Option<&str>)) -> Result<Self> {
        let mut schemata = Vec::new();
        let mut add = |property: &str, lines: &str| {
            let lines = format!("{}\n", lines.trim_end_matches('\n'));
            schemata.push(Schema { property: property.to_owned(), lines, must_match: true });
        };
        // SPEC: it only SHOULD be one line, and that of L3.
        if let (property, Some(lines)) = l3_cache
            && !lines.is_empty()
        {
            add(property, lines);
        }
        if let (property, Some(line)) = memory_bandwidth
            && !line.is_empty()
        {
            check_line(property, line)?;
            if !line.starts_with("MB:") {
                return Err(Error::invalid(property, format!("{line:?} does not begin with \"MB:\"")));
            }
            add(property, line);
        }
        Ok(Self(schemata))
    }
}

fn check_line(property: &str, line: &str) -> Result<()> {
    let refused = |why: &str| Err(Error::invalid(property, format!("{line:?} {why}")));
    match line {
        "" => refused("says nothing"),
        _ if line.contains('\n') => refused("has a line break"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{accept, assert_refused};
    use super::*;
    use crate::error::Kind;

    fn rdt(members: Value) -> Value {
        json!({"linux": {"intelRdt": members}})
    }

    fn read(members: Value) -> Rdt {
        accept(&rdt(members)).linux.rdt.unwrap()
    }

    #[test]
    fn classes() {
        for (members, expected) in [
            (json!({}), Class::Own),
            (json!({"closID": ""}), Class::Own),
            (json!({"closID": "/"}), Class::Default),
            (json!({"closID": "guaranteed group"}), Class::Named("guaranteed group".to_owned())),
            (json!({"closID": "..."}), Class::Named("...".to_owned())),
        ] {
            let read = read(members.clone());
            assert_eq!((read.class, read.monitoring), (expected, false), "{members}");
            assert_eq!(read.schemata, Schemata::default());
        }
        assert_eq!(accept(&json!({"linux": {"intelRdt": null}})).linux.rdt, None);
        assert!(read(json!({"enableMonitoring": true})).monitoring);
        // SPEC: no properties of 1.3 any more, and unknown ones are ignored.
        assert!(!read(json!({"enableCMT": "removed", "enableMBM": true})).monitoring);
    }

    #[test]
    fn schemata_in_the_order_in_which_they_are_written() {
        let members =
            json!({"schemata": ["L2:0=f", "MB:0=10"], "memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3:0=f"});
        let written = read(members).schemata.0;
        let written: Vec<_> = written.iter().map(|it| (&*it.property, &*it.lines, it.must_match)).collect();
        let expected = [
            ("linux.intelRdt.l3CacheSchema", "L3:0=f\n", true),
            ("linux.intelRdt.memBwSchema", "MB:0=20;1=70\n", true),
            ("linux.intelRdt.schemata", "L2:0=f\nMB:0=10\n", false),
        ];
        assert_eq!(written, expected);
        assert_eq!(read(json!({"l3CacheSchema": "", "memBwSchema": "", "schemata": []})).schemata.0, []);
        assert_eq!(read(json!({"l3CacheSchema": "L3:0=f\nL2:0=1\n"})).schemata.0[0].lines, "L3:0=f\nL2:0=1\n");
    }

    #[test]
    fn refused() {
        let class = |id: &str| rdt(json!({"closID": id}));
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "parent",
                    class(".."),
                    "linux.intelRdt.closID: \"..\" is no name of a group: it means another directory",
                ),
                (
                    "itself",
                    class("."),
                    "linux.intelRdt.closID: \".\" is no name of a group: it means another directory",
                ),
                ("path", class("a/../b"), "linux.intelRdt.closID: \"a/../b\" is no name of a group: it has a slash"),
                ("absolute", class("/a"), "linux.intelRdt.closID: \"/a\" is no name of a group: it has a slash"),
                (
                    "two lines",
                    class("a\nb"),
                    "linux.intelRdt.closID: \"a\\nb\" is no name of a group: it has a line break",
                ),
                (
                    "the kernel's",
                    class("info"),
                    "linux.intelRdt.closID: \"info\" is no name of a group: the kernel has a directory of that name",
                ),
                (
                    "bandwidth of something else",
                    rdt(json!({"memBwSchema": "L3:0=f"})),
                    "linux.intelRdt.memBwSchema: \"L3:0=f\" does not begin with \"MB:\"",
                ),
                (
                    "bandwidth on two lines",
                    rdt(json!({"memBwSchema": "MB:0=20\nL3:0=f"})),
                    "linux.intelRdt.memBwSchema: \"MB:0=20\\nL3:0=f\" has a line break",
                ),
                (
                    "line break",
                    rdt(json!({"schemata": ["L3:0=f", "L3:1=f\n"]})),
                    "linux.intelRdt.schemata[1]: \"L3:1=f\\n\" has a line break",
                ),
                ("nothing", rdt(json!({"schemata": [""]})), "linux.intelRdt.schemata[0]: \"\" says nothing"),
            ],
        );
    }
}
