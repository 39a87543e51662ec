//! Texts that other programs search for in our output, each with who does. Tests import the same constants.
//!
//! The programs are found in the project's reference of callers: containerd's shim, Docker, Podman, CRI-O, Buildah.

/// containerd's shim (delete: then all is well; kill: not found), CRI-O, youki's contest.
pub const DOES_NOT_EXIST: &str = "container does not exist";
/// runc's users and tests: `--systemd-cgroup` with the path of a cgroup.
pub const SLICE_PREFIX_NAME: &str = "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups";
/// Users and scripts of runc; CRI-O's tests.
pub const ID_TAKEN: &str = "container with given ID already exists";
/// containerd's shim and CRI-O: killing a stopped container is then no failure.
pub const NOT_RUNNING: &str = "container not running";
/// runc's tests, and users of its `resume`.
pub const NOT_PAUSED: &str = "container not paused";
/// Docker and Podman turn it into exit status 127.
pub const NOT_IN_PATH: &str = "executable file not found in $PATH";
/// runc's tests and every front end that prints it as it is.
pub const START_STOPPED: &str = "cannot start a container that has stopped";
/// The same.
pub const START_RUNNING: &str = "cannot start an already running container";
/// runc's tests; a mount point of proc or sysfs that is a symlink.
pub const ORDINARY_DIRECTORY: &str = "must be mounted on ordinary directory";
/// runc's users and tests; `create` and `run --detach`.
pub const TERMINAL_NEEDS_SOCKET: &str = "cannot allocate tty if runc will detach without setting console socket";
/// The same.
pub const SOCKET_NEEDS_TERMINAL: &str = "cannot use console socket if runc will not detach or allocate tty";
/// runc's tests and users; `create` without privileges, with limits that need a cgroup.
pub const ROOTLESS_LIMITS: &str = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
/// The same; a warning.
pub const DISCOURAGED: &str = "Such configuration is strongly discouraged";
/// runc's tests: nobody listens at `linux.seccomp.listenerPath`.
pub const NO_AGENT: &str = "failed to connect with seccomp agent";
/// runc's tests and users.
pub const EXEC_PAUSED: &str = "cannot exec in a paused container (use --ignore-paused to override)";
/// The same.
pub const EXEC_STOPPED: &str = "cannot exec in a stopped container";
