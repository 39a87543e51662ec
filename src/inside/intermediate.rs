//! The process before the first one: joins and makes what only its children can be in.

use std::convert::Infallible;
use std::os::fd::AsFd;

use nix::unistd::{Pid, getpid, setpgid};

use super::init;
use crate::channel::{FromInside, InsideEnd};
use crate::config::NamespaceKind;
use crate::error::{OrCall, Result, Within};
use crate::plan::InsidePlan;
use crate::subsystems::doors::Inside;
use crate::subsystems::namespaces::{self, Intermediate};
use crate::sys;

/// Joins, makes, has itself mapped, and copies itself: the copy becomes the first process, this one ends.
pub fn run(channel: &InsideEnd, plan: &InsidePlan, route: &Intermediate) -> Result<Infallible> {
    let inside = Inside::first_step();
    namespaces::inside::join_all(&inside, &route.joins)?;
    // ORDER: user before time, so that the time namespace is owned by it.
    if route.create_user {
        namespaces::inside::create(&inside, NamespaceKind::User)?;
        // The files below our /proc/PID belong to root otherwise, and a user's runtime could not write the maps. Until we
        // become another, nobody of the container can see us: we are in the caller's pid namespace.
        nix::sys::prctl::set_dumpable(true).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    }
    if route.create_time {
        namespaces::inside::create(&inside, NamespaceKind::Time)?;
    }
    if route.create_user || route.create_time {
        channel.send(&FromInside::MapsPlease)?;
        channel.wait_for_go()?;
    }
    if route.create_user {
        namespaces::inside::become_root()?;
        nix::sys::prctl::set_dumpable(false).or_call(|| "prctl(PR_SET_DUMPABLE)")?;
    }
    // By its group the host finds the copy, if we are killed before we could tell of it.
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).or_call(|| "setpgid")?;
    match sys::clone::copy_as_sibling(route.clone)
        .or_call(|| format!("clone3({:#x}|CLONE_PARENT) by {}", route.clone, getpid()))
        .within(|| "linux.namespaces: create the first process")?
    {
        None => {
            // The host knows us now, or is about to; before that nothing may be seen of us.
            channel.wait_for_go()?;
            init::run(channel, plan)
        }
        Some(child) => {
            channel.send_with(&FromInside::FirstProcess, child.pidfd.as_fd())?;
            super::leave(0)
        }
    }
}
