//! Hooks: programs that run at fixed points of a container's life.
//!
//! | hook | runs in | when | after a failure |
//! |---|---|---|---|
//! | prestart, createRuntime | the runtime's namespaces | the environment is made, before the root changes | the container is destroyed |
//! | createContainer | the container's namespaces, host paths | behind those | the same |
//! | startContainer | the container, its paths | `start`, before the program | the same |
//! | poststart | the runtime's namespaces | `start`, the program runs | the same (since 1.3) |
//! | poststop | the runtime's namespaces | the container is gone | a warning, the next one runs |
//!
//! The state is on standard input. Input and output are files in memory, not pipes: a hook that never reads, or leaves a
//! child behind that holds its output open, cannot make us wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};

use crate::config::Hook;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::sys;

/// The version of the specification that our state documents comply with.
pub const OCI_VERSION: &str = "1.3.0";

/// What a hook reads, and a seccomp agent (runtime-spec, "State").
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct HookState {
    pub oci_version: String,
    pub id: String,
    /// `created`, `running` or `stopped`. The hooks of create get `created`: SPEC(runtime, "State"): that is the name of
    /// what follows step 2 of the lifecycle, and they are its steps 3 to 5. An agent gets `creating` or `running`.
    pub status: String,
    /// As seen where the hook runs.
    pub pid: i32,
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
}

impl HookState {
    /// The same with another status and pid.
    #[must_use]
    pub fn now(&self, status: &str, pid: i32) -> Self {
        Self { status: status.to_owned(), pid, ..self.clone() }
    }
}

/// Where and with what hooks run.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// `createRuntime`, for messages.
    pub name: &'a str,
    /// What `env` is when a hook has none; `None`: ours.
    pub env: Option<&'a [String]>,
    /// The working directory; `None`: ours.
    pub directory: Option<&'a Path>,
}

/// Runs hooks one after the other, until one fails.
pub fn run_all(hooks: &[Hook], state: &HookState, surroundings: Surroundings<'_>) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state, surroundings)
            .within(|| format!("error running {} hook #{index}: {:?}", surroundings.name, hook.path))
            .within(|| format!("hooks.{}[{index}]", surroundings.name))?;
    }
    Ok(())
}

/// Runs all hooks; failures are warnings.
pub fn run_all_the_same(hooks: &[Hook], state: &HookState, surroundings: Surroundings<'_>) {
    for (index, hook) in hooks.iter().enumerate() {
        if let Err(error) = run(hook, state, surroundings) {
            log::warn!("{} hook #{index}: {:?}: {error}", surroundings.name, hook.path);
        }
    }
}

fn run(hook: &Hook, state: &HookState, surroundings: Surroundings<'_>) -> Result<()> {
    let json = serde_json::to_vec(state).map_err(|error| Error::new(Kind::Failed, error.to_string()))?;
    let output = memory_file(c"hook output", &[])?;
    let mut child = command(hook, surroundings)
        .stdin(memory_file(c"hook state", &json)?)
        .stdout(output.try_clone().or_call(|| "dup")?)
        .stderr(output.try_clone().or_call(|| "dup")?)
        .spawn()
        .or_call(|| "fork/exec")?;
    let pid = i32::try_from(child.id()).unwrap_or(-1);
    // Ours and not reaped yet, so the pid is still its own.
    let ended = sys::pidfd::open(pid).or_call(|| "pidfd_open").and_then(|pidfd| wait(&pidfd, hook.timeout));
    if !matches!(ended, Ok(true)) {
        // Its time is over; or nobody could see to that.
        child.kill().or_call(|| "kill")?;
        child.wait().or_call(|| "wait")?;
        let seconds = hook.timeout.unwrap_or_default().as_secs();
        let over = || Error::new(Kind::TimedOut, format!("killed after its timeout of {seconds} s"));
        return Err(ended.err().unwrap_or_else(over));
    }
    let status = child.wait().or_call(|| "wait")?;
    if status.success() { Ok(()) } else { Err(failed(status, output)) }
}

