//! Which process creates or joins which namespace, decided by one table.
//!
//! | namespaces | route |
//! |---|---|
//! | created, without a user namespace | the clone of the first process makes them all but the network |
//! | network, like this | the host makes it meanwhile ([`super::host::NewNetwork`]), the first process joins it |
//! | a user namespace is created, nothing is joined | the clone makes them all: the others are then owned by it |
//! | network, ipc, uts, cgroup, mount, time are joined | by the first process itself |
//! | pid is joined | intermediate: only a child is in it |
//! | time is created | intermediate: offsets are written between making it and the first process in it |
//! | a user namespace is joined | intermediate: what is created must be owned by it, so it comes first |
//! | a user namespace is created, something is joined | intermediate: joining needs the rights that we lose by creating it |
//!
//! A cgroup namespace is never part of the clone: it would be rooted in *our* cgroup.

use super::clone_flag;
use crate::config::{NamespaceChoice, NamespaceKind, Namespaces};

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// `CLONE_NEW*` for the process that the host launches.
    pub launch: u64,
    /// Set when that process is an intermediate one.
    pub intermediate: Option<ViaIntermediate>,
    /// The host makes the network namespace.
    pub network_by_host: bool,
    /// Joined by the first process.
    pub joins: Vec<NamespaceKind>,
    /// See [`super::InsideNamespaces::create_cgroup`].
    pub create_cgroup: bool,
}

/// See [`super::Intermediate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at Intermediate")]
pub struct ViaIntermediate {
    pub joins: Vec<NamespaceKind>,
    pub create_user: bool,
    pub create_time: bool,
    pub clone: u64,
}

impl Route {
    /// How many processes there are before the first one.
    pub fn helpers(&self) -> u64 {
        self.intermediate.is_some().into()
    }

    /// Looks it up.
    pub fn new(namespaces: &Namespaces) -> Self {
        use NamespaceKind::{Cgroup, Network, Pid, Time, User};
        let joins: Vec<_> = NamespaceKind::ALL
            .into_iter()
            .filter(|kind| matches!(namespaces.of(*kind), NamespaceChoice::Join { .. }))
            .collect();
        let created: u64 = NamespaceKind::ALL
            .into_iter()
            .filter(|kind| namespaces.creates(*kind) && !matches!(kind, Cgroup | Time | User))
            .map(clone_flag)
            .sum();
        let create_user = namespaces.creates(User);
        let create_time = namespaces.creates(Time);
        let create_cgroup = namespaces.creates(Cgroup);
        let needs_intermediate =
            joins.contains(&Pid) || joins.contains(&User) || create_time || (create_user && !joins.is_empty());
        if needs_intermediate {
            let intermediate = Some(ViaIntermediate { joins, create_user, create_time, clone: created });
            Self { intermediate, create_cgroup, ..Self::default() }
        } else if create_user {
            Self { launch: created | clone_flag(User), create_cgroup, ..Self::default() }
        } else {
            let network_by_host = namespaces.creates(Network);
            Self { launch: created & !clone_flag(Network), network_by_host, joins, create_cgroup, intermediate: None }
        }
    }

    /// Whether the launched process itself is in a new user namespace, and waits for its maps before it executes.
    pub fn maps_before_exec(&self) -> bool {
        self.launch & clone_flag(NamespaceKind::User) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Time, User};

    fn route(created: &[NamespaceKind], joined: &[NamespaceKind]) -> Route {
        let mut namespaces = Namespaces::default();
        for kind in created {
            namespaces.set(*kind, NamespaceChoice::Create);
        }
        for kind in joined {
            namespaces.set(*kind, NamespaceChoice::Join { path: "/ns".into(), property: String::new() });
        }
        Route::new(&namespaces)
    }

    #[test]
    fn the_common_container_needs_one_process() {
        let found = route(&[Pid, Mount, Network, Ipc, Cgroup], &[]);
        assert_eq!(found.launch, 0x2000_0000 | 0x2_0000 | 0x800_0000);
        assert!(found.network_by_host);
        assert_eq!((found.intermediate, found.joins, found.create_cgroup), (None, vec![], true));
        let found = route(&[User, Pid, Mount, Network], &[]);
        assert!(found.maps_before_exec() && found.intermediate.is_none());
        assert!(found.launch & clone_flag(Network) != 0 && !found.network_by_host);
        let found = route(&[Pid, Mount], &[Network, Ipc, Cgroup, Time, Mount]);
        assert!(found.intermediate.is_none());
        assert_eq!(found.joins, [Cgroup, Ipc, Network, Time, Mount]);
        assert_eq!(route(&[], &[]), Route::default());
    }

    #[test]
    fn what_only_children_enter_needs_two() {
        for (name, created, joined, user, time) in [
            ("pid joined", vec![Mount], vec![Pid], false, false),
            ("time created", vec![Mount, Time], vec![], false, true),
            ("user joined", vec![Mount, Pid], vec![User], false, false),
            ("user created, another joined", vec![Mount, User], vec![Network], true, false),
            ("user and time created", vec![Mount, User, Time], vec![], true, true),
        ] {
            let found = route(&created, &joined);
            let via = found.intermediate.unwrap();
            assert_eq!((found.launch, found.joins), (0, vec![]), "{name}");
            assert_eq!((via.create_user, via.create_time), (user, time), "{name}");
            assert_eq!(via.joins, joined, "{name}");
            assert!(via.clone & clone_flag(Mount) != 0, "{name}");
        }
    }
}
