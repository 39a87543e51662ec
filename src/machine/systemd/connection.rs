//! A connection to a service manager: over its bus, or directly where there is none. Every wait has a deadline.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::wire::{self, Call, Incoming, Value};
use super::{Bus, MANAGER, NAME, PATH};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::sockets::connect_to;
use crate::sys;

/// How long an answer may take. Process 1 does one thing at a time, and may be busy with others' units.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// More messages than we could have asked for: jobs of others come and go, too.
const MOST_KEPT: usize = 10_000;

/// A connection to a service manager.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    bus: Bus,
    serial: u32,
    /// Bytes of messages that are not complete.
    begun: Vec<u8>,
    /// What came while something else was waited for.
    kept: VecDeque<Incoming>,
    /// Whether a bus is in between, which must be told what we want to hear.
    has_bus: bool,
    /// How long an answer may take.
    patience: Duration,
}

/// A call that the other side refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    /// For people.
    pub text: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.name.rsplit('.').next() {
            Some("NoSuchUnit") => Kind::NotFound,
            Some("UnitExists") => Kind::Busy,
            Some("AccessDenied" | "InteractiveAuthorizationRequired") => Kind::Denied,
            Some("InvalidArgs" | "PropertyReadOnly") => Kind::InvalidConfig,
            // How systemd says errnos (`System.Error.EBUSY`).
            Some("EBUSY") => return Self::call("systemd", Errno::EBUSY),
            _ => Kind::Failed,
        };
        // Its sentences begin with a capital and may end with a point; ours do not.
        let mut letters = refusal.text.trim_end_matches('.').chars();
        let text = letters
            .next()
            .map_or(refusal.name.clone(), |first| format!("{}{}", first.to_lowercase(), letters.as_str()));
        Self::new(kind, text)
    }
}

/// What a call returned, or why it was refused.
pub type Answer = std::result::Result<Vec<Value>, Refusal>;

impl Connection {
    /// Connects.
    pub fn open(bus: &Bus) -> Result<Self> {
        Self::connect(bus, PATIENCE).within(|| format!("connect to {bus}"))
    }

