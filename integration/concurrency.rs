//! Many commands at once: one winner, no damage, no hanging.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::phrases;
use crate::support::run::{Output, Running};
use crate::support::wait::poll_fds;
use crate::support::{Bundle, cgroup, differs, requires, systemd};

fn quiet(bundle: &Bundle, command: &str) -> Running {
    // `create` shares its output with a program that stays: not a pipe.
    bundle.command(command).stdout_to(Stdio::null()).stderr_to(Stdio::null()).spawn()
}

#[test]
fn of_many_creates_with_one_id_one_wins() {
    differs!(Runc, "the losers remove what the winner made");
    let bundle = Bundle::idle();
    bundle.write();
    let racers: Vec<_> = (0..8).map(|_| quiet(&bundle, "create")).collect();
    let won = racers.into_iter().map(Running::wait).filter(|output| output.status.success()).count();
    assert_eq!(won, 1);
    let state = bundle.call("state").ok().stdout;
    assert!(state.contains("created"), "{state}");
    bundle.call("start").ok().silent();
    bundle.runtime("delete").args(["--force", &bundle.id]).output().ok();
    bundle.assert_nothing_left();
}

#[test]
fn of_many_starts_one_wins() {
    differs!(Runc, "has no lock: a second start may wait for ever");
    let container = Bundle::idle().create();
    let racers: Vec<_> = (0..6).map(|_| container.runtime("start").arg(&container.id).spawn()).collect();
    let won = racers.into_iter().map(Running::wait).filter(|output| output.status.success()).count();
    assert_eq!(won, 1);
    assert_eq!(container.status(), "running");
}

#[test]
fn of_many_deletes_all_come_to_an_end() {
    let container = Bundle::idle().start();
    let force = || container.runtime("delete").args(["--force", &container.id]).spawn();
    let racers: Vec<_> = (0..6).map(|_| force()).collect();
    let won = racers.into_iter().map(Running::wait).filter(|output| output.status.success()).count();
    assert!(won >= 1);
    container.runtime("delete").args(["--force", &container.id]).output().ok();
    container.assert_nothing_left();
}

#[test]
fn containers_with_different_ids_do_not_wait_for_each_other() {
    let threads: Vec<_> = (0..6).map(|_| std::thread::spawn(|| Bundle::sh("echo ok").prints())).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "ok\n");
    }
}

/// Whenever `create` is killed, `delete --force` finds what there is.
#[test]
fn create_killed_at_any_point_leaves_nothing_after_delete_force() {
    differs!(Runc | Crun, "does not know what it had begun");
    killed_at_any_point(|bundle| bundle, |_| ());
}

#[test]
fn create_of_a_unit_killed_at_any_point_leaves_nothing_after_delete_force() {
    differs!(Runc | Crun, "does not know what it had begun");
    requires!(systemd::is_here(), "systemd");
    killed_at_any_point(systemd::in_default_slice, |bundle| {
        assert_eq!(systemd::units(&systemd::scope_of(bundle)), "");
    });
}

fn killed_at_any_point(place: impl Fn(Bundle) -> Bundle, look: impl Fn(&Bundle)) {
    const STEPS: u32 = 40;
    let bundle = || {
        let bundle = place(Bundle::idle());
        bundle.write();
        bundle
    };
    let delete = |bundle: &Bundle| {
        bundle.runtime("delete").args(["--force", &bundle.id]).output().ok().silent();
        bundle.assert_nothing_left();
        look(bundle);
    };
    // From its beginning to somewhat behind its end, however long it takes here.
    let whole = bundle();
    let began = Instant::now();
    assert!(quiet(&whole, "create").wait().status.success());
    let whole_time = began.elapsed() * 5 / 4;
    delete(&whole);
    for step in 0..STEPS {
        let bundle = bundle();
        let creating = quiet(&bundle, "create");
        poll_fds(&mut [], whole_time * step / STEPS);
        creating.signal(Signal::KILL);
        creating.wait();
        delete(&bundle);
    }
}

