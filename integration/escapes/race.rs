//! Races: two names that change places as fast as the machine can, and the victim, again and again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How long a race is run.
const TIME: Duration = Duration::from_secs(2);

/// Calls `attempt` for some seconds, at least twice.
pub fn for_some_seconds(mut attempt: impl FnMut()) {
    let end = Instant::now() + TIME;
    attempt();
    while Instant::now() < end {
        attempt();
    }
}

/// The same with attempts that say whether a container was made, which some must be: on a slow machine it takes more seconds.
#[track_caller]
pub fn until_one_is_made(mut attempt: impl FnMut() -> bool) {
    let mut made = false;
    for_some_seconds(|| made |= attempt());
    let end = Instant::now() + Duration::from_secs(60);
    while !made && Instant::now() < end {
        made = attempt();
    }
    assert!(made, "no container was ever made");
}

/// Exchanges two files (renameat2(2), RENAME_EXCHANGE) until it is dropped.
pub struct Exchange {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    pub fn of(one: &Path, other: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, one, other) = (Arc::clone(&stop), one.to_owned(), other.to_owned());
        let exchange = move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        };
        Self { stop, thread: Some(std::thread::spawn(exchange)) }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|it| it.is_ok()), "the race was not run");
    }
}
