//! `buildah run` and `buildah build`: each step is a container.

use std::fs;

use super::Podman;
use crate::support::case::{Case, cases, clean_up};
use crate::support::image::BOX;
use crate::support::peer;
use crate::support::run::{Output, Run};

pub fn cases() -> Vec<Case<Podman>> {
    cases![runs, runs_in_a_terminal, fails, builds]
}

/// `buildah WORDS...` with the images of `podman`, to be continued.
fn buildah(podman: &Podman, words: &str) -> Run {
    let place = &podman.place;
    let run = Run::new("buildah").env("CONTAINERS_CONF", place.path("containers.conf"));
    let run = run.env("BUILDAH_RUNTIME", std::path::absolute(peer::program()).unwrap()).env("BUILDAH_ISOLATION", "oci");
    let run = run.arg("--root").arg(place.path("root")).arg("--runroot").arg(place.path("runroot"));
    run.args(["--storage-driver", "overlay"]).args(words.split_whitespace())
}

/// What Buildah calls the parent is the container's own.
fn group(podman: &Podman) -> String {
    format!("--cgroup-parent {}/{}", podman.place.cgroupfs_parent(), podman.name())
}

/// A container to work in, which goes away with the case.
struct Working<'a> {
    podman: &'a Podman,
    name: String,
}

impl<'a> Working<'a> {
    #[track_caller]
    fn new(podman: &'a Podman) -> Self {
        let name = podman.name();
        let words = format!("from --quiet {} --name {name} {BOX}", group(podman));
        buildah(podman, &words).output().ok();
        Self { podman, name }
    }

    fn run(&self, options: &str, script: &str) -> Run {
        buildah(self.podman, &format!("run {options} {} sh -c", self.name)).arg(script)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        clean_up(|| _ = buildah(self.podman, &format!("rm {}", self.name)).output().ok());
    }
}

/// Debian's Buildah asks for ambient capabilities that it has not made inheritable. They cannot be granted, which the
/// specification wants to be a warning; newer ones of runc give it, too.
#[track_caller]
fn warns_of_nothing_else(output: &Output) {
    assert!(output.stderr.lines().all(|line| line.contains("can't raise ambient capability")), "{}", output.stderr);
}

fn runs(podman: &Podman) {
    let working = Working::new(podman);
    let output =
        working.run("--env A=b --user user --workingdir /tmp", "echo $A; id -u; pwd").output().ok().no_stderr();
    assert_eq!(output.stdout, "b\n1000\n/tmp\n");
    warns_of_nothing_else(&working.run("", "echo new >/file").output().ok());
    let output = working.run("", "cat /file").output().ok();
    assert_eq!(output.stdout, "new\n");
    warns_of_nothing_else(&output);
}

fn runs_in_a_terminal(podman: &Podman) {
    let working = Working::new(podman);
    let output = working.run("--tty", "tty; exit 3").output().exits(3);
    assert_eq!(output.stdout, "/dev/pts/0\r\n");
}

fn fails(podman: &Podman) {
    let working = Working::new(podman);
    working.run("", "exit 42").output().exits(42);
    let output = buildah(podman, &format!("run {} nothing", working.name)).output();
    assert!(!output.status.success() && output.stderr.contains("executable file not found in $PATH"), "{output:?}");
}

fn builds(podman: &Podman) {
    let image = podman.name();
    let directory = podman.directory("build");
    let file = format!("FROM {BOX}\nENV A=b\nRUN echo $A >/file\nUSER user\nRUN id -u >/tmp/file\n");
    fs::write(format!("{directory}/Dockerfile"), file).unwrap();
    let words = format!("build --quiet --no-cache {} --tag {image} {directory}", group(podman));
    warns_of_nothing_else(&buildah(podman, &words).output().ok());
    let words = format!("run --rm {} {image} cat /file /tmp/file", podman.options());
    assert_eq!(podman.call(&words).ok().no_stderr().stdout, "b\n1000\n");
    podman.call(&format!("rmi {image}")).ok();
}
