//! `events` and `ps`: looking at a container that runs.

use std::time::{Duration, Instant};

use super::container::Container;
use crate::error::{Error, Kind, Result, Within};
use crate::subsystems::cgroups::Stats;
use crate::subsystems::cgroups::host::{self as cgroups, Seen, Watch};
use crate::subsystems::cgroups::plan::Placement;
use crate::subsystems::rdt;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time passed: what was used so far.
    Stats(Box<Stats>),
    /// The kernel killed a process of it for lack of memory.
    OutOfMemory,
}

impl Container {
    /// Its processes, by pid in our pid namespace, also those in cgroups that it made.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let processes = cgroups::processes(self.own_cgroups()?).within(|| self.named())?;
        Ok(processes.into_iter().collect())
    }

    /// What it has used so far. One that has stopped is refused.
    pub fn stats(&self) -> Result<Stats> {
        self.check_running()?;
        self.own_cgroups()?;
        self.read_stats().within(|| self.named())
    }

    fn read_stats(&self) -> Result<Stats> {
        let mut stats = cgroups::read_stats(&self.record.cgroups)?;
        if let Some(placement) = &self.record.rdt {
            stats.intel_rdt = rdt::host::read_stats(placement)?;
        }
        Ok(stats)
    }

    /// What happens to it from now on: statistics every `interval`, and OOM kills, until nobody is left inside.
    pub fn events(&self, interval: Duration) -> Result<Events<'_>> {
        self.check_running()?;
        let watch = Watch::new(self.own_cgroups()?).within(|| self.named())?;
        Ok(Events { container: self, watch, interval, next_stats: Instant::now() + interval, oom_kills: 0 })
    }

    fn own_cgroups(&self) -> Result<&Placement> {
        let placement = &self.record.cgroups;
        if placement.groups.is_empty() {
            let why = "it has no cgroup of its own, by which its processes could be told from others";
            return Err(Error::new(Kind::Unsupported, why)).within(|| self.named());
        }
        Ok(placement)
    }

    fn check_running(&self) -> Result<()> {
        if self.status()?.is_alive() {
            return Ok(());
        }
        // COMPAT(runc): its words.
        Err(Error::new(Kind::WrongStatus, format!("container with id {} is not running", self.id())))
    }
}

/// The events of one container, as they happen.
#[derive(Debug)]
pub struct Events<'a> {
    container: &'a Container,
    watch: Watch,
    interval: Duration,
    next_stats: Instant,
    /// That were seen and not told yet.
    oom_kills: u64,
}

impl Iterator for Events<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait().within(|| self.container.named()).transpose()
    }
}

impl Events<'_> {
    fn wait(&mut self) -> Result<Option<Event>> {
        if self.oom_kills == 0 {
            match self.watch.wait(self.next_stats)? {
                Seen::End => return Ok(None),
                Seen::OomKills(kills) => self.oom_kills = kills,
                Seen::Nothing => {
                    // Whoever reads slowly gets fewer, not old ones.
                    self.next_stats = Instant::now() + self.interval;
                    let stats = self.container.read_stats()?;
                    return Ok(Some(Event::Stats(Box::new(stats))));
                }
            }
        }
        self.oom_kills -= 1;
        Ok(Some(Event::OutOfMemory))
    }
}
