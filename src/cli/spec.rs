//! `spec`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use corten::config::spec::{Owner, default_spec};
use corten::error::{Error, Kind, OrCall, Result};
use corten::machine::Machine;
use corten::machine::cgroups::CgroupLayout;
use nix::unistd::{getegid, geteuid};

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation};

pub(super) const COMMAND: Command = Command {
    name: "spec",
    about: "Write an example config.json",
    arguments: "",
    counts: (0, 0),
    flags: &[
        Flag::value("bundle", "DIR", "Directory to write it to [default: the working directory]").or('b'),
        Flag::switch("rootless", "For somebody without privileges: root inside is you"),
    ],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let rootless = invocation.has("rootless").then(|| Owner { uid: geteuid().as_raw(), gid: getegid().as_raw() });
    // An example is worth writing on a machine without cgroups, too.
    let is_v2 = matches!(Machine::default().cgroups(), Ok(CgroupLayout::V2(_)));
    let example = default_spec(rootless, is_v2).to_json()?;
    let path = invocation.path("bundle").unwrap_or_else(|| PathBuf::from(".")).join("config.json");
    // A file that somebody wrote is not overwritten, nor written through a symlink.
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // COMPAT(runc): its words.
            return Err(Error::new(Kind::AlreadyExists, "File config.json exists. Remove it first"));
        }
        other => other.or_call(|| format!("open({path:?})"))?,
    };
    file.write_all(example.as_bytes()).or_call(|| format!("write({path:?})"))?;
    Ok(0)
}
