//! The last steps before the program: who it is, where it begins, and which file it is. What changes who the process is, is
//! written to a script, and happens later.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, Uid, chdir, faccessat, fchown, getcwd};

use super::{Affinity, ProcessPlan, env, rlimits};
use crate::config::execution::Personality;
use crate::config::process::User;
use crate::error::{Error, Kind, OrCall, Refusal, Result, Within, phrases};
use crate::fs::rootdir::{Missing, RootDir};
use crate::fs::{c_path, c_string};
use crate::subsystems::capabilities::{self, Surplus};
use crate::subsystems::devices;
use crate::subsystems::doors::{InRoot, Unprivileged};
use crate::sys;
use crate::sys::schedule;
use crate::sys::script::Script;

/// Makes the working directory when it is missing, as runc and crun do, while the root can still be written to.
pub fn make_cwd(_: &InRoot, root: &RootDir, plan: &ProcessPlan) -> Result<()> {
    match root.find_or_make(&plan.cwd, Missing::Directory) {
        Ok(_) => Ok(()),
        // A read-only image: whether the program can do without it shows when it is entered.
        Err(error) if error.kind() == Kind::Denied => Ok(()),
        Err(error) => Err(error).within(|| "process.cwd"),
    }
}

/// Enters the working directory, as root; when that is refused, as the user, later.
pub fn enter_cwd(_: &InRoot, plan: &ProcessPlan) -> Result<()> {
    match chdir(&plan.cwd) {
        Ok(()) | Err(Errno::EACCES) => Ok(()),
        Err(errno) => Err(Error::call(format!("chdir({:?})", plan.cwd), errno)).within(|| "process.cwd"),
    }
}

/// The environment that the program finds.
pub fn environment(_: &InRoot, root: &RootDir, plan: &ProcessPlan) -> Vec<String> {
    let mut variables = plan.env.clone();
    if env::get(&variables, "HOME").is_none_or(str::is_empty) {
        env::add_home(&mut variables, &passwd(root).unwrap_or_default(), plan.user.uid);
    }
    variables
}

/// The image's passwd(5), if it is a file and of a size that one has: it could be a link to `/dev/zero`.
fn passwd(root: &RootDir) -> Option<String> {
    const PATH: &str = "/etc/passwd";
    const LARGEST: i64 = 1 << 20;
    let handle = root.find(Path::new(PATH)).ok()??;
    let stat = fstat(&handle).ok()?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG || stat.st_size > LARGEST {
        return None;
    }
    let file = root.open(Path::new(PATH), OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok()?;
    let same = fstat(&file).ok().filter(|opened| (opened.st_dev, opened.st_ino) == (stat.st_dev, stat.st_ino))?;
    let mut content = vec![0; usize::try_from(same.st_size).ok()?];
    let count = nix::unistd::read(&file, &mut content).ok()?;
    content.truncate(count);
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// Makes the three streams the container's: what the engine gave us may be the host's null device, and the rest belongs to
/// root.
///
/// CVE-2026-88265: whoever has a file open as its owner may change its mode, so the container's root could make the host's
/// `/dev/null` unusable for everybody. It gets the container's own instead.
pub fn hand_over_stdio(in_root: &InRoot, root: &RootDir, plan: &ProcessPlan) -> Result<()> {
    let mut own_null = None;
    for number in 0..3 {
        let stream = sys::fd::borrow(number);
        // Not open at all.
        let Ok(stat) = fstat(stream) else { continue };
        if devices::inside::is_null(stream)? {
            let null = match own_null.take() {
                Some(null) => null,
                None => devices::inside::open_null(in_root, root).within(|| "standard streams")?,
            };
            sys::fd::put_at(&null, number).or_call(|| format!("dup2(\"/dev/null\", {number})"))?;
            own_null = Some(null);
        } else if stat.st_uid != plan.user.uid {
            give_away(stream, plan.user.uid)?;
        }
    }
    Ok(())
}

/// Lets the user open `/dev/stdout` again: pipes and files that the engine made belong to root.
fn give_away(stream: BorrowedFd<'_>, uid: u32) -> Result<()> {
    match fchown(stream, Some(Uid::from_raw(uid)), None) {
        // Not ours to give away, on a read-only filesystem, or an id that is not mapped: the program has it open.
        Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL | Errno::EACCES) => Ok(()),
        Err(errno) => Err(Error::call(format!("fchown({}, {uid})", stream.as_raw_fd()), errno)),
    }
}

/// Takes its groups. The ids are [`become_user`]'s.
pub fn take_groups(_: &InRoot, plan: &ProcessPlan) -> Result<()> {
    match plan.user.keeps_groups {
        true => Ok(()),
        false => set_groups(&plan.user.additional_gids).within(|| "process.user"),
    }
}

/// Writes how it becomes the container's user. All that is kept beyond what it may have in the end is the right to load a
/// filter.
pub fn become_user(in_root: &InRoot, plan: &ProcessPlan, script: &mut Script) -> Result<Surplus> {
    capabilities::limit_bounding(in_root, plan.capabilities.bounding, script)?;
    let keepcaps = script.frame(Refusal::of("prctl(PR_SET_KEEPCAPS)"));
    script.prctl(libc::PR_SET_KEEPCAPS, 1, 0, keepcaps);
    let User { uid, gid, .. } = plan.user;
    let refused = script.frame(Refusal::of(format!("setresgid({gid})")).within("process.user"));
    script.set_gid(gid, refused);
    let refused = script.frame(Refusal::of(format!("setresuid({uid})")).within("process.user"));
    script.set_uid(uid, refused);
    script.prctl(libc::PR_SET_KEEPCAPS, 0, 0, keepcaps);
    capabilities::set(in_root, &plan.capabilities, script)
}

/// Writes how the last right is given away.
pub fn drop_privileges(in_root: InRoot, plan: &ProcessPlan, surplus: &Surplus, script: &mut Script) -> Unprivileged {
    capabilities::finish(&in_root, surplus, script);
    if plan.no_new_privileges {
        let refused = script.frame(Refusal::of("prctl(PR_SET_NO_NEW_PRIVS)").within("process.noNewPrivileges"));
        script.prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, refused);
    }
    in_root.privileges_dropped()
}

