//! A seccomp agent: it waits at `linux.seccomp.listenerPath` for listeners, and answers what they tell.
#![allow(unsafe_code, reason = "nobody has ioctls of seccomp(2)")]

use std::io::Read;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use super::pty::receive;
use super::wait::{poll_fds, until};

/// How often the agent looks whether its test is over.
const INTERVAL: Duration = Duration::from_millis(20);

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// The kernel carries it out.
    Continue,
    Errno(i32),
    /// None: the caller waits.
    Silence,
}

/// By the number of the call.
pub type Answers = fn(i64) -> Answer;

#[derive(Default)]
struct Seen {
    over: AtomicBool,
    messages: Mutex<Vec<Value>>,
    calls: Mutex<Vec<i64>>,
}

/// Ends with its test.
pub struct Agent {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub fn listen(path: &Path, answers: Answers) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        // A user's runtime must reach it.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let thread = thread::spawn(move || accept_all(&listener, &shared, answers));
        Self { seen, thread: Some(thread) }
    }

    /// The messages so far, one for each connection; at least `count`.
    #[track_caller]
    pub fn messages(&self, count: usize) -> Vec<Value> {
        let enough = || Some(self.seen.messages.lock().unwrap().clone()).filter(|messages| messages.len() >= count);
        until("messages to the agent", enough)
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<i64> {
        self.seen.calls.lock().unwrap().clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        let outcome = self.thread.take().unwrap().join();
        if !thread::panicking() {
            outcome.expect("the agent was content");
        }
    }
}

fn accept_all(listener: &UnixListener, seen: &Seen, answers: Answers) {
    thread::scope(|scope| {
        while !seen.over.load(Ordering::Relaxed) {
            if poll_fds(&mut [PollFd::new(listener, PollFlags::IN)], INTERVAL) {
                let (connection, _) = listener.accept().unwrap();
                let (message, notifications) = one_message(connection);
                seen.messages.lock().unwrap().push(message);
                scope.spawn(move || answer_all(&notifications, seen, answers));
            }
        }
    });
}

/// SPEC(config, linux.seccomp.listenerPath): the descriptors come with the first bytes, and after one message the
/// connection is at its end.
fn one_message(mut connection: UnixStream) -> (Value, OwnedFd) {
    let (mut message, mut fds) = receive(&connection);
    connection.read_to_end(&mut message).unwrap();
    assert_eq!(fds.len(), 1, "one descriptor");
    (serde_json::from_slice(&message).unwrap(), fds.remove(0))
}

const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

fn answer_all(listener: &OwnedFd, seen: &Seen, answers: Answers) {
    while !seen.over.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        if !poll_fds(&mut fds, INTERVAL) {
            continue;
        }
        if fds[0].revents().contains(PollFlags::HUP) {
            // Nobody has the filter any more.
            return;
        }
        // SAFETY: a structure of integers, which the kernel wants to be zero.
        let mut told: libc::seccomp_notif = unsafe { zeroed() };
        // SAFETY: the call fills the structure, whose size is in its number.
        if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut told) } != 0 {
            // It was killed meanwhile.
            continue;
        }
        let call = i64::from(told.data.nr);
        seen.calls.lock().unwrap().push(call);
        let (error, flags) = match answers(call) {
            Answer::Continue => (0, CONTINUE),
            Answer::Errno(errno) => (-errno, 0),
            Answer::Silence => continue,
        };
        let mut answer = libc::seccomp_notif_resp { id: told.id, val: 0, error, flags };
        // SAFETY: as above. Who was killed meanwhile gets no answer.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut answer) };
    }
}
