//! `state`: the document that engines read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::container::Container;
use crate::error::Result;
use crate::state::Status;
use crate::subsystems::hooks::OCI_VERSION;

/// runtime-spec, "State", with what runc adds to it; in runc's order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the specification's and runc's")]
pub struct StateDocument {
    pub oci_version: &'static str,
    pub id: String,
    /// COMPAT(CRI-O): 0 when it is stopped.
    pub pid: i32,
    pub status: &'static str,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// COMPAT(CRI-O): valid RFC 3339.
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

impl Container {
    /// What `state` prints.
    pub fn state(&self) -> Result<StateDocument> {
        let status = self.status()?;
        let record = &self.record;
        let pid = match status {
            Status::Stopped => 0,
            Status::Creating | Status::Created | Status::Running | Status::Paused => {
                record.init.map_or(0, |init| init.pid)
            }
        };
        Ok(StateDocument {
            oci_version: OCI_VERSION,
            id: record.id.clone(),
            pid,
            status: status.name(),
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: String::new(),
        })
    }
}
