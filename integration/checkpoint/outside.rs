//! What is not the container's own: pipes, namespaces, volumes, hooks, CRIU's configuration.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::time::Duration;

use serde_json::json;

use super::refusals::{checkpoint, checkpoint_of};
use super::{Subject, counter, requires_criu};
use crate::support::holder::Holder;
use crate::support::pty::Pty;
use crate::support::run::Run;
use crate::support::{Bundle, Container};

/// Answers each line, with an inner pipe in the way.
const ANSWERS: &str = "while read line; do echo \"got $line\" | cat; done";

#[test]
fn pipes_to_the_outside() {
    requires_criu!();
    let bundle = Bundle::sh(ANSWERS);
    bundle.write();
    let (stdin, mut input) = pipe().unwrap();
    let (output, stdout) = pipe().unwrap();
    let null = || File::options().write(true).open("/dev/null").unwrap();
    let run = bundle.command("run").arg("--detach").stdin_from(stdin).stdout_to(stdout).stderr_to(null());
    run.output().ok();
    let subject = Subject(Container { made_from: bundle, pid: 0 }).found();
    input.write_all(b"one\n").unwrap();
    let mut reader = Reader(output);
    assert_eq!(reader.line(), "got one\n");
    subject.checkpoint("images", &[]).ok().silent();
    assert_eq!(subject.wait(), 128 + 9);
    let names: Vec<String> =
        serde_json::from_slice(&fs::read(subject.images("images").join("descriptors.json")).unwrap()).unwrap();
    assert!(names[0].starts_with("pipe:[") && names[1].starts_with("pipe:[") && names[2] == "/dev/null", "{names:?}");

    let (stdin, mut input) = pipe().unwrap();
    let (output, stdout) = pipe().unwrap();
    let run = subject.restore_command("images", &["--detach"]).stdin_from(stdin).stdout_to(stdout).stderr_to(null());
    run.output().ok();
    let subject = subject.found();
    input.write_all(b"two\n").unwrap();
    let mut reader = Reader(output);
    assert_eq!(reader.line(), "got two\n");
    drop(input);
    assert_eq!(subject.wait(), 0);
    assert_eq!(reader.line(), "");
}

struct Reader(std::io::PipeReader);

impl Reader {
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && self.0.read(&mut byte).unwrap() > 0 {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

#[test]
fn a_network_namespace_of_somebody_else() {
    requires_criu!();
    let holder = Holder::new(&["--net"]);
    let subject = Subject::run(counter().namespace("network", Some(holder.path("net"))));
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    // It need not be the same one.
    let other = Holder::new(&["--net"]);
    let mut subject = subject;
    let bundle = &mut subject.0.made_from;
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|it| it["type"] != "network");
    namespaces.push(json!({"type": "network", "path": other.path("net")}));
    bundle.write();
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert_eq!(subject.namespace("net"), other.link("net"));
}

#[test]
fn a_pid_namespace_of_somebody_else() {
    requires_criu!();
    // Its first process reaps what the container leaves. CRIU's own helpers take the next numbers there.
    let script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); /bin/true; done; echo ready; while :; do sleep 1; done";
    let holder = Run::new("unshare").args(["--pid", "--fork", "--kill-child", "sh", "-c", script]);
    let mut holder = holder.env(crate::support::holder::MARK, "1").spawn();
    holder.read_until("ready");
    let path = format!("/proc/{}/ns/pid_for_children", holder.pid().as_raw_nonzero());
    let subject = Subject::run(counter().namespace("pid", Some(path.into())));
    let last = subject.count();
    let namespace = subject.namespace("pid");
    subject.is_taken_down("images", &[]);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert_eq!(subject.namespace("pid"), namespace);
}

#[test]
fn the_hosts_network() {
    requires_criu!();
    let subject = Subject::run(counter().without_namespace("network"));
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    let own = crate::support::holder::link("/proc/self/ns/net".as_ref());
    assert_eq!(subject.namespace("net"), own);
}

