//! `podman run`, and what it says about its containers.

use std::fs;
use std::io::Read;
use std::net::TcpStream;

use serde_json::Value;

use super::{Podman, globals, is_a_users};
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::pty::Pty;
use crate::support::run::Run;
use crate::support::wait::until;
use crate::support::{differs, peer, requires};

pub fn cases() -> Vec<Case<Podman>> {
    cases![
        prints,
        exit_status,
        refused,
        terminal,
        user_directory_environment,
        rights,
        limits,
        files,
        no_network,
        published_port,
        host_namespaces,
        without_cgroups,
        preserved_descriptors,
        look,
        stats,
        copies_and_changes,
        info_names_the_runtime,
        by_dockers_client,
    ]
}

fn prints(podman: &Podman) {
    let output = podman.sh("", "echo out").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", ""));
    let words = format!("run --rm --interactive {} {BOX} cat", podman.options());
    let output = podman.command(&words).stdin("words\n").output().ok().no_stderr();
    assert_eq!(output.stdout, "words\n");
}

fn exit_status(podman: &Podman) {
    for status in [0, 1, 42, 125, 255] {
        podman.sh("", &format!("exit {status}")).exits(status).silent();
    }
}

fn refused(podman: &Podman) {
    let rows: [(&str, i32, &[&str]); 4] = [
        ("nothing", 127, &["executable file not found in $PATH"]),
        ("/bin/nothing", 127, &["no such file or directory"]),
        ("/etc/passwd", 126, &["permission denied"]),
        ("/etc", 126, &["permission denied"]),
    ];
    for (program, status, needles) in rows {
        let output = podman.call(&format!("run --rm {} {BOX} {program}", podman.options())).exits(status);
        assert!(needles.iter().all(|it| output.stderr.contains(it)), "{program}: {}", output.stderr);
    }
}

fn terminal(podman: &Podman) {
    let (mut pty, terminal) = Pty::open();
    pty.resize(33, 99);
    let words = format!("run --rm --interactive --tty {} {BOX}", podman.options());
    let shell = podman.command(&words).stdio(&terminal).spawn();
    drop(terminal);
    pty.write("echo $((6 * 7)); tty; stty size\n");
    pty.reads("42\r\n/dev/pts/0\r\n33 99\r\n");
    pty.write("exit 3\n");
    shell.wait().exits(3);
}

fn user_directory_environment(podman: &Podman) {
    let options = "--user user --env A=b --workdir /tmp --hostname box";
    let output = podman.sh(options, "id -u; echo $A; pwd; hostname; echo x >/dev/stdout").ok().no_stderr();
    assert_eq!(output.stdout, "1000\nb\n/tmp\nbox\nx\n");
}

fn rights(podman: &Podman) {
    let status = |options: &str| {
        let output = podman.sh(options, "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cut -f 2").ok();
        output.no_stderr().stdout
    };
    assert_eq!(status("--cap-drop all --cap-add net_admin"), "0000000000001000\n0\n2\n");
    assert_eq!(status("--cap-drop all --security-opt no-new-privileges"), "0000000000000000\n1\n2\n");
    assert_eq!(status("--cap-drop all --security-opt seccomp=unconfined"), "0000000000000000\n0\n0\n");
    let output = podman.sh(
        "--ulimit nofile=100:200 --ulimit nproc=300 --sysctl net.ipv4.ip_default_ttl=33",
        "ulimit -n; cat /proc/sys/net/ipv4/ip_default_ttl",
    );
    assert_eq!(output.ok().no_stderr().stdout, "100\n33\n");
}

