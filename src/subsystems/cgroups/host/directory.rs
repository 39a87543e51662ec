//! What a cgroup's directory has to say.

use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::unistd::{Whence, lseek};

use crate::error::{OrCall, Result};
use crate::fs::procfs;
use crate::subsystems::cgroups::plan::Group;
use crate::sys;

pub use crate::fs::directory::{Directory, is_gone};

/// Where v2 tells what happens to a group; poll(2) says POLLPRI when it changes.
const EVENTS: &str = "cgroup.events";

impl Directory {
    /// A container's group; `None`: it is not there.
    pub fn open(group: &Group) -> Result<Option<Self>> {
        Self::find(&group.directory())
    }

    /// What `cgroup.controllers` of v2 says.
    pub fn controllers(&self) -> Result<Vec<String>> {
        Ok(self.read("cgroup.controllers")?.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Whether `cgroup.events` of v2 has this line.
    pub fn has_event(&self, event: &str) -> Result<bool> {
        Ok(self.read(EVENTS)?.lines().any(|line| line == event))
    }

    /// Waits until it has. `false`: `deadline` came first.
    pub fn wait_for_event(&self, event: &str, deadline: Instant) -> Result<bool> {
        let events = self.open_file(EVENTS, OFlag::O_RDONLY)?;
        loop {
            let content = sys::fd::read_all(&events).or_call(|| format!("read({EVENTS:?})"))?;
            if String::from_utf8_lossy(&content).lines().any(|line| line == event) {
                return Ok(true);
            }
            if !sys::wait::until_ready(&events, PollFlags::POLLPRI, deadline).or_call(|| format!("poll({EVENTS:?})"))? {
                return Ok(false);
            }
            lseek(&events, 0, Whence::SeekSet).or_call(|| format!("lseek({EVENTS:?})"))?;
        }
    }

    /// The processes in it, without those below; none when it was removed.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match self.read("cgroup.procs") {
            Ok(content) => Ok(numbers(&content)),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => self.processes_of_threads(),
            Err(error) => Err(error),
        }
    }

    /// How many there are, also of those that our pid namespace does not show.
    pub fn count_processes(&self) -> Result<usize> {
        match self.read("cgroup.procs") {
            Ok(content) => Ok(content.lines().count()),
            Err(_) => Ok(self.processes()?.len()),
        }
    }

    /// A threaded group of v2 has threads, and does not say whose.
    fn processes_of_threads(&self) -> Result<Vec<i32>> {
        let process_of = |thread: i32| {
            let status = procfs::read_own(&format!("/proc/{thread}/status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        };
        let threads = match self.read("cgroup.threads") {
            Err(error) if is_gone(&error) => String::new(),
            other => other?,
        };
        let mut processes: Vec<i32> = numbers(&threads).into_iter().filter_map(process_of).collect();
        processes.sort_unstable();
        processes.dedup();
        Ok(processes)
    }
}

/// Ids; 0 stands for one that our pid namespace does not show.
fn numbers(lines: &str) -> Vec<i32> {
    lines.lines().filter_map(|line| line.parse().ok()).filter(|number| *number > 0).collect()
}
