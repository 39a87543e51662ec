//! `process.user`: numbers, as given.

use serde_json::json;

use crate::support::run::Run;
use crate::support::{Bundle, differs, peer};

const IDS: [&str; 4] = ["grep", "-E", "^(Uid|Gid|Groups)", "/proc/self/status"];

#[test]
fn user_and_group_in_all_four_forms() {
    let bundle = Bundle::new().args(&IDS).set("/process/user", json!({"uid": 1234, "gid": 5678}));
    assert_eq!(bundle.prints(), "Uid:\t1234\t1234\t1234\t1234\nGid:\t5678\t5678\t5678\t5678\nGroups:\t \n");
}

#[test]
fn additional_groups_are_exactly_those() {
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": [7, 4242, 9]});
    let printed = Bundle::new().args(&IDS).set("/process/user", user).prints();
    assert!(printed.ends_with("Groups:\t7 9 4242 \n"), "{printed}");
}

#[test]
fn root_without_groups_has_none_of_the_callers() {
    let bundle = Bundle::new().args(&IDS).through(["setpriv", "--groups", "27,44", "--"]);
    assert!(bundle.prints().ends_with("Groups:\t \n"));
}

/// COMPAT(Podman's `--group-add keep-groups`).
#[test]
fn the_callers_groups_can_be_kept() {
    differs!(Runc, "it is crun's annotation");
    let bundle = Bundle::new().args(&IDS).set("/annotations", json!({"run.oci.keep_original_groups": "1"}));
    let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [7]}));
    let printed = bundle.through(["setpriv", "--groups", "27,44", "--"]).prints();
    assert!(printed.ends_with("Groups:\t27 44 \n"), "{printed}");
    // By a further process, too, whose parent's they are then.
    let bundle = Bundle::idle().set("/annotations", json!({"run.oci.keep_original_groups": "1"}));
    let container = bundle.start();
    let exec = Run::new("setpriv").args(["--groups", "27,44", "--"]).arg(peer::program()).arg("--root");
    let exec = exec.arg(container.state_root()).arg("exec").arg(&container.id).args(IDS);
    assert!(exec.output().ok().stdout.ends_with("Groups:\t27 44 \n"));
}

#[test]
fn umask_is_the_configured_one() {
    for (value, shown) in [(0o077, "0077"), (0o027, "0027"), (0, "0000")] {
        let bundle = Bundle::sh("umask").set("/process/user/umask", value);
        assert_eq!(bundle.prints().trim(), shown);
    }
}

#[test]
fn umask_unset_is_0022_whatever_the_callers() {
    assert_eq!(Bundle::sh("umask").after_host_sh("umask 0077").prints(), "0022\n");
}

#[test]
fn the_callers_umask_does_not_show_in_the_container() {
    differs!(Runc | Crun, "makes directories with the caller's umask");
    let script = "stat -c %a /dev/null /dev /made-by-runtime /mount-point; pwd";
    let bundle = Bundle::sh(script).after_host_sh("umask 0077").tmpfs("/mount-point/inner", &[]);
    let printed = bundle.set("/process/cwd", "/made-by-runtime").prints();
    assert_eq!(printed, "666\n755\n755\n755\n/made-by-runtime\n");
}

#[test]
fn stdio_can_be_reopened_by_the_user() {
    let container = Bundle::sh("echo again > /dev/stdout").set("/process/user/uid", 1000).create();
    assert_eq!(container.finish(), "again\n");
}
