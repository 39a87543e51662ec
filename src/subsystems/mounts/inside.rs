//! The container's side: attaching everything below the root, and making the root the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag, open, openat, readlink};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};
use nix::unistd::{chdir, chroot, fchdir};

use super::copies::{copy_of, copy_of_root, propagation_of_copy};
use super::copy_up;
use super::plan::{Bind, CgroupV1, Filesystem, MountsPlan, OpenedBy, Root, RootSwitch, Step, What};
use crate::error::{Error, Kind, OrCall, Result, Within, phrases};
use crate::fs::rootdir::{Missing, RootDir, file_type};
use crate::fs::{c_path, c_string, procfs};
use crate::subsystems::doors::{InRoot, Inside};
use crate::sys;
use crate::sys::mount::{Attributes, Context, Reach, attach, attr, pivot_to_cwd, set_attributes};

/// The root filesystem, attached, with the mounts that wait to become read-only.
#[derive(Debug)]
pub struct Rootfs {
    /// Everything in the container is resolved below it.
    pub dir: RootDir,
    readonly_later: Vec<OwnedFd>,
    /// Each procfs and sysfs with its destination, in the order in which they were attached.
    shown_kernel: Vec<(PathBuf, RootDir)>,
}

impl Rootfs {
    /// A handle of what is to be protected; symlinks are followed as the container would.
    ///
    /// CVE-2019-19921: whoever shares the root filesystem can give the directory on which a procfs is mounted another name
    /// meanwhile, and it takes the mount along. So what is below one is looked up in the mount, not in the root.
    pub fn find_to_protect(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let below = |(destination, mount): &'_ (PathBuf, RootDir)| {
            let rest = path.strip_prefix(destination).ok()?;
            // Above the mount is only what the root knows.
            let stays = !rest.components().any(|component| component == Component::ParentDir);
            stays.then(|| mount.find(&Path::new("/").join(rest)))
        };
        self.shown_kernel.iter().rev().find_map(below).unwrap_or_else(|| self.dir.find(path))
    }
}

/// Attaches the root filesystem over itself.
pub fn attach_root(_: &Inside, root: &Root) -> Result<Rootfs> {
    let attaching = || -> Result<Rootfs> {
        if root.switch != RootSwitch::Chroot {
            // ORDER: first of all: what is attached to a shared mount appears on the host.
            let flags = MsFlags::from_bits_retain(root.before | libc::MS_REC);
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).or_call(|| "mount(\"/\", SLAVE|REC)")?;
        }
        let place = open(&root.path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .or_call(|| format!("open({:?})", root.path))?;
        let tree = match root.opened_by {
            OpenedBy::Host => taken(root.tree)?,
            OpenedBy::Inside => copy_of_root(root)?,
        };
        attach(&tree, &place).or_call(|| format!("move_mount({:?})", root.path))?;
        Ok(Rootfs { dir: RootDir::new(tree), readonly_later: Vec::new(), shown_kernel: Vec::new() })
    };
    attaching().within(|| "root.path: attach")
}

/// What we need of the host meanwhile.
pub trait Rendezvous {
    /// Returns when we are in our network namespace.
    fn enter_network(&mut self, inside: &Inside) -> Result<()>;
    /// Returns when we are in our cgroup and its namespace.
    fn enter_cgroup(&mut self, inside: &Inside) -> Result<()>;
    /// A detached copy of the source of that step of the plan, made with the host's rights; `refusal` says why it was not
    /// made with ours.
    fn source(&mut self, inside: &Inside, step: usize, refusal: Option<Error>) -> Result<OwnedFd>;
}

