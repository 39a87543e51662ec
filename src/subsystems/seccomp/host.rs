//! The runtime's side of a filter: what the agent at `listenerPath` is sent with the listener, and what is known about a
//! process that a filter keeps from saying it itself.

use serde::Serialize;

use super::Filter;
use crate::config::seccomp::Listener;
use crate::error::{Error, Kind, Result};
use crate::subsystems::hooks::{HookState, OCI_VERSION};

/// SPEC(config-linux, "Container Process State"): all of an agent's connection.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'static str,
    /// By the position of the descriptors that come along.
    fds: [&'static str; 1],
    /// Of the process with the filter, as the runtime sees it: another one than the container's for `exec`.
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a HookState,
}

/// What is sent with the listener of process `pid`.
pub fn message(listener: &Listener, pid: i32, state: &HookState) -> Result<Vec<u8>> {
    let metadata = listener.metadata.as_deref();
    let message = ContainerProcessState { oci_version: OCI_VERSION, fds: ["seccompFd"], pid, metadata, state };
    serde_json::to_vec(&message).map_err(|error| Error::new(Kind::Failed, error.to_string()))
}

/// Adds what may be the reason when a process behind `filter` was silent, or died.
pub fn explain(error: Error, filter: Option<&Filter>, listener: Option<&Listener>) -> Error {
    match (error.kind(), filter, listener) {
        (Kind::TimedOut, _, Some(Listener { path, .. })) => {
            error.hint(format!("does the agent at {path:?} answer?")).within("linux.seccomp.listenerPath")
        }
        (Kind::ProcessGone, Some(_), _) => error.hint("linux.seccomp must allow write, read and execve"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_message_is_the_specifications() {
        let state = HookState {
            oci_version: OCI_VERSION.to_owned(),
            id: "c1".to_owned(),
            status: "creating".to_owned(),
            pid: 7,
            bundle: "/b".into(),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
        };
        let parse = |metadata: Option<&str>| -> Value {
            let listener = Listener { path: "/agent".into(), metadata: metadata.map(str::to_owned) };
            serde_json::from_slice(&message(&listener, 8, &state).unwrap()).unwrap()
        };
        let mut expected = json!({
            "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 8, "metadata": "m",
            "state": {"ociVersion": "1.3.0", "id": "c1", "status": "creating", "pid": 7, "bundle": "/b", "annotations": {"a": "b"}},
        });
        assert_eq!(parse(Some("m")), expected);
        expected.as_object_mut().unwrap().remove("metadata");
        assert_eq!(parse(None), expected);
    }
}
