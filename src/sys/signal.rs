//! Signals: names and numbers, and giving a new program the dispositions it expects.

/// Names without `SIG`, and numbers, of the architecture that this is built for.
pub const SIGNALS: [(&str, i32); 33] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The highest signal there is.
const MAX: i32 = 64;
const RTMIN: i32 = 34;

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `RTMAX-1`. `None`: there is no such signal.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=MAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset(rest, '+')?)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        MAX.checked_sub(offset(rest, '-')?)?
    } else {
        return SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    };
    (RTMIN..=MAX).contains(&number).then_some(number)
}

/// Gives one signal its default disposition.
pub fn restore_default(signal: i32) -> nix::Result<()> {
    // The kernel's structure, not the C library's, which keeps two signals for itself. All zero is SIG_DFL, no flags and an
    // empty mask on every architecture.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_SIZE: usize = size_of::<u64>();
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the structure is as large as the kernel's largest and outlives the call; the old action is not asked for.
    super::answer(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), old, MASK_SIZE) })?;
    Ok(())
}

/// A write to a pipe that nobody reads is an error, not our end.
pub fn ignore_sigpipe() -> nix::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: to ignore a signal runs no code.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map(drop)
}

/// Gives every signal its default disposition and blocks none.
///
/// COMPAT(containerd, conmon): Go programs and conmon ignore SIGPIPE, so do we, and ignored signals stay ignored through
/// execve; a container that cannot be ended by SIGPIPE never stops `yes | head`.
pub fn reset_all() -> nix::Result<()> {
    for signal in (1..=MAX).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        restore_default(signal)?;
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// The same in a process that a `Command` is about to make: it would inherit what the calling thread blocks and ignores.
pub fn reset_in(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: raw system calls on constants only, which is what may happen between fork and execve.
    unsafe { command.pre_exec(|| reset_all().map_err(std::io::Error::from)) };
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigkill", Some(9)),
            ("9", Some(9)),
            ("0", Some(0)),
            ("64", Some(64)),
            ("65", None),
            ("-1", None),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMAX", Some(64)),
            ("RTMIN+31", None),
            ("RTMIN3", None),
            ("", None),
            ("SIG", None),
            ("NOPE", None),
        ] {
            assert_eq!(parse(text), number, "{text:?}");
        }
    }
}