/// Attaches all mounts in order.
pub fn attach_all(inside: &Inside, rootfs: &mut Rootfs, plan: &MountsPlan, host: &mut dyn Rendezvous) -> Result<()> {
    for (index, step) in plan.steps.iter().enumerate() {
        if matches!(&step.what, What::Filesystem(filesystem) if filesystem.needs_network()) {
            host.enter_network(inside)?;
        }
        let mut attaching = || -> Result<()> {
            let mounted = match &step.what {
                What::Filesystem(filesystem) => {
                    if filesystem.needs_cgroup {
                        host.enter_cgroup(inside)?;
                    }
                    attach_filesystem(rootfs, step, filesystem)?
                }
                What::Bind(bind) => {
                    let copy = match (&bind.id_map, bind.opened_by) {
                        (Some(_), _) => host.source(inside, index, None)?,
                        (None, OpenedBy::Host) => taken(bind.copy)?,
                        (None, OpenedBy::Inside) => match open_source(&plan.root, step, bind) {
                            // The root of a user namespace need not be able to search what leads to a volume.
                            Err(error) if error.errno() == Some(Errno::EACCES) => {
                                host.source(inside, index, Some(error))?
                            }
                            opened => opened?,
                        },
                    };
                    attach_bind(rootfs, step, bind, copy)?
                }
                What::Remount(filesystem) => remount(rootfs, step, filesystem)?,
                What::CgroupV1(cgroup) => {
                    if cgroup.own_namespace {
                        host.enter_cgroup(inside)?;
                    }
                    attach_cgroup_v1(rootfs, step, cgroup)?
                }
            };
            finish(&mounted, step)?;
            if shows_kernel(&mounted)? {
                rootfs.shown_kernel.push((step.destination.clone(), RootDir::new(mounted)));
            }
            Ok(())
        };
        attaching().within(|| format!("{} {:?}", step.property, step.destination))?;
    }
    Ok(())
}

/// Propagation and recursive attributes, which need an attached mount to be of use.
fn finish(mounted: &OwnedFd, step: &Step) -> Result<()> {
    let set = |reach, attributes: &Attributes| {
        set_attributes(mounted, reach, attributes).or_call(|| format!("mount_setattr({:?})", step.destination))
    };
    if !step.tree.is_empty() {
        set(Reach::Tree, &Attributes { set: step.tree.set, clear: step.tree.clear, ..Attributes::default() })?;
    }
    for (propagation, reach) in &step.propagation {
        set(*reach, &Attributes { propagation: *propagation, ..Attributes::default() })?;
    }
    Ok(())
}

fn attach_filesystem(rootfs: &mut Rootfs, step: &Step, filesystem: &Filesystem) -> Result<OwnedFd> {
    let is_proc_or_sysfs = matches!(filesystem.kind.as_str(), "proc" | "sysfs");
    let (target, existed) = if is_proc_or_sysfs {
        (ordinary_directory(&rootfs.dir, &step.destination)?, true)
    } else {
        let existed = rootfs.dir.find(&step.destination)?;
        let existing = existed.is_some();
        let target = match existed {
            Some(found) => found,
            None => rootfs.dir.find_or_make(&step.destination, Missing::Directory)?,
        };
        (target, existing)
    };
    check_cover(&rootfs.dir, &target, step, filesystem.kind == "proc")?;
    let mounted = make(filesystem, existed.then_some(&target))?;
    if filesystem.copy_up && existed {
        copy_up::copy_tree(&target, &mounted).within(|| "tmpcopyup")?;
    }
    attach(&mounted, &target).or_call(|| format!("move_mount({:?})", step.destination))?;
    if filesystem.readonly_later {
        rootfs.readonly_later.push(mounted.try_clone().or_call(|| "dup")?);
    }
    Ok(mounted)
}

/// Makes the filesystem, attached nowhere. `covers` is the directory that it will cover.
fn make(filesystem: &Filesystem, covers: Option<&OwnedFd>) -> Result<OwnedFd> {
    let kind = &filesystem.kind;
    let context = match Context::open(&c_string(kind)?) {
        Err(Errno::ENODEV) => {
            let error = Error::call(format!("fsopen({kind:?})"), Errno::ENODEV);
            return Err(error.hint("the kernel does not have this filesystem, see /proc/filesystems"));
        }
        other => other.or_call(|| format!("fsopen({kind:?})"))?,
    };
    configure(&context, filesystem, covers)?;
    context.create().map_err(|errno| complain(&context, format!("fsconfig({kind:?}, CREATE)"), errno))?;
    let mut attributes = filesystem.attributes.set;
    if filesystem.readonly_later {
        attributes &= !attr::RDONLY;
    }
    let mounted = context.mount(attributes).map_err(|errno| complain(&context, format!("fsmount({kind:?})"), errno))?;
    if let Some(label) = &filesystem.label {
        set_label(&mounted, label).within(|| "linux.mountLabel")?;
    }
    Ok(mounted)
}

fn set_label(mounted: &OwnedFd, label: &str) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat(mounted, ".", flags, Mode::empty()).or_call(|| "openat(mount)")?;
    sys::xattr::set(&root, c"security.selinux", label.as_bytes()).or_call(|| format!("fsetxattr({label:?})"))
}

