//! The program: a sealed child goes its way, everybody else reads the command line.
//!
//! libc calls [`entry::main`], and nobody the start-up of Rust's own `main`: that reads /proc/self/maps and installs handlers
//! for a message that we do not need, which takes a tenth of a millisecond, twice for each container. What is left to do of it
//! the command line does.

#![cfg_attr(not(test), no_main)]

#[cfg_attr(test, expect(dead_code, reason = "there is no entry into a test"))]
mod cli;

#[cfg(not(test))]
mod entry {
    #![expect(unsafe_code, reason = "the name is libc's")]

    use std::ffi::{c_char, c_int};

    #[unsafe(no_mangle)]
    extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
        corten::run_if_sealed();
        crate::cli::main().into()
    }
}
