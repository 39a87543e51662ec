//! Pods: containers that share namespaces with a first one.

use super::Podman;
use crate::support::case::{Case, cases, clean_up};
use crate::support::image::BOX;

pub fn cases() -> Vec<Case<Podman>> {
    cases![shares_namespaces, stops_and_goes]
}

/// A pod that goes away with the case.
struct Pod<'a> {
    podman: &'a Podman,
    name: String,
}

impl<'a> Pod<'a> {
    #[track_caller]
    fn new(podman: &'a Podman, options: &str) -> Self {
        let name = podman.name();
        // Podman's own first container would be built of a program that is not here.
        let infra = format!("--infra-image {BOX} --infra-command");
        let words = format!("pod create --name {name} {} {options} {infra}", podman.options());
        podman.command(&words).arg("sleep 600").output().ok().no_stderr();
        Self { podman, name }
    }

    /// `podman run --pod` in it: a container, by its name.
    #[track_caller]
    fn run(&self, words: &str) -> String {
        let name = self.podman.name();
        self.podman.call(&format!("run --detach --pod {} --name {name} {words}", self.name)).ok().no_stderr();
        name
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let words = format!("pod rm --force --ignore --time 0 {}", self.name);
        clean_up(|| _ = self.podman.call(&words).ok().no_stderr());
    }
}

fn shares_namespaces(podman: &Podman) {
    let pod = Pod::new(podman, "--hostname together");
    let containers = [(); 2].map(|()| pod.run(&format!("{BOX} sleep 600")));
    let in_each = |script: &str| {
        containers
            .each_ref()
            .map(|it| podman.command(&format!("exec {it} sh -c")).arg(script).output().ok().no_stderr().stdout)
    };
    for shared in ["net", "ipc", "uts"] {
        let [first, second] = in_each(&format!("readlink /proc/self/ns/{shared}"));
        assert_eq!(first, second, "{shared}");
    }
    for own in ["pid", "mnt"] {
        let [first, second] = in_each(&format!("readlink /proc/self/ns/{own}"));
        assert_ne!(first, second, "{own}");
    }
    assert_eq!(in_each("hostname"), ["together\n", "together\n"]);
}

fn stops_and_goes(podman: &Podman) {
    let pod = Pod::new(podman, "");
    pod.run(&format!("{BOX} sleep 600"));
    let state =
        || podman.call(&format!("pod inspect --format {{{{.State}}}} {}", pod.name)).ok().no_stderr().line().to_owned();
    assert_eq!(state(), "Running");
    podman.call(&format!("pod pause {}", pod.name)).ok().no_stderr();
    assert_eq!(state(), "Paused");
    podman.call(&format!("pod unpause {}", pod.name)).ok().no_stderr();
    // Podman warns of those that have to be killed.
    podman.call(&format!("pod stop --time 0 {}", pod.name)).ok();
    assert_eq!(state(), "Exited");
    podman.call(&format!("pod start {}", pod.name)).ok().no_stderr();
    assert_eq!(state(), "Running");
}
