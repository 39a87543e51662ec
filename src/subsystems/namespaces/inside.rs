//! The container's side: joining and making namespaces.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::{Join, clone_flag};
use crate::config::NamespaceKind;
use crate::error::{OrCall, Result, Within};
use crate::subsystems::doors::{InRoot, Inside};
use crate::sys;

/// Joins all of them.
///
/// ORDER: the user namespace after the others, because joining one costs the rights over those that its parent owns; but
/// what was refused is tried again behind it, because it may be the owner (rootless).
pub fn join_all(_: &Inside, joins: &[Join]) -> Result<()> {
    let mut user = None;
    let mut others = Vec::new();
    for Join { kind, file } in joins {
        let file = file.take().or_call(|| "fcntl(F_SETFD)")?;
        match kind {
            NamespaceKind::User => user = Some(file),
            other => others.push((*other, file)),
        }
    }
    let mut refused = Vec::new();
    for (kind, file) in others {
        match setns(&file, flag(kind)) {
            Err(Errno::EPERM) if user.is_some() => refused.push((kind, file)),
            result => named(kind, result)?,
        }
    }
    if let Some(user) = user {
        named(NamespaceKind::User, setns(user, flag(NamespaceKind::User)))?;
        become_root()?;
    }
    refused.into_iter().try_for_each(|(kind, file)| named(kind, setns(file, flag(kind))))
}

/// Enters the namespaces of a container's first process, all at once (setns(2) with a pidfd, since 5.8), and its root.
///
/// A pid namespace is entered by children alone.
pub fn enter(inside: Inside, process: &OwnedFd, namespaces: u64, root: Option<&OwnedFd>) -> Result<InRoot> {
    let entering = || -> Result<()> {
        if namespaces != 0 {
            let flags = CloneFlags::from_bits_retain(i32::try_from(namespaces).unwrap_or(0));
            setns(process, flags).or_call(|| format!("setns(pidfd, {namespaces:#x})"))?;
        }
        if let Some(root) = root {
            nix::unistd::fchdir(root).or_call(|| "fchdir(root of the container)")?;
            nix::unistd::chroot(".").or_call(|| "chroot(root of the container)")?;
        }
        if namespaces & clone_flag(NamespaceKind::User) != 0 {
            become_root()?;
        }
        Ok(())
    };
    entering().within(|| "join the container's namespaces")?;
    Ok(inside.root_changed())
}

fn named(kind: NamespaceKind, result: nix::Result<()>) -> Result<()> {
    result
        .or_call(|| format!("setns({})", kind.proc_name()))
        .within(|| format!("linux.namespaces: join the {} namespace", kind.name()))
}

fn flag(kind: NamespaceKind) -> CloneFlags {
    CloneFlags::from_bits_retain(i32::try_from(clone_flag(kind)).unwrap_or(0))
}

/// Enters the network namespace that the host made.
pub fn join_network(_: &Inside, file: OwnedFd) -> Result<()> {
    named(NamespaceKind::Network, setns(file, flag(NamespaceKind::Network)))
}

/// Makes a namespace and moves this process into it (time: its children).
pub fn create(_: &Inside, kind: NamespaceKind) -> Result<()> {
    unshare(flag(kind))
        .or_call(|| format!("unshare({})", kind.proc_name()))
        .within(|| format!("linux.namespaces: create the {} namespace", kind.name()))
}

/// In a user namespace that is mapped: becomes its root, whoever we were outside.
pub fn become_root() -> Result<()> {
    sys::ids::set_gid(0).or_call(|| "setresgid(0)").within(|| "become root of the user namespace")?;
    sys::ids::set_uid(0).or_call(|| "setresuid(0)").within(|| "become root of the user namespace")
}
