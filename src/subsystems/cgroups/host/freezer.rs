//! Frozen and not.
//!
//! On hybrid hosts the v1 controller is the freezer, because engines there look at it; elsewhere every v2 group is one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::directory::{Directory, is_gone};
use super::tree;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs;
use crate::subsystems::cgroups::plan::{Group, Placement, Version};
use crate::sys;

/// Whether somebody paused the container.
pub fn is_frozen(placement: &Placement) -> Result<bool> {
    match freezer_of(placement) {
        None => Ok(false),
        Some(group) => match Directory::open(group)? {
            Some(directory) => is_frozen_group(group, &directory),
            None => Ok(false),
        },
    }
}

/// Whether this group is frozen, by itself or by one above.
pub fn is_frozen_group(group: &Group, directory: &Directory) -> Result<bool> {
    let frozen = match group.version {
        Version::V2 => directory.has_event(FROZEN),
        Version::V1 if is_v1_freezer(group) => directory.read(STATE).map(|state| state.trim() != "THAWED"),
        Version::V1 => Ok(false),
    };
    match frozen {
        // The file is not there in the root group of a namespace; or the group is going away.
        Err(error) if is_gone(&error) => Ok(false),
        other => other,
    }
}

/// Stops everybody in the container. Who cannot be stopped until `deadline` goes on, and so does everybody else.
pub fn freeze(placement: &Placement, deadline: Instant) -> Result<()> {
    let (group, directory) = open_freezer(placement)?;
    let freeze = || match group.version {
        Version::V1 => freeze_v1(group, &directory, deadline),
        Version::V2 => {
            tell(group, &directory, Order::Stop)?;
            directory.wait_for_event(FROZEN, deadline)
        }
    };
    let outcome = freeze();
    if let Ok(true) = outcome {
        return Ok(());
    }
    // ORDER: a thaw of v2 wakes those up who could not be frozen, too; on v1, as long as it freezes, the frozen ones look
    // just like them.
    let (blamed, thawed) = match group.version {
        Version::V2 => (stuck(group, &directory), tell(group, &directory, Order::GoOn)),
        Version::V1 => {
            let thawed = tell(group, &directory, Order::GoOn);
            (stuck(group, &directory), thawed)
        }
    };
    let error = outcome.err().unwrap_or(blamed).within(format!("freeze cgroup {:?}", group.directory()));
    Err(match thawed {
        Ok(()) => error,
        Err(also) => error.also(&also),
    })
}

/// Lets everybody go on, and comes back when they do.
pub fn thaw(placement: &Placement, deadline: Instant) -> Result<()> {
    let (group, directory) = open_freezer(placement)?;
    let within = || format!("thaw cgroup {:?}", group.directory());
    if let Some(above) = frozen_above(group).within(within)? {
        let why = format!("cgroup {above:?} above it is frozen: nothing runs before that is thawed");
        return Err(Error::new(Kind::Busy, why)).within(within);
    }
    tell(group, &directory, Order::GoOn).within(within)?;
    // On v1 the write is all.
    match group.version == Version::V1 || directory.wait_for_event(THAWED, deadline).within(within)? {
        true => Ok(()),
        false => Err(Error::new(Kind::TimedOut, "its processes are still frozen")).within(within),
    }
}

