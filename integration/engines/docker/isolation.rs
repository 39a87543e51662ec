//! `docker run`: what the program may do and see.

use std::fs;

use super::Docker;
use crate::support::case::{Case, cases, in_one_of_five};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::machine::has_apparmor;
use crate::support::wait::until;
use crate::support::{differs, requires};

pub fn cases() -> Vec<Case<Docker>> {
    cases![
        default_capabilities,
        chosen_capabilities,
        privileged,
        no_new_privileges,
        default_seccomp,
        own_seccomp,
        masked_and_read_only,
        memory,
        cpu,
        pids,
        oom,
        ulimit,
        sysctl,
        oom_score,
        shared_memory_size,
        device,
        device_rule,
        pid_of_host,
        pid_of_container,
        ipc_and_uts_of_host,
        cgroup_namespace,
    ]
}

/// A line of /proc/self/status.
#[track_caller]
fn status(docker: &Docker, options: &str, field: &str) -> String {
    let output = docker.sh(options, &format!("grep {field}: /proc/self/status")).ok();
    output.line().rsplit('\t').next().unwrap().to_owned()
}

fn default_capabilities(docker: &Docker) {
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(docker, "", field), "00000000a80425fb", "{field}");
    }
    assert_eq!(status(docker, "--user user", "CapEff"), "0000000000000000");
}

fn chosen_capabilities(docker: &Docker) {
    assert_eq!(status(docker, "--cap-drop ALL --cap-add NET_ADMIN", "CapEff"), "0000000000001000");
    let chown = "touch /tmp/file && chown user /tmp/file";
    docker.sh("", chown).ok().silent();
    let output = docker.sh("--cap-drop CHOWN", chown).exits(1);
    assert!(output.stderr.contains("Operation not permitted"), "{}", output.stderr);
    // Not without NET_ADMIN.
    let link = "ip link set lo down";
    docker.sh("", link).exits(2);
    docker.sh("--cap-add NET_ADMIN", link).ok();
}

fn privileged(docker: &Docker) {
    differs!(Runc, "it fails where the machine itself lacks capabilities");
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    let ours = ours.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let ours = u64::from_str_radix(ours, 16).unwrap();
    // The list of Docker 20 ends with AUDIT_READ (37).
    let expected = [ours, ours & 0x3f_ffff_ffff].map(|it| format!("{it:016x}"));
    let given = status(docker, "--privileged", "CapEff");
    assert!(expected.contains(&given), "{given}, not {expected:?}");
    docker
        .sh("--privileged", "mount -t tmpfs none /tmp && test -w /proc/sys/kernel/hostname && test -e /dev/kmsg")
        .ok();
}

fn no_new_privileges(docker: &Docker) {
    assert_eq!(status(docker, "--security-opt no-new-privileges", "NoNewPrivs"), "1");
    assert_eq!(status(docker, "", "NoNewPrivs"), "0");
}

fn default_seccomp(docker: &Docker) {
    requires!(!has_apparmor(), "no AppArmor, whose profile denies the same");
    assert_eq!(status(docker, "", "Seccomp"), "2");
    // What an unprivileged user may do on the host.
    let unshare = "unshare -U true";
    docker.sh("--user user", unshare).exits(1);
    docker.sh("--user user --security-opt seccomp=unconfined", unshare).ok();
    assert_eq!(status(docker, "--security-opt seccomp=unconfined", "Seccomp"), "0");
}

fn own_seccomp(docker: &Docker) {
    let profile = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]
    }"#;
    let file = docker.script("profile.json", profile);
    let output = docker.sh(&format!("--security-opt seccomp={file}"), "mkdir /tmp/new").exits(1);
    assert!(output.stderr.contains("No space left on device"), "{}", output.stderr);
}

fn masked_and_read_only(docker: &Docker) {
    let output = docker.sh("", "cat /proc/kcore /proc/keys | wc -c; ls /sys/firmware").ok();
    assert_eq!(output.stdout, "0\n");
    let output = docker.sh("", "echo 1 >/proc/sys/vm/drop_caches").exits(1);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
}

