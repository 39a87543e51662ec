//! ONE table of all mount options: what the parser recognises, what `features` promises, what the tests walk through.
//!
//! SPEC(config, "Linux mount options"): 37 MUST, 21 SHOULD; what is in no table is data for the filesystem.

use serde::{Deserialize, Serialize};

use crate::sys::mount::{Reach, attr};

/// How strongly the specification asks for an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are the specification's")]
pub enum Level {
    Must,
    Should,
    May,
}

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Sets attributes of the mount; access time modes exclude each other.
    Set(u64, Reach),
    /// Clears them.
    Clear(u64, Reach),
    /// Chooses the access time mode.
    Atime(u64, Reach),
    /// A flag of the filesystem itself, by its fsconfig(2) name.
    Superblock(&'static str),
    /// Takes back such a flag.
    NoSuperblock(&'static str),
    /// Makes it a bind mount.
    Bind(Reach),
    /// Changes what is mounted there already.
    Remount,
    /// `MS_SHARED` and so on.
    Propagation(u64, Reach),
    /// A new tmpfs gets a copy of what it covers.
    CopyUp,
    /// Id-mapped.
    IdMap(Reach),
    /// Known, and without any effect on Linux of today; the reason is in the table.
    Nothing,
}

const MOUNT: Reach = Reach::Mount;
const TREE: Reach = Reach::Tree;
use Effect::{Atime, Bind, Clear, CopyUp, IdMap, NoSuperblock, Nothing, Propagation, Remount, Set, Superblock};
use Level::{May, Must, Should};

/// The table.
pub const OPTIONS: &[(&str, Level, Effect)] = &[
    ("async", Must, NoSuperblock("sync")),
    ("atime", Must, Clear(attr::NOATIME, MOUNT)),
    ("bind", Must, Bind(MOUNT)),
    // rw, suid, dev, exec, auto, nouser, async of mount(8): all of them are what a mount is anyway.
    ("defaults", Must, Nothing),
    ("dev", Must, Clear(attr::NODEV, MOUNT)),
    ("diratime", Must, Clear(attr::NODIRATIME, MOUNT)),
    ("dirsync", Must, Superblock("dirsync")),
    ("exec", Must, Clear(attr::NOEXEC, MOUNT)),
    // MS_I_VERSION is the filesystem's own business since 4.17; mount(2) ignores it.
    ("iversion", Must, Nothing),
    ("lazytime", Must, Superblock("lazytime")),
    // The opposite of silent, and silent does nothing.
    ("loud", Must, Nothing),
    ("noatime", Must, Atime(attr::NOATIME, MOUNT)),
    ("nodev", Must, Set(attr::NODEV, MOUNT)),
    ("nodiratime", Must, Set(attr::NODIRATIME, MOUNT)),
    ("noexec", Must, Set(attr::NOEXEC, MOUNT)),
    ("noiversion", Must, Nothing),
    ("nolazytime", Must, NoSuperblock("lazytime")),
    // As mount(8): who does not ask for MS_RELATIME gets it, since 2.6.30.
    ("norelatime", Must, Nothing),
    ("nostrictatime", Must, Atime(attr::RELATIME, MOUNT)),
    ("nosuid", Must, Set(attr::NOSUID, MOUNT)),
    ("private", Must, Propagation(libc::MS_PRIVATE, MOUNT)),
    ("rbind", Must, Bind(TREE)),
    ("relatime", Must, Atime(attr::RELATIME, MOUNT)),
    ("remount", Must, Remount),
    ("ro", Must, Set(attr::RDONLY, MOUNT)),
    ("rprivate", Must, Propagation(libc::MS_PRIVATE, TREE)),
    ("rshared", Must, Propagation(libc::MS_SHARED, TREE)),
    ("rslave", Must, Propagation(libc::MS_SLAVE, TREE)),
    ("runbindable", Must, Propagation(libc::MS_UNBINDABLE, TREE)),
    ("rw", Must, Clear(attr::RDONLY, MOUNT)),
    ("shared", Must, Propagation(libc::MS_SHARED, MOUNT)),
    // MS_SILENT only keeps some warnings out of the kernel's log.
    ("silent", Must, Nothing),
    ("slave", Must, Propagation(libc::MS_SLAVE, MOUNT)),
    ("strictatime", Must, Atime(attr::STRICTATIME, MOUNT)),
    ("suid", Must, Clear(attr::NOSUID, MOUNT)),
    ("sync", Must, Superblock("sync")),
    ("unbindable", Must, Propagation(libc::MS_UNBINDABLE, MOUNT)),
    ("nosymfollow", Should, Set(attr::NOSYMFOLLOW, MOUNT)),
    ("symfollow", Should, Clear(attr::NOSYMFOLLOW, MOUNT)),
    ("rro", Should, Set(attr::RDONLY, TREE)),
    ("rrw", Should, Clear(attr::RDONLY, TREE)),
    ("rsuid", Should, Clear(attr::NOSUID, TREE)),
    ("rnosuid", Should, Set(attr::NOSUID, TREE)),
    ("rdev", Should, Clear(attr::NODEV, TREE)),
    // Missing from the specification's table by a slip, but in its examples and in every runtime.
    ("rnodev", Should, Set(attr::NODEV, TREE)),
    ("rexec", Should, Clear(attr::NOEXEC, TREE)),
    ("rnoexec", Should, Set(attr::NOEXEC, TREE)),
    ("ratime", Should, Clear(attr::NOATIME, TREE)),
    ("rnoatime", Should, Atime(attr::NOATIME, TREE)),
    ("rdiratime", Should, Clear(attr::NODIRATIME, TREE)),
    ("rnodiratime", Should, Set(attr::NODIRATIME, TREE)),
    ("rrelatime", Should, Atime(attr::RELATIME, TREE)),
    ("rnorelatime", Should, Nothing),
    ("rstrictatime", Should, Atime(attr::STRICTATIME, TREE)),
    ("rnostrictatime", Should, Atime(attr::RELATIME, TREE)),
    ("rsymfollow", Should, Clear(attr::NOSYMFOLLOW, TREE)),
    ("rnosymfollow", Should, Set(attr::NOSYMFOLLOW, TREE)),
    ("idmap", Should, IdMap(MOUNT)),
    ("ridmap", Should, IdMap(TREE)),
    // Mandatory locking left the kernel in 5.15.
    ("mand", May, Nothing),
    ("nomand", May, Nothing),
    ("tmpcopyup", May, CopyUp),
];

/// A change of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are mount_setattr(2)'s")]
pub struct Change {
    pub set: u64,
    pub clear: u64,
}

impl Change {
    /// The last of two contradicting options wins.
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    fn atime(&mut self, mode: u64) {
        // KERNEL(5.12): choosing any mode needs the whole field in `clear`.
        self.clear |= attr::ATIME;
        self.set = (self.set & !attr::ATIME) | mode;
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A list of options, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A bind mount, and of how much.
    pub bind: Option<Reach>,
    /// A change of an existing mount.
    pub remount: bool,
    /// For the mount itself.
    pub mount: Change,
    /// For the mount and all below it.
    pub tree: Change,
    /// In order.
    pub propagation: Vec<(u64, Reach)>,
    /// fsconfig(2) flags of the filesystem.
    pub superblock: Vec<&'static str>,
    /// See [`Effect::CopyUp`].
    pub copy_up: bool,
    /// See [`Effect::IdMap`].
    pub id_map: Option<Reach>,
    /// Everything that the table does not know: parameters of the filesystem, in order.
    pub data: Vec<(String, Option<String>)>,
}

impl Options {
    /// Reads a list. There is no wrong word: what is unknown here is for the filesystem to judge.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for word in words {
            match OPTIONS.iter().find(|(name, ..)| *name == word) {
                Some((_, _, effect)) => options.apply(*effect),
                None => options.data.extend(parameters(word)),
            }
        }
        options
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Set(bits, reach) => self.change(reach).set(bits),
            // "atime" only takes back "noatime": what is left is relatime, the kernel's default.
            Clear(attr::NOATIME, reach) => self.change(reach).atime(attr::RELATIME),
            Clear(bits, reach) => self.change(reach).clear(bits),
            Atime(mode, reach) => self.change(reach).atime(mode),
            Superblock(name) => {
                self.superblock.retain(|known| *known != name);
                self.superblock.push(name);
            }
            NoSuperblock(name) => self.superblock.retain(|known| *known != name),
            Bind(reach) => self.bind = Some(reach),
            Remount => self.remount = true,
            Propagation(kind, reach) => self.propagation.push((kind, reach)),
            CopyUp => self.copy_up = true,
            IdMap(reach) => self.id_map = Some(reach),
            Nothing => {}
        }
    }

    fn change(&mut self, reach: Reach) -> &mut Change {
        match reach {
            Reach::Mount => &mut self.mount,
            Reach::Tree => &mut self.tree,
        }
    }
}

