//! The kernel's work for a container, and nothing else: what no runtime can be faster than. `make bench`.
//!
//! ```text
//! floor run --bundle DIR ID
//! ```
//!
//! It does what the configurations of the benchmark ask for, from one process and its child: cgroups, namespaces, mounts, devices,
//! masks, root, capabilities, filter, program. `launch/bundles.rs` writes it a list of what differs between configurations and
//! between machines, the filters compiled.
//! It verifies nothing, keeps no state, protects nothing, and says no more about an error than where it died.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::exit,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program to be measured, not to be used"
)]

use std::fs::{self, File};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use corten::sys::bpf;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, execve, pivot_root, sethostname, setresgid, setresuid};

struct Work {
    /// First words and the rest of lines.
    lines: Vec<(String, String)>,
    filter: Vec<u8>,
}

impl Work {
    fn read(bundle: &Path) -> Self {
        let text = fs::read_to_string(bundle.join("floor")).unwrap();
        let line = |line: &str| line.split_once(' ').map(|(what, rest)| (what.to_owned(), rest.to_owned())).unwrap();
        Self { lines: text.lines().map(line).collect(), filter: fs::read(bundle.join("filter")).unwrap_or_default() }
    }

    fn all<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(name, _)| name == what).map(|(_, rest)| rest.as_str())
    }

    fn one<'a>(&'a self, what: &'a str) -> &'a str {
        self.all(what).next().unwrap()
    }
}

fn main() {
    let bundle = PathBuf::from(std::env::args().nth(3).unwrap());
    let work = Work::read(&bundle);
    let groups: Vec<_> = work.all("group").chain(work.all("birthplace")).map(Path::new).collect();
    groups.iter().for_each(|group| fs::create_dir(group).unwrap());
    for write in work.all("write") {
        let (file, value) = write.split_once('\t').unwrap();
        fs::write(file, value).unwrap();
    }
    let birthplace = work.all("birthplace").next().map(|group| File::open(group).unwrap());
    if let Some(birthplace) = &birthplace {
        guard_devices(&work, birthplace);
    }
    let (moved, mut go) = pipe().unwrap();
    let child = clone(birthplace.as_ref());
    if child == 0 {
        become_container(&work, moved);
    }
    for group in work.all("group") {
        fs::write(Path::new(group).join("cgroup.procs"), child.to_string()).unwrap();
    }
    go.write_all(b"g").unwrap();
    let child = Pid::from_raw(child);
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
    groups.iter().for_each(|group| fs::remove_dir(group).unwrap());
}

/// The device program of cgroup v2.
fn guard_devices(work: &Work, group: &File) {
    let instruction = |line: &str| {
        let mut numbers = line.split(' ').map(|number| number.parse::<i64>().unwrap());
        let mut next = || numbers.next().unwrap();
        bpf::Instruction {
            code: next().try_into().unwrap(),
            registers: next().try_into().unwrap(),
            offset: next().try_into().unwrap(),
            immediate: next().try_into().unwrap(),
        }
    };
    let program: Vec<_> = work.all("device").map(instruction).collect();
    if !program.is_empty() {
        bpf::attach_device_program(group, bpf::load_device_program(&program).unwrap()).unwrap();
    }
}

fn clone(birthplace: Option<&File>) -> i32 {
    const NEW: i32 =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zero is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(NEW.unsigned_abs());
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(birthplace) = birthplace {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = birthplace.as_raw_fd().try_into().unwrap();
    }
    // SAFETY: like fork(2), in a process of one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    assert!(pid >= 0);
    i32::try_from(pid).unwrap()
}

fn become_container(work: &Work, moved: PipeReader) -> ! {
    let root = Path::new(work.one("root"));
    attach(None, "/", None, MsFlags::MS_REC | MsFlags::MS_SLAVE, None);
    attach(Some(root), root, None, MsFlags::MS_BIND | MsFlags::MS_REC, None);
    mounts(work, root);
    cgroups(work, root, moved);
    devices(&root.join("dev"));
    chdir(root).unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    chdir("/").unwrap();
    covers(work);
    sethostname("bench").unwrap();
    drop_rights(work);
    let program: Vec<_> = work.one("program").split(' ').map(|word| std::ffi::CString::new(word).unwrap()).collect();
    execve(&program[0], &program, &[c"PATH=/bin"]).unwrap();
    std::process::exit(1)
}