fn configure(context: &Context, filesystem: &Filesystem, covers: Option<&OwnedFd>) -> Result<()> {
    // mountinfo shows it, and tests of the specification compare it.
    set_parameter(context, &filesystem.kind, "source", Some(&filesystem.source))?;
    set_parameters(context, filesystem)?;
    let has_mode = filesystem.parameters.iter().any(|(key, _)| key == "mode");
    if let Some(covers) = covers.filter(|_| filesystem.kind == "tmpfs" && !has_mode) {
        // COMPAT(runc): a tmpfs over /tmp stays sticky and writable for all, as the image made it.
        let mode = fstat(covers).or_call(|| "fstat")?.st_mode & 0o7777;
        set_parameter(context, &filesystem.kind, "mode", Some(&format!("{mode:o}")))?;
    }
    Ok(())
}

fn set_parameters(context: &Context, filesystem: &Filesystem) -> Result<()> {
    let flags = filesystem.flags.iter().map(|flag| (flag, None));
    let parameters = filesystem.parameters.iter().map(|(key, value)| (key, value.as_deref()));
    flags.chain(parameters).try_for_each(|(key, value)| set_parameter(context, &filesystem.kind, key, value))
}

fn set_parameter(context: &Context, kind: &str, key: &str, value: Option<&str>) -> Result<()> {
    let (name, text) = (c_string(key)?, value.map(c_string).transpose()?);
    let result = match &text {
        Some(text) => context.set_string(&name, text),
        None => context.set_flag(&name),
    };
    result.map_err(|errno| {
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        complain(context, format!("fsconfig({kind:?}, {:?})", format!("{key}{value}")), errno)
    })
}

/// The kernel's own words are better than the errno: "tmpfs: Unknown parameter 'x'".
fn complain(context: &Context, call: String, errno: Errno) -> Error {
    let error = Error::call(call, errno);
    match context.complaint() {
        Some(complaint) => error.hint(complaint),
        None => error,
    }
}

fn open_source(root: &Root, step: &Step, bind: &Bind) -> Result<OwnedFd> {
    let propagation = propagation_of_copy(root, &step.propagation);
    copy_of(&bind.source, bind.reach, propagation, bind.attributes).within(|| "open source")
}

fn attach_bind(rootfs: &Rootfs, step: &Step, bind: &Bind, copy: OwnedFd) -> Result<OwnedFd> {
    let is_directory = file_type(&copy)? == SFlag::S_IFDIR;
    let missing = if is_directory { Missing::Directory } else { Missing::File };
    let target = rootfs.dir.find_or_make(&step.destination, missing)?;
    if is_directory != (file_type(&target)? == SFlag::S_IFDIR) {
        // COMPAT(Docker): "not a directory" is what it explains to its users.
        let error = Error::call(format!("mount {:?} on {:?}", bind.source, step.destination), Errno::ENOTDIR);
        return Err(error.hint("a directory can only be mounted on a directory, a file on a file"));
    }
    let shows_proc = is_procfs(&copy)?;
    check_cover(&rootfs.dir, &target, step, shows_proc)?;
    attach(&copy, &target).or_call(|| format!("move_mount({:?}, {:?})", bind.source, step.destination))?;
    Ok(copy)
}

fn remount(rootfs: &Rootfs, step: &Step, filesystem: &Filesystem) -> Result<OwnedFd> {
    let target = rootfs
        .dir
        .find(&step.destination)?
        .ok_or_else(|| Error::call(format!("openat2({:?})", step.destination), Errno::ENOENT))?;
    let mut change = filesystem.attributes;
    // What is not asked for is taken away: a remount says how the mount is to be, mount(2).
    change.clear |= (attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC) & !change.set;
    let attributes = Attributes { set: change.set, clear: change.clear, ..Attributes::default() };
    set_attributes(&target, Reach::Mount, &attributes).or_call(|| format!("mount_setattr({:?})", step.destination))?;
    if !filesystem.parameters.is_empty() || !filesystem.flags.is_empty() {
        let context = Context::pick(&target).or_call(|| format!("fspick({:?})", step.destination))?;
        set_parameters(&context, filesystem)?;
        context
            .reconfigure()
            .map_err(|errno| complain(&context, format!("fsconfig({:?}, RECONFIGURE)", filesystem.kind), errno))?;
    }
    Ok(target)
}