fn command(hook: &Hook, surroundings: Surroundings<'_>) -> Command {
    let mut command = Command::new(&hook.path);
    if let Some((name, arguments)) = hook.args.as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(arguments);
    }
    if let Some(env) = hook.env.as_deref().or(surroundings.env) {
        command.env_clear().envs(env.iter().filter_map(|variable| variable.split_once('=')));
    }
    if let Some(directory) = surroundings.directory {
        command.current_dir(directory);
    }
    sys::signal::reset_in(&mut command);
    command
}

/// `false`: the timeout is over.
fn wait(pidfd: &OwnedFd, timeout: Option<Duration>) -> Result<bool> {
    // Without a timeout a hook takes as long as it takes: that is the configuration's business.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let ready = sys::wait::until_any(&[(pidfd.as_fd(), PollFlags::POLLIN)], deadline).or_call(|| "poll(pidfd)")?;
    Ok(ready.is_some())
}

fn failed(status: ExitStatus, output: OwnedFd) -> Error {
    // Enough to see what it said; engines cut long messages.
    const SHOWN: usize = 2048;
    let said = lseek(&output, 0, Whence::SeekSet).and_then(|_| sys::fd::read_all(&output)).unwrap_or_default();
    let said = String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN)..]).trim().to_owned();
    Error::new(Kind::Failed, format!("{status}, output: {said:?}"))
}

fn memory_file(name: &std::ffi::CStr, content: &[u8]) -> Result<OwnedFd> {
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).or_call(|| "memfd_create")?;
    sys::fd::write_all(&file, content).or_call(|| "write(memfd)")?;
    lseek(&file, 0, Whence::SeekSet).or_call(|| "lseek(memfd)")?;
    Ok(File::from(file).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> HookState {
        HookState {
            oci_version: OCI_VERSION.to_owned(),
            id: "c1".to_owned(),
            status: "created".to_owned(),
            pid: 7,
            bundle: "/bundle".into(),
            annotations: BTreeMap::new(),
        }
    }

    fn hook(script: &str, timeout: Option<Duration>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).into();
        Hook { path: "/bin/sh".into(), args: Some(args), env: None, timeout }
    }

    const HERE: Surroundings<'_> = Surroundings { name: "poststop", env: None, directory: None };

    #[test]
    fn the_state_is_on_standard_input() {
        let script = r#"test "$(cat)" = '{"ociVersion":"1.3.0","id":"c1","status":"created","pid":7,"bundle":"/bundle","annotations":{}}'"#;
        run_all(&[hook(script, None)], &state(), HERE).unwrap();
    }

    #[test]
    fn a_large_state_and_a_hook_that_reads_nothing() {
        let mut large = state();
        large.annotations.insert("k".to_owned(), "v".repeat(1 << 20));
        run_all(&[hook("exit 0", None)], &large, HERE).unwrap();
    }

    #[test]
    fn failures_say_which_hook_and_what_it_said() {
        let hooks = [hook("exit 0", None), hook("echo alas >&2; exit 3", None), hook("echo never", None)];
        let error = run_all(&hooks, &state(), HERE).unwrap_err().to_string();
        assert_eq!(
            error,
            "hooks.poststop[1]: error running poststop hook #1: \"/bin/sh\": exit status: 3, output: \"alas\""
        );
        let missing = Hook { path: "/no/such".into(), args: None, env: None, timeout: None };
        let error = run_all(&[missing], &state(), HERE).unwrap_err().to_string();
        assert_eq!(
            error,
            "hooks.poststop[0]: error running poststop hook #0: \"/no/such\": fork/exec: no such file or directory"
        );
    }

    #[test]
    fn a_timeout_kills_and_a_child_left_behind_does_not_keep_us() {
        let started = Instant::now();
        let error = run_all(&[hook("sleep 20", Some(Duration::from_secs(1)))], &state(), HERE).unwrap_err();
        assert_eq!(error.kind(), Kind::TimedOut);
        run_all(&[hook("sleep 2 & exit 0", None)], &state(), HERE).unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
