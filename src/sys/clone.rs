//! clone3(2), and the few raw calls between it and execve.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// A process to make.
pub struct Launch<'a> {
    /// `CLONE_NEW*`.
    pub namespaces: u64,
    /// The cgroup v2 to be born in (CLONE_INTO_CGROUP, since 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What it does.
    pub then: Then<'a>,
    /// Descriptors that it keeps, under the same numbers.
    pub keep: &'a [RawFd],
    /// So do this many from 3 on.
    pub preserved: u32,
    /// In a new user namespace: wait for a byte here, which says that the ids are mapped, then become 0:0, because a
    /// process whose ids are not mapped loses its capabilities at execve.
    pub ids_mapped: Option<BorrowedFd<'a>>,
    /// If a step before the program is refused, this is told here in the four bytes that [`refused`] reads.
    pub report: BorrowedFd<'a>,
}

/// What a new process does.
pub enum Then<'a> {
    /// It executes a program at once: the only thing that the copy of a process with several threads may do.
    Execute {
        /// What to execute.
        executable: BorrowedFd<'a>,
        /// Its argv.
        arguments: &'a [&'a CStr],
    },
    /// It goes on as a copy of this process, like after fork(2).
    GoOn,
}

/// A process that was made.
#[derive(Debug)]
pub struct Child {
    /// Its id in our pid namespace.
    pub pid: i32,
    /// The process itself.
    pub pidfd: OwnedFd,
}

/// How many arguments a launch may have.
const MAX_ARGUMENTS: usize = 7;

/// Makes the process. `None` is the answer in the new one, if it is to go on.
///
/// May be called from any thread of any program, if it is to execute: until then the child makes raw system calls only, on
/// values that were ready before. All signals that can be are blocked in it.
pub fn launch(launch: &Launch<'_>) -> nix::Result<Option<Child>> {
    let mut list: [*const c_char; MAX_ARGUMENTS + 1] = [std::ptr::null(); MAX_ARGUMENTS + 1];
    let mut open: Vec<RawFd> = launch.keep.to_vec();
    open.push(launch.report.as_raw_fd());
    if let Then::Execute { executable, arguments } = &launch.then {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(Errno::E2BIG);
        }
        for (slot, argument) in list.iter_mut().zip(*arguments) {
            *slot = argument.as_ptr();
        }
        open.push(executable.as_raw_fd());
    }
    open.sort_unstable();
    // A handler of the embedding program must not run in the child. The sealed program sets its own mask.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let made = clone3(launch.namespaces, launch.cgroup, libc::SIGCHLD);
    if let Ok(None) = made {
        begin(launch, &open);
        if let Then::Execute { executable, .. } = launch.then {
            execute(executable, &list, launch.report);
        }
        return Ok(None);
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    made
}

/// Makes a process that does nothing until it is killed, and dies with the thread that made it.
pub fn placeholder() -> nix::Result<Child> {
    let parent = std::process::id();
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // No signal at its end: it is nobody's business but ours, and who waits for all of our children does not get it.
    let made = clone3(0, None, 0);
    if let Ok(None) = made {
        wait_for_death(parent);
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    made?.ok_or(Errno::EINVAL)
}

/// The child's side of [`placeholder`]. All signals that can be are blocked.
fn wait_for_death(parent: u32) -> ! {
    loop {
        // SAFETY: raw system calls on integers.
        unsafe {
            libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            // The runtime's locks and the callers' pipes are not ours to keep open.
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            if libc::syscall(libc::SYS_getppid) != libc::c_long::from(parent) {
                // It died before we had asked to hear of it.
                libc::syscall(libc::SYS_exit_group, 0);
            }
            libc::syscall(libc::SYS_rt_sigsuspend, &raw const ALL_BLOCKED, size_of_val(&ALL_BLOCKED));
        }
    }
}

/// The kernel's own signal set: 64 bits.
static ALL_BLOCKED: u64 = u64::MAX;

/// Copies the calling process into new namespaces; `None` is the answer in the copy, whose parent is *our* parent
/// (CLONE_PARENT), so that the runtime can wait for it when we are gone.
///
/// Only for a process with one thread, which the intermediate process is: the copy goes on in ordinary code.
pub fn copy_as_sibling(namespaces: u64) -> nix::Result<Option<Child>> {
    clone3(namespaces | libc::CLONE_PARENT as u64, None, 0)
}

fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>, exit_signal: i32) -> nix::Result<Option<Child>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    // SAFETY: an all-zero clone_args is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    #[expect(clippy::cast_sign_loss, reason = "flags, descriptors and signals are not negative here")]
    {
        args.flags = flags | libc::CLONE_PIDFD as u64;
        args.pidfd = &raw mut pidfd as u64;
        args.exit_signal = exit_signal as u64;
        if let Some(cgroup) = cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd() as u64;
        }
    }
    // SAFETY: without CLONE_VM the child has its own copy of the memory and goes on here like after fork(2); the structure
    // and the place for the pidfd outlive the call.
    let pid = super::answer(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(None);
    }
    let pid = i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?;
    Ok(Some(Child { pid, pidfd: super::fd::adopt(pidfd) }))
}