fn attach_cgroup_v1(rootfs: &mut Rootfs, step: &Step, cgroup: &CgroupV1) -> Result<OwnedFd> {
    let target = rootfs.dir.find_or_make(&step.destination, Missing::Directory)?;
    check_cover(&rootfs.dir, &target, step, false)?;
    let tmpfs = Filesystem {
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        parameters: vec![("mode".to_owned(), Some("755".to_owned()))],
        attributes: cgroup.attributes,
        readonly_later: true,
        ..Filesystem::default()
    };
    let mounted = make(&tmpfs, None)?;
    attach(&mounted, &target).or_call(|| format!("move_mount({:?})", step.destination))?;
    let inner = RootDir::new(mounted.try_clone().or_call(|| "dup")?);
    for hierarchy in &cgroup.hierarchies {
        let target = inner.find_or_make(&Path::new("/").join(&hierarchy.name), Missing::Directory)?;
        let copy = if cgroup.own_namespace {
            let parameters = hierarchy.controllers.iter().map(|name| match name.split_once('=') {
                // A hierarchy without controllers has a name instead.
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (name.clone(), None),
            });
            let mut parameters: Vec<_> = parameters.collect();
            if hierarchy.controllers.iter().any(|name| name.contains('=')) {
                parameters.insert(0, ("none".to_owned(), None));
            }
            let (kind, source) = ("cgroup".to_owned(), "cgroup".to_owned());
            make(
                &Filesystem { kind, source, parameters, attributes: cgroup.attributes, ..Filesystem::default() },
                None,
            )?
        } else {
            taken(hierarchy.copy)?
        };
        attach(&copy, &target).or_call(|| format!("move_mount({:?})", hierarchy.name))?;
    }
    for (name, target) in &cgroup.links {
        nix::unistd::symlinkat(target.as_str(), &inner, name.as_str()).or_call(|| format!("symlinkat({name:?})"))?;
    }
    if cgroup.attributes.set & attr::RDONLY != 0 {
        rootfs.readonly_later.push(mounted.try_clone().or_call(|| "dup")?);
    }
    Ok(mounted)
}

/// CVE-2019-19921, CVE-2023-27561: proc and sysfs only go where no symlink leads.
fn ordinary_directory(root: &RootDir, path: &Path) -> Result<OwnedFd> {
    let refused = || {
        let why = format!("{} {}", path.display(), phrases::ORDINARY_DIRECTORY);
        Error::new(Kind::InvalidConfig, why)
    };
    let target = root.find_or_make(path, Missing::Directory)?;
    if file_type(&target)? != SFlag::S_IFDIR {
        return Err(refused());
    }
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match sys::fd::openat2(root, &c_path(path)?, OFlag::O_PATH, Mode::empty(), resolve) {
        Ok(plain) => Ok(plain),
        Err(Errno::ELOOP) => Err(refused()),
        Err(errno) => Err(Error::call(format!("openat2({path:?}, NO_SYMLINKS)"), errno)),
    }
}

/// Files of procfs that may be covered: what lxcfs and others show instead is harmless. Everything else decides about
/// security (CVE-2019-16884): `/proc/self/attr`, `/proc/sys`.
const MAY_BE_COVERED: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Refuses a mount over parts of procfs, and over `/proc` itself unless it shows a procfs again.
fn check_cover(root: &RootDir, target: &OwnedFd, step: &Step, shows_proc: bool) -> Result<()> {
    let refused = |why: &str| {
        Err(Error::new(Kind::InvalidConfig, format!("{} cannot be mounted over: {why}", step.destination.display())))
    };
    let is_proc_root = match root.find_itself(Path::new("/proc"))? {
        Some(proc) => same_file(&proc, target)?,
        None => false,
    };
    if is_proc_root {
        return if shows_proc { Ok(()) } else { refused("/proc must be a procfs") };
    }
    let listed = MAY_BE_COVERED.iter().any(|path| step.destination == Path::new(path));
    if is_procfs(target)? && !listed && !is_procfs_root(target)? {
        return refused("it is inside of procfs");
    }
    Ok(())
}

fn is_procfs(file: impl AsFd) -> Result<bool> {
    Ok(fstatfs(file.as_fd()).or_call(|| "fstatfs")?.filesystem_type() == PROC_SUPER_MAGIC)
}

fn shows_kernel(file: impl AsFd) -> Result<bool> {
    let kind = fstatfs(file.as_fd()).or_call(|| "fstatfs")?.filesystem_type();
    Ok(kind == PROC_SUPER_MAGIC || kind == SYSFS_MAGIC)
}

