//! The host as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::{Bundle, peer, rootfs};

/// In the file `secret` of [`Host`], and nowhere else.
pub const SECRET: &str = "only the host may read this";

/// A directory that stands for the host, with what was there before the attack.
pub struct Host {
    directory: PathBuf,
    sandbox: String,
    before: State,
}

#[derive(PartialEq)]
struct State {
    /// Path, and everything about the file in words.
    files: BTreeMap<PathBuf, String>,
    mounts: BTreeSet<String>,
    program: u64,
}

impl Host {
    /// Makes it in the sandbox, beside the bundle: `secret`, `ptmx` and `directory/file`.
    pub fn beside(bundle: &Bundle) -> Self {
        let directory = bundle.path("host");
        rootfs::directory(&directory.join("directory"));
        for (name, content) in [("secret", SECRET), ("ptmx", "a file of the host"), ("directory/file", "another")] {
            fs::write(directory.join(name), content).unwrap();
        }
        let sandbox = bundle.path("").to_str().unwrap().to_owned();
        let before = State::of(&directory, &sandbox);
        Self { directory, sandbox, before }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How an attacker writes it in a symlink: absolute, and from within a directory of the root filesystem.
    pub fn names(&self) -> [String; 2] {
        [self.directory.to_str().unwrap().to_owned(), "../../host".to_owned()]
    }

    /// Fails the test if anything is different.
    #[track_caller]
    pub fn is_as_it_was(&self) {
        let (before, now) = (&self.before, State::of(&self.directory, &self.sandbox));
        let files: Vec<_> = before.files.iter().filter(|(path, it)| now.files.get(*path) != Some(it)).collect();
        let new: Vec<_> = now.files.iter().filter(|(path, it)| before.files.get(*path) != Some(it)).collect();
        assert!(files.is_empty() && new.is_empty(), "the host's files changed: {files:#?} became {new:#?}");
        let mounts: Vec<_> = before.mounts.symmetric_difference(&now.mounts).collect();
        assert!(mounts.is_empty(), "the host's mounts changed: {mounts:#?}");
        assert_eq!(before.program, now.program, "the runtime's binary changed");
    }
}

impl State {
    fn of(directory: &Path, sandbox: &str) -> Self {
        let mut files = BTreeMap::new();
        describe_all(directory, fs::metadata(directory).unwrap().dev(), &mut files);
        let null = Path::new("/dev/null");
        files.insert(null.to_owned(), describe(null));
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        // Other tests have containers without a mount namespace.
        let ours = |line: &&str| line.contains(sandbox) || !line.contains("corten-it-");
        let mounts = table.lines().filter(ours).map(str::to_owned).collect();
        Self { files, mounts, program: hash(peer::program()) }
    }
}

/// Does not go into what may be mounted there.
fn describe_all(path: &Path, filesystem: u64, into: &mut BTreeMap<PathBuf, String>) {
    into.insert(path.to_owned(), describe(path));
    let it = fs::symlink_metadata(path).unwrap();
    if it.is_dir() && it.dev() == filesystem {
        fs::read_dir(path).unwrap().for_each(|entry| describe_all(&entry.unwrap().path(), filesystem, into));
    }
}

/// Not the times: reading changes one.
pub fn describe(path: &Path) -> String {
    let it = fs::symlink_metadata(path).unwrap();
    let (inode, mode, owner, device) = (it.ino(), it.mode(), (it.uid(), it.gid()), it.rdev());
    let content = match it.file_type() {
        kind if kind.is_file() => fs::read_to_string(path).unwrap(),
        kind if kind.is_symlink() => format!("-> {:?}", fs::read_link(path).unwrap()),
        _ => String::new(),
    };
    format!("inode {inode} mode {mode:o} owner {owner:?} device {device} {content:?}")
}

/// Of a file's content.
pub fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(path).unwrap().hash(&mut hasher);
    hasher.finish()
}
