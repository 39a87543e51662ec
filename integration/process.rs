//! `process`: the program, its arguments, environment and directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::phrases::NOT_IN_PATH;
use crate::support::{Bundle, differs};

#[test]
fn arguments_arrive_as_they_are() {
    let args = ["printf", "<%s>", "", "two words", "$HOME", "*", "-x", "é\n", "--", "\"'\\"];
    assert_eq!(Bundle::new().args(&args).prints(), "<><two words><$HOME><*><-x><é\n><--><\"'\\>");
}

#[test]
fn environment_is_the_configured_one() {
    let env = json!(["PATH=/bin", "A=1", "EMPTY=", "EQUALS=a=b", "SPACE=a b"]);
    let bundle = Bundle::new().args(&["env"]).set("/process/env", env).through(["env", "LEAK=from-the-runtime"]);
    let printed = bundle.prints();
    let mut lines: Vec<_> = printed.lines().filter(|line| !line.starts_with("HOME=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1", "EMPTY=", "EQUALS=a=b", "PATH=/bin", "SPACE=a b"]);
}

#[test]
fn the_last_of_one_variable_wins() {
    let bundle = Bundle::sh("echo $A").push("/process/env", "A=first").push("/process/env", "A=last");
    assert_eq!(bundle.prints(), "last\n");
}

#[test]
fn home_comes_from_the_containers_passwd() {
    for (uid, home) in [(0, "/root"), (1000, "/home")] {
        let bundle = Bundle::sh("echo $HOME").set("/process/user/uid", uid);
        assert_eq!(bundle.prints().trim(), home, "uid {uid}");
    }
    differs!(Crun, "leaves HOME empty for a user whom passwd does not know");
    assert_eq!(Bundle::sh("echo $HOME").set("/process/user/uid", 4242).prints(), "/\n");
    let given = Bundle::sh("echo $HOME").push("/process/env", "HOME=/given");
    assert_eq!(given.prints(), "/given\n");
}

#[test]
fn cwd_is_the_configured_one() {
    assert_eq!(Bundle::new().args(&["pwd"]).set("/process/cwd", "/bin").prints(), "/bin\n");
}

#[test]
fn a_missing_cwd_is_made() {
    let bundle = Bundle::sh("pwd; stat -c %a:%u:%g .").set("/process/cwd", "/srv/deep/er");
    assert_eq!(bundle.prints(), "/srv/deep/er\n755:0:0\n");
}

#[test]
fn cwd_may_be_on_a_mount() {
    let bundle =
        Bundle::sh("pwd; grep -o ' /data tmpfs' /proc/mounts").tmpfs("/data", &[]).set("/process/cwd", "/data");
    assert_eq!(bundle.prints(), "/data\n /data tmpfs\n");
}

