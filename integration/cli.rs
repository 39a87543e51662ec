//! The command line as callers use it, and the commands that make no container.

use std::fs;

use serde_json::{Value, json};

use crate::support::peer::{is_corten, program, program_name};
use crate::support::run::{Output, Run};
use crate::support::{Bundle, differs};

fn call(args: &[&str]) -> Output {
    Run::new(program()).args(args).output()
}

#[test]
fn version() {
    for flag in ["--version", "-v"] {
        let output = call(&[flag]).ok();
        assert_eq!(output.stderr, "");
        let mut lines = output.stdout.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with(&format!("{} version ", program_name())), "{first}");
        // Docker takes every line with the word for the version.
        assert!(lines.all(|line| !line.contains("version")), "{}", output.stdout);
        assert!(output.stdout.contains("\ncommit: ") && output.stdout.contains("\nspec: 1."), "{}", output.stdout);
    }
}

#[test]
fn version_under_another_name() {
    differs!(Crun, "has one name");
    let bundle = Bundle::new();
    let link = bundle.path("runc");
    std::os::unix::fs::symlink(program(), &link).unwrap();
    let output = Run::new(&link).arg("--version").output().ok();
    assert!(output.stdout.starts_with("runc version "), "{}", output.stdout);
    let output = Run::new(&link).arg("--root").arg(bundle.state_root()).args(["state", "x"]).output().exits(1);
    assert!(!is_corten() || output.stderr.starts_with("runc state failed: "), "{}", output.stderr);
}

