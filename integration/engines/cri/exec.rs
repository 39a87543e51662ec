//! Commands in a running container.

use std::time::{Duration, Instant};

use k8s_cri::v1::*;

use super::websocket::{Channel, WebSocket};
use super::{Cri, SERVICE};
use crate::containerd::Containerd;
use crate::support::case::{Case, cases};
use crate::support::wait::until;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![to_its_end, many, streams]
}

fn to_its_end(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let container = pod.run(SERVICE, |config| {
        config.envs.push(KeyValue { key: "GREETING".to_owned(), value: "hello".to_owned() });
        config.working_dir = "/tmp".to_owned();
    });
    let answer = container.try_exec(&["sh", "-c", "echo $GREETING; pwd; echo err >&2; exit 7"], 0).unwrap();
    assert_eq!((answer.stdout.as_slice(), answer.stderr.as_slice()), (&b"hello\n/tmp\n"[..], &b"err\n"[..]));
    assert_eq!(answer.exit_code, 7);
    let answer = container.try_exec(&["sh", "-c", "kill -9 $$"], 0).unwrap();
    assert_eq!(answer.exit_code, 137);
    let answer = container.try_exec(&["sh", "-c", "head -c 300000 /dev/zero"], 0).unwrap();
    assert_eq!((answer.exit_code, answer.stdout.len()), (0, 300_000));

    for (command, needle) in [
        ("no-such-command", "exec: \"no-such-command\": executable file not found in $PATH"),
        ("/no/such/command", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        let error = container.try_exec(&[command], 0).unwrap_err();
        assert!(error.message().contains("OCI runtime exec failed: "), "{error}");
        assert!(error.message().contains(needle), "{command}: {error}");
    }

    let begin = Instant::now();
    let error = container.try_exec(&["sleep", "4711"], 1).unwrap_err();
    assert!(error.message().contains("timeout 1s exceeded"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(container.exec("ps | grep -c '[s]leep 4711' || true"), "0\n");

    container.stop(0).unwrap();
    let error = container.try_exec(&["true"], 0).unwrap_err();
    assert!(error.message().contains("container is in CONTAINER_EXITED state"), "{error}");
}

/// Probes of a kubelet.
fn many(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let containers = [(); 2].map(|()| pod.run(SERVICE, |_| ()));
    let probe = |id: String, code: i32| {
        let request = ExecSyncRequest {
            container_id: id,
            cmd: ["sh", "-c", &format!("echo {code}; exit {code}")].map(str::to_owned).to_vec(),
            timeout: 60,
        };
        Cri::connect(containerd).call(async |mut it| it.exec_sync(request).await).unwrap()
    };
    std::thread::scope(|scope| {
        for code in 0..12 {
            let id = containers[usize::from(code % 2 == 0)].id.clone();
            scope.spawn(move || {
                let answer = probe(id, code);
                assert_eq!((answer.exit_code, answer.stdout), (code, format!("{code}\n").into_bytes()));
            });
        }
    });
}

fn streams(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let container = pod.run(SERVICE, |_| ());
    let request = |script: &str, tty| ExecRequest {
        container_id: container.id.clone(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let open = |request| {
        let url = cri.call(async |mut it| it.exec(request).await).unwrap().url;
        WebSocket::open(&url)
    };

    let mut piped = open(request("read line; echo \"got $line\"; echo err >&2; exit 5", false));
    piped.write(Channel::Stdin, "hello\n");
    let piped = piped.read_to_end();
    assert_eq!((piped.seen(Channel::Stdout), piped.seen(Channel::Stderr)), ("got hello\n".into(), "err\n".into()));
    let status: serde_json::Value = serde_json::from_str(&piped.seen(Channel::Status)).unwrap();
    assert_eq!((&status["status"], &status["reason"]), (&"Failure".into(), &"NonZeroExitCode".into()));
    assert_eq!(status["details"]["causes"][0]["message"], "5");

    let mut terminal = open(request("tty; while read line; do stty size; done", true));
    terminal.reads(Channel::Stdout, "/dev/pts/");
    terminal.write(Channel::Resize, r#"{"Width":123,"Height":45}"#);
    until("the size", || {
        terminal.write(Channel::Stdin, "\n");
        terminal.reads(Channel::Stdout, "\n");
        terminal.take(Channel::Stdout).contains("45 123").then_some(())
    });
    terminal.write(Channel::Stdin, "\u{4}");
    let terminal = terminal.read_to_end();
    let status: serde_json::Value = serde_json::from_str(&terminal.seen(Channel::Status)).unwrap();
    assert_eq!(status["status"], "Success");
}
