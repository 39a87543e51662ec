//! One `criu swrk` and the conversation with it.
//!
//! ```text
//!   we                                     criu swrk
//!   version, features         ──►  ◄──
//!   dump or restore           ──►
//!                                  ◄──     notification: a step is reached; some come with a descriptor
//!   go on, or give up         ──►
//!                                  ◄──     done, or what went wrong
//! ```

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair};
use nix::sys::stat::Mode;
use prost::Message;

use super::messages::{Features, Kind, Request, Response};
use super::{OLDEST, Version};
use crate::error::{self, Error, OrCall, Result, Within};
use crate::sys;

/// More than any message of CRIU's has.
const LARGEST: usize = 64 << 10;

/// What CRIU's process is started with.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Its standard streams.
    pub streams: Streams,
    /// Further descriptors of ours, under their own numbers.
    pub along: &'a [BorrowedFd<'a>],
    /// Directories that its options name by our descriptors, [`Session::directories`]. It mounts something in them, so they are
    /// opened in its mount namespace.
    pub directories: &'a [&'a Path],
    /// A directory, and the place where it is mounted in a mount namespace of CRIU's own: what it restores needs a root that is
    /// a mount point, and nothing of that is to be left on the host, however it ends.
    pub root: Option<(&'a Path, &'a Path)>,
}

/// Standard streams of CRIU's process, which what it restores can inherit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Streams {
    Null,
    Ours,
}

/// A step that CRIU has reached; it waits for us.
#[derive(Debug)]
pub struct Notification {
    /// Its name.
    pub step: String,
    /// The first process, when it is restored.
    pub pid: i32,
    /// What comes with it.
    pub descriptor: Option<OwnedFd>,
}

/// A conversation. Dropped, CRIU is killed.
#[derive(Debug)]
pub struct Session {
    criu: Child,
    socket: OwnedFd,
    directories: Vec<OwnedFd>,
}

impl Session {
    /// Starts CRIU, and asks whether it is new enough. `before` prepares what its process inherits of the thread that starts it,
    /// which does nothing else.
    pub fn start(surroundings: &Surroundings<'_>, before: impl FnOnce() -> Result<()> + Send) -> Result<Self> {
        let starting = || -> Result<Self> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (socket, theirs) =
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).or_call(|| "socketpair")?;
            let (criu, directories) = spawn(&theirs, surroundings, before)?;
            drop(theirs);
            let mut session = Self { criu, socket, directories };
            session.check_version()?;
            Ok(session)
        };
        starting().within(|| "criu")
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.criu.id()).unwrap_or(-1)
    }

    /// See [`Surroundings::directories`], in that order.
    pub fn directories(&self) -> &[OwnedFd] {
        &self.directories
    }

    fn check_version(&mut self) -> Result<()> {
        let answer = self.question(&Request { kind: Kind::Version.into(), ..Request::default() })?;
        let version = answer.version.unwrap_or_default();
        let version = Version { major: version.major, minor: version.minor };
        if version < OLDEST {
            return Err(Error::new(
                error::Kind::Unsupported,
                format!("is version {version}, {OLDEST} or newer is needed"),
            ));
        }
        log::debug!("criu is version {version}");
        Ok(())
    }

    /// What it can do on this kernel.
    pub fn features(&mut self) -> Result<Features> {
        let features = Some(Features { mem_track: Some(true), lazy_pages: Some(true) });
        let request = Request { kind: Kind::FeatureCheck.into(), features, ..Request::default() };
        Ok(self.question(&request).within(|| "criu")?.features.unwrap_or_default())
    }

    /// Asks for something after which the conversation goes on.
    fn question(&mut self, request: &Request) -> Result<Response> {
        self.send(&Request { keep_open: Some(true), ..request.clone() })?;
        let (answer, _) = self.receive()?;
        if answer.success { Ok(answer) } else { Err(refusal(&answer)) }
    }

    /// Asks for what is done in steps, each of which `attend` is told of; its failure ends it all.
    ///
    /// It takes as long as there is memory to write: the end of CRIU's process is the only other end.
    pub fn carry_out(mut self, request: &Request, mut attend: impl FnMut(Notification) -> Result<()>) -> Result<()> {
        self.send(request)?;
        let mut failure: Option<Error> = None;
        loop {
            let received = self.receive();
            let (answer, descriptor) = match (received, failure.take()) {
                (Err(_), Some(ours)) => return Err(ours),
                (received, earlier) => {
                    failure = earlier;
                    received?
                }
            };
            if answer.kind() != Kind::Notify {
                let done = if answer.success { Ok(()) } else { Err(refusal(&answer)) };
                return failure.map_or(done, Err).and_then(|()| self.finish());
            }
            let notify = answer.notify.unwrap_or_default();
            let step = notify.script.unwrap_or_default();
            log::debug!("criu: {step}");
            let is_told_only = step == "pre-resume";
            let attended = match attend(Notification { step, pid: notify.pid.unwrap_or(0), descriptor }) {
                // CRIU would go on all the same, and is ended instead.
                Err(ours) if is_told_only => return Err(ours),
                attended => attended,
            };
            let go_on =
                Request { kind: Kind::Notify.into(), notify_success: Some(attended.is_ok()), ..Request::default() };
            failure = failure.or(attended.err());
            self.send(&go_on)?;
        }
    }

    /// Waits for the end of CRIU's process, which has nothing to say any more.
    fn finish(mut self) -> Result<()> {
        nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Write)
            .or_call(|| "shutdown(criu)")?;
        match self.criu.wait() {
            Ok(status) => log::debug!("criu: {status}"),
            // An embedder that waits for all its children was faster.
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {}
            Err(error) => return Err(Error::io("wait(criu)", &error)),
        }
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        match send(self.socket.as_raw_fd(), &request.encode_to_vec(), MsgFlags::MSG_NOSIGNAL) {
            // It is gone. What it said before that is more useful, and is received next.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(errno).or_call(|| "send(criu)"),
        }
    }

    fn receive(&mut self) -> Result<(Response, Option<OwnedFd>)> {
        let mut content = vec![0; LARGEST];
        let mut control = nix::cmsg_space!([i32; 1]);
        let mut was_reset = false;
        let (length, descriptor) = loop {
            let mut parts = [IoSliceMut::new(&mut content)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => {
                    let descriptors =
                        message.cmsgs().or_call(|| "recvmsg(criu)")?.filter_map(|control| match control {
                            ControlMessageOwned::ScmRights(numbers) => Some(numbers),
                            _ => None,
                        });
                    break (message.bytes, descriptors.flatten().next().map(sys::fd::adopt));
                }
                Err(Errno::EINTR) => {}
                // It went without reading what we said. What it said itself comes behind that.
                Err(Errno::ECONNRESET) if !was_reset => was_reset = true,
                Err(Errno::ECONNRESET) => return Err(self.obituary()),
                Err(errno) => return Err(errno).or_call(|| "recvmsg(criu)"),
            }
        };
        if length == 0 {
            return Err(self.obituary());
        }
        let message = Response::decode(&content[..length]);
        let message = message.map_err(|error| Error::new(error::Kind::Failed, format!("its answer: {error}")))?;
        Ok((message, descriptor))
    }

    fn obituary(&mut self) -> Error {
        let how = match self.criu.wait() {
            Ok(status) => format!("ended without an answer ({status})"),
            Err(_) => "ended without an answer".to_owned(),
        };
        Error::new(error::Kind::ProcessGone, how)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail when it has ended, and was waited for.
        let _ = self.criu.kill();
        let _ = self.criu.wait();
    }
}

