//! Options of a mount, one in a line: what they mean, and what becomes of a mount that has them.
#![no_main]

use std::sync::LazyLock;

use corten::config::{Config, Mount};
use corten::machine::Machine;
use corten::subsystems::mounts::options::{Change, OPTIONS, Options};
use corten_fuzz::{assert_one_line, begin_with, configurations};
use libfuzzer_sys::fuzz_target;

static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::default);

fuzz_target!(init: begin_with(seeds(), OPTIONS.iter().map(|(name, ..)| (*name).to_owned())), |lines| {
    let Ok(lines) = std::str::from_utf8(lines) else { return };
    let words: Vec<&str> = lines.split('\n').collect();
    let once = Options::parse(words.iter().copied());
    assert_sane(&once);
    // The last of contradicting ones wins, so that saying everything once more changes nothing.
    let twice = Options::parse(words.iter().chain(&words).copied());
    let flags = |options: &Options| Options { data: Vec::new(), propagation: Vec::new(), ..options.clone() };
    assert_eq!(flags(&twice), flags(&once));
    assert_eq!(twice.data, [once.data.clone(), once.data.clone()].concat());
    assert_eq!(twice.propagation, once.propagation.repeat(2));
    let mut config = BARE.clone();
    for (kind, source) in [("", Some("/source")), ("tmpfs", None), ("proc", None), ("cgroup", None), ("mqueue", None)] {
        config.mounts = vec![mount(&words, kind, source), mount(&["remount", "bind", "ro"], kind, source)];
        if let Err(error) = corten_fuzz::plan(&config, &MACHINE) {
            assert_one_line(&error);
        }
    }
});

/// What the kernel would refuse whatever the mount is.
fn assert_sane(options: &Options) {
    const ATIME: u64 = 0x70;
    for Change { set, clear } in [options.mount, options.tree] {
        assert_eq!(set & clear & !ATIME, 0, "{options:?}");
        // mount_setattr(2): a mode of access times is chosen among all, and only one.
        assert!(set & ATIME == 0 || clear & ATIME == ATIME, "{options:?}");
        assert!([0, 0x10, 0x20].contains(&(set & ATIME)), "{options:?}");
    }
    for (key, value) in &options.data {
        assert!(!key.contains(['"', '=']) && !value.as_ref().is_some_and(|value| value.contains('"')), "{options:?}");
    }
    let mut flags = options.superblock.clone();
    flags.sort_unstable();
    flags.dedup();
    assert_eq!(flags.len(), options.superblock.len(), "{options:?}");
}

static BARE: LazyLock<Config> = LazyLock::new(|| {
    let json = br#"{"ociVersion": "1.0.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "mount"}]}}"#;
    Config::parse(json).expect("a bare configuration")
});

fn mount(words: &[&str], kind: &str, source: Option<&str>) -> Mount {
    Mount {
        property: "mounts[0]".to_owned(),
        destination: "/data".into(),
        kind: kind.to_owned(),
        source: source.map(Into::into),
        options: words.iter().map(|&word| word.to_owned()).collect(),
        id_mappings: None,
    }
}

/// The options of every mount in our configurations.
fn seeds() -> Vec<Vec<u8>> {
    let configs = configurations().into_iter().filter_map(|json| Config::parse(&json).ok());
    let lists = configs.flat_map(|config| config.mounts).map(|mount| mount.options.join("\n").into_bytes());
    lists.collect()
}
