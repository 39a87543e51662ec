//! create, start, the program's end, delete: the life of a container as the specification tells it.

use std::fs;

use crate::phrases::{DOES_NOT_EXIST, ID_TAKEN, START_RUNNING, START_STOPPED};
use crate::support::refusal::Refusal;
use crate::support::wait::until;
use crate::support::{Bundle, Container, differs};

#[test]
fn goes_from_created_to_running_to_stopped_and_is_gone() {
    let container = Bundle::idle().create();
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.terminate();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.status(), "stopped");
    container.delete();
    container.refuses("state", &[]).says(DOES_NOT_EXIST);
}

#[test]
fn runs_nothing_before_start() {
    let container = Bundle::sh("echo ran").create();
    assert_eq!(container.stdout(), "");
    assert_eq!(container.finish(), "ran\n");
}

#[test]
fn environment_is_final_when_create_returns() {
    let container = Bundle::new().create();
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned();
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(container.namespace(name), own(name));
    }
    // Docker moves a network interface into it now.
    let net = container.namespace("net");
    container.start();
    assert_eq!(container.wait(), 0);
    assert_ne!(net, own("net"));
}

#[test]
fn init_is_orphaned_so_that_the_engine_reaps_it() {
    let container = Bundle::sh("exit 42").create();
    let stat = container.proc("stat");
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    assert_eq!(parent, std::process::id().to_string());
    container.start();
    assert_eq!(container.wait(), 42);
}

#[test]
fn program_has_the_stdio_of_create() {
    let bundle = Bundle::sh("cat; echo error >&2");
    fs::write(bundle.path("stdin"), "from stdin\n").unwrap();
    let container = bundle.create();
    container.start();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "from stdin\n");
    assert_eq!(container.stderr(), "error\n");
}

