//! `ctr run`: a program, its output and its end.

use std::fs;

use super::{Containerd, runtime, talk_in_terminal, unhurried};
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![
        prints,
        reads,
        exit_status,
        refused,
        interactive_terminal,
        detached,
        environment,
        rights,
        seccomp_profile,
        limits,
        mounts,
        host_network,
        joined_namespace,
        user_namespace,
        whole_specification,
        runc_by_its_name,
        state_of_its_own,
        output_elsewhere,
        devices,
        without_pivot_root,
    ]
}

fn prints(containerd: &Containerd) {
    let output = containerd.sh("", "echo out; echo err >&2").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

fn reads(containerd: &Containerd) {
    let id = containerd.name();
    // Not to the end of stdin: `ctr` does not notice one that is there from the beginning.
    let words = format!("run --rm {} {BOX} {id} sh -c", runtime());
    let output = containerd.command(&words).arg(unhurried("head -n 1")).stdin("words\n").output().ok();
    assert_eq!(output.stdout, "words\n");
}

fn exit_status(containerd: &Containerd) {
    for status in [0, 1, 42, 255] {
        containerd.sh("", &format!("exit {status}")).exits(status).silent();
    }
    containerd.sh("", "sh -c 'kill -9 $$'; exit $?").exits(137);
}

fn refused(containerd: &Containerd) {
    let rows: [(&str, &str, &[&str]); 6] = [
        ("", "nothing", &["exec: \"nothing\": executable file not found in $PATH"]),
        ("", "/bin/nothing", &["exec: \"/bin/nothing\"", "no such file or directory"]),
        ("", "/etc/passwd", &["exec: \"/etc/passwd\"", "permission denied"]),
        ("", "/etc", &["exec: \"/etc\"", "permission denied"]),
        ("--cwd /etc/passwd", "true", &["/etc/passwd", "not a directory"]),
        ("--mount type=bind,src=/no/such,dst=/mnt,options=rbind", "true", &["/no/such", "no such file or directory"]),
    ];
    for (options, program, needles) in rows {
        let container = containerd.container();
        let output = container.call(&format!("run {} {options} {BOX} ID {program}", runtime())).exits(1);
        let is_said = |needle: &&str| output.stderr.contains(needle);
        assert!(needles.iter().all(is_said), "{program}: {}", output.stderr);
        assert!(output.stderr.contains("OCI runtime create failed: "), "{}", output.stderr);
        assert_eq!(container.task(), None);
    }
}

fn interactive_terminal(containerd: &Containerd) {
    let id = containerd.name();
    talk_in_terminal(containerd.command(&format!("run --rm --tty {} {BOX} {id} sh", runtime())), 3);
}

fn detached(containerd: &Containerd) {
    let pid_file = containerd.path(&containerd.name());
    let container = containerd.asleep(&format!("--pid-file {}", pid_file.display()));
    let (pid, status) = container.task().unwrap();
    assert_eq!(status, "RUNNING");
    assert_eq!(fs::read_to_string(pid_file).unwrap(), pid.to_string());
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(file("cmdline"), "sleep\x00600\0");
    // The shim takes it, and will know its exit status.
    let parent = file("status").lines().find_map(|line| line.strip_prefix("PPid:\t").map(str::to_owned)).unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{parent}/comm")).unwrap(), "containerd-shim\n");
    let cgroup = format!("{}/{}", containerd.cgroup_parent(), container.id);
    assert!(file("cgroup").lines().all(|line| line.ends_with(&cgroup)), "{}", file("cgroup"));
}

fn environment(containerd: &Containerd) {
    let output = containerd.sh("--env A=b --cwd /var", "echo $A $PATH; pwd").ok();
    assert_eq!(output.stdout, "b /bin\n/var\n");
}

fn rights(containerd: &Containerd) {
    let script = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; touch /file && rm /file";
    let status = |options: &str| containerd.sh(options, script).stdout;
    assert_eq!(status(""), "CapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t0\n");
    let options = "--cap-add CAP_SYS_ADMIN --cap-drop CAP_CHOWN --seccomp --allow-new-privs";
    assert_eq!(status(options), "CapEff:\t00000000a82425fa\nNoNewPrivs:\t0\nSeccomp:\t2\n");
    let output = containerd.sh("--read-only", script).exits(1);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    let output = containerd.sh("--privileged", "mount -t tmpfs none /tmp; ls /dev/kmsg; wc -c </proc/timer_list").ok();
    assert!(output.stdout.starts_with("/dev/kmsg\n") && !output.stdout.ends_with("\n0\n"), "{}", output.stdout);
}

fn seccomp_profile(containerd: &Containerd) {
    let profile = containerd.path(&containerd.name());
    let rules =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    fs::write(&profile, rules).unwrap();
    let options = format!("--seccomp --seccomp-profile {}", profile.display());
    let output = containerd.sh(&options, "mkdir /tmp/x").exits(1);
    assert!(output.stderr.contains("Operation not permitted"), "{}", output.stderr);
}

fn limits(containerd: &Containerd) {
    let container = containerd.asleep("--memory-limit 67108864 --cpus 0.5 --cpu-shares 300");
    assert_eq!(container.cgroup_file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(container.cgroup_file("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(container.cgroup_file("cpu", "cpu.shares"), cgroup::shares(300));
    let group = format!("{}/other-{}", containerd.cgroup_parent(), container.id);
    let other = containerd.asleep(&format!("--cgroup {group}"));
    let procs = cgroup::directory("pids", &group).join("cgroup.procs");
    assert_eq!(fs::read_to_string(procs).unwrap(), format!("{}\n", other.task().unwrap().0));
}

fn mounts(containerd: &Containerd) {
    let directory = containerd.path(&containerd.name());
    fs::create_dir(&directory).unwrap();
    let bind = |options: &str| format!("--mount type=bind,src={},dst=/data/new,options={options}", directory.display());
    containerd.sh(&bind("rbind:rw"), "echo hello >/data/new/file").ok();
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "hello\n");
    let output = containerd.sh(&bind("rbind:ro"), "cat /data/new/file; echo >/data/new/file").exits(1);
    assert_eq!(output.stdout, "hello\n");
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    let output =
        containerd.sh("--mount type=tmpfs,src=tmpfs,dst=/data,options=size=64k", "df -k /data | tail -n 1").ok();
    assert_eq!(output.stdout.split_whitespace().nth(1), Some("64"));
}

fn host_network(containerd: &Containerd) {
    let output = containerd.sh("--net-host", "readlink /proc/self/ns/net").ok();
    assert_eq!(output.line(), fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
}

fn joined_namespace(containerd: &Containerd) {
    let container = containerd.asleep("");
    let (pid, _) = container.task().unwrap();
    let namespaces = ["pid", "ipc"].map(|name| format!("--with-ns {name}:/proc/{pid}/ns/{name}")).join(" ");
    let script = "readlink /proc/self/ns/ipc; cat /proc/1/comm";
    let output = containerd.sh(&namespaces, script).ok();
    assert_eq!(output.stdout, container.sh(script));
    assert!(output.stdout.ends_with("\nsleep\n"), "{}", output.stdout);
}

fn user_namespace(containerd: &Containerd) {
    let options = "--uidmap 0:200000:65536 --gidmap 0:200000:65536";
    let output = containerd.sh(options, "cat /proc/self/uid_map; id -u; echo >/new; stat -c %u /new").ok();
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "65536", "0", "0"]);
}

/// Not one of containerd's making.
fn whole_specification(containerd: &Containerd) {
    let container = containerd.container();
    let directory = containerd.path(&container.id);
    fs::create_dir(&directory).unwrap();
    crate::support::rootfs::make(&directory.join("rootfs"));
    let mut specification: serde_json::Value =
        serde_json::from_str(&containerd.command("oci spec").output().ok().stdout).unwrap();
    specification["root"]["path"] = directory.join("rootfs").to_str().unwrap().into();
    specification["linux"]["cgroupsPath"] = format!("{}/{}", containerd.cgroup_parent(), container.id).into();
    specification["process"]["args"] = serde_json::json!(["/bin/sh", "-c", unhurried("/bin/echo hello")]);
    let file = directory.join("config.json");
    fs::write(&file, specification.to_string()).unwrap();
    let output = container.call(&format!("run --rm {} --config {} ID", runtime(), file.display())).ok();
    assert_eq!(output.stdout, "hello\n");
}

fn output_elsewhere(containerd: &Containerd) {
    containerd.sh("--null-io", "echo out").ok().silent();
    let log = containerd.path(&containerd.name());
    // Nothing on stderr: this shim closes the file when one of the two streams is at its end.
    let _container = containerd.detached(&format!("--log-uri file://{}", log.display()), "echo out");
    until("its output", || (fs::read_to_string(&log).ok()? == "out\n").then_some(()));
}

fn devices(containerd: &Containerd) {
    let output = containerd.sh("--device /dev/fuse", "stat -c %t:%T /dev/fuse; exec 3<>/dev/fuse").ok();
    assert_eq!(output.stdout, "a:e5\n");
}

fn without_pivot_root(containerd: &Containerd) {
    let output = containerd.sh("--no-pivot", "echo hello; ls /proc/1/root/bin/busybox").ok();
    assert_eq!(output.stdout, "hello\n/proc/1/root/bin/busybox\n");
}

fn runc_by_its_name(containerd: &Containerd) {
    let id = containerd.name();
    let output = containerd.command(&format!("run --rm {BOX} {id} sh -c")).arg(unhurried("echo hello")).output().ok();
    assert_eq!(output.stdout, "hello\n");
    let output = containerd.command(&format!("run --rm {BOX} {id} nothing")).output().exits(1);
    assert!(output.stderr.contains("runc create failed: "), "{}", output.stderr);
}

fn state_of_its_own(containerd: &Containerd) {
    let root = containerd.path(&containerd.name());
    let container = containerd.asleep(&format!("--runc-root {}", root.display()));
    let state = root.join(containerd.namespace()).join(&container.id);
    assert!(state.is_dir());
    drop(container);
    assert!(!state.exists());
}
