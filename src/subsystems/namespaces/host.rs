//! The host's side: opening the namespaces to join, and setting up new ones.

use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{chroot, fchdir};

use super::route::{Route, ViaIntermediate};
use super::{InsideNamespaces, Intermediate, Join, clone_flag, id_maps};
use crate::config::linux::TimeOffset;
use crate::config::{IdMappings, NamespaceChoice, NamespaceKind, Namespaces};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs::Procfs;
use crate::sys;
use crate::sys::clone::{Child, Then};
use crate::sys::fd::Luggage;
use crate::sys::thread::Beside;
use crate::timing::{self, Span};

/// Opens what is to be joined, and makes the part of the plan that goes inside.
pub fn open_all(route: &Route, namespaces: &Namespaces, luggage: &mut Luggage) -> Result<InsideNamespaces> {
    let mut open_kinds = |kinds: &[NamespaceKind]| -> Result<Vec<Join>> {
        let mut joins = Vec::new();
        for kind in kinds {
            if let Some(file) = open_namespace(*kind, namespaces.of(*kind))? {
                joins.push(Join { kind: *kind, file: luggage.pack(file) });
            }
        }
        Ok(joins)
    };
    let intermediate = match &route.intermediate {
        None => None,
        Some(ViaIntermediate { joins, create_user, create_time, clone }) => Some(Intermediate {
            joins: open_kinds(joins)?,
            create_user: *create_user,
            create_time: *create_time,
            clone: *clone,
        }),
    };
    let joins = open_kinds(&route.joins)?;
    let (network_follows, create_cgroup) = (route.network_by_host, route.create_cgroup);
    Ok(InsideNamespaces { intermediate, network_follows, joins, create_cgroup })
}

/// `None`: it is the namespace that we are in already. Joining one's own user namespace would be refused.
fn open_namespace(kind: NamespaceKind, choice: &NamespaceChoice) -> Result<Option<OwnedFd>> {
    let NamespaceChoice::Join { path, property } = choice else { return Ok(None) };
    let opening = || -> Result<Option<OwnedFd>> {
        let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty())
            .or_call(|| format!("open({path:?})"))?;
        let found = sys::namespace::kind(&file).unwrap_or(0);
        if found != clone_flag(kind) {
            let what = NamespaceKind::ALL.into_iter().find(|kind| clone_flag(*kind) == found);
            let what = what.map_or("no namespace at all".to_owned(), |kind| format!("a {} namespace", kind.name()));
            return Err(Error::invalid(format!("{path:?}"), format!("is {what}, not a {} namespace", kind.name())));
        }
        let (theirs, ours) = (fstat(&file).or_call(|| "fstat")?, own_namespace(kind)?);
        Ok(((theirs.st_dev, theirs.st_ino) != ours).then_some(file))
    };
    opening().within(|| property.clone())
}

fn own_namespace(kind: NamespaceKind) -> Result<(u64, u64)> {
    let path = format!("/proc/self/ns/{}", kind.proc_name());
    let stat = nix::sys::stat::stat(path.as_str()).or_call(|| format!("stat({path:?})"))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A user namespace with these mappings and nobody in it, for id-mapped mounts. `property` is whose they are.
///
/// A namespace needs a process to be made. This one does nothing: it waits for its ids to be mapped, is never told that they
/// are, and ends when we let go.
pub fn mapped_user_namespace(mappings: &IdMappings, property: &str) -> Result<OwnedFd> {
    let (gate, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC).or_call(|| "pipe2")?;
    let child = sys::clone::launch(&sys::clone::Launch {
        namespaces: clone_flag(NamespaceKind::User),
        cgroup: None,
        then: Then::Execute { executable: gate.as_fd(), arguments: &[] },
        keep: &[],
        preserved: 0,
        ids_mapped: Some(gate.as_fd()),
        report: gate.as_fd(),
    })
    .and_then(|child| child.ok_or(Errno::EINVAL))
    .or_call(|| "clone3(NEWUSER)")?;
    let mapped =
        id_maps::write(child.pid, mappings, property).and_then(|()| namespace_of(child.pid, NamespaceKind::User));
    drop(ours);
    match sys::pidfd::reap(&child.pidfd) {
        // An embedder that waits for all its children was faster.
        Ok(_) | Err(Errno::ECHILD) => mapped,
        Err(errno) => Err(Error::call("poll and waitid(user namespace)", errno)),
    }
}

/// The namespace that a process is in: a pid, or what /proc calls one, such as `thread-self`.
pub fn namespace_of(process: impl Display, kind: NamespaceKind) -> Result<OwnedFd> {
    let path = format!("/proc/{process}/ns/{}", kind.proc_name());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).or_call(|| format!("open({path:?})"))
}

