//! The program: a sealed child goes its way, everybody else reads the command line.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    corten::run_if_sealed();
    ExitCode::from(cli::main())
}
