//! `hooks`: programs that run at fixed points of a container's life (runtime-spec, config "POSIX-platform Hooks").

use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use super::property::absolute;
use crate::error::{Error, Result};

/// The six lists. Where each runs and what its failure means is told in `subsystems::hooks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// argv, including `argv[0]`. `None`: just the path, as runc and crun do.
    pub args: Option<Vec<String>>,
    /// `None`: decided by the kind of hook, see `subsystems::hooks`.
    pub env: Option<Vec<String>>,
    /// After that long the hook is killed and has failed.
    pub timeout: Option<Duration>,
}

impl Hooks {
    /// Checks the chapter.
    pub(super) fn check(spec: Option<&runtime::Hooks>) -> Result<Self> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        Ok(Self {
            prestart: check_list("prestart", spec.prestart())?,
            create_runtime: check_list("createRuntime", spec.create_runtime())?,
            create_container: check_list("createContainer", spec.create_container())?,
            start_container: check_list("startContainer", spec.start_container())?,
            poststart: check_list("poststart", spec.poststart())?,
            poststop: check_list("poststop", spec.poststop())?,
        })
    }
}

fn check_list(name: &str, spec: &Option<Vec<runtime::Hook>>) -> Result<Vec<Hook>> {
    spec.iter().flatten().enumerate().map(|(index, hook)| check_hook(&format!("hooks.{name}[{index}]"), hook)).collect()
}

fn check_hook(property: &str, spec: &runtime::Hook) -> Result<Hook> {
    Ok(Hook {
        path: absolute(format!("{property}.path"), spec.path())?,
        args: spec.args().clone().filter(|args| !args.is_empty()),
        env: spec.env().clone(),
        timeout: check_timeout(property, spec.timeout())?,
    })
}

/// SPEC(config, hooks): if set, the timeout must be greater than zero.
fn check_timeout(property: &str, seconds: Option<i64>) -> Result<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    match u64::try_from(seconds) {
        Ok(positive) if positive > 0 => Ok(Some(Duration::from_secs(positive))),
        Ok(_) | Err(_) => {
            Err(Error::invalid(format!("{property}.timeout"), format!("{seconds} seconds is not more than zero")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use serde_json::json;

    use crate::config::testing::{accept, assert_refused};
    use crate::error::Kind;

    #[test]
    fn all_six_lists() {
        let hook =
            |name: &str| json!([{"path": format!("/bin/{name}"), "args": [], "env": []}, {"path": "/b", "timeout": 1}]);
        let hooks = accept(&json!({"hooks": {
            "prestart": hook("1"), "createRuntime": hook("2"), "createContainer": hook("3"),
            "startContainer": hook("4"), "poststart": hook("5"), "poststop": hook("6"), "unknown": 5
        }}))
        .hooks;
        let lists = [
            hooks.prestart,
            hooks.create_runtime,
            hooks.create_container,
            hooks.start_container,
            hooks.poststart,
            hooks.poststop,
        ];
        for (index, list) in lists.iter().enumerate() {
            assert_eq!(list[0].path, Path::new(&format!("/bin/{}", index + 1)));
            assert_eq!((list[0].args.clone(), list[0].env.clone(), list[0].timeout), (None, Some(vec![]), None));
            assert_eq!(list[1].timeout, Some(Duration::from_secs(1)));
        }
    }

    #[test]
    fn refused() {
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "relative",
                    json!({"hooks": {"createRuntime": [{"path": "/a"}, {"path": "bin/a"}]}}),
                    "hooks.createRuntime[1].path: \"bin/a\" is not an absolute path",
                ),
                (
                    "timeout 0",
                    json!({"hooks": {"prestart": [{"path": "/a", "timeout": 0}]}}),
                    "hooks.prestart[0].timeout: 0 seconds is not more than zero",
                ),
                (
                    "timeout -1",
                    json!({"hooks": {"poststop": [{"path": "/a", "timeout": -1}]}}),
                    "hooks.poststop[0].timeout: -1 seconds is not more than zero",
                ),
            ],
        );
    }
}
