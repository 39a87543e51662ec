//! Shares of caches and memory bandwidth (Intel RDT, AMD QoS), by the resctrl filesystem: a directory is a group, its
//! `schemata` say what the group gets, its `tasks` who is in it; a directory in `mon_groups` counts what some of them use.
//!
//! SPEC(config-linux, IntelRdt): for a container without `intelRdt` nothing here is called.

pub mod host;
mod resctrl;
mod schemata;
mod stats;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::rdt::{Class, Rdt, Schemata, why_not_a_group};
use crate::error::{Error, Result};

pub use stats::Stats;

/// What create is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdtPlan {
    /// Name of the group; `None`: the root.
    pub group: Option<String>,
    /// Whether nobody else is meant to be in it.
    pub is_own: bool,
    /// What it gets.
    pub schemata: Schemata,
    /// Name of the group in it that counts.
    pub monitor: Option<String>,
}

/// Where a container is: for its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Of the filesystem.
    pub mount_point: PathBuf,
    /// Name of the group; `None`: the root.
    pub group: Option<String>,
    /// Whether it goes with the container: create made it for it alone.
    pub group_goes: bool,
    /// Name of the group in it that counts, and goes with the container.
    pub monitor: Option<String>,
}

impl RdtPlan {
    /// Plans the groups of a container.
    pub fn new(rdt: &Rdt, id: &str) -> Result<Self> {
        let group = match &rdt.class {
            Class::Default => None,
            Class::Named(name) => Some(name.clone()),
            Class::Own => match why_not_a_group(id) {
                Some(why) => return Err(Error::invalid("linux.intelRdt", format!("a group {id:?}: {why}"))),
                None => Some(id.to_owned()),
            },
        };
        Ok(Self {
            group,
            is_own: rdt.class == Class::Own,
            schemata: rdt.schemata.clone(),
            monitor: rdt.monitoring.then(|| id.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn names() {
        let plan =
            |class: Class, id: &str| RdtPlan::new(&Rdt { class, schemata: Schemata::default(), monitoring: true }, id);
        let named = plan(Class::Named("gold".to_owned()), "info").unwrap();
        assert_eq!(
            (named.group.as_deref(), named.is_own, named.monitor.as_deref()),
            (Some("gold"), false, Some("info"))
        );
        let own = plan(Class::Own, "c1").unwrap();
        assert_eq!((own.group.as_deref(), own.is_own), (Some("c1"), true));
        assert_eq!(plan(Class::Default, "c1").unwrap().group, None);
        let error = plan(Class::Own, "info").unwrap_err();
        assert_eq!(error.to_string(), "linux.intelRdt: a group \"info\": the kernel has a directory of that name");
        assert_eq!(error.kind(), Kind::InvalidConfig);
    }
}