#[test]
fn config_is_as_it_was_at_create() {
    let container = Bundle::sh("echo as created").create();
    fs::write(container.bundle().join("config.json"), r#"{"ociVersion": "1.0.0"}"#).unwrap();
    assert_eq!(container.status(), "created");
    assert_eq!(container.finish(), "as created\n");
}

#[test]
fn delete_needs_neither_bundle_nor_rootfs() {
    let container = Bundle::new().args(&["sleep", "600"]).start();
    until("the program", || (container.proc("comm") == "sleep\n").then_some(()));
    fs::remove_dir_all(container.bundle()).unwrap();
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    container.delete();
}

#[test]
fn start_is_for_created_containers_alone() {
    let container = Bundle::idle().start();
    container.refuses("start", &[]).says(START_RUNNING);
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait();
    container.refuses("start", &[]).says(START_STOPPED);
    assert_eq!(container.status(), "stopped");
}

#[test]
fn an_id_is_free_again_after_delete() {
    let mut container = Bundle::sh("echo once").create();
    container.delete();
    container.create_again();
    assert_eq!(container.finish(), "once\n");
}

#[test]
fn a_taken_id_is_refused_and_its_owner_unharmed() {
    let container = Bundle::sh("echo first").create();
    for command in ["create", "run"] {
        let output = container.made_from.command(command).output();
        Refusal::from_output(command, output).says(ID_TAKEN);
        assert_eq!(container.status(), "created");
    }
    assert_eq!(container.finish(), "first\n");
}

#[test]
fn legal_ids() {
    for id in ["a", "A.b-c_d+e", "0", &"x".repeat(64)] {
        assert_eq!(Bundle::sh("echo ok").called(id).prints(), "ok\n", "{id}");
    }
}

#[test]
fn illegal_ids() {
    differs!(Crun, "takes spaces and more, and `..` as the parent of its state root");
    for id in ["", ".", "..", "a/b", "/a", "../a", "a b", "é", "a\nb", "a:b"] {
        let bundle = Bundle::new().called(id);
        bundle.write();
        bundle.refuses("create");
        for command in ["state", "start", "kill", "delete"] {
            Refusal::from_output(command, bundle.call(command));
        }
    }
}

#[test]
fn an_illegal_id_does_not_leave_the_state_root() {
    differs!(Crun, "deletes the directory");
    let bundle = Bundle::new();
    let outside = bundle.host_directory("outside");
    bundle.runtime("delete").args(["--force", "../outside"]).output();
    assert!(outside.join("file").exists());
}

#[test]
fn unknown_ids() {
    let bundle = Bundle::new();
    for command in ["state", "start", "kill", "delete"] {
        Refusal::from_output(command, bundle.call(command)).says(DOES_NOT_EXIST);
    }
}

#[test]
fn missing_ids() {
    let bundle = Bundle::new();
    bundle.write();
    for command in ["create", "run", "state", "start", "kill", "delete"] {
        assert!(!bundle.runtime(command).dir(&bundle.bundle()).output().status.success(), "{command}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn bundle_is_the_working_directory_unless_given() {
    let bundle = Bundle::sh("echo here");
    bundle.write();
    let output = bundle.runtime("run").arg(&bundle.id).dir(&bundle.bundle()).output().ok();
    assert_eq!(output.stdout, "here\n");
}

#[test]
fn bundle_may_be_relative() {
    let bundle = Bundle::sh("echo there");
    bundle.write();
    let run = bundle.runtime("run").args(["--bundle", "bundle", &bundle.id]).dir(&bundle.path(""));
    assert_eq!(run.output().ok().stdout, "there\n");
}

#[test]
fn root_may_be_relative() {
    differs!(Crun, "takes it relative to the bundle");
    let bundle = Bundle::idle();
    bundle.write();
    let command = |name: &str| {
        let run = crate::support::run::Run::new(crate::support::peer::program());
        run.args(["--root", "state", name]).dir(&bundle.path(""))
    };
    let out = fs::File::create_new(bundle.path("out")).unwrap();
    let create = command("create").args(["--bundle", "bundle", &bundle.id]);
    create.stdout_to(out.try_clone().unwrap()).stderr_to(out).output().ok();
    assert!(bundle.state_root().join(&bundle.id).exists());
    command("delete").args(["--force", &bundle.id]).output().ok();
}

#[test]
fn run_gives_the_programs_output_and_exit_status() {
    let output = Bundle::sh("echo out; echo err >&2; exit 7").run().exits(7);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn run_passes_stdin() {
    let bundle = Bundle::sh("cat");
    bundle.write();
    assert_eq!(bundle.command("run").stdin("typed\n").output().ok().stdout, "typed\n");
}

#[test]
fn run_deletes_the_container() {
    let bundle = Bundle::new();
    bundle.write();
    bundle.command("run").output().ok().silent();
    bundle.assert_nothing_left();
}

#[test]
fn run_keep_leaves_a_stopped_container_with_its_cgroup() {
    differs!(Crun, "has no --keep");
    let container = Container::run_and_keep(Bundle::new());
    assert_eq!(container.state()["status"], "stopped");
    assert!(crate::support::cgroup::directories(&container.cgroup).iter().any(|it| it.exists()));
    container.delete();
}

#[test]
fn run_detach_returns_when_the_program_runs() {
    let container = Bundle::sh("echo up; sleep 600").run_detached();
    assert_eq!(container.status(), "running");
    container.says("up");
    container.kill("KILL");
    assert_eq!(container.wait(), 128 + 9);
    container.delete();
}

#[test]
fn create_without_a_process_is_legal_and_start_is_not() {
    differs!(Runc | Crun, "refuses at create");
    let container = Bundle::new().remove("/process").create();
    assert_eq!(container.status(), "created");
    container.refuses("start", &[]).names("process");
    assert_eq!(container.status(), "created");
}

#[test]
fn programs_end_is_seen_though_nobody_reaps_it() {
    let container = Bundle::new().start();
    container.becomes("stopped");
    assert!(container.proc("stat").contains(") Z "));
    assert_eq!(container.state()["pid"], 0);
}
