//! What a container has is there again.

use std::fs;

use serde_json::json;

use super::{COUNTS, Subject, cgroup_options, counter, requires_criu, with_volume};
use crate::support::cgroup;
use crate::support::pty::ConsoleSocket;
use crate::support::run::Run;
use crate::support::systemd::{in_default_slice, is_here as systemd_is_here, property, scope_of, units};
use crate::support::wait::until;
use crate::support::{Bundle, differs, requires};

#[test]
fn a_counter_goes_on() {
    requires_criu!();
    let subject = Subject::run(counter());
    let last = subject.count();
    let created = subject.state()["created"].clone();
    subject.is_taken_down("images", &[]);
    assert!(subject.images("images").join("inventory.img").exists());
    let pid_file = subject.path("pid");
    let subject = subject.restore("images", &["--pid-file", pid_file.to_str().unwrap()]);
    subject.counts_on(last);
    assert_eq!(subject.status(), "running");
    assert_eq!(fs::read_to_string(pid_file).unwrap(), subject.pid.to_string());
    assert_ne!(subject.state()["created"], created);
    assert_eq!(cgroup::of_process(subject.pid).values().next(), Some(&subject.cgroup));
    subject.kill("KILL");
    assert_eq!(subject.wait(), 128 + 9);
    subject.delete();
}

/// Another CRIU does it while ours runs, or ours whose corten is killed.
#[test]
fn options_of_the_hierarchy_that_another_took_away() {
    requires_criu!();
    differs!(Runc | Crun, "does not put them back");
    let hierarchy = cgroup_options();
    requires!(hierarchy.len() > 1, "a hierarchy with options");
    let subject = Subject::run(counter());
    let checkpoint = |image: &str| {
        let images = subject.images(image);
        let flags = ["--leave-running", "--manage-cgroups-mode", "soft", "--image-path", images.to_str().unwrap()];
        subject.runtime("checkpoint").args(flags).arg(&subject.id).output().ok().silent();
    };
    checkpoint("first");
    let place = subject.path("elsewhere");
    fs::create_dir(&place).unwrap();
    Run::new("unshare").args(["--mount", "mount", "-t", "cgroup2", "none"]).arg(&place).output().ok();
    checkpoint("second");
    until("options of the hierarchy", || (cgroup_options() == hierarchy).then_some(()));
}

#[test]
fn memory_files_and_a_second_process() {
    requires_criu!();
    let script = format!("echo old >/tmp/data; {COUNTS}");
    let bundle = with_volume(Bundle::sh(&script));
    let bundle = bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys", "/proc/scsi", "/sys/firmware"]));
    let bundle = bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"]));
    let subject = Subject::run(bundle.file("etc/masked", "secret").push("/linux/maskedPaths", "/etc/masked"));
    let last = subject.count();
    // A `sleep` of busybox ends when it is restored: CRIU makes its call come back.
    let second = subject.exec("sh -c 'while :; do sleep 1; done' </dev/null >/dev/null 2>&1 & echo $!");
    let looks = "cat /tmp/data /etc/masked; cat /proc/1/mountinfo | cut -d' ' -f5,6 | sort; hostname; ls -l /dev | sed 's/ [A-Z][a-z][a-z] .*:.. / /'";
    let before = subject.exec(looks);
    subject.is_taken_down("images", &[]);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert_eq!(subject.exec(looks), before);
    assert!(before.starts_with("old\n/"), "{before}");
    assert!(subject.exec(&format!("cat /proc/{second}/cmdline")).contains("sleep 1"));
    assert_eq!(
        subject.exec("echo x 2>&1 >/proc/sys/kernel/hostname || echo no"),
        "sh: can't create /proc/sys/kernel/hostname: Read-only file system\nno"
    );
}

#[test]
fn in_another_cgroup_with_other_limits() {
    requires_criu!();
    requires!(cgroup::has("pids") && cgroup::has("memory"), "the controllers pids and memory");
    let mut subject = Subject::run(counter().set("/linux/resources/pids/limit", 50));
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    subject.config()["linux"]["resources"]["memory"] = json!({"limit": 50 << 20});
    let other = subject.moves(31);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    for (controller, v1, v2, expected) in
        [("pids", "pids.max", "pids.max", "31"), ("memory", "memory.limit_in_bytes", "memory.max", "52428800")]
    {
        let file = cgroup::file(controller, &other, v1, v2);
        assert_eq!(fs::read_to_string(file).unwrap().trim(), expected);
    }
    assert_eq!(cgroup::of_process(subject.pid).values().next(), Some(&other));
    subject.runtime("delete").args(["--force", &subject.id]).output().ok();
}

