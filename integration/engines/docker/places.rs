//! `docker run`: files and networks.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use super::{Container, Docker};
use crate::support::case::{Case, cases};
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Docker>> {
    cases![
        read_only,
        tmpfs,
        bind,
        bind_read_only,
        named_volume,
        volumes_from,
        propagation,
        no_network,
        network_of_host,
        network_of_container,
        published_port,
        network_of_its_own,
    ]
}

fn read_only(docker: &Docker) {
    let output = docker.sh("--read-only", "touch /file").exits(1);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    docker.sh("--read-only --tmpfs /tmp", "touch /tmp/file /dev/shm/file").ok().silent();
}

fn tmpfs(docker: &Docker) {
    let output = docker
        .sh("--tmpfs /new/place:rw,size=64k,mode=700,noexec", "grep ' /new/place ' /proc/mounts; stat -c %a /new/place")
        .ok();
    assert!(
        output.stdout.starts_with("tmpfs /new/place tmpfs rw,nosuid,nodev,noexec,relatime,size=64k,mode=700"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.ends_with("\n700\n"), "{}", output.stdout);
}

fn bind(docker: &Docker) {
    let file = docker.script("hello", "hello\n");
    let directory = docker.directory("volume");
    let output = docker
        .sh(&format!("--volume {directory}:/data --volume {file}:/etc/hello"), "cat /etc/hello; id -u >/data/new")
        .ok();
    assert_eq!(output.stdout, "hello\n");
    assert_eq!(fs::read_to_string(format!("{directory}/new")).unwrap(), "0\n");
}

fn bind_read_only(docker: &Docker) {
    let directory = docker.directory("volume");
    let output = docker.sh(&format!("--volume {directory}:/data:ro"), "touch /data/new").exits(1);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
}

/// Docker fills a new one with what the image has there.
fn named_volume(docker: &Docker) {
    let name = docker.name();
    let volume = format!("--volume {name}:/etc");
    docker.sh(&volume, "echo new >/etc/new").ok().silent();
    let output = docker.sh(&volume, "cat /etc/new; grep -c user /etc/passwd").ok();
    assert_eq!(output.stdout, "new\n1\n");
    docker.call(&format!("volume rm {name}")).ok();
}

fn volumes_from(docker: &Docker) {
    let first = docker.detached("--volume /data", "echo one >/data/one; sleep 600");
    let script = "cat /data/one";
    until("the file", || docker.sh(&format!("--volumes-from {}", first.name), script).status.success().then_some(()));
}

fn propagation(docker: &Docker) {
    let directory = docker.directory("volume");
    let bind = format!("--mount type=bind,source={directory},target=/data,bind-propagation=");
    let field = |option: &str| {
        docker
            .sh(&format!("{bind}{option}"), "grep ' /data ' /proc/self/mountinfo | cut -d ' ' -f 7")
            .ok()
            .line()
            .to_owned()
    };
    assert_eq!(field("rprivate"), "-");
    let output = docker.sh(&format!("{bind}rshared"), "true").exits(125);
    assert!(output.stderr.contains("not a shared mount"), "{}", output.stderr);
}

/// What is up in the container.
fn links(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| Some(line.split_once(": ")?.1.split([':', '@']).next().unwrap())).collect()
}

fn no_network(docker: &Docker) {
    let output = docker.sh("--network none", "ip -o link").ok();
    assert_eq!(links(&output.stdout), ["lo"]);
    let output = docker.sh("", "ip -o link").ok();
    assert_eq!(links(&output.stdout), ["lo", "eth0"]);
}

fn inode(path: &str) -> String {
    format!("net:[{}]", fs::metadata(path).unwrap().ino())
}

fn network_of_host(docker: &Docker) {
    let output = docker.sh("--network host", "readlink /proc/self/ns/net").ok();
    assert_eq!(output.line(), inode("/proc/self/ns/net"));
}

fn network_of_container(docker: &Docker) {
    let first = docker.asleep("");
    let output = docker.sh(&format!("--network container:{}", first.name), "readlink /proc/self/ns/net").ok();
    assert_eq!(output.line(), inode(&format!("/proc/{}/ns/net", first.pid())));
}

/// Answers everybody who connects to its port 80.
fn server<'a>(docker: &'a Docker, options: &str) -> Container<'a> {
    docker.detached(options, "nc -ll -p 80 -e echo hello")
}

#[track_caller]
fn answer(address: &str) -> String {
    let mut stream = until(address, || TcpStream::connect(address).ok());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn published_port(docker: &Docker) {
    let container = server(docker, "--publish 127.0.0.1::80");
    let port = container.call("port NAME 80/tcp").ok();
    assert!(port.line().starts_with("127.0.0.1:"), "{}", port.stdout);
    // Through Docker's proxy, and by the bridge.
    let inside = format!("{}:80", container.inspect(".NetworkSettings.IPAddress"));
    assert_eq!(answer(&inside), "hello\n");
    assert_eq!(answer(port.line()), "hello\n");
}

/// Where containers find each other by their names.
fn network_of_its_own(docker: &Docker) {
    let network = docker.name();
    docker.call(&format!("network create {network}")).ok();
    let first = server(docker, &format!("--network {network}"));
    let script = format!("until nc {} 80; do sleep 0.1; done", first.name);
    let output = docker.sh(&format!("--network {network}"), &script).ok();
    assert_eq!(output.stdout, "hello\n");
    drop(first);
    docker.call(&format!("network rm {network}")).ok();
}