fn set_groups(gids: &[u32]) -> Result<()> {
    match sys::ids::set_groups(gids) {
        // Nothing was asked for, and a rootless user namespace forbids it (user_namespaces(7), "setgroups").
        Err(Errno::EPERM) if gids.is_empty() => Ok(()),
        other => other.or_call(|| format!("setgroups({gids:?})")),
    }
}

/// Who looks for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeker {
    /// The process that executes it.
    Itself,
    /// One that is not in the pid namespace yet: `/proc/self` leads nowhere for it.
    Outside,
}

/// Finds the working directory and the program, with the rights that the program's user will have.
pub fn find_program(in_root: &InRoot, plan: &ProcessPlan, environment: &[String], seeker: Seeker) -> Result<Program> {
    capabilities::with_rights_of(in_root, &plan.user, &plan.capabilities, || {
        verify_cwd(plan)?;
        find(plan, environment, seeker)
    })
}

/// CVE-2024-21626: whoever it is entered as, the working directory must be below the root.
fn verify_cwd(plan: &ProcessPlan) -> Result<()> {
    let entering = || -> Result<()> {
        chdir(&plan.cwd).or_call(|| format!("chdir({:?})", plan.cwd))?;
        match getcwd() {
            Ok(path) if path.is_absolute() => Ok(()),
            Ok(_) | Err(Errno::ENOENT) => {
                Err(Error::new(Kind::Denied, "it is outside of the container's root filesystem"))
            }
            Err(errno) => Err(Error::call("getcwd", errno)),
        }
    };
    entering().within(|| "process.cwd")
}

/// A program, ready to be executed.
#[derive(Debug)]
#[expect(missing_docs, reason = "execve(2)'s")]
pub struct Program {
    pub path: CString,
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
    /// Of a script, what its first line says.
    pub interpreter: Option<String>,
}

/// Writes the limits that the process may set itself.
///
/// ORDER: behind everything that opens files, and before the ids change: raising a limit is root's right.
pub fn set_rlimits(_: &InRoot, plan: &ProcessPlan, script: &mut Script) {
    rlimits::write_all(&plan.rlimits, script);
}

