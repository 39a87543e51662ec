//! What the fuzz targets share: where they begin, and what every error must be.
//!
//! Each target is a program that libFuzzer drives (`integration/fuzz/run`). It begins with what it makes of our own
//! `config.json` files when it starts, so that a seed never is in a format of yesterday.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use corten::config::Config;
use corten::plan::{Plan, Request};
use corten::{Error, machine::Machine};

/// Every `config.json` that the tests of this repository use, and one that has every property.
pub fn configurations() -> Vec<Vec<u8>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [own.join("seeds"), own.join("../../src/config/testdata")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("read the seeds"));
    files.map(|file| std::fs::read(file.expect("a seed").path()).expect("read a seed")).collect()
}

/// Puts `seeds` into the corpus, and `words` into its dictionary: the folder that is this program's last argument, and the
/// file of that name and `.words`.
pub fn begin_with(seeds: impl IntoIterator<Item = Vec<u8>>, words: impl IntoIterator<Item = String>) {
    let corpus = PathBuf::from(std::env::args_os().next_back().expect("a corpus"));
    if !corpus.is_dir() {
        return; // One input is run again.
    }
    for (number, seed) in seeds.into_iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{number}")), seed).expect("write a seed");
    }
    let mut dictionary = "# libFuzzer takes no empty file.\n".to_owned();
    for word in words {
        let bytes = word.bytes().fold(String::new(), |mut escaped, byte| {
            _ = write!(escaped, "\\x{byte:02x}");
            escaped
        });
        if !bytes.is_empty() {
            _ = writeln!(dictionary, "\"{bytes}\"");
        }
    }
    std::fs::write(corpus.with_extension("words"), dictionary).expect("write the dictionary");
}

/// What engines show and search: one line.
pub fn assert_one_line(error: &Error) {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains(['\n', '\r', '\0']), "{line:?}");
}

/// The plan of a container of that configuration, here.
pub fn plan(config: &Config, machine: &Machine) -> corten::Result<Plan> {
    Plan::new(config, machine, &Request::new("fuzz", Path::new("/bundle")))
}