fn memory(docker: &Docker) {
    let container = docker.asleep("--memory 64m --memory-reservation 32m --memory-swappiness 0");
    assert_eq!(container.cgroup_file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(container.cgroup_file("memory", "memory.soft_limit_in_bytes"), "33554432");
    if cgroup::is_v2() {
        assert_eq!(container.sh("cat /sys/fs/cgroup/memory.max"), "67108864\n");
    } else {
        assert_eq!(container.cgroup_file("memory", "memory.swappiness"), "0");
        assert_eq!(container.sh("cat /sys/fs/cgroup/memory/memory.limit_in_bytes"), "67108864\n");
    }
}

fn cpu(docker: &Docker) {
    let container = docker.asleep("--cpus 0.5 --cpu-shares 512 --cpuset-cpus 0");
    assert_eq!(container.cgroup_file("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(container.cgroup_file("cpu", "cpu.cfs_period_us"), "100000");
    assert_eq!(container.cgroup_file("cpu", "cpu.shares"), cgroup::shares(512));
    assert_eq!(container.cgroup_file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(container.sh("grep Cpus_allowed_list /proc/self/status"), "Cpus_allowed_list:\t0\n");
}

fn pids(docker: &Docker) {
    let container = docker.asleep("--pids-limit 5");
    assert_eq!(container.cgroup_file("pids", "pids.max"), "5");
    let output = docker.sh("--pids-limit 5", "for i in 1 2 3 4 5 6; do sleep 600 & done").exits(2);
    assert!(output.stderr.contains("can't fork"), "{}", output.stderr);
}

fn oom(docker: &Docker) {
    in_one_of_five("OOMKilled", || {
        let container = docker.container();
        container.call(&format!("run --name NAME --memory 16m --memory-swap 16m {BOX} tail /dev/zero")).exits(137);
        container.inspect(".State.OOMKilled") == "true"
    });
}

fn ulimit(docker: &Docker) {
    let output = docker.sh("--ulimit nofile=100:200 --ulimit core=0", "ulimit -n; ulimit -Hn; ulimit -c").ok();
    assert_eq!(output.stdout, "100\n200\n0\n");
}

fn sysctl(docker: &Docker) {
    let options = "--sysctl net.ipv4.ip_default_ttl=33 --sysctl kernel.msgmax=4096";
    let output = docker.sh(options, "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax").ok();
    assert_eq!(output.stdout, "33\n4096\n");
    assert_ne!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), "33\n");
}

fn oom_score(docker: &Docker) {
    let output = docker.sh("--oom-score-adj 500", "cat /proc/self/oom_score_adj").ok();
    assert_eq!(output.line(), "500");
}

fn shared_memory_size(docker: &Docker) {
    let output = docker.sh("--shm-size 8m", "df -k /dev/shm | tail -n 1").ok();
    assert_eq!(output.line().split_whitespace().nth(1), Some("8192"), "{}", output.stdout);
}

/// A device that whoever opens it does nothing to.
const DEVICE: &str = "/dev/loop-control";

fn device(docker: &Docker) {
    requires!(fs::exists(DEVICE).unwrap(), DEVICE);
    let script = "stat -c %t:%T /dev/new; : </dev/new; : >/dev/new";
    let output = docker.sh(&format!("--device {DEVICE}:/dev/new:rw"), script).ok();
    assert_eq!(output.stdout, "a:ed\n");
    let output = docker.sh(&format!("--device {DEVICE}:/dev/new:r"), script).exits(1);
    assert!(output.stderr.contains("can't create /dev/new: Operation not permitted"), "{}", output.stderr);
}

/// A node that somebody makes himself is of no use without a rule for it.
fn device_rule(docker: &Docker) {
    requires!(fs::exists(DEVICE).unwrap(), DEVICE);
    let script = "mknod /tmp/new c 10 237 && : </tmp/new";
    let output = docker.sh("", script).exits(1);
    assert!(output.stderr.contains("can't open /tmp/new: Operation not permitted"), "{}", output.stderr);
    let run = docker.command("run --rm --device-cgroup-rule").arg("c 10:237 r").args([BOX, "sh", "-c", script]);
    run.output().ok().silent();
}

/// A namespace of ours.
fn namespace(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned()
}

fn pid_of_host(docker: &Docker) {
    let output = docker.sh("--pid host", "readlink /proc/self/ns/pid; cat /proc/1/comm").ok();
    let first = fs::read_to_string("/proc/1/comm").unwrap();
    assert_eq!(output.stdout, format!("{}\n{first}", namespace("pid")));
    // Nobody but the cgroup knows what it has started.
    let container = docker.detached("--pid host", "sleep 601 & echo started; sleep 600");
    container.says("started");
    container.call("kill NAME").ok();
    container.call("wait NAME").ok();
    until("the end of its processes", || (!is_running("sleep\x00601\0")).then_some(()));
}

fn is_running(command: &str) -> bool {
    let commands = fs::read_dir("/proc").unwrap().filter_map(|it| fs::read(it.ok()?.path().join("cmdline")).ok());
    commands.into_iter().any(|it| it == command.as_bytes())
}

fn pid_of_container(docker: &Docker) {
    let first = docker.asleep("");
    let output = docker.sh(&format!("--pid container:{}", first.name), "cat /proc/1/cmdline").ok();
    assert_eq!(output.stdout, "sleep\x00600\0");
}

fn ipc_and_uts_of_host(docker: &Docker) {
    for name in ["ipc", "uts"] {
        let inside =
            |options: &str| docker.sh(options, &format!("readlink /proc/self/ns/{name}")).ok().line().to_owned();
        assert_eq!(inside(&format!("--{name} host")), namespace(name));
        assert_ne!(inside(""), namespace(name));
    }
    let first = docker.asleep("--ipc shareable");
    let theirs = first.sh("readlink /proc/self/ns/ipc; touch /dev/shm/file");
    let script = "readlink /proc/self/ns/ipc; ls /dev/shm";
    let output = docker.sh(&format!("--ipc container:{}", first.name), script).ok();
    assert_eq!(output.stdout, format!("{theirs}file\n"));
}

fn cgroup_namespace(docker: &Docker) {
    let paths = |options: &str| docker.sh(options, "cut -d : -f 3 /proc/self/cgroup | sort -u").ok().line().to_owned();
    assert_eq!(paths("--cgroupns private"), "/");
    let container = docker.asleep("--cgroupns host");
    let host = container.sh("cut -d : -f 3 /proc/self/cgroup | sort -u");
    assert_eq!(host.trim_end(), docker.cgroup_path(&container.inspect(".Id")));
    assert!(cgroup::directory("memory", host.trim_end()).exists());
}