/// The status of a process that could not begin.
const FAILED: i32 = 127;

/// What the child does before it is another program, and nothing works without.
#[derive(Clone, Copy)]
enum Step {
    Keep,
    WaitForIds,
    BecomeGroup,
    BecomeUser,
    Execute,
}

/// The call that each of them is.
const CALLS: [&str; 5] =
    ["fcntl(F_SETFD)", "read(ids mapped)", "setresgid(0)", "setresuid(0)", "execveat(sealed executable)"];

/// What a child has reported: the call that it was refused, and why.
pub fn refused(report: [u8; 4]) -> (&'static str, Errno) {
    let report = i32::from_ne_bytes(report);
    let call = usize::try_from(report >> 16).ok().and_then(|step| CALLS.get(step));
    (call.copied().unwrap_or_default(), Errno::from_raw(report & 0xffff))
}

/// The child's side of [`launch`]: no allocation, no lock, no panic.
fn begin(launch: &Launch<'_>, open: &[RawFd]) {
    // SAFETY: raw system calls on integers and on memory that was made ready before the clone.
    unsafe {
        // What does not go along is closed here and now, not at execve: while we wait for the ids to be mapped, a copy of
        // the runtime's end of the channel, or of its lock, would outlive the runtime.
        let mut first = 3 + launch.preserved;
        for fd in open {
            let number = fd.unsigned_abs();
            if number > first {
                libc::syscall(libc::SYS_close_range, first, number - 1, 0);
            }
            if number >= first {
                first = number + 1;
            }
        }
        libc::syscall(libc::SYS_close_range, first, u32::MAX, 0);
        // Who goes on takes them himself.
        let executes = matches!(launch.then, Then::Execute { .. });
        let kept = launch.keep.iter().copied().chain((3..).take(launch.preserved as usize));
        for fd in kept.filter(|_| executes) {
            if libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, 0) != 0 {
                fail(Step::Keep, launch.report);
            }
        }
        if let Some(mapped) = launch.ids_mapped {
            let mut byte = 0_u8;
            match libc::syscall(libc::SYS_read, mapped.as_raw_fd(), &raw mut byte, 1) {
                1 => {}
                // The runtime is gone. Nothing was made yet that could be left behind.
                0 => end(FAILED),
                _ => fail(Step::WaitForIds, launch.report),
            }
            if libc::syscall(libc::SYS_setresgid, 0, 0, 0) != 0 {
                fail(Step::BecomeGroup, launch.report);
            }
            if libc::syscall(libc::SYS_setresuid, 0, 0, 0) != 0 {
                fail(Step::BecomeUser, launch.report);
            }
        }
    }
}

/// The rest of it.
fn execute(executable: BorrowedFd<'_>, arguments: &[*const c_char; MAX_ARGUMENTS + 1], report: BorrowedFd<'_>) -> ! {
    let environment: [*const c_char; 1] = [std::ptr::null()];
    // SAFETY: as above.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            executable.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    fail(Step::Execute, report)
}

/// Reports it, and ends.
fn fail(step: Step, report: BorrowedFd<'_>) -> ! {
    // SAFETY: as above.
    unsafe {
        let refused = (step as i32) << 16 | *libc::__errno_location();
        libc::syscall(libc::SYS_write, report.as_raw_fd(), &raw const refused, size_of_val(&refused));
    }
    end(FAILED)
}

/// Ends the process, and nothing else: what is buffered or registered for its end may be somebody else's, of whom it is a
/// copy.
pub fn end(status: i32) -> ! {
    loop {
        // SAFETY: it takes an integer, and does not return, which the compiler cannot know.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}