#[test]
fn help() {
    for args in
        [["--help"].as_slice(), &["-h"], &["help"], &["create", "--help"], &["run", "-h"], &["delete", "--help"]]
    {
        differs!(Crun, "has no -h and no help command");
        let output = call(args).ok();
        assert!(output.stdout.to_lowercase().contains("usage"), "{args:?}: {}", output.stdout);
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn help_names_every_command() {
    let help = call(&["--help"]).ok().stdout;
    for command in ["create", "start", "state", "kill", "delete", "run", "list", "spec"] {
        assert!(help.contains(command), "{command}: {help}");
    }
}

#[test]
fn help_of_a_command_names_its_flags() {
    let help = call(&["create", "--help"]).ok().stdout;
    for flag in ["--bundle", "--console-socket", "--pid-file", "--no-pivot", "--no-new-keyring", "--preserve-fds"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    let help = call(&["run", "--help"]).ok().stdout;
    for flag in ["--detach", "--bundle", "--console-socket", "--no-subreaper"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
}

#[test]
fn unknown_commands_and_flags() {
    assert!(!call(&["no-such-command"]).status.success());
    for args in [["create", "--no-such-flag", "x"], ["state", "--no-such-flag", "x"], ["--no-such-flag", "state", "x"]]
    {
        let output = call(&args);
        assert!(!output.status.success(), "{output:#?}");
        let said = output.stdout.clone() + &output.stderr;
        assert!(said.contains("no-such-flag"), "Podman wants the flag's name: {said}");
    }
}

#[test]
fn flags_in_every_form() {
    let bundle = Bundle::sh("echo ok");
    bundle.write();
    let (root, dir) = (bundle.state_root(), bundle.bundle());
    let (root, dir, id) = (root.to_str().unwrap(), dir.to_str().unwrap(), bundle.id.as_str());
    let pid_file = bundle.path("pid");
    let pid_file = pid_file.to_str().unwrap();
    let run = |args: &[String]| {
        let output = Run::new(program()).args(args).output().ok();
        assert_eq!(output.stdout, "ok\n", "{args:?}");
    };
    let words = |line: &str| {
        // A temporary directory may have one of these words in its name.
        let marked = line.replace("PID", "%P").replace("ROOT", "%R").replace("DIR", "%D").replace("ID", id);
        let line = marked.replace("%P", pid_file).replace("%R", root).replace("%D", dir);
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    run(&words("--root ROOT run --bundle DIR ID"));
    run(&words("--root=ROOT run --bundle=DIR ID"));
    run(&words("--root ROOT run -b DIR ID"));
    differs!(Crun, "its flags have one form, and are not repeated");
    run(&words("-root ROOT run -bundle DIR ID"));
    run(&words("-root=ROOT run -bundle=DIR ID"));
    run(&words("--root ROOT run -b=DIR ID"));
    run(&words("--root /nowhere --root=ROOT run --bundle /nowhere --bundle DIR ID"));
    run(&words(
        "--root ROOT --systemd-cgroup=false --rootless=false --rootless auto --debug=false run --bundle DIR ID",
    ));
    run(&words("--root ROOT run --no-pivot --no-pivot --no-new-keyring --no-subreaper -no-subreaper --bundle DIR ID"));
}

/// The calls of containerd's shim, conmon and Buildah, word by word (reference/callers.md, section 1).
#[test]
fn calls_of_engines() {
    let log = |bundle: &Bundle| bundle.path("log.json").to_str().unwrap().to_owned();
    let bundle = Bundle::new();
    let (log, pid) = (log(&bundle), bundle.path("pid"));
    let shim = bundle.global("--log").global(log).global("--log-format").global("json");
    let container = shim.option("--pid-file").option(pid.to_str().unwrap()).option("--no-new-keyring").create();
    let call = |command: &str, args: &[&str]| container.runtime(command).args(args).output();
    call("start", &[&container.id]).ok().silent();
    container.wait();
    call("delete", &[&container.id]).ok().silent();
    call("delete", &["--force", &container.id]).ok().silent();
}

#[test]
fn features() {
    differs!(Runc | Crun, "1.1.5 and 1.8 know less, or no such command");
    let output = call(&["features"]).ok();
    assert_eq!(output.stderr, "");
    let features: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."), "{features}");
    let has = |list: &Value, word: &str| list.as_array().unwrap().iter().any(|it| it == word);
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(has(&features["hooks"], hook), "{hook}");
    }
    for option in "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec \
        noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave \
        runbindable rw shared silent slave strictatime suid sync unbindable nosymfollow symfollow rro rrw rsuid rnosuid rdev \
        rnodev rexec rnoexec ratime rnoatime rdiratime rnodiratime rrelatime rnorelatime rstrictatime rnostrictatime \
        rsymfollow rnosymfollow tmpcopyup"
        .split_whitespace()
    {
        assert!(has(&features["mountOptions"], option), "{option}");
    }
    let linux = &features["linux"];
    for kind in ["pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time"] {
        assert!(has(&linux["namespaces"], kind), "{kind}");
    }
    assert!(has(&linux["capabilities"], "CAP_SYS_ADMIN") && has(&linux["capabilities"], "CAP_CHECKPOINT_RESTORE"));
    assert_eq!(linux["capabilities"].as_array().unwrap().len(), 41);
    for member in ["v1", "v2", "systemd", "systemdUser", "rdma"] {
        assert!(linux["cgroup"][member].is_boolean(), "{member}");
    }
    assert_eq!((&linux["cgroup"]["v1"], &linux["cgroup"]["v2"]), (&json!(true), &json!(true)));
    assert!(linux["seccomp"]["enabled"].is_boolean());
    assert_eq!(linux["intelRdt"], json!({"enabled": true, "schemata": true, "monitoring": true}));
    assert_eq!(linux["netDevices"], json!({"enabled": true}));
    assert_eq!(linux["memoryPolicy"]["modes"].as_array().unwrap().len(), 7);
    assert_eq!(linux["memoryPolicy"]["flags"].as_array().unwrap().len(), 3);
    // All that config.json's annotations change: users::*, systemd::*, checkpoint::*.
    let unsafe_ones = json!(["org.systemd.property.", "run.oci.keep_original_groups", "org.criu.config"]);
    assert_eq!(features["potentiallyUnsafeConfigAnnotations"], unsafe_ones);
    // True from the day on which id-mapped mounts are attempted, and then the options are promised, too.
    let maps = linux["mountExtensions"]["idmap"]["enabled"].as_bool().unwrap();
    assert_eq!(maps, has(&features["mountOptions"], "idmap") && has(&features["mountOptions"], "ridmap"));
}

/// What `features` promises as a version must be taken in config.json.
#[test]
fn features_versions_are_accepted() {
    differs!(Crun, "1.8 has no such command");
    let features: Value = serde_json::from_str(&call(&["features"]).ok().stdout).unwrap();
    for member in ["ociVersionMin", "ociVersionMax"] {
        assert_eq!(Bundle::sh("echo ok").set("/ociVersion", features[member].clone()).prints(), "ok\n", "{member}");
    }
}

#[test]
fn spec_makes_a_bundle_that_runs() {
    differs!(Crun, "needs CAP_SYS_RESOURCE");
    let bundle = Bundle::new();
    let spec = |args: &[&str]| Run::new(program()).arg("spec").args(args).dir(&bundle.bundle()).output();
    spec(&[]).ok().silent();
    let config = bundle.bundle().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["process"]["args"], json!(["sh"]));
    assert_eq!(value["root"]["path"], "rootfs");
    assert_eq!(value["process"]["terminal"], true);
    // It does not overwrite.
    assert!(!spec(&[]).status.success());
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    value["process"]["terminal"] = false.into();
    value["process"]["args"] = json!(["sh", "-c", "id -u; hostname; pwd; touch /x 2>&1 || true"]);
    value["linux"]["cgroupsPath"] = bundle.cgroup.clone().into();
    fs::write(&config, value.to_string()).unwrap();
    let output = bundle.command("run").output().ok();
    let hostname = value["hostname"].as_str().unwrap();
    assert_eq!(output.stdout, format!("0\n{hostname}\n/\ntouch: /x: Read-only file system\n"));
}

#[test]
fn spec_elsewhere() {
    let bundle = Bundle::new();
    for (flag, name) in [("--bundle", "one"), ("-b", "two")] {
        let directory = bundle.host_directory(name);
        Run::new(program()).args(["spec", flag]).arg(&directory).output().ok().silent();
        assert!(directory.join("config.json").exists());
    }
    assert!(!Run::new(program()).args(["spec", "--bundle", "/no/such/directory"]).output().status.success());
}

#[test]
fn spec_for_rootless() {
    differs!(Crun, "keeps the network namespace");
    let bundle = Bundle::new();
    Run::new(program()).args(["spec", "--rootless"]).dir(&bundle.bundle()).output().ok().silent();
    let text = fs::read_to_string(bundle.bundle().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert!(kinds.contains(&&json!("user")) && !kinds.contains(&&json!("network")), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"].as_array().unwrap().len(), 1);
}
