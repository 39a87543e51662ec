//! How a container begins and ends, and what is told about it.

use std::time::{Duration, Instant};

use k8s_cri::v1::*;

use super::websocket::{Channel, WebSocket};
use super::{Cri, SERVICE, security};
use crate::containerd::Containerd;
use crate::support::case::{Case, cases, in_one_of_five};

pub fn cases() -> Vec<Case<Containerd>> {
    cases![exit_status, refused, stop, out_of_memory, terminal, attach]
}

fn exit_status(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    for (script, code, reason) in [
        ("echo out; echo err >&2", 0, "Completed"),
        ("exit 3", 3, "Error"),
        ("kill -9 $$", 137, "Error"),
        ("kill -15 $$", 143, "Error"),
    ] {
        let container = pod.run(&["sh", "-c", script], |_| ());
        let status = container.wait();
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{script}");
        if code == 0 {
            assert_eq!((container.stdout().as_str(), container.stderr().as_str()), ("out\n", "err\n"));
        }
    }
}

fn refused(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    for (command, needle) in [
        ("no-such-command", "exec: \"no-such-command\": executable file not found in $PATH"),
        ("/no/such/command", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
    ] {
        let container = pod.create(&[command], |_| ()).unwrap();
        let error = container.start().unwrap_err();
        let status = container.status();
        assert_eq!(status.state(), ContainerState::ContainerExited, "{command}");
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"), "{command}");
        for text in [error.message(), &status.message] {
            assert!(text.contains("OCI runtime create failed: ") && text.contains(needle), "{command}: {text}");
        }
    }
    let container = pod.create(SERVICE, |config| config.working_dir = "/etc/passwd".to_owned()).unwrap();
    let error = container.start().unwrap_err();
    assert!(error.message().contains("not a directory"), "{error}");
}

fn stop(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let own = |config: &mut ContainerConfig| {
        security(config).namespace_options.get_or_insert_default().set_pid(NamespaceMode::Container);
    };
    let service = |trap: &str| {
        let script = format!("trap '{trap}' TERM; echo ready; while :; do sleep 0.05; done");
        let container = pod.run(&["sh", "-c", &script], own);
        container.says("ready\n");
        container
    };
    let graceful = service("echo bye; exit 6");
    graceful.stop(60).unwrap();
    assert_eq!((graceful.wait().exit_code, graceful.stdout().as_str()), (6, "ready\nbye\n"));

    let stubborn = service("echo no");
    let begin = Instant::now();
    stubborn.stop(1).unwrap();
    assert_eq!(stubborn.wait().exit_code, 137);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(stubborn.stdout(), "ready\nno\n");
}

fn out_of_memory(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    in_one_of_five("OOMKilled", || {
        let container = pod.run(&["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"], |config| {
            let limits = LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() };
            config.linux.get_or_insert_default().resources = Some(limits);
        });
        let status = container.wait();
        assert_eq!(status.exit_code, 137);
        status.reason == "OOMKilled"
    });
}

fn terminal(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let output = pod.sh("tty; echo err >&2", |config| config.tty = true);
    assert_eq!(output.replace('\r', ""), "/dev/pts/0\nerr\n");
}

fn attach(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let container = pod.run(&["sh", "-c", "read line; echo \"got $line\"; exit 4"], |config| {
        (config.stdin, config.stdin_once) = (true, true);
    });
    let request =
        AttachRequest { container_id: container.id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let url = cri.call(async |mut it| it.attach(request).await).unwrap().url;
    let mut attached = WebSocket::open(&url);
    attached.write(Channel::Stdin, "hello\n");
    attached.reads(Channel::Stdout, "got hello\n");
    assert_eq!(container.wait().exit_code, 4);
    assert_eq!(container.stdout(), "got hello\n");
}
