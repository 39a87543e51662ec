//! `checkpoint`: a container's processes as files, from which `restore` makes them anew.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::container::{Container, within};
use super::delete;
use super::images::{CriuOptions, Images};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::machine::criu::messages::{self, Options, PageServer, Request};
use crate::machine::criu::{Notification, Session, Streams, Surroundings};
use crate::plan::Snapshot;
use crate::state::Status;
use crate::subsystems::cgroups::host as cgroups;
use crate::subsystems::checkpoint;
use crate::sys;

/// How long processes may take to go on when CRIU has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug)]
pub struct CheckpointRequest {
    /// What restore is told, too.
    pub criu: CriuOptions,
    /// The directory of an earlier checkpoint, relative to that of this one, which then has only what has changed since.
    pub parent: Option<PathBuf>,
    /// The container goes on afterwards; else it is deleted.
    pub leave_running: bool,
    /// Memory only, for a later checkpoint with this one as its parent. The container goes on.
    pub pre_dump: bool,
    /// Connections of TCP that are about to be made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that have no name any more get one meanwhile.
    pub link_remap: bool,
    /// Who gets the memory, instead of the images; with lazy pages, where we hand it out.
    pub page_server: Option<(String, u16)>,
    /// Gets a byte 0 when memory can be fetched, and is closed.
    pub status_fd: Option<OwnedFd>,
}

impl Container {
    /// Writes the images. A container that does not go on is deleted. If that fails it goes on as it did.
    pub fn checkpoint(mut self, mut request: CheckpointRequest) -> Result<()> {
        let _lock = self.lock()?;
        let before = self.status()?;
        match before {
            Status::Running | Status::Paused => {}
            Status::Creating | Status::Created | Status::Stopped => {
                return Err(self.wrong_status(format!("cannot be checkpointed in the {before} state")));
            }
        }
        let known = self.directory.read_snapshot()?;
        if let Some(obstacle) = known.externals.obstacle {
            return Err(obstacle.within(self.named()));
        }
        check_parent(&request)?;
        let images = Images::to_write(&request.criu)?;
        let directories = images.directories();
        let surroundings = Surroundings { streams: Streams::Null, along: &[], directories: &directories, root: None };
        let mut session = Session::start(&surroundings, || Ok(()))?;
        check_features(&mut session, &request)?;
        let mode = request.criu.cgroups_mode(cgroups::has_groups_inside(&self.record.cgroups)?);
        let options = images.options(&request.criu, mode, &self.record.annotations, session.directories());
        let options = self.options(options, &request, &images, &known)?;
        let root = images.owner_of(self.record.init.map_or(0, |init| init.pid))?;
        let log = images.log();
        let dumped = self.dump(session, options, &mut request, before).map_err(|error| images.explain(error, &log));
        dumped.and_then(|()| images.give_to(root)).within(|| self.named())?;
        if !request.leave_running && !request.pre_dump {
            delete::destroy(&self)?;
        }
        Ok(())
    }

    fn options(
        &self,
        common: Options,
        request: &CheckpointRequest,
        images: &Images,
        known: &Snapshot,
    ) -> Result<Options> {
        let gone = || Error::new(Kind::ProcessGone, "it has no process").within(self.named());
        let init = self.record.init.ok_or_else(gone)?.pid;
        let page_server = request.page_server.as_ref();
        let page_server = page_server
            .map(|(address, port)| PageServer { address: Some(address.clone()), port: Some(i32::from(*port)) });
        let options = Options {
            pid: Some(init),
            root: self.record.rootfs.to_str().map(str::to_owned),
            leave_running: Some(request.leave_running),
            tcp_skip_in_flight: Some(request.tcp_skip_in_flight),
            link_remap: Some(request.link_remap),
            parent_img: request.parent.as_ref().and_then(|path| Some(path.to_str()?.to_owned())),
            track_mem: request.parent.is_some().then_some(true),
            freeze_cgroup: cgroups::freezer_directory(&self.record.cgroups)
                .and_then(|path| Some(path.to_str()?.to_owned())),
            external: known.externals.dumped_namespaces(init)?,
            cgroup_roots: checkpoint::cgroup_roots(&self.record.cgroups),
            page_server,
            ..common
        };
        if request.pre_dump {
            return Ok(options);
        }
        let processes = cgroups::processes(&self.record.cgroups)?;
        images.write_streams(&checkpoint::streams(init, &processes))?;
        Ok(Options { external_mounts: known.externals.dumped_mounts(init)?, ..options })
    }

    fn dump(&self, session: Session, options: Options, request: &mut CheckpointRequest, before: Status) -> Result<()> {
        let kind = if request.pre_dump { messages::Kind::SinglePreDump } else { messages::Kind::Dump };
        let message = Request { kind: kind.into(), options: Some(options), ..Request::default() };
        let dumped = cgroups::HierarchyOptions::kept(|| {
            session.carry_out(&message, |notification| attend(notification, &mut request.status_fd))
        });
        dumped.map_err(|error| match self.thaw_unless_it_was(before) {
            Ok(()) => error,
            Err(also) => error.also(&also),
        })
    }

    /// CRIU thaws what it has frozen, unless it was killed.
    fn thaw_unless_it_was(&self, before: Status) -> Result<()> {
        if before == Status::Running && cgroups::is_frozen(&self.record.cgroups)? {
            cgroups::thaw(&self.record.cgroups, within(PATIENCE))?;
        }
        Ok(())
    }
}

/// Of the steps only one is ours: memory can be fetched now.
fn attend(notification: Notification, status_fd: &mut Option<OwnedFd>) -> Result<()> {
    if notification.step == "status-ready"
        && let Some(status) = status_fd.take()
    {
        sys::fd::write_all(&status, &[0]).or_call(|| "write").within(|| "--status-fd")?;
    }
    Ok(())
}

/// COMPAT(runc): relative to the images.
fn check_parent(request: &CheckpointRequest) -> Result<()> {
    let Some(parent) = &request.parent else { return Ok(()) };
    let within = || "--parent-path";
    if parent.is_absolute() {
        let why = format!("{parent:?}: must be relative to the directory of --image-path");
        return Err(Error::new(Kind::InvalidConfig, why)).within(within);
    }
    let place = clean(&request.criu.images.join(parent));
    match nix::sys::stat::stat(&place) {
        Ok(_) if place.is_dir() => Ok(()),
        Ok(_) => Err(Error::call(format!("stat({place:?})"), nix::errno::Errno::ENOTDIR)).within(within),
        Err(errno) => Err(Error::call(format!("stat({place:?})"), errno)).within(within),
    }
}

/// Without `..`: the directory of the images may not be there yet.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir if clean.file_name().is_some() => _ = clean.pop(),
            other => clean.push(other),
        }
    }
    clean
}

/// What only some kernels have.
fn check_features(session: &mut Session, request: &CheckpointRequest) -> Result<()> {
    if !request.pre_dump && !request.criu.lazy_pages {
        return Ok(());
    }
    let features = session.features()?;
    let missing = |flag: &str, what: &str| Err(Error::unsupported(flag, format!("this kernel has no {what} for CRIU")));
    if request.pre_dump && features.mem_track == Some(false) {
        return missing("--pre-dump", "memory tracking");
    }
    if request.criu.lazy_pages && features.lazy_pages == Some(false) {
        return missing("--lazy-pages", "userfaultfd");
    }
    Ok(())
}