#[test]
fn in_a_unit_of_systemd() {
    requires_criu!();
    requires!(systemd_is_here(), "systemd");
    let bundle = in_default_slice(counter()).set("/linux/resources/pids/limit", 40);
    let scope = scope_of(&bundle);
    let subject = Subject::run(bundle);
    let last = subject.count();
    subject.is_taken_down("images", &[]);
    assert_eq!(units(&scope), "");
    let mut subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert!(units(&scope).contains("running"), "{}", units(&scope));
    let limit = cgroup::file("pids", &subject.cgroup, "pids.max", "pids.max");
    assert_eq!(fs::read_to_string(limit).unwrap().trim(), "40");
    let last = subject.count();
    subject.is_taken_down("more", &[]);
    let group = subject.moves(31);
    let other = group.rsplit('/').next().unwrap();
    let subject = subject.restore("more", &[]);
    subject.counts_on(last);
    assert_eq!(units(&scope), "");
    assert!(units(other).contains("running"), "{}", units(other));
    assert_eq!(property(other, "TasksMax"), "31");
    assert_eq!(cgroup::of_process(subject.pid)[""], group);
    assert_eq!(fs::read_to_string(cgroup::file("pids", &group, "pids.max", "pids.max")).unwrap().trim(), "31");
    subject.runtime("delete").args(["--force", &subject.id]).output().ok().silent();
    assert_eq!(units(other), "");
}

#[test]
fn what_goes_on_and_what_is_paused() {
    requires_criu!();
    let subject = Subject::run(counter());
    let before = subject.count();
    subject.checkpoint("running", &["--leave-running"]).ok().silent();
    assert_eq!(subject.status(), "running");
    subject.counts_on(before);
    subject.call("pause").ok().silent();
    let paused_at = subject.count();
    subject.checkpoint("paused", &["--leave-running"]).ok().silent();
    assert_eq!((subject.status().as_str(), subject.count()), ("paused", paused_at));
    // Engines pause it before they take it down.
    subject.is_taken_down("paused-and-gone", &[]);
    let subject = subject.restore("paused-and-gone", &[]);
    assert_eq!(subject.status(), "running");
    subject.counts_on(paused_at);
    subject.is_taken_down("again", &[]);
    let subject = subject.restore("running", &[]);
    subject.counts_on(before);
}

#[test]
fn a_chain_of_ten() {
    requires_criu!();
    chain(counter());
}

#[test]
fn a_chain_of_ten_in_units_of_systemd() {
    requires_criu!();
    requires!(systemd_is_here(), "systemd");
    chain(in_default_slice(counter()));
}

/// Ten checkpoints in a row, each with only what has changed since the one before; each that is whole is restored.
fn chain(bundle: Bundle) {
    let subject = Subject::run(bundle);
    subject.count();
    let mut last = Vec::new();
    for round in 0..10 {
        let parent = format!("../images-{}", round - 1);
        let parent = ["--parent-path", parent.as_str()];
        let flags: &[&str] = if round == 0 { &[] } else { &parent };
        let name = format!("images-{round}");
        // Each second one has only memory, for the next.
        let kind = if round % 2 == 0 { "--pre-dump" } else { "--leave-running" };
        last.push(subject.count());
        subject.checkpoint(&name, &[&[kind], flags].concat()).ok().silent();
        assert_eq!(subject.status(), "running");
        assert_eq!(subject.images(&name).join("parent").exists(), round > 0, "{name}");
    }
    subject.runtime("delete").args(["--force", &subject.id]).output().ok();
    subject.wait();
    let mut subject = subject;
    for round in (1..10).step_by(2) {
        subject = subject.restore(&format!("images-{round}"), &[]);
        subject.counts_on(last[round]);
        subject.runtime("delete").args(["--force", &subject.id]).output().ok();
        subject.wait();
    }
}

#[test]
fn a_terminal() {
    requires_criu!();
    let bundle = Bundle::sh("while read line; do echo \"got $line\"; done").set("/process/terminal", true);
    let first = ConsoleSocket::listen(&bundle.path("first"));
    let second = ConsoleSocket::listen(&bundle.path("second"));
    bundle.write();
    super::in_silence(bundle.command("run").args(["--detach", "--console-socket"]).arg(bundle.path("first")))
        .output()
        .ok();
    let mut pty = first.receive();
    let subject = Subject(crate::support::Container { made_from: bundle, pid: 0 }).found();
    pty.write("one\n");
    pty.reads("got one");
    subject.is_taken_down("images", &[]);
    drop(pty);
    let socket = subject.path("second");
    let subject = subject.restore("images", &["--console-socket", socket.to_str().unwrap()]);
    let mut pty = second.receive();
    pty.write("two\n");
    pty.reads("got two");
    assert_eq!(subject.status(), "running");
}