fn is_procfs_root(file: impl AsFd) -> Result<bool> {
    Ok(fstat(file.as_fd()).or_call(|| "fstat")?.st_ino == 1)
}

fn same_file(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    let (one, other) = (fstat(one.as_fd()).or_call(|| "fstat")?, fstat(other.as_fd()).or_call(|| "fstat")?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Makes the root filesystem the root. Nothing of the host can be reached by a path afterwards.
pub fn change_root(inside: Inside, root: &Root, rootfs: &Rootfs) -> Result<InRoot> {
    let changing = || -> Result<()> {
        fchdir(&rootfs.dir).or_call(|| "fchdir(root)")?;
        match root.switch {
            RootSwitch::Pivot => {
                pivot_to_cwd().or_call(|| "pivot_root(\".\", \".\")")?;
                // The old root is on top of the new one now; below it is nothing that we need.
                umount2(".", MntFlags::MNT_DETACH).or_call(|| "umount2(\".\", DETACH)")?;
            }
            RootSwitch::Move => {
                hide_full_proc_and_sysfs(rootfs)?;
                let top = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                    .or_call(|| "open(\"/\")")?;
                attach(&rootfs.dir, &top).or_call(|| "move_mount(\"/\")")?;
                chroot(".").or_call(|| "chroot(\".\")")?;
            }
            RootSwitch::Chroot => chroot(".").or_call(|| "chroot(\".\")")?,
        }
        chdir("/").or_call(|| "chdir(\"/\")")
    };
    changing().within(|| "change to the root filesystem")?;
    Ok(inside.root_changed())
}

/// Without pivot_root the old root stays below the new one: whoever gets out of the chroot must not find a procfs or sysfs
/// without masks there.
fn hide_full_proc_and_sysfs(rootfs: &Rootfs) -> Result<()> {
    // As the kernel writes it: the configured path may contain symlinks.
    let link = sys::fd::proc_path(&rootfs.dir);
    let own = PathBuf::from(readlink(link.as_str()).or_call(|| format!("readlink({link:?})"))?);
    for line in procfs::read_own("/proc/self/mountinfo")?.lines().rev() {
        let Some((place, filesystem)) = line.split_once(" - ") else { continue };
        if !filesystem.starts_with("proc ") && !filesystem.starts_with("sysfs ") {
            continue;
        }
        let Some(mount_point) = place.split(' ').nth(4).map(procfs::unescaped) else { continue };
        let mount_point = mount_point.as_str();
        if Path::new(mount_point).starts_with(&own) {
            continue;
        }
        match umount2(mount_point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // Locked by the user namespace that it came from: cover it.
            Err(Errno::EINVAL | Errno::EPERM) => {
                let tmpfs =
                    Filesystem { kind: "tmpfs".to_owned(), source: "tmpfs".to_owned(), ..Filesystem::default() };
                let place = open(mount_point, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                    .or_call(|| format!("open({mount_point:?})"))?;
                attach(make(&tmpfs, None)?, place).or_call(|| format!("move_mount({mount_point:?})"))?;
            }
            Err(errno) => return Err(Error::call(format!("umount2({mount_point:?})"), errno)),
        }
    }
    Ok(())
}

/// What must come when everything is in place: read-only mounts, a read-only root, the propagation of the root.
pub fn seal_root(_: &InRoot, root: &Root, rootfs: &Rootfs) -> Result<()> {
    let readonly = Attributes { set: attr::RDONLY, ..Attributes::default() };
    for mounted in &rootfs.readonly_later {
        set_attributes(mounted, Reach::Mount, &readonly).or_call(|| "mount_setattr(RDONLY)")?;
    }
    if root.readonly {
        set_attributes(&rootfs.dir, Reach::Mount, &readonly)
            .or_call(|| "mount_setattr(\"/\", RDONLY)")
            .within(|| "root.readonly")?;
    }
    if let Some(propagation) = root.after {
        set_attributes(&rootfs.dir, Reach::Mount, &Attributes { propagation, ..Attributes::default() })
            .or_call(|| "mount_setattr(\"/\")")
            .within(|| "linux.rootfsPropagation")?;
    }
    Ok(())
}

fn taken(passed: Option<sys::fd::Passed>) -> Result<OwnedFd> {
    let missing = || Error::new(Kind::Failed, "the source was not opened");
    passed.ok_or_else(missing)?.take().or_call(|| "fcntl(F_SETFD)")
}