/// Lets frozen v1 processes go on, so that they take a SIGKILL; v2 kills frozen ones by itself.
pub fn thaw_all(placement: &Placement) -> Result<()> {
    for group in placement.groups.iter().filter(|group| is_v1_freezer(group)) {
        if let Some(directory) = Directory::open(group)?
            && is_frozen_group(group, &directory)?
        {
            match tell(group, &directory, Order::GoOn) {
                Err(error) if !is_gone(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Events of v2, in `cgroup.events`.
const FROZEN: &str = "frozen 1";
const THAWED: &str = "frozen 0";

/// The files that freeze and thaw.
const FREEZE: &str = "cgroup.freeze";
const STATE: &str = "freezer.state";

fn is_v1_freezer(group: &Group) -> bool {
    group.version == Version::V1 && group.controllers.iter().any(|controller| controller == "freezer")
}

fn freezer_of(placement: &Placement) -> Option<&Group> {
    let unified = |group: &&Group| group.version == Version::V2;
    placement.groups.iter().find(|group| is_v1_freezer(group)).or_else(|| placement.groups.iter().find(unified))
}

fn open_freezer(placement: &Placement) -> Result<(&Group, Directory)> {
    let missing = |why: &str| Error::new(Kind::Unsupported, why);
    let group = freezer_of(placement).ok_or_else(|| missing("it is in no cgroup that could be frozen"))?;
    let directory = Directory::open(group)?;
    directory.map(|directory| (group, directory)).ok_or_else(|| {
        Error::new(Kind::NotFound, "it is not there any more").within(format!("cgroup {:?}", group.directory()))
    })
}

/// How often a v1 freezer is asked, and how many answers it is given before everybody is let go for a moment.
const INTERVAL: Duration = Duration::from_millis(1);
const ANSWERS: u32 = 50;

/// `false`: `deadline` came first.
///
/// KERNEL(cgroup v1): `freezer.state` notifies nobody, so it is read again and again; at first without a pause, as most
/// containers are frozen after the first read. Who is forked while the others freeze may be missed, hence the repeated
/// write; and two of whom one waits for the other, already frozen one only come to a stop when both run once more.
fn freeze_v1(group: &Group, directory: &Directory, deadline: Instant) -> Result<bool> {
    for answers in 0_u32.. {
        tell(group, directory, Order::Stop)?;
        if directory.read(STATE)?.trim() == "FROZEN" {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            break;
        }
        if answers % ANSWERS == ANSWERS - 1 {
            tell(group, directory, Order::GoOn)?;
        }
        if answers > 1 {
            sys::wait::until_any(&[], Some(Instant::now() + INTERVAL)).or_call(|| "poll")?;
        }
    }
    Ok(false)
}

/// What a freezer is told.
#[derive(Clone, Copy)]
pub enum Order {
    Stop,
    GoOn,
}

/// Tells it, and waits for nobody.
fn tell(group: &Group, directory: &Directory, order: Order) -> Result<()> {
    match (group.version, order) {
        (Version::V1, Order::Stop) => directory.write(STATE, "FROZEN"),
        (Version::V1, Order::GoOn) => directory.write(STATE, "THAWED"),
        (Version::V2, Order::Stop) => directory.write(FREEZE, "1"),
        (Version::V2, Order::GoOn) => directory.write(FREEZE, "0"),
    }
}

/// The same, where there is a freezer.
pub fn tell_if_there(placement: &Placement, order: Order) -> Result<()> {
    let Some(group) = freezer_of(placement) else { return Ok(()) };
    let directory = Directory::open(group)?;
    directory.map_or(Ok(()), |directory| tell(group, &directory, order))
}

/// The outermost group above this one that is frozen by itself, as far as we can see.
fn frozen_above(group: &Group) -> Result<Option<PathBuf>> {
    let file = if group.version == Version::V1 { "freezer.self_freezing" } else { FREEZE };
    let leaf = group.directory();
    let above = leaf.ancestors().skip(1).take_while(|path| path.starts_with(&group.mount_point));
    let mut outermost = None;
    for path in above {
        // The root group cannot be frozen and has no such file.
        if Directory::at(path)?.read(file).is_ok_and(|frozen| frozen.trim() == "1") {
            outermost = Some(path.to_owned());
        }
    }
    Ok(outermost)
}

/// Who is to blame: threads that wait for something inside the kernel and hear no signal.
fn stuck(group: &Group, directory: &Directory) -> Error {
    let mut waiting = Vec::new();
    // It is for the message only: who is gone meanwhile is not missed.
    if let Err(error) = list_waiting(group, directory, &mut waiting) {
        log::debug!("looking for those who do not freeze: {error}");
    }
    match waiting.as_slice() {
        [] => Error::new(Kind::TimedOut, "some of its processes do not stop"),
        [one] => Error::new(Kind::TimedOut, format!("does not stop: {one}")),
        [first @ .., last] => Error::new(Kind::TimedOut, format!("do not stop: {} and {last}", first.join(", "))),
    }
}

fn list_waiting(group: &Group, directory: &Directory, waiting: &mut Vec<String>) -> Result<()> {
    let file = if group.version == Version::V1 { "tasks" } else { "cgroup.threads" };
    tree::outermost_first(directory, |it| {
        for thread in it.read(file)?.lines().filter_map(|line| line.parse().ok()) {
            if let Some(waits) = procfs::uninterruptible(thread)? {
                waiting.push(format!("thread {thread} ({:?}), which waits in {}", waits.name, waits.place));
            }
        }
        Ok(())
    })
}