fn attach(source: Option<&Path>, target: impl AsRef<Path>, kind: Option<&str>, flags: MsFlags, data: Option<&str>) {
    mount(source, target.as_ref(), kind, flags, data).unwrap();
}

fn mounts(work: &Work, root: &Path) {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let make = |name: &str, kind: &str, flags: MsFlags, data: Option<&str>| {
        let target = root.join(name);
        let _ = fs::create_dir_all(&target);
        attach(Some(Path::new(kind)), &target, Some(kind), flags, data);
    };
    make("proc", "proc", MsFlags::empty(), None);
    make("dev", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME, Some("mode=755,size=65536k"));
    let terminals = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    make("dev/pts", "devpts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some(terminals));
    make("dev/shm", "tmpfs", safe, Some("mode=1777,size=65536k"));
    make("dev/mqueue", "mqueue", safe, None);
    make("sys", "sysfs", safe | MsFlags::MS_RDONLY, None);
    for bind in work.all("bind") {
        let (source, target) = bind.split_once('\t').unwrap();
        let target = root.join(target.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        File::create(&target).unwrap();
        attach(Some(Path::new(source)), &target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None);
    }
}

/// What the container sees of its cgroups, when it is in them.
fn cgroups(work: &Work, root: &Path, mut moved: PipeReader) {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let place = root.join("sys/fs/cgroup");
    moved.read_exact(&mut [0]).unwrap();
    unshare(CloneFlags::CLONE_NEWCGROUP).unwrap();
    if work.all("group").next().is_none() {
        return attach(Some(Path::new("cgroup")), &place, Some("cgroup2"), flags | MsFlags::MS_RDONLY, None);
    }
    attach(Some(Path::new("tmpfs")), &place, Some("tmpfs"), flags, Some("mode=755"));
    for hierarchy in work.all("hierarchy") {
        let (name, options) = hierarchy.split_once('\t').unwrap();
        fs::create_dir(place.join(name)).unwrap();
        attach(Some(Path::new("cgroup")), place.join(name), Some("cgroup"), flags | MsFlags::MS_RDONLY, Some(options));
    }
    attach(None, &place, None, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags, None);
}

fn devices(dev: &Path) {
    umask(Mode::empty());
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        mknod(&dev.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor)).unwrap();
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), dev.join(name)).unwrap();
    }
    symlink("pts/ptmx", dev.join("ptmx")).unwrap();
}

fn covers(work: &Work) {
    for path in work.all("readonly").filter(|path| Path::new(path).exists()) {
        attach(Some(Path::new(path)), path, None, MsFlags::MS_BIND | MsFlags::MS_REC, None);
        attach(None, path, None, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None);
    }
    for path in work.all("mask") {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                attach(Some(Path::new("tmpfs")), path, Some("tmpfs"), MsFlags::MS_RDONLY, None)
            }
            Ok(_) => attach(Some(Path::new("/dev/null")), path, None, MsFlags::MS_BIND, None),
            Err(_) => {}
        }
    }
    attach(None, "/", None, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None);
}

fn drop_rights(work: &Work) {
    use caps::{CapSet, Capability};
    for capability in caps::all() {
        if ![Capability::CAP_AUDIT_WRITE, Capability::CAP_KILL, Capability::CAP_NET_BIND_SERVICE].contains(&capability)
        {
            caps::drop(None, CapSet::Bounding, capability).unwrap();
        }
    }
    nix::unistd::setgroups(&[]).unwrap();
    setresgid(0.into(), 0.into(), 0.into()).unwrap();
    setresuid(0.into(), 0.into(), 0.into()).unwrap();
    nix::sys::prctl::set_no_new_privs().unwrap();
    if !work.filter.is_empty() {
        let len = u16::try_from(work.filter.len() / 8).unwrap();
        let program = libc::sock_fprog { len, filter: work.filter.as_ptr().cast_mut().cast() };
        // SAFETY: the kernel reads `len` instructions of eight bytes.
        let loaded = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        assert_eq!(loaded, 0);
    }
}