/// Splits `a=1,b,context="x:y,z"` into parameters: a comma in double quotes belongs to the value, as SELinux contexts
/// need it (selinux(8), mount(8)), and the quotes do not reach the kernel.
fn parameters(word: &str) -> Vec<(String, Option<String>)> {
    let mut pieces = vec![String::new()];
    let mut quoted = false;
    for letter in word.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => pieces.push(String::new()),
            other => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(other);
                }
            }
        }
    }
    let parameter = |piece: &String| match piece.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (piece.clone(), None),
    };
    pieces.iter().filter(|piece| !piece.is_empty()).map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_what_the_specification_lists() {
        let count = |level| OPTIONS.iter().filter(|(_, of, _)| *of == level).count();
        // 21 in the specification's table, and rnodev, which is missing there by a slip.
        assert_eq!((count(Must), count(Should)), (37, 22));
        let mut names: Vec<_> = OPTIONS.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPTIONS.len(), "a name stands twice");
    }

    #[test]
    fn no_option_of_the_table_reaches_the_filesystem() {
        for (name, ..) in OPTIONS {
            assert_eq!(Options::parse([*name]).data, [], "{name}");
        }
    }

    #[test]
    fn the_last_of_contradicting_options_wins() {
        let change = |set, clear| Change { set, clear };
        for (words, expected) in [
            (vec!["ro", "rw"], change(0, attr::RDONLY)),
            (vec!["rw", "ro"], change(attr::RDONLY, 0)),
            (vec!["noatime", "strictatime"], change(attr::STRICTATIME, attr::ATIME)),
            (vec!["noatime", "atime"], change(attr::RELATIME, attr::ATIME)),
            (vec!["nosuid", "nodev", "suid"], change(attr::NODEV, attr::NOSUID)),
            (vec!["defaults", "silent", "mand"], change(0, 0)),
        ] {
            assert_eq!(Options::parse(words.iter().copied()).mount, expected, "{words:?}");
        }
        let options = Options::parse(["sync", "async", "lazytime"]);
        assert_eq!(options.superblock, ["lazytime"]);
        assert_eq!(Options::parse(["bind", "rbind"]).bind, Some(Reach::Tree));
    }

    #[test]
    fn recursive_options_change_the_tree_only() {
        let options = Options::parse(["rro", "nosuid"]);
        assert_eq!(options.tree, Change { set: attr::RDONLY, clear: 0 });
        assert_eq!(options.mount, Change { set: attr::NOSUID, clear: 0 });
    }

    #[test]
    fn the_rest_is_for_the_filesystem() {
        let options = Options::parse(["mode=755", "size=64k,nr_inodes=4", "newinstance", "context=\"a:b,c\""]);
        let text = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(
            options.data,
            [
                text("mode", Some("755")),
                text("size", Some("64k")),
                text("nr_inodes", Some("4")),
                text("newinstance", None),
                text("context", Some("a:b,c")),
            ]
        );
    }
}