/// Sets how the kernel is to run the program: on which CPUs, with which memory and as which kind of Linux.
///
/// ORDER: in its cgroups, which say what there is to choose from; before the filter, which may forbid it.
pub fn set_execution(_: &InRoot, plan: &ProcessPlan) -> Result<()> {
    match &plan.affinity {
        Affinity::All => {
            if let Err(errno) = schedule::reset_affinity() {
                log::debug!("the CPU affinity stays as it is: {errno}");
            }
        }
        Affinity::Inherited => {}
        Affinity::Only(cpus) => schedule::set_affinity(cpus.words())
            .or_call(|| format!("sched_setaffinity(\"{cpus}\")"))
            .within(|| "process.execCPUAffinity.final")?,
    }
    if let Some(policy) = &plan.execution.memory_policy {
        let nodes = policy.nodes.as_ref().map_or(&[][..], |nodes| nodes.words());
        schedule::set_memory_policy(policy.mode | policy.flags, nodes)
            .or_call(|| format!("set_mempolicy({})", policy.mode_name()))
            .within(|| "linux.memoryPolicy")?;
    }
    if let Some(personality) = plan.execution.personality {
        let persona = match personality {
            Personality::Linux => 0,
            Personality::Linux32 => 8,
        };
        schedule::set_personality(persona)
            .or_call(|| format!("personality({persona})"))
            .within(|| "linux.personality")?;
    }
    Ok(())
}

/// Finds the file of `args[0]` like execvp(3) does, with the container's PATH, its files and its user.
fn find(plan: &ProcessPlan, environment: &[String], seeker: Seeker) -> Result<Program> {
    let strings = |list: &[String]| list.iter().map(|text| c_string(text)).collect::<Result<Vec<_>>>();
    let finding = || -> Result<CString> {
        let name = plan.args.first().map(String::as_str).unwrap_or_default();
        match find_file(name, env::get(environment, "PATH").unwrap_or(DEFAULT_PATH)) {
            // execve has the last word.
            Err(error) if seeker == Seeker::Outside && error.errno() == Some(Errno::ENOENT) => c_string(name),
            found => c_path(&found?),
        }
    };
    let path = finding().within(|| "process.args[0]: exec")?;
    Ok(Program {
        interpreter: interpreter(&path),
        path,
        arguments: strings(&plan.args)?,
        environment: strings(environment)?,
    })
}

/// Writes how it is executed, the last step.
pub fn execute(program: &Program, script: &mut Script) {
    // COMPAT(Docker, Podman): "exec" and the errno in words decide about exit statuses 126 and 127.
    let shown = program.arguments.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let refusal = Refusal::of(format!("exec: {shown:?}")).within("process.args[0]");
    // The file is there, it was found: what is missing is the program that is to run it.
    let refusal = match &program.interpreter {
        Some(interpreter) => refusal.hint(Errno::ENOENT, None, format!("its interpreter {interpreter:?} is missing")),
        None => refusal,
    };
    let refused = script.frame(refusal);
    script.execute(&program.path, &program.arguments, &program.environment, refused);
}

/// What a script says in its first line.
fn interpreter(path: &CStr) -> Option<String> {
    // It may be anything: a FIFO must not hang us, a terminal must not become ours.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return None;
    }
    let mut beginning = [0_u8; 256];
    let count = nix::unistd::read(&file, &mut beginning).ok()?;
    let text = String::from_utf8_lossy(beginning.get(..count)?).into_owned();
    let line = text.strip_prefix("#!")?.lines().next()?;
    line.split_ascii_whitespace().next().map(str::to_owned)
}

/// What execvp(3) of the C library uses without PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn find_file(name: &str, path: &str) -> Result<PathBuf> {
    if name.contains('/') {
        return check_file(Path::new(name)).map(|()| name.into()).within(|| format!("{name:?}"));
    }
    let mut refused = None;
    for directory in path.split(':').filter(|_| !name.is_empty()) {
        // An empty element is the working directory.
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check_file(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::new(Kind::Failed, phrases::NOT_IN_PATH))).within(|| format!("{name:?}"))
}

fn check_file(path: &Path) -> Result<()> {
    let stat = nix::sys::stat::stat(path).map_err(|errno| Error::call(format!("stat({path:?})"), errno))?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
        // COMPAT(Docker, Podman): both phrases, for exit status 126.
        return Err(Error::call("is a directory", Errno::EACCES));
    }
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
        .map_err(|errno| Error::call(format!("access({path:?}, X_OK)"), errno))
}