fn limits(podman: &Podman) {
    let container = podman.asleep("--memory 64m --cpus 0.5 --cpuset-cpus 0 --pids-limit 50");
    let file = |controller: &str, name: &str| container.cgroup_file(controller, name);
    assert_eq!(file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!((file("cpu", "cpu.cfs_quota_us"), file("cpuset", "cpuset.cpus")), ("50000".into(), "0".into()));
    assert_eq!(file("pids", "pids.max"), "50");
    container.call("update --memory 32m --cpu-shares 300 NAME").ok().no_stderr();
    assert_eq!(file("memory", "memory.limit_in_bytes"), "33554432");
    assert_eq!((file("cpu", "cpu.shares"), file("pids", "pids.max")), (cgroup::shares(300), "50".into()));
}

fn files(podman: &Podman) {
    let directory = podman.directory("volume");
    let options = format!("--read-only --volume {directory}:/data --tmpfs /new:size=64k,notmpcopyup");
    let output = podman.sh(&options, "echo x >/data/file; touch /new/file; touch /file").exits(1);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    assert_eq!(fs::read_to_string(format!("{directory}/file")).unwrap(), "x\n");
    // Podman's own option: a tmpfs begins with what was there.
    let output = podman.sh("--tmpfs /etc", "grep -c user /etc/passwd").ok().no_stderr();
    assert_eq!(output.stdout, "1\n");
}

fn no_network(podman: &Podman) {
    let output = podman.sh("--network none", "ip -o link | cut -d : -f 2").ok().no_stderr();
    assert_eq!(output.stdout, " lo\n");
}

fn published_port(podman: &Podman) {
    requires!(!is_a_users(), "a network");
    let container = podman.detached("--publish 127.0.0.1:8089:80", "nc -ll -p 80 -e echo hello");
    assert_eq!(container.call("port NAME 80").ok().no_stderr().line(), "127.0.0.1:8089");
    let address = format!("{}:80", container.inspect(".NetworkSettings.IPAddress"));
    for address in [address.as_str(), "127.0.0.1:8089"] {
        let mut stream = until(address, || TcpStream::connect(address).ok());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello\n");
    }
}

fn host_namespaces(podman: &Podman) {
    for name in ["net", "pid", "ipc", "uts"] {
        let option = if name == "net" { "network" } else { name };
        let script = format!("readlink /proc/self/ns/{name}");
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_eq!(podman.sh(&format!("--{option} host"), &script).ok().line(), ours.to_str().unwrap());
        assert_ne!(podman.sh("", &script).ok().line(), ours.to_str().unwrap());
    }
}

/// Podman asks that of runtimes only that it knows for it.
fn without_cgroups(podman: &Podman) {
    differs!(Runc, "it has no --cgroup-manager");
    let words = format!("run --rm --cgroups disabled --network none {BOX} cat /proc/self/cgroup");
    let output = podman.call(&words).ok().no_stderr();
    assert!(output.stdout.lines().all(|line| !line.contains("libpod")), "{}", output.stdout);
}

fn preserved_descriptors(podman: &Podman) {
    let words = format!("run --rm {} --preserve-fds 1 {BOX} cat /proc/self/fd/3", podman.options());
    let shell = Run::new("sh").args(["-ec", "exec \"$@\" 3</etc/hostname", "sh", "podman"]);
    let shell = shell.env("CONTAINERS_CONF", podman.place.path("containers.conf"));
    let output = shell.args(globals(&podman.place)).args(words.split(' ')).output().ok().no_stderr();
    assert_eq!(output.stdout, fs::read_to_string("/etc/hostname").unwrap());
}

fn look(podman: &Podman) {
    let container = podman.detached("", "sleep 601 & sleep 602 & echo started; wait");
    container.says("started");
    let output = container.call("top NAME args").ok().no_stderr();
    let mut seen: Vec<_> = output.stdout.lines().map(str::trim_end).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["COMMAND", "sh -c sleep 601 & sleep 602 & echo started; wait", "sleep 601", "sleep 602"]);
    assert_eq!(
        (container.inspect(".State.Status"), container.inspect(".OCIRuntime")),
        ("running".into(), "corten".into())
    );
    let cmdline = fs::read_to_string(format!("/proc/{}/cmdline", container.pid())).unwrap();
    assert!(cmdline.starts_with("sh\0-c\0"), "{cmdline}");
    let words = format!("ps --format {{{{.Status}}}} --filter name={}", container.name);
    assert!(podman.call(&words).ok().no_stderr().stdout.starts_with("Up "));
}

fn stats(podman: &Podman) {
    let container = podman.detached("--memory 64m", "while :; do :; done");
    let format = "{{.Name}}|{{.MemUsage}}|{{.PIDs}}";
    let output =
        container.command("stats --no-stream --format").arg(format).arg(&container.name).output().ok().no_stderr();
    let fields: Vec<_> = output.line().split('|').collect();
    assert_eq!((fields[0], fields[2]), (container.name.as_str(), "1"));
    assert!(fields[1].ends_with(" / 67.11MB") && !fields[1].starts_with("0B"), "{}", fields[1]);
}

fn copies_and_changes(podman: &Podman) {
    let container = podman.detached("", "echo inside >/new; echo done; sleep 600");
    container.says("done");
    let copy = format!("{}/copy", podman.directory("copies"));
    container.call(&format!("cp NAME:/new {copy}")).ok().no_stderr();
    assert_eq!(fs::read_to_string(copy).unwrap(), "inside\n");
    assert!(container.call("diff NAME").ok().no_stderr().stdout.contains("A /new\n"));
    let image = podman.name();
    container.call(&format!("commit --quiet NAME {image}")).ok().no_stderr();
    let words = format!("run --rm {} {image} cat /new", podman.options());
    assert_eq!(podman.call(&words).ok().no_stderr().stdout, "inside\n");
    podman.call(&format!("rmi {image}")).ok();
}

fn info_names_the_runtime(podman: &Podman) {
    let info: Value = serde_json::from_str(&podman.call("info --format json").ok().no_stderr().stdout).unwrap();
    let runtime = &info["host"]["ociRuntime"];
    let program = std::path::absolute(peer::program()).unwrap();
    assert_eq!((&runtime["name"], &runtime["path"]), (&"corten".into(), &program.to_str().unwrap().into()));
    let version = Run::new(program).arg("--version").output().ok();
    assert_eq!(runtime["version"], version.line());
}

fn by_dockers_client(podman: &Podman) {
    requires!(!is_a_users(), "a network");
    let docker = |words: &str| {
        let host = format!("unix://{}", podman.place.text("socket"));
        Run::new("/usr/bin/docker")
            .env("DOCKER_CONFIG", podman.place.path("client"))
            .arg("--host")
            .arg(host)
            .args(words.split(' '))
    };
    let container = podman.container();
    let words = format!("run --detach --name {} {} {BOX} sleep 600", container.name, podman.options());
    docker(&words).output().ok();
    assert_eq!(container.inspect(".State.Status"), "running");
    docker(&format!("stop --time 1 {}", container.name)).output().ok();
    assert_eq!(container.inspect(".State.Status"), "exited");
}
