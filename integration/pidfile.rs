//! `--pid-file`: engines read it without trimming, and poll for it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{Bundle, differs};

#[test]
fn holds_the_bare_number() {
    let bundle = Bundle::idle();
    let file = bundle.path("pids").join("pid");
    crate::support::rootfs::directory(file.parent().unwrap());
    let container = bundle.option("--pid-file").option(file.to_str().unwrap()).create();
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid.to_string());
    let names = fs::read_dir(file.parent().unwrap()).unwrap().map(|it| it.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["pid"], "no temporary file stays");
}

#[test]
fn run_writes_it_too() {
    let bundle = Bundle::new();
    let file = bundle.path("pid");
    let container = bundle.option(format!("--pid-file={}", file.display())).args(&["sleep", "600"]).run_detached();
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid.to_string());
}

/// As soon as the program runs, it is there.
#[test]
fn is_written_before_the_program_starts() {
    let bundle = Bundle::sh("cat /pid");
    let file = bundle.rootfs().join("pid");
    let printed = bundle.option("--pid-file").option(file.to_str().unwrap()).prints();
    assert!(printed.parse::<u32>().is_ok_and(|pid| pid > 1), "{printed:?}");
}

/// CRI-O makes an empty file before it calls, and BuildKit reads at the moment in which there is one.
#[test]
fn replaces_an_empty_file_in_one_step() {
    differs!(Crun, "writes into the file");
    let bundle = Bundle::idle();
    let file = bundle.path("pid");
    fs::write(&file, "").unwrap();
    let before = fs::metadata(&file).unwrap().ino();
    let container = bundle.option("--pid-file").option(file.to_str().unwrap()).create();
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid.to_string());
    assert_ne!(fs::metadata(&file).unwrap().ino(), before);
}

#[test]
fn is_relative_to_the_callers_directory() {
    differs!(Crun, "takes it relative to the bundle");
    let bundle = Bundle::idle();
    bundle.write();
    let null = std::process::Stdio::null;
    let create = bundle.runtime("create").args(["--bundle", "bundle", "--pid-file", "pid", &bundle.id]);
    create.dir(&bundle.path("")).stdout_to(null()).stderr_to(null()).output().ok();
    let pid = fs::read_to_string(bundle.path("pid")).unwrap();
    assert!(fs::exists(format!("/proc/{pid}/stat")).unwrap());
}

#[test]
fn is_not_there_when_create_fails() {
    let bundle = Bundle::new().args(&["no-such-program"]);
    let file = bundle.path("pid");
    let bundle = bundle.option("--pid-file").option(file.to_str().unwrap());
    bundle.write();
    bundle.refuses("create");
    assert!(bundle.bundle().exists() && !file.exists());
}

#[test]
fn that_cannot_be_written_fails_create() {
    let bundle = Bundle::new();
    let file = bundle.path("no/such/directory/pid");
    let refusal = bundle.option("--pid-file").option(file.to_str().unwrap()).create_fails();
    refusal.says("no such file or directory");
}