    fn connect(bus: &Bus, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let (socket, has_bus) = match connect_to(&bus.socket(), patience) {
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ECONNREFUSED)) => {
                // Systemd itself listens, too: for machines without a D-Bus daemon.
                let socket = connect_to(&bus.private_socket(), patience).map_err(|_| error)?;
                log::debug!("{bus} is spoken with directly: it has no D-Bus daemon");
                (socket, false)
            }
            other => (other?, true),
        };
        let mut connection =
            Self { socket, bus: bus.clone(), serial: 0, begun: Vec::new(), kept: VecDeque::new(), has_bus, patience };
        connection.authenticate(deadline)?;
        if has_bus {
            connection.call_bus("Hello", &[])?;
        }
        Ok(connection)
    }

    /// All that we have to say at once; then the answers, line by line. Without an identity: the other side sees who we are,
    /// and in a user namespace our uid is another one than it knows.
    fn authenticate(&mut self, deadline: Instant) -> Result<()> {
        self.send_bytes(b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", &[])?;
        for expected in ["DATA", "OK", "AGREE_UNIX_FD"] {
            let line = loop {
                if let Some(end) = self.begun.windows(2).position(|pair| pair == b"\r\n") {
                    let line = self.begun.drain(..end + 2).take(end).collect();
                    break String::from_utf8(line).unwrap_or_default();
                }
                self.fill(deadline, "its greeting")?;
            };
            if !line.starts_with(expected) {
                let why = format!("it answers {line:?} where {expected:?} was expected");
                return Err(Error::new(Kind::Denied, why).within("authenticate"));
            }
        }
        Ok(())
    }

    /// Calls a method of the manager, and goes on.
    pub fn send(&mut self, member: &str, body: &[Value], fds: &[BorrowedFd<'_>]) -> Result<u32> {
        self.send_call(&Call { destination: NAME, path: PATH, interface: MANAGER, member, body }, fds)
    }

    /// Calls a method of an object of the manager, and goes on.
    pub fn send_to(&mut self, path: &str, interface: &str, member: &str, body: &[Value]) -> Result<u32> {
        self.send_call(&Call { destination: NAME, path, interface, member, body }, &[])
    }

    /// Calls a method of the manager and waits for the answer.
    pub fn call(&mut self, member: &str, body: &[Value]) -> Result<Answer> {
        let serial = self.send(member, body, &[])?;
        self.answer(serial, member)
    }

    /// Wants to hear of jobs that are done. The answers are not waited for: what fails here is missed later.
    pub fn listen_for_jobs(&mut self) -> Result<()> {
        if self.has_bus {
            let rule = format!("type='signal',path='{PATH}',interface='{MANAGER}',member='JobRemoved'");
            self.send_call(
                &Call {
                    destination: "org.freedesktop.DBus",
                    path: "/org/freedesktop/DBus",
                    interface: "org.freedesktop.DBus",
                    member: "AddMatch",
                    body: &[Value::text(rule)],
                },
                &[],
            )?;
            self.send("Subscribe", &[], &[])?;
        }
        Ok(())
    }

    fn call_bus(&mut self, member: &str, body: &[Value]) -> Result<Vec<Value>> {
        let bus = "org.freedesktop.DBus";
        let call = Call { destination: bus, path: "/org/freedesktop/DBus", interface: bus, member, body };
        let serial = self.send_call(&call, &[])?;
        Ok(self.answer(serial, member)??)
    }

    fn send_call(&mut self, call: &Call<'_>, fds: &[BorrowedFd<'_>]) -> Result<u32> {
        self.serial += 1;
        let count = u32::try_from(fds.len()).unwrap_or_default();
        self.send_bytes(&call.encode(self.serial, count), fds)?;
        Ok(self.serial)
    }

    /// The socket's own timeout ends a write to somebody who does not read.
    fn send_bytes(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let mut rights = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        while !bytes.is_empty() {
            let parts = [std::io::IoSlice::new(bytes)];
            match sendmsg::<()>(self.socket.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(self.too_late("its taking a message", self.patience)),
                Err(errno) => return Err(Error::call("sendmsg(D-Bus)", errno)),
            }
            // They go along with the first byte.
            rights = &[];
        }
        Ok(())
    }

    /// The answer to a call.
    pub fn answer(&mut self, serial: u32, member: &str) -> Result<Answer> {
        let deadline = Instant::now() + self.patience;
        let ours = |message: Incoming| match message {
            Incoming::Return { serial: of, body } if of == serial => Ok(Ok(body)),
            Incoming::Refusal { serial: of, name, text } if of == serial => Ok(Err(Refusal { name, text })),
            other => Err(other),
        };
        self.wait(ours, deadline, &format!("its answer to {member}")).within(|| self.bus.to_string())
    }

    /// How the job ended: `done`, or why not.
    pub fn job_result(&mut self, job: &str, patience: Duration) -> Result<String> {
        let ours = |message: Incoming| match &message {
            Incoming::Signal { member, body } if member == "JobRemoved" => match body.as_slice() {
                [_, Value::ObjectPath(path), _, Value::String(result)] if path == job => Ok(result.clone()),
                _ => Err(message),
            },
            _ => Err(message),
        };
        self.wait(ours, Instant::now() + patience, &format!("the end of job {job:?}")).within(|| self.bus.to_string())
    }

    /// Waits for the message that `ours` takes. Ends of jobs are kept: a job may be done before its number is known.
    fn wait<T>(
        &mut self,
        mut ours: impl FnMut(Incoming) -> std::result::Result<T, Incoming>,
        deadline: Instant,
        what: &str,
    ) -> Result<T> {
        // Each once.
        for _ in 0..self.kept.len() {
            match self.kept.pop_front().map(&mut ours) {
                Some(Ok(found)) => return Ok(found),
                Some(Err(other)) => self.kept.push_back(other),
                None => {}
            }
        }
        let began = Instant::now();
        loop {
            match ours(self.receive(deadline, what)?) {
                Ok(found) => return Ok(found),
                Err(other @ (Incoming::Signal { .. } | Incoming::Return { .. } | Incoming::Refusal { .. }))
                    if self.kept.len() < MOST_KEPT =>
                {
                    self.kept.push_back(other);
                }
                Err(_) => {}
            }
            // Somebody who never stops talking is not listened to for ever.
            if Instant::now() >= deadline {
                return Err(self.too_late(what, began.elapsed()));
            }
        }
    }

    fn receive(&mut self, deadline: Instant, what: &str) -> Result<Incoming> {
        loop {
            if let Some(length) = wire::message_length(&self.begun)?
                && self.begun.len() >= length
            {
                let message = wire::decode(&self.begun[..length]);
                self.begun.drain(..length);
                return message;
            }
            self.fill(deadline, what)?;
        }
    }

    /// Descriptors that come along are not taken: nobody asked for any.
    fn fill(&mut self, deadline: Instant, what: &str) -> Result<()> {
        let began = Instant::now();
        if !sys::wait::until_ready(&self.socket, PollFlags::POLLIN, deadline).or_call(|| "poll(D-Bus)")? {
            return Err(self.too_late(what, began.elapsed()));
        }
        let mut chunk = [0_u8; 4096];
        match nix::unistd::read(&self.socket, &mut chunk) {
            Ok(0) => Err(Error::new(Kind::Failed, format!("the connection was closed instead of {what}"))),
            Ok(count) => {
                self.begun.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::call("read(D-Bus)", errno)),
        }
    }

    fn too_late(&self, what: &str, patience: Duration) -> Error {
        let why = format!("{what} did not come within {:.1} s", patience.as_secs_f64());
        Error::new(Kind::TimedOut, why)
    }
}

