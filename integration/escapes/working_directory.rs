//! Descriptors of the host that are still open when the program begins.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::host::{Host, SECRET};
use crate::support::run::{Output, Run};
use crate::support::{Bundle, Container, peer};

/// The numbers that are tried: the runtime's own, and the one that its caller leaks.
const NUMBERS: std::ops::RangeInclusive<i32> = 3..=LEAKED;
const LEAKED: i32 = 19;

/// A caller that has the host's directory open, as an engine may; dash knows no descriptors of two digits.
fn leaking(host: &Host) -> [String; 4] {
    let script = format!("exec {LEAKED}< {}; exec \"$@\"", host.path("").display());
    ["bash".to_owned(), "-c".to_owned(), script, "_".to_owned()]
}

/// `exec`, called by it.
fn exec(container: &Container, host: &Host, options: &[&str], args: &[&str]) -> Output {
    let [shell, words @ ..] = leaking(host);
    let run = Run::new(shell).args(words).arg(peer::program()).arg("--root").arg(container.state_root());
    run.arg("exec").args(options).arg(&container.id).args(args).output()
}

/// A symlink `/N` to each descriptor.
fn with_links(bundle: Bundle) -> Bundle {
    NUMBERS.fold(bundle, |it, number| it.link(&number.to_string(), &format!("/proc/self/fd/{number}")))
}

/// Shows what can be seen from the working directory: the kernel gives no name to what is outside of the root.
const LOOK: &str = "cat secret ../secret ../host/secret 2> /dev/null; readlink /proc/self/cwd";

#[track_caller]
fn assert_blind(cwd: &str, output: &Output) {
    let seen = &output.stdout;
    assert!(!seen.contains(SECRET) && !seen.contains("corten-it"), "{cwd}: the program saw the host: {output:#?}");
}

/// runc before 1.1.12 leaked a directory of the host's cgroups into the container's process. An image whose working directory
/// is `/proc/self/fd/7`, or a symlink to it, was in the host's files.
#[test]
fn cve_2024_21626_the_working_directory_is_a_descriptor() {
    let bundle = with_links(Bundle::sh(LOOK));
    let host = Host::beside(&bundle);
    let mut bundle = bundle.through(leaking(&host));
    for number in NUMBERS {
        for cwd in [format!("/proc/self/fd/{number}"), format!("/{number}"), format!("/{number}/directory")] {
            bundle.config["process"]["cwd"] = cwd.clone().into();
            bundle.write();
            assert_blind(&cwd, &bundle.command("run").output());
        }
    }
    host.is_as_it_was();
}

/// The same with a further process.
#[test]
fn cve_2024_21626_exec_in_a_descriptor() {
    let bundle = with_links(Bundle::idle());
    let host = Host::beside(&bundle);
    let container = bundle.start();
    for number in NUMBERS {
        for cwd in [format!("/proc/self/fd/{number}"), format!("/{number}"), format!("/{number}/directory")] {
            assert_blind(&cwd, &exec(&container, &host, &["--cwd", &cwd], &["sh", "-c", LOOK]));
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
        let output = exec(&container, &host, &[], &[&program]);
        assert!(output.stdout.is_empty(), "{program}: the host's program was run: {output:#?}");
    }
}
