//! Descriptors of the host that are still open when the program begins.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::host::{Host, SECRET};
use crate::support::{Bundle, Container};

/// The numbers that are tried: the runtime's own, and the one that the caller leaks.
const NUMBERS: std::ops::Range<i32> = 3..20;
const LEAKED: i32 = 19;

/// A caller that has a directory of the host open, as an engine may.
fn leaking(bundle: Bundle, host: &Host) -> Bundle {
    bundle.after_host_sh(&format!("exec {LEAKED}< {}", host.path("").display())).through(["env"])
}

/// Shows what can be reached from the working directory.
const LOOK: &str = "cat secret ../secret; ls -d /proc/self/cwd/../../../etc; readlink -f .";

#[track_caller]
fn assert_blind(what: &str, output: &crate::support::run::Output) {
    let inside = output.stdout.is_empty() || output.stdout.lines().last().is_some_and(|it| it.starts_with('/'));
    assert!(!output.stdout.contains(SECRET) && inside, "{what}: the program saw the host: {output:#?}");
}

/// runc before 1.1.12 leaked a directory of the host's cgroups into the container's process. An image whose working directory
/// is `/proc/self/fd/7` was in the host's files.
#[test]
fn cve_2024_21626_the_working_directory_is_a_descriptor() {
    for number in NUMBERS {
        for cwd in [format!("/proc/self/fd/{number}"), "/work".to_owned(), format!("/proc/self/fd/{number}/directory")]
        {
            let bundle = Bundle::sh(LOOK);
            let host = Host::beside(&bundle);
            let bundle = leaking(bundle, &host).link("work", &format!("/proc/self/fd/{number}"));
            let bundle = bundle.set("/process/cwd", cwd.clone());
            bundle.write();
            assert_blind(&cwd, &bundle.command("run").output());
            host.is_as_it_was();
        }
    }
}

/// The same with a further process: its directory is the caller's to say, but what is there is the container's.
#[test]
fn cve_2024_21626_exec_in_a_descriptor() {
    let bundle = Bundle::idle();
    let host = Host::beside(&bundle);
    let bundle = (NUMBERS).fold(bundle, |it, number| it.link(&format!("{number}"), &format!("/proc/self/fd/{number}")));
    let container = bundle.start();
    for number in NUMBERS {
        for cwd in [format!("/proc/self/fd/{number}"), format!("/{number}")] {
            let output = exec_leaking(&container, &host, &["--cwd", &cwd], &["sh", "-c", LOOK]);
            assert_blind(&cwd, &output);
        }
    }
    host.is_as_it_was();
}

/// The third way of the advisory: execve looks up its path before it closes anything, so a program of the host could be run,
/// and overwritten through /proc/self/exe, by a descriptor that is close-on-exec.
#[test]
fn cve_2024_21626_the_program_is_below_a_descriptor() {
    let bundle = Bundle::idle();
    let host = Host::beside(&bundle);
    let tool = host.path("directory/file");
    fs::write(&tool, "#!/bin/sh\necho the host\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let container = bundle.start();
    for number in NUMBERS {
        let program = format!("/proc/self/fd/{number}/directory/file");
        let output = exec_leaking(&container, &host, &[], &[&program]);
        assert!(output.stdout.is_empty(), "{program}: the host's program was run: {output:#?}");
    }
}

fn exec_leaking(container: &Container, host: &Host, options: &[&str], args: &[&str]) -> crate::support::run::Output {
    let program = crate::support::peer::program();
    let script = format!("exec {LEAKED}< {}; exec \"$@\"", host.path("").display());
    let run = crate::support::run::Run::new("bash").args(["-c", &script, "_"]).arg(program).arg("--root");
    run.arg(container.state_root()).arg("exec").args(options).arg(&container.id).args(args).output()
}
