//! The session keyring: one for each container, shared by its processes alone.

use std::fs;

use crate::support::wait::until;
use crate::support::{Bundle, Container, differs, probe, requires};

/// keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING): whose session this is.
const SESSION: &str = "probe value 250 0 -3 0";

/// The line of /proc/keys about a key: its number, its state, how many use it, what it may be, and its name.
fn line_of(keys: &str, serial: &str) -> Option<String> {
    let serial: u32 = serial.trim().parse().unwrap();
    let hexadecimal = format!("{serial:08x} ");
    keys.lines().find(|line| line.starts_with(&hexadecimal)).map(str::to_owned)
}

/// What exec in it says.
fn exec(container: &Container, script: &str) -> String {
    container.runtime("exec").arg(&container.id).args(["sh", "-c", script]).output().ok().stdout
}

fn idle() -> Bundle {
    probe::put_into(Bundle::sh(&format!("{SESSION}; cat /proc/keys; {}", crate::support::bundle::IDLE)))
}

#[test]
fn a_container_and_its_further_processes_have_one_of_their_own() {
    requires!(probe::exists() && cfg!(target_arch = "x86_64"), "gcc, on x86_64");
    differs!(Runc, "in a user namespace, further processes have a keyring each");
    for in_user_namespace in [false, true] {
        let bundle = if in_user_namespace { idle().user_namespace(100_000) } else { idle() };
        let container = bundle.start();
        let name = format!("_ses.{}: ", container.id);
        container.says(&name);
        let printed = container.stdout();
        let (session, keys) = printed.split_once('\n').unwrap();
        let line = line_of(keys, session).unwrap_or_else(|| panic!("{session} in {keys}"));
        assert!(line.contains(&name) && line.contains("3f1b0000"), "{line}");
        assert_eq!(exec(&container, SESSION).trim(), session);
        container.kill("KILL");
        container.wait();
        container.delete();
        // The kernel takes its time.
        let here = || fs::read_to_string("/proc/keys").unwrap().contains(&name);
        until("the end of the keyring", || (!here()).then_some(()));
    }
}

#[test]
fn another_user_of_the_container_may_use_it() {
    let script = "grep -o '_ses.corten-keys: .*' /proc/keys";
    let bundle = Bundle::sh(script).set("/process/user/uid", 1000).called("corten-keys");
    assert_eq!(bundle.prints(), "_ses.corten-keys: empty\n");
}

#[test]
fn it_stays_the_callers_if_the_caller_says_so() {
    requires!(probe::exists() && cfg!(target_arch = "x86_64"), "gcc, on x86_64");
    differs!(Crun, "exec has a new one");
    let container = idle().option("--no-new-keyring").start();
    let of_ours = probe::says(&["value", "250", "0", "-3", "0"]);
    until("the program", || container.stdout().contains('\n').then_some(()));
    assert_eq!(container.stdout().lines().next().unwrap(), of_ours);
    assert_eq!(exec(&container, SESSION).trim(), of_ours);
}
