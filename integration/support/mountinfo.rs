//! /proc/PID/mountinfo (proc_pid_mountinfo(5)), from inside or outside.

use std::fs;

/// The table.
pub struct Mountinfo {
    pub lines: Vec<Line>,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct Line {
    /// The directory of the filesystem that is mounted.
    pub root: String,
    pub target: String,
    /// Per mount.
    pub options: Vec<String>,
    /// `shared:1`, `master:2`, `unbindable`.
    pub propagation: Vec<String>,
    pub kind: String,
    pub source: String,
    /// Per filesystem.
    pub super_options: Vec<String>,
}

impl Mountinfo {
    pub fn of_self() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap())
    }

    pub fn parse(text: &str) -> Self {
        Self { lines: text.lines().filter_map(Line::parse).collect() }
    }

    /// The mount that is on top at `target`.
    #[track_caller]
    pub fn at(&self, target: &str) -> &Line {
        let found = self.lines.iter().rfind(|line| line.target == target);
        found.unwrap_or_else(|| panic!("nothing is mounted at {target}: {:?}", self.targets()))
    }

    pub fn targets(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.target.as_str()).collect()
    }

    pub fn has(&self, target: &str) -> bool {
        self.lines.iter().any(|line| line.target == target)
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3).map(str::to_owned);
        let mut filesystem = filesystem.split(' ').map(str::to_owned);
        let commas = |text: String| text.split(',').map(str::to_owned).collect();
        Some(Self {
            root: mount.next()?,
            target: mount.next()?,
            options: commas(mount.next()?),
            propagation: mount.collect(),
            kind: filesystem.next()?,
            source: filesystem.next()?,
            super_options: commas(filesystem.next()?),
        })
    }

    /// Whether a per-mount option is set.
    pub fn is(&self, option: &str) -> bool {
        self.options.iter().any(|it| it == option)
    }

    /// Whether a per-filesystem option is set.
    pub fn filesystem_is(&self, option: &str) -> bool {
        self.super_options.iter().any(|it| it == option)
    }

    /// Whether a propagation field starts with `word`.
    pub fn propagates(&self, word: &str) -> bool {
        self.propagation.iter().any(|it| it.starts_with(word))
    }
}
