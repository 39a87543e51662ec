//! pthread_create(3), for a thread that does one thing beside this one.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu};
use nix::unistd::Pid;

/// A thread that does one thing. Unlike one of the standard library's it allocates nothing and takes no lock, from its first to
/// its last step, if what it does is so: a copy of this process that goes on with one thread misses nothing of it.
pub struct Beside<T> {
    id: libc::pthread_t,
    slot: Box<Slot<T>>,
    joined: bool,
}

struct Slot<T> {
    act: fn() -> T,
    answer: UnsafeCell<Option<T>>,
    /// Whether who made the thread is done with it.
    led: AtomicBool,
}

/// Enough for a few calls, and glibc's least is 16 KiB.
const STACK: usize = 64 << 10;

impl<T: Send> Beside<T> {
    /// Begins, on another processor than this one where we may use others: some schedulers put a new thread behind the one that
    /// made it, though a processor is idle.
    pub fn begin(act: fn() -> T) -> nix::Result<Self> {
        let slot = Box::new(Slot { act, answer: UnsafeCell::new(None), led: AtomicBool::new(false) });
        let id = create(&raw const *slot)?;
        // Not as an attribute of it: glibc stops the new thread then, sets it, and wakes the thread again.
        if let Some(others) = other_processors() {
            // SAFETY: the thread has not ended, see `run`, and the set is as large as is said. Where a processor was taken from us
            // meanwhile the thread stays where it is.
            unsafe { libc::pthread_setaffinity_np(id, size_of::<CpuSet>(), std::ptr::from_ref(&others).cast()) };
        }
        slot.led.store(true, Ordering::Release);
        Ok(Self { id, slot, joined: false })
    }

    /// Waits for what it answers.
    pub fn join(mut self) -> Option<T> {
        self.end();
        // SAFETY: the thread, which alone wrote here, has ended.
        unsafe { (*self.slot.answer.get()).take() }
    }
}

impl<T> Beside<T> {
    fn end(&mut self) {
        if !std::mem::replace(&mut self.joined, true) {
            // SAFETY: it is joinable, and joined once.
            unsafe { libc::pthread_join(self.id, std::ptr::null_mut()) };
        }
    }
}

impl<T> Drop for Beside<T> {
    /// What it writes to is ours, so it must have ended.
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> std::fmt::Debug for Beside<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Beside").finish_non_exhaustive()
    }
}

/// Those that we may use, less the one that we are on; `None`: there are none.
fn other_processors() -> Option<CpuSet> {
    let (mut processors, here) = (sched_getaffinity(Pid::from_raw(0)).ok()?, sched_getcpu().ok()?);
    processors.unset(here).ok()?;
    let is_some = (0..CpuSet::count()).any(|number| processors.is_set(number).unwrap_or(false));
    is_some.then_some(processors)
}

fn create<T>(slot: *const Slot<T>) -> nix::Result<libc::pthread_t> {
    let (mut attributes, mut id) = (MaybeUninit::<libc::pthread_attr_t>::uninit(), 0);
    // SAFETY: the attributes are initialised before they are used and destroyed after it; the slot outlives the thread, see
    // `Beside`.
    unsafe {
        answer(libc::pthread_attr_init(attributes.as_mut_ptr()))?;
        let mut attributes = attributes.assume_init();
        let made = answer(libc::pthread_attr_setstacksize(&raw mut attributes, STACK)).and_then(|()| {
            answer(libc::pthread_create(&raw mut id, &raw const attributes, run::<T>, slot.cast_mut().cast()))
        });
        libc::pthread_attr_destroy(&raw mut attributes);
        made.map(|()| id)
    }
}

extern "C" fn run<T>(slot: *mut c_void) -> *mut c_void {
    // SAFETY: it is a slot, which nobody else writes to, nor frees, until we have ended.
    unsafe {
        let slot = &*slot.cast::<Slot<T>>();
        *slot.answer.get() = Some((slot.act)());
        // ORDER: of a thread that has ended glibc (2.36) takes the number 0, which is who made it.
        while !slot.led.load(Ordering::Acquire) {
            libc::sched_yield();
        }
    }
    std::ptr::null_mut()
}

fn answer(errno: i32) -> nix::Result<()> {
    if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors() -> Vec<usize> {
        processors_of(Pid::from_raw(0))
    }

    fn processors_of(thread: Pid) -> Vec<usize> {
        let set = sched_getaffinity(thread).unwrap();
        (0..CpuSet::count()).filter(|number| set.is_set(*number).unwrap()).collect()
    }

    #[test]
    fn answers_from_another_processor() {
        let ours = processors();
        let led = || {
            let begin = std::time::Instant::now();
            let alone = processors().len() == 1;
            while !alone && processors() == processors_of(nix::unistd::getpid()) && begin.elapsed().as_secs() < 5 {}
            (nix::unistd::gettid(), processors())
        };
        let (thread, theirs) = Beside::begin(led).unwrap().join().unwrap();
        assert_ne!(thread, nix::unistd::gettid());
        // Ours, less the one that we were on; which one that was only the scheduler knows.
        assert_eq!(theirs.len(), (ours.len() - 1).max(1), "{theirs:?} of {ours:?}");
        assert!(theirs.iter().all(|number| ours.contains(number)), "{theirs:?} of {ours:?}");
        assert_eq!(processors(), ours);
    }

    /// The other order: it is done before it is led.
    #[test]
    fn who_made_a_short_one_keeps_its_processors() {
        let ours = processors();
        for _ in 0..10_000 {
            Beside::begin(|| ()).unwrap().join().unwrap();
            assert_eq!(processors(), ours);
        }
    }

    #[test]
    fn one_that_is_dropped_has_ended() {
        static ENDED: AtomicBool = AtomicBool::new(false);
        drop(Beside::begin(|| {
            nix::poll::poll(&mut [], 50_u8).unwrap();
            ENDED.store(true, Ordering::Release);
        }));
        assert!(ENDED.load(Ordering::Acquire));
    }
}