#[test]
fn a_connection_of_tcp() {
    requires_criu!();
    let script = "while :; do sleep 1; done | busybox nc -l -p 7000 >/tmp/n & sleep 1; { i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done; } | \
        busybox nc 127.0.0.1 7000";
    let subject = Subject::run(with_volume(Bundle::sh(script)));
    subject.count();
    let output = subject.checkpoint("refused", &[]).exits(1);
    assert!(output.stderr.contains("--tcp-established"), "{output:?}");
    let last = subject.count();
    subject.is_taken_down("images", &["--tcp-established"]);
    let subject = subject.restore("images", &["--tcp-established"]);
    subject.counts_on(last);
}

#[test]
fn files_without_a_name() {
    requires_criu!();
    let script = format!("exec 9>/vol/gone; busybox rm /vol/gone; echo text >&9; {COUNTS}");
    let subject = Subject::run(with_volume(Bundle::sh(&script)));
    let last = subject.count();
    subject.is_taken_down("images", &["--file-locks", "--link-remap"]);
    let subject = subject.restore("images", &["--file-locks"]);
    subject.counts_on(last);
    assert_eq!(subject.exec("readlink /proc/1/fd/9; cat /proc/1/fd/9"), "/vol/gone (deleted)\ntext");
}

#[test]
fn a_user_namespace() {
    requires_criu!();
    let bundle = Bundle::sh("i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.2; done").tmpfs("/tmp", &[]);
    let subject = Subject::run(bundle.user_namespace(100_000));
    subject.count();
    let maps = subject.proc("uid_map");
    subject.is_taken_down("images", &[]);
    // CRIU's process reads some before it is in its namespace, when it is root without capabilities, and some after.
    for reader in [
        "--bounding-set=-all",
        "--reuid=100000 --regid=100000 --clear-groups",
        "--reuid=1000 --regid=1000 --clear-groups",
    ] {
        let image = subject.images("images").join("inventory.img");
        let output = Run::new("setpriv").args(reader.split(' ')).arg("cat").arg(image).output();
        assert_eq!(output.status.success(), !reader.contains("=1000 "), "{reader}");
    }
    let subject = subject.restore("images", &[]);
    assert_eq!(subject.proc("uid_map"), maps);
    let last = subject.exec("cat /tmp/n");
    until("another number", || Some(subject.exec("cat /tmp/n")).filter(|text| *text != last));
}

/// COMPAT(containerd, Podman): what create is told, restore is told. Keyrings are in no image.
#[test]
fn the_session_keyring() {
    requires_criu!();
    differs!(Runc | Crun, "have the caller's");
    let bundle =
        with_volume(Bundle::sh("while :; do grep -o '_ses.corten-keys-[a-z]*' /proc/keys >/tmp/n; sleep 0.1; done"));
    let subject = Subject::run(bundle.set("/process/user/uid", 1000).called("corten-keys-restored"));
    let seen = |subject: &Subject| fs::read_to_string(format!("/proc/{}/root/tmp/n", subject.pid)).unwrap();
    let appears = |subject: &Subject| until("its keyring", || seen(subject).contains("-restored").then_some(()));
    let vanishes = |subject: &Subject| until("no keyring", || seen(subject).is_empty().then_some(()));
    appears(&subject);
    subject.is_taken_down("images", &[]);
    let subject = subject.restore("images", &["--no-new-keyring"]);
    vanishes(&subject);
    subject.is_taken_down("more", &[]);
    let subject = subject.restore("more", &["--no-pivot"]);
    appears(&subject);
    assert_eq!(subject.exec("grep -c '_ses.corten-keys-restored' /proc/keys"), "1");
}

#[test]
fn in_the_foreground() {
    requires_criu!();
    let script = "trap 'exit 9' TERM; while :; do sleep 0.1; done";
    let subject = Subject::run(Bundle::sh(script));
    until("a trap", || subject.catches(rustix::process::Signal::TERM).then_some(()));
    subject.is_taken_down("images", &[]);
    let running = subject.restore_command("images", &[]).spawn();
    subject.becomes_known("running");
    subject.kill("TERM");
    let output = running.wait().exits(9);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    subject.assert_nothing_left();
}

impl Subject {
    #[track_caller]
    fn becomes_known(&self, status: &str) {
        until(status, || {
            let output = self.call("state");
            (output.status.success() && output.stdout.contains(&format!("\"{status}\""))).then_some(())
        });
    }
}