fn refusal(answer: &Response) -> Error {
    let text = answer.error.as_deref().map(super::log::without_stamp).filter(|text| !text.is_empty());
    match (text, answer.errno) {
        (Some(text), _) => Error::new(error::Kind::Failed, text),
        (None, Some(errno)) => Error::new(error::Kind::Failed, error::in_words(Errno::from_raw(errno))),
        (None, None) => Error::new(error::Kind::Failed, "refused without a word"),
    }
}

/// By a thread with descriptors and mounts of its own: what CRIU is to inherit is not inherited by what other threads start
/// meanwhile.
fn spawn(
    socket: &OwnedFd,
    surroundings: &Surroundings<'_>,
    before: impl FnOnce() -> Result<()> + Send,
) -> Result<(Child, Vec<OwnedFd>)> {
    let spawning = || -> Result<(Child, Vec<OwnedFd>)> {
        before()?;
        if let Some((root, place)) = surroundings.root {
            mount_root(root, place).within(|| "the root of what is restored")?;
        }
        // ORDER: CRIU finds them among the descriptors of our process, so they are opened before this thread has its own.
        let directories = surroundings.directories.iter().map(|path| open_directory(path));
        let directories = directories.collect::<Result<Vec<_>>>()?;
        unshare(CloneFlags::CLONE_FILES).or_call(|| "unshare(FILES)")?;
        for fd in surroundings.along {
            sys::fd::set_cloexec(fd, false).or_call(|| "fcntl(F_SETFD)")?;
        }
        sys::fd::set_cloexec(socket, false).or_call(|| "fcntl(F_SETFD)")?;
        let stream = || match surroundings.streams {
            Streams::Null => Stdio::null(),
            Streams::Ours => Stdio::inherit(),
        };
        let mut command = Command::new("criu");
        command.arg("swrk").arg(socket.as_raw_fd().to_string());
        let criu = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().map_err(not_started)?;
        Ok((criu, directories))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, spawning);
        let thread = thread.map_err(|error| Error::io("pthread_create", &error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn not_started(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(error::Kind::Unsupported, error::phrases::NOT_IN_PATH)
            .hint(format_args!("CRIU {OLDEST} or newer is needed")),
        _ => Error::io("fork/exec", &error),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_call(|| format!("open({path:?})"))
}

fn mount_root(root: &Path, place: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).or_call(|| "unshare(NEWNS)")?;
    let mount = |source: Option<&Path>, target: &Path, flags| mount(source, target, None::<&str>, flags, None::<&str>);
    mount(None, Path::new("/"), MsFlags::MS_SLAVE | MsFlags::MS_REC).or_call(|| "mount(\"/\", SLAVE|REC)")?;
    mount(Some(root), place, MsFlags::MS_BIND | MsFlags::MS_REC).or_call(|| format!("mount({root:?}, {place:?}, BIND)"))
}
