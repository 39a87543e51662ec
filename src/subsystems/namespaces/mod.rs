//! Namespaces: which process creates or joins which ([`route`]), opened by the host ([`host`]), mapped by it ([`id_maps`]),
//! entered by the container's process ([`inside`]).

pub mod host;
pub mod id_maps;
pub mod inside;
pub mod route;

use serde::{Deserialize, Serialize};

use crate::config::NamespaceKind;
use crate::sys::fd::Passed;

/// The `CLONE_NEW*` bit of a kind.
pub fn clone_flag(kind: NamespaceKind) -> u64 {
    let flag = match kind {
        NamespaceKind::User => libc::CLONE_NEWUSER,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        // Not in the libc crate for every target: the bit is also the lowest of the exit signal of clone(2).
        NamespaceKind::Time => 0x80,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
    };
    u64::from(flag.unsigned_abs())
}

/// A namespace to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Join {
    pub kind: NamespaceKind,
    pub file: Passed,
}

/// What the container's processes do about namespaces, as it goes over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideNamespaces {
    /// Done by the intermediate process, if there is one.
    pub intermediate: Option<Intermediate>,
    /// The network namespace comes from the host, behind the plan.
    pub network_follows: bool,
    /// Joined by the first process itself.
    pub joins: Vec<Join>,
    /// Made by the first process, when it is in its cgroup: a cgroup namespace shows the group it was made in as its root.
    pub create_cgroup: bool,
}

impl InsideNamespaces {
    /// `CLONE_NEW*` of everything that is joined or made by a process of the container.
    pub fn flags(&self) -> u64 {
        let joined = |joins: &[Join]| joins.iter().fold(0, |flags, join| flags | clone_flag(join.kind));
        let when = |made: bool, kind| if made { clone_flag(kind) } else { 0 };
        let before = self.intermediate.as_ref().map_or(0, |before| {
            joined(&before.joins)
                | before.clone
                | when(before.create_user, NamespaceKind::User)
                | when(before.create_time, NamespaceKind::Time)
        });
        let network = when(self.network_follows, NamespaceKind::Network);
        before | network | joined(&self.joins) | when(self.create_cgroup, NamespaceKind::Cgroup)
    }
}

/// The work of the intermediate process; then it copies itself into `clone` and ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intermediate {
    /// Joined first.
    pub joins: Vec<Join>,
    /// Then made, and mapped by the host.
    pub create_user: bool,
    /// Then made, with offsets by the host; only children are in it.
    pub create_time: bool,
    /// `CLONE_NEW*` of the first process.
    pub clone: u64,
}
