//! Mapping the ids of a new user namespace (user_namespaces(7), "Defining user and group ID mappings").
//!
//! | we are | what is mapped | who writes |
//! |---|---|---|
//! | root of our user namespace | anything | we |
//! | a user | our own id, alone | we; for the group the namespace must give up setgroups(2) first |
//! | a user | more, or others | newuidmap(1) and newgidmap(1), which know from subuid(5) what is ours |

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, getegid, geteuid, lseek};

use crate::config::{IdMapping, IdMappings};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs::Procfs;
use crate::sys;

/// Writes both maps of a process in a new user namespace. `property` is what has the mappings: `linux`, `mounts[3]`.
pub fn write(pid: i32, mappings: &IdMappings, property: &str) -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    let writer = |lines: &[IdMapping], own| Writer::of(lines, own, user.is_root());
    let gids = || match writer(&mappings.gids, group.as_raw()) {
        Writer::Privileged => write_file(pid, "gid_map", &mappings.gids),
        Writer::User => {
            // CVE-2014-8989: else a user could leave groups that are to keep him from something.
            Procfs::mounted()?.write(Path::new(&format!("{pid}/setgroups")), "deny")?;
            write_file(pid, "gid_map", &mappings.gids)
        }
        Writer::Helper => run_helper("newgidmap", pid, &mappings.gids),
    };
    let uids = || match writer(&mappings.uids, user.as_raw()) {
        Writer::Privileged | Writer::User => write_file(pid, "uid_map", &mappings.uids),
        Writer::Helper => run_helper("newuidmap", pid, &mappings.uids),
    };
    gids().within(|| format!("{property}.gidMappings"))?;
    uids().within(|| format!("{property}.uidMappings"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Privileged,
    User,
    Helper,
}

impl Writer {
    /// The table above, for one of the maps. `own` is our effective id.
    fn of(lines: &[IdMapping], own: u32, is_root: bool) -> Self {
        match lines {
            _ if is_root => Self::Privileged,
            [IdMapping { host_id, size: 1, .. }] if *host_id == own => Self::User,
            _ => Self::Helper,
        }
    }
}

fn write_file(pid: i32, file: &str, lines: &[IdMapping]) -> Result<()> {
    let line = |mapping: &IdMapping| format!("{} {} {}\n", mapping.container_id, mapping.host_id, mapping.size);
    let text: String = lines.iter().map(line).collect();
    Procfs::mounted()?.write(Path::new(&format!("{pid}/{file}")), &text)
}

/// It may have to ask a directory service what is ours.
const PATIENCE: Duration = Duration::from_secs(30);

fn run_helper(name: &str, pid: i32, lines: &[IdMapping]) -> Result<()> {
    let mut command = Command::new(name);
    command.arg(pid.to_string());
    for IdMapping { container_id, host_id, size } in lines {
        command.args([container_id, host_id, size].map(u32::to_string));
    }
    run(command).within(|| name).map_err(|error| match error.errno() {
        // A directory of $PATH that cannot be searched says EACCES.
        Some(Errno::ENOENT | Errno::EACCES) => {
            error.hint("a user who maps more than his own id needs it, package uidmap")
        }
        _ => error,
    })
}

fn run(mut command: Command) -> Result<()> {
    // A file in memory, not a pipe: it holds what was said, and nobody waits for whoever else has it open.
    let output = memfd_create(c"helper output", MFdFlags::MFD_CLOEXEC).or_call(|| "memfd_create")?;
    let stream = || output.try_clone().or_call(|| "dup");
    command.stdin(Stdio::null()).stdout(stream()?).stderr(stream()?);
    sys::signal::reset_in(&mut command);
    let mut child = command.spawn().or_call(|| "fork/exec")?;
    // Ours and not reaped yet, so the pid is still its own.
    let pidfd = sys::pidfd::open(i32::try_from(child.id()).unwrap_or(-1)).or_call(|| "pidfd_open")?;
    if !sys::wait::until_ready(&pidfd, PollFlags::POLLIN, Instant::now() + PATIENCE).or_call(|| "poll(pidfd)")? {
        sys::pidfd::send_signal(&pidfd, libc::SIGKILL).or_call(|| "pidfd_send_signal")?;
        child.wait().or_call(|| "wait")?;
        return Err(Error::new(Kind::TimedOut, format!("killed after {} s", PATIENCE.as_secs())));
    }
    match child.wait().or_call(|| "wait")? {
        status if status.success() => Ok(()),
        status => Err(Error::new(Kind::Denied, format!("{status}: {}", said(&output)))),
    }
}

fn said(output: &OwnedFd) -> String {
    let content = lseek(output, 0, Whence::SeekSet).and_then(|_| sys::fd::read_all(output)).unwrap_or_default();
    String::from_utf8_lossy(&content).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes() {
        let one = |host_id, size| IdMapping { container_id: 0, host_id, size };
        for (lines, is_root, expected) in [
            (vec![one(1000, 1)], false, Writer::User),
            (vec![one(1000, 1)], true, Writer::Privileged),
            (vec![one(100_000, 65536)], true, Writer::Privileged),
            (vec![one(1000, 2)], false, Writer::Helper),
            (vec![one(1001, 1)], false, Writer::Helper),
            (vec![one(1000, 1), one(100_000, 65536)], false, Writer::Helper),
        ] {
            assert_eq!(Writer::of(&lines, 1000, is_root), expected, "{lines:?} {is_root}");
        }
    }

    #[test]
    fn a_helper_that_is_missing_or_refuses() {
        let lines = [IdMapping { container_id: 0, host_id: 0, size: 1 }];
        let error = run_helper("no-such-helper", 1, &lines).unwrap_err().to_string();
        assert!(
            error.starts_with("no-such-helper: fork/exec: no such file or directory (a user who maps more"),
            "{error}"
        );
        let error = run_helper("ls", i32::MAX, &lines).unwrap_err().to_string();
        assert!(error.starts_with("ls: exit status: 2: "), "{error}");
    }
}