/// A network namespace with a working loopback interface that is being made, by a thread: that takes the kernel longer than all
/// the other namespaces together (0.6 of 0.8 ms), and the first process needs as long for its own first steps.
///
/// Meanwhile a copy of this process may be made, see [`Beside`].
#[derive(Debug)]
pub struct NewNetwork(Beside<(Made, Option<Span>)>);

/// The namespace, or the call that was refused.
type Made = std::result::Result<OwnedFd, (&'static str, Errno)>;

impl NewNetwork {
    /// Begins.
    pub fn begin() -> Result<Self> {
        Beside::begin(|| timing::measured(make_network)).map(Self).or_call(|| "pthread_create")
    }

    /// Waits for it. The namespace lives as long as it is open.
    pub fn finish(self) -> Result<OwnedFd> {
        let (made, span) = self.0.join().ok_or_else(|| Error::new(Kind::Failed, "the thread is gone"))?;
        timing::tell("network namespace", span);
        made.map_err(|(call, errno)| Error::call(call, errno))
            .within(|| "linux.namespaces: create the network namespace")
    }
}

/// ORDER: allocates nothing and takes no lock.
fn make_network() -> Made {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| ("unshare(net)", errno))?;
    sys::network::bring_up_loopback()?;
    let opened = open(c"/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    opened.map_err(|errno| ("open(\"/proc/thread-self/ns/net\")", errno))
}

/// Does something in the mount namespace and from the root of a process that has not executed a program yet, with our own
/// rights: in a thread, because only that can leave our mount namespace.
pub fn among_mounts_of<T: Send>(process: &Child, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/proc/{}/root", process.pid);
    let root = open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| format!("open({path:?})"))?;
    let enter = || -> Result<()> {
        // Root and working directory are common to all threads until one takes its own.
        unshare(CloneFlags::CLONE_FS).or_call(|| "unshare(FS)")?;
        setns(&process.pidfd, CloneFlags::CLONE_NEWNS).map_err(|errno| {
            let error = Error::call("setns(pidfd, NEWNS)", errno);
            match errno {
                Errno::EPERM => error.hint("takes CAP_SYS_ADMIN and CAP_SYS_CHROOT on the host"),
                _ => error,
            }
        })?;
        // setns leads to the root of the namespace; we may be in a chroot, and the process with us.
        fchdir(&root).or_call(|| "fchdir(root)")?;
        chroot(".").or_call(|| "chroot(\".\")")
    };
    let there = || {
        enter().within(|| "enter the container's mount namespace")?;
        act()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there);
        let thread = thread.or_call(|| "pthread_create")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Writes the clock offsets of a process that made a new time namespace (time_namespaces(7), since 5.6).
pub fn write_time_offsets<'a>(pid: i32, offsets: impl IntoIterator<Item = (&'a String, &'a TimeOffset)>) -> Result<()> {
    let line = |(clock, offset): (&String, &TimeOffset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
    let text: String = offsets.into_iter().map(line).collect();
    if text.is_empty() {
        return Ok(());
    }
    Procfs::mounted()?.write(Path::new(&format!("{pid}/timens_offsets")), &text).within(|| "linux.timeOffsets")
}

/// The id, in our pid namespace, of the process that a pidfd stands for; it came to us through a socket.
pub fn pid_of(pidfd: &OwnedFd) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = crate::fs::procfs::read_own(&path)?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| Error::new(Kind::ProcessGone, format!("{path}: the process is gone")))
}
