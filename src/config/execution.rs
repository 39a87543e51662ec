//! `linux.personality` and `linux.memoryPolicy`: what every process of the container starts with, those of exec as well.

use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use super::document::Node;
use super::number_set::NumberSet;
use crate::error::{Error, Result};

/// The two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// `None`: the caller's.
    pub personality: Option<Personality>,
    /// `None`: the caller's.
    pub memory_policy: Option<MemoryPolicy>,
}

/// The execution domain (personality(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Personality {
    /// PER_LINUX.
    Linux,
    /// PER_LINUX32: uname(2) tells of a 32-bit machine.
    Linux32,
}

/// On which memory nodes pages are allocated (set_mempolicy(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*`.
    pub mode: u32,
    /// `MPOL_F_*`.
    pub flags: u32,
    /// `None` where the mode needs none.
    pub nodes: Option<NumberSet>,
}

/// How many nodes a mode takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nodes {
    None,
    Any,
    Some,
}

/// The kernel's modes. MPOL_PREFERRED_MANY is there since Linux 5.15, MPOL_WEIGHTED_INTERLEAVE since 6.9.
const MODES: [(&str, u32, Nodes); 7] = [
    ("MPOL_DEFAULT", 0, Nodes::None),
    ("MPOL_PREFERRED", 1, Nodes::Any),
    ("MPOL_BIND", 2, Nodes::Some),
    ("MPOL_INTERLEAVE", 3, Nodes::Some),
    ("MPOL_LOCAL", 4, Nodes::None),
    ("MPOL_PREFERRED_MANY", 5, Nodes::Some),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Some),
];

/// set_mempolicy(2). MPOL_F_NUMA_BALANCING is there since Linux 5.12.
pub const MEMORY_POLICY_FLAGS: [(&str, u32); 3] =
    [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];

/// The names of the modes.
pub fn memory_policy_modes() -> impl Iterator<Item = &'static str> {
    MODES.iter().map(|(name, ..)| *name)
}

impl Execution {
    pub(super) fn check(spec: &runtime::Linux, given: &Node<'_>) -> Result<Self> {
        Ok(Self {
            personality: check_personality(spec)?,
            memory_policy: MemoryPolicy::check(given.get("memoryPolicy"))?,
        })
    }
}

/// SPEC(config, linux.personality): no flag has a meaning yet.
fn check_personality(spec: &runtime::Linux) -> Result<Option<Personality>> {
    let Some(personality) = spec.personality() else { return Ok(None) };
    if let Some(flag) = personality.flags().iter().flatten().next() {
        return Err(Error::unsupported("linux.personality.flags[0]", format!("{flag:?} is not supported, no flag is")));
    }
    Ok(Some(match personality.domain() {
        runtime::LinuxPersonalityDomain::PerLinux => Personality::Linux,
        runtime::LinuxPersonalityDomain::PerLinux32 => Personality::Linux32,
    }))
}

impl MemoryPolicy {
    /// SPEC(config, linux.memoryPolicy). Names that are unknown were refused when the document was read.
    fn check(given: &Node<'_>) -> Result<Option<Self>> {
        let Some(name) = given.get("mode").text() else { return Ok(None) };
        let mode = MODES.iter().find(|(known, ..)| *known == name);
        let (_, mode, wanted) =
            mode.ok_or_else(|| Error::invalid("linux.memoryPolicy.mode", format!("unknown value {name:?}")))?;
        let nodes = match given.get("nodes").text() {
            Some(list) => NumberSet::parse("linux.memoryPolicy.nodes", list)?,
            None => None,
        };
        match (wanted, &nodes) {
            (Nodes::None, Some(nodes)) => {
                let why = format!("{name} takes none, \"{nodes}\" is given");
                return Err(Error::invalid("linux.memoryPolicy.nodes", why));
            }
            (Nodes::Some, None) => {
                return Err(Error::invalid("linux.memoryPolicy.nodes", format!("{name} needs at least one")));
            }
            _ => {}
        }
        Ok(Some(Self { mode: *mode, flags: check_flags(given.get("flags"))?, nodes }))
    }

    /// What the mode is called.
    pub fn mode_name(&self) -> &'static str {
        MODES.iter().find(|(_, mode, _)| *mode == self.mode).map_or("an unknown mode", |(name, ..)| name)
    }
}

fn check_flags(given: &Node<'_>) -> Result<u32> {
    let named = |name: &str| MEMORY_POLICY_FLAGS.iter().find(|(known, _)| *known == name).map_or(0, |(_, flag)| *flag);
    let flags = given.items().iter().filter_map(Node::text).fold(0, |flags, name| flags | named(name));
    let both = named("MPOL_F_STATIC_NODES") | named("MPOL_F_RELATIVE_NODES");
    if flags & both == both {
        let why = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        return Err(Error::invalid("linux.memoryPolicy.flags", why));
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{accept, assert_refused};
    use super::*;
    use crate::error::Kind;

    fn policy(members: Value) -> Value {
        json!({"linux": {"memoryPolicy": members}})
    }

    #[test]
    fn personalities() {
        let read = |domain: &str| accept(&json!({"linux": {"personality": {"domain": domain}}})).linux.execution;
        assert_eq!(read("LINUX").personality, Some(Personality::Linux));
        assert_eq!(read("LINUX32").personality, Some(Personality::Linux32));
        assert_eq!(accept(&json!({})).linux.execution, Execution::default());
    }

    #[test]
    fn memory_policies() {
        let read = |members: Value| accept(&policy(members)).linux.execution.memory_policy.unwrap();
        for (name, mode, nodes) in MODES {
            let list = if nodes == Nodes::None { "" } else { "0-1" };
            let policy = read(json!({"mode": name, "nodes": list}));
            assert_eq!((policy.mode, policy.nodes.is_some()), (mode, nodes != Nodes::None), "{name}");
        }
        assert_eq!(read(json!({"mode": "MPOL_PREFERRED"})).nodes, None);
        let flags = json!(["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]);
        assert_eq!(read(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": flags})).flags, 1 << 15 | 1 << 13);
    }

    #[test]
    fn refused() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "nodes without use",
                    policy(json!({"mode": "MPOL_LOCAL", "nodes": "0-7"})),
                    "linux.memoryPolicy.nodes: MPOL_LOCAL takes none, \"0-7\" is given",
                ),
                (
                    "no nodes",
                    policy(json!({"mode": "MPOL_BIND", "nodes": ""})),
                    "linux.memoryPolicy.nodes: MPOL_BIND needs at least one",
                ),
                (
                    "bad list",
                    policy(json!({"mode": "MPOL_BIND", "nodes": "a"})),
                    "linux.memoryPolicy.nodes: \"a\" is not a list of numbers and ranges such as \"0-3,7\"",
                ),
                (
                    "both flags",
                    policy(
                        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                    ),
                    "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
                ),
                (
                    "unknown flag",
                    policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]})),
                    "linux.memoryPolicy.flags[0]: unknown value \"X\", expected one of \"MPOL_F_NUMA_BALANCING\", \
                     \"MPOL_F_RELATIVE_NODES\", \"MPOL_F_STATIC_NODES\"",
                ),
            ],
        );
    }
}