/// How long the commands below are at it: `make faults` lets them have a minute.
fn seconds(usual: u64) -> Duration {
    let wanted = std::env::var("CORTEN_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(wanted.unwrap_or(usual))
}

#[test]
fn random_commands_on_one_id() {
    differs!(Runc | Crun, "has no lock: it loses containers, or dies of SIGPIPE");
    hammer(1, 16, seconds(4));
}

#[test]
fn random_commands_on_many_ids() {
    differs!(Runc | Crun, "has no lock: it loses containers, or dies of SIGPIPE");
    hammer(64, 16, seconds(4));
}

/// Why a command may be refused when others are at the same container: because of its status.
const REFUSALS: [(&str, &[&str]); 9] = [
    ("create", &[phrases::ID_TAKEN]),
    ("state", &[]),
    ("start", &[phrases::START_STOPPED, phrases::START_RUNNING, "cannot start a container in the"]),
    ("pause", &[phrases::NOT_RUNNING]),
    ("resume", &[phrases::NOT_PAUSED]),
    ("update", &[phrases::NOT_RUNNING]),
    ("exec", &[phrases::EXEC_PAUSED, phrases::EXEC_STOPPED, "cannot exec in a container that is being created"]),
    ("kill", &[phrases::NOT_RUNNING]),
    ("delete", &["cannot delete container"]),
];

/// Or because somebody's `kill` or `delete --force` came in between: the container is gone, or its process, or its cgroup.
const OVERTAKEN: [&str; 8] = [
    "first process may be gone",
    phrases::DOES_NOT_EXIST,
    "was killed by signal 9",
    "is gone",
    "died before",
    "no such process",
    "no such file or directory",
    "no such device",
];

fn may_be_refused(command: &str, why: &str) -> bool {
    let of_status = REFUSALS.iter().filter(|(name, _)| *name == command).flat_map(|(_, words)| *words);
    of_status.chain(&OVERTAKEN).any(|words| why.contains(words))
}

/// Whatever the order, a command answers soon, with what the status of the container allows and one line, and the state that is
/// shown is whole.
fn hammer(ids: usize, processes: u32, time: Duration) {
    let end = Instant::now() + time;
    let bundles: Vec<Bundle> = (0..ids).map(|_| Bundle::idle()).collect();
    bundles.iter().for_each(Bundle::write);
    std::thread::scope(|scope| {
        for seed in 1..=processes {
            let bundles = &bundles;
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(2_654_435_761);
                while Instant::now() < end {
                    // xorshift
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    let bundle = &bundles[(random >> 8) as usize % bundles.len()];
                    call_at_random(bundle, (random % 16) as usize);
                }
            });
        }
        // Frees whoever waits for what is paused, and lets the others begin again.
        while Instant::now() < end + Duration::from_secs(2) {
            poll_fds(&mut [], Duration::from_millis(500));
            bundles.iter().for_each(delete_by_force);
        }
    });
    for bundle in &bundles {
        delete_by_force(bundle);
        bundle.assert_nothing_left();
    }
}

fn delete_by_force(bundle: &Bundle) {
    bundle.reap_orphans();
    let delete = bundle.runtime("delete").args(["--force", &bundle.id]).spawn();
    // It waits for the end of a pid namespace, which waits for us, if an exec that failed has left its process to us.
    while !delete.ends_within(Duration::from_millis(50)) {
        bundle.reap_orphans();
    }
    delete.wait().ok();
}

/// Its output goes to a file: the program shares it.
fn create(bundle: &Bundle) -> Output {
    let said = bundle.path(&format!("said-{:?}", std::thread::current().id()));
    let _ = std::fs::remove_file(&said);
    let file = File::create_new(&said).unwrap();
    let output = bundle.command("create").stdout_to(Stdio::null()).stderr_to(file).output();
    Output { stderr: std::fs::read_to_string(said).unwrap(), ..output }
}

fn call_at_random(bundle: &Bundle, number: usize) {
    let update = if cgroup::has("pids") { "--pids-limit=100" } else { "--cpu-share=0" };
    // In front of the id, and behind it.
    let calls: [(&[&str], &[&str]); 12] = [
        (&["state"], &[]),
        (&["start"], &[]),
        (&["pause"], &[]),
        (&["resume"], &[]),
        (&["update", update], &[]),
        (&["exec"], &["true"]),
        (&["exec"], &["sh", "-c", "exit 1"]),
        (&["kill"], &["KILL"]),
        (&["kill"], &["0"]),
        (&["delete"], &[]),
        (&["delete", "--force"], &[]),
        (&["list"], &[]),
    ];
    let began = Instant::now();
    let (command, output) = match calls.get(number) {
        None => ("create", create(bundle)),
        Some((["list"], _)) => ("list", bundle.runtime("list").output()),
        Some((before, after)) => {
            (before[0], bundle.runtime(before[0]).args(&before[1..]).arg(&bundle.id).args(*after).output())
        }
    };
    let is_exec = command == "exec";
    let expected = |code: i32| matches!(code, 0 | 1) || (is_exec && matches!(code, 137 | 255));
    assert!(output.status.code().is_some_and(expected), "{output:#?}");
    // What exec has started may be paused.
    let is_late = began.elapsed() > Duration::from_secs(10) && !is_exec;
    assert!(!is_late, "took {:?}: {output:#?}", began.elapsed());
    assert!(output.stderr.lines().count() <= 1, "{output:#?}");
    let failed_itself = output.stderr.contains(" failed: ");
    assert!(!failed_itself || may_be_refused(command, &output.stderr), "{output:#?}");
    if output.stdout.starts_with('{') {
        serde_json::from_str::<serde_json::Value>(&output.stdout).unwrap();
    }
}