/// Mount points that only the root filesystem has, or only a volume, are made again: both may be new ones.
#[test]
fn mount_points_on_a_new_root() {
    requires_criu!();
    let bundle = counter().link("etc/link", "/var").directory("var");
    let (outer, inner) = (bundle.host_directory("outer"), bundle.host_directory("inner"));
    let file = outer.join("file");
    let bundle = bundle.bind(&outer, "/etc/link/outer", &[]).bind(&inner, "/etc/link/outer/inner", &["ro"]);
    let bundle = bundle.bind(file, "/srv/deep/file", &[]);
    let subject = Subject::run(bundle);
    let last = subject.count();
    let looks =
        "cat /var/outer/file /var/outer/inner/file /srv/deep/file; touch /var/outer/inner/x 2>/dev/null || echo no";
    assert_eq!(subject.exec(looks), "outerinnerouterno");
    subject.is_taken_down("images", &[]);
    fs::remove_dir(outer.join("inner")).unwrap();
    fs::remove_dir(subject.rootfs().join("vol")).unwrap();
    fs::remove_dir_all(subject.rootfs().join("srv")).unwrap();
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert_eq!(subject.exec(looks), "outerinnerouterno");
}

/// SPEC(runtime, Lifecycle): those of the runtime's namespaces; what the others did is in the images.
#[test]
fn hooks() {
    requires_criu!();
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mut bundle = counter();
    let log = bundle.path("volume/hooks");
    for kind in kinds {
        let path = if kind == "startContainer" { "/vol/hooks".into() } else { log.clone() };
        let script = format!("read -r state; echo \"{kind} $state\" >>{}", path.display());
        bundle = bundle.hook(kind, json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    }
    let subject = Subject::run(bundle);
    subject.count();
    let ran = || {
        let text = fs::read_to_string(&log).unwrap();
        fs::write(&log, "").unwrap();
        let of_line = |line: &str| {
            let (kind, state) = line.split_once(' ').unwrap();
            let state: serde_json::Value = serde_json::from_str(state).unwrap();
            (kind.to_owned(), state["status"].as_str().unwrap().to_owned())
        };
        text.lines().map(of_line).collect::<Vec<_>>()
    };
    assert_eq!(ran().iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), kinds[..5]);
    subject.is_taken_down("images", &[]);
    let pair = |kind: &str, status: &str| (kind.to_owned(), status.to_owned());
    assert_eq!(ran(), [pair("poststop", "stopped")]);
    let subject = subject.restore("images", &[]);
    assert_eq!(ran(), [pair("prestart", "created"), pair("createRuntime", "created"), pair("poststart", "running")]);
    subject.runtime("delete").args(["--force", &subject.id]).output().ok();
    assert_eq!(ran(), [pair("poststop", "stopped")]);
}

/// One that fails ends it all.
#[test]
fn a_hook_that_fails() {
    requires_criu!();
    for kind in ["createRuntime", "poststart"] {
        let mut subject = Subject::run(counter());
        subject.count();
        subject.is_taken_down("images", &[]);
        subject.config()["hooks"] = json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]}]});
        subject.made_from.write();
        let output = subject.restore_command("images", &["--detach"]).output().exits(1);
        assert!(output.stderr.contains(&format!("hooks.{kind}[0]")) && output.stderr.contains("why"), "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
        subject.assert_nothing_left();
    }
}

/// COMPAT(runc): what it says wins over what we say.
#[test]
fn criu_has_a_configuration_of_the_containers() {
    requires_criu!();
    let bundle = counter();
    let file = bundle.path("criu.conf");
    fs::write(&file, "log-file=other.log\n").unwrap();
    let subject = Subject::run(bundle.set("/annotations/org.criu.config", file.to_str().unwrap()));
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    let log = subject.path("work/other.log");
    assert!(log.exists() && !subject.path("work/dump.log").exists());
    fs::remove_file(&log).unwrap();
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert!(log.exists());
}

/// As of a job in a shell. Another one takes its place.
#[test]
fn a_terminal_of_the_callers() {
    requires_criu!();
    let bundle = Bundle::sh(ANSWERS);
    bundle.write();
    let on = |run: Run, terminal: &File| {
        let stream = || terminal.try_clone().unwrap();
        run.arg("--detach").stdin_from(stream()).stdout_to(stream()).stderr_to(stream()).output()
    };
    let (mut first, terminal) = Pty::open();
    on(bundle.command("run"), &terminal).ok();
    let subject = Subject(Container { made_from: bundle, pid: 0 }).found();
    first.write("one\n");
    first.reads("got one");
    checkpoint_of(&subject, checkpoint(&subject, &[])).because("criu: Can't lookup mount");
    first.write("two\n");
    first.reads("got two");
    subject.is_taken_down("images", &["--shell-job"]);
    let (mut second, terminal) = Pty::open();
    on(subject.restore_command("images", &["--shell-job"]), &terminal).ok();
    let subject = subject.found();
    second.write("three\n");
    second.reads("got three");
    assert!(!first.reads_within("three", Duration::from_millis(100)));
    subject.kill("KILL");
    assert_eq!(subject.wait(), 128 + 9);
}