#[test]
fn cwd_may_be_readable_by_the_user_alone() {
    let bundle =
        Bundle::new().args(&["pwd"]).directory("mine").set("/process/cwd", "/mine").set("/process/user/uid", 1000);
    let mine = bundle.rootfs().join("mine");
    std::os::unix::fs::chown(&mine, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&mine, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(bundle.prints(), "/mine\n");
}

#[test]
fn cwd_that_the_user_may_not_enter() {
    differs!(Runc, "1.1.5 enters it before it becomes the user");
    differs!(Crun, "enters it before it becomes the user");
    let bundle = Bundle::new().directory("secret").set("/process/cwd", "/secret").set("/process/user/uid", 1000);
    fs::set_permissions(bundle.rootfs().join("secret"), Permissions::from_mode(0o700)).unwrap();
    bundle.create_fails().names("process.cwd").ends("permission denied");
}

#[test]
fn cwd_must_be_absolute() {
    differs!(Crun, "takes it relative to the root");
    for cwd in ["relative", "./relative", ""] {
        Bundle::new().set("/process/cwd", cwd).create_fails().names("process.cwd");
    }
}

#[test]
fn cwd_that_is_a_file() {
    Bundle::new().set("/process/cwd", "/etc/passwd").create_fails().names("process.cwd").says("not a directory");
}

#[test]
fn program_is_searched_in_the_containers_path() {
    let bundle = Bundle::new().file("opt/tools/hello", "#!/bin/sh\necho found\n").args(&["hello"]);
    fs::set_permissions(bundle.rootfs().join("opt/tools/hello"), Permissions::from_mode(0o755)).unwrap();
    let bundle = bundle.set("/process/env", json!(["PATH=/nowhere:/opt/tools"])).through(["env", "PATH=/usr/bin:/bin"]);
    assert_eq!(bundle.prints(), "found\n");
}

#[test]
fn program_with_a_slash_is_relative_to_cwd() {
    let bundle = Bundle::new().args(&["./busybox", "echo", "relative"]).set("/process/cwd", "/bin");
    assert_eq!(bundle.prints(), "relative\n");
}

#[test]
fn a_script_without_execute_permission_is_passed_over() {
    let bundle =
        Bundle::new().file("first/hello", "#!/bin/sh\necho first\n").file("second/hello", "#!/bin/sh\necho second\n");
    fs::set_permissions(bundle.rootfs().join("second/hello"), Permissions::from_mode(0o755)).unwrap();
    let bundle = bundle.args(&["hello"]).set("/process/env", json!(["PATH=/first:/second"]));
    assert_eq!(bundle.prints(), "second\n");
}

#[test]
fn a_program_that_is_not_there_fails_create() {
    let refusal = Bundle::new().args(&["no-such-program"]).create_fails();
    refusal.names("process.args[0]").says("no-such-program").says(NOT_IN_PATH);
    let refusal = Bundle::new().args(&["/no/such/program"]).create_fails();
    refusal.names("process.args[0]").says("/no/such/program").says("no such file or directory");
}

#[test]
fn the_hosts_programs_are_not_the_containers() {
    assert!(Path::new("/usr/bin/unshare").exists());
    Bundle::new().args(&["/usr/bin/unshare"]).create_fails().says("no such file or directory");
}

#[test]
fn a_program_without_execute_permission_fails_create() {
    let bundle = Bundle::new().args(&["/etc/passwd"]);
    bundle.create_fails().names("process.args[0]").says("permission denied");
}

/// Docker turns the words into exit status 126; Podman looks for `permission denied` first.
#[test]
fn a_directory_as_program_fails_create() {
    let refusal = Bundle::new().args(&["/etc"]).create_fails().names("process.args[0]");
    refusal.because("is a directory").because("permission denied");
}

#[test]
fn a_program_with_a_missing_interpreter_fails_start() {
    differs!(Runc | Crun, "start succeeds, the program's end tells");
    let bundle = Bundle::new().file("bin/script", "#!/no/such/interpreter\n").args(&["script"]);
    fs::set_permissions(bundle.rootfs().join("bin/script"), Permissions::from_mode(0o755)).unwrap();
    let container = bundle.create();
    let refusal = container.refuses("start", &[]).names("process.args[0]").says("no such file or directory");
    // As for a program that is missing itself.
    refusal.because("exec: \"script\": no such file or directory").because("/no/such/interpreter");
}

#[test]
fn a_file_of_no_format_fails_run() {
    differs!(Runc | Crun, "the error is not in the log");
    let bundle = Bundle::new().file("bin/text", "").args(&["text"]);
    fs::set_permissions(bundle.rootfs().join("bin/text"), Permissions::from_mode(0o755)).unwrap();
    bundle.run_fails().names("process.args[0]").says("exec format error");
}

#[test]
fn args_must_not_be_empty() {
    differs!(Crun, "notices at start");
    for args in [json!([]), json!(null)] {
        Bundle::new().set("/process/args", args).create_fails().names("process.args");
    }
    Bundle::new().args(&[""]).create_fails().names("process.args[0]");
}

#[test]
fn no_new_privileges() {
    for (value, shown) in [(json!(true), "1"), (json!(false), "0"), (json!(null), "0")] {
        let bundle = Bundle::sh("grep NoNewPrivs /proc/self/status").set("/process/noNewPrivileges", value.clone());
        assert_eq!(bundle.prints(), format!("NoNewPrivs:\t{shown}\n"), "{value}");
    }
}

#[test]
fn oom_score_adj_is_written() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/oom_score_adj"]).set("/process/oomScoreAdj", 345);
    assert_eq!(bundle.prints(), "345\n");
}

#[test]
fn oom_score_adj_unset_is_inherited() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/oom_score_adj"]).through(["choom", "-n", "123", "--"]);
    assert_eq!(bundle.prints(), "123\n");
}

#[test]
fn oom_score_adj_has_a_range() {
    for value in [1001, -1001] {
        let refusal = Bundle::new().set("/process/oomScoreAdj", value).create_fails();
        refusal.names("process.oomScoreAdj");
    }
}

/// conmon, Python and Rust programs ignore SIGPIPE and hand that on.
#[test]
fn signals_are_as_a_fresh_program_expects() {
    // glibc's posix_spawn leaves signals 32 and 33 ignored, and its sigaction refuses to change them.
    differs!(Runc | Crun, "does not reset the mask, or not the signals that glibc hides");
    let bundle = Bundle::new().args(&["grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status"]);
    let bundle = bundle.through(["env", "--ignore-signal=PIPE,USR1,HUP", "--block-signal=TERM,USR2"]);
    let zero = "0000000000000000";
    assert_eq!(bundle.prints(), format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\nSigCgt:\t{zero}\n"));
}

#[test]
fn cpu_affinity_of_the_caller_is_not_the_containers() {
    differs!(Runc | Crun, "1.1.5 and 1.8 do not reset it");
    let all = crate::support::run::Run::new("nproc").arg("--all").output().ok().stdout;
    let bundle = Bundle::new().args(&["nproc"]).through(["taskset", "-c", "0"]);
    assert_eq!(bundle.prints(), all);
}

#[test]
fn nothing_of_the_callers_session_stays() {
    let container = Bundle::idle().start();
    let stat = container.proc("stat");
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let pid = container.pid.to_string();
    assert_eq!(fields[2..5], [&*pid, &*pid, "0"], "process group, session and terminal");
}

#[test]
fn the_runtimes_binary_cannot_be_reached() {
    let link = Bundle::new().args(&["readlink", "/proc/self/exe"]).prints();
    assert_eq!(link, "/bin/busybox\n");
}