impl Bus {
    fn socket(&self) -> PathBuf {
        match self {
            Self::System => "/run/dbus/system_bus_socket".into(),
            Self::User(socket) => socket.clone(),
        }
    }

    /// Where systemd itself listens.
    fn private_socket(&self) -> PathBuf {
        match self {
            Self::System => "/run/systemd/private".into(),
            Self::User(socket) => socket.with_file_name("systemd/private"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What becomes of a connection to somebody who says this and no more.
    fn spoken_with(answer: &'static [u8], stays: bool) -> Error {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::User(directory.path().join("bus"));
        let listener = UnixListener::bind(bus.socket()).unwrap();
        let other_side = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let greeting = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(answer).unwrap();
            // To the end of the connection, which is the other's.
            while stays && stream.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
            greeting
        });
        let error = Connection::connect(&bus, Duration::from_millis(200)).unwrap_err();
        assert!(other_side.join().unwrap() > 0);
        error
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_for_ever() {
        let greeting = b"DATA\r\nOK 0af\r\nAGREE_UNIX_FD\r\n";
        for (answer, stays, kind, text) in [
            (&b""[..], true, Kind::TimedOut, "its greeting did not come within 0.2 s"),
            (b"DATA\r\nOK", true, Kind::TimedOut, "its greeting did not come within 0.2 s"),
            (greeting, true, Kind::TimedOut, "its answer to Hello did not come within 0.2 s"),
            (b"", false, Kind::Failed, "the connection was closed instead of its greeting"),
            (b"REJECTED EXTERNAL\r\n", true, Kind::Denied, "answers \"REJECTED EXTERNAL\""),
        ] {
            let error = spoken_with(answer, stays);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn nobody_there() {
        let directory = tempfile::tempdir().unwrap();
        let error = Connection::open(&Bus::User(directory.path().join("bus"))).unwrap_err().to_string();
        assert!(error.starts_with("connect to the user's systemd at ") && error.contains("no such file"), "{error}");
    }
}
