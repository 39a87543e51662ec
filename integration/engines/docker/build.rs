//! `docker build`: RUN steps are containers. The classic builder takes the default runtime; BuildKit takes what is `runc` in
//! dockerd's search path.

use std::fs;

use super::Docker;
use crate::support::case::{Case, cases};
use crate::support::image::BOX;
use crate::support::run::Output;

pub fn cases() -> Vec<Case<Docker>> {
    cases![classic, classic_fails, buildkit, buildkit_fails, buildkit_many]
}

/// Builds an image from the lines of a Dockerfile that follow FROM.
fn build(docker: &Docker, image: &str, buildkit: &str, lines: &str) -> Output {
    let directory = docker.directory(image);
    fs::write(format!("{directory}/Dockerfile"), format!("FROM {BOX}\n{lines}\n")).unwrap();
    docker
        .command(&format!("build --no-cache --force-rm --tag {image} {directory}"))
        .env("DOCKER_BUILDKIT", buildkit)
        .output()
}

const LINES: &str = "ENV A=b
RUN echo $A >/file && id -u >>/file
USER user
WORKDIR /home
RUN [\"sh\", \"-c\", \"id -u >/tmp/file; pwd >>/tmp/file\"]
CMD [\"cat\", \"/file\", \"/tmp/file\"]";

#[track_caller]
fn builds(docker: &Docker, buildkit: &str) {
    let image = docker.name();
    build(docker, &image, buildkit, LINES).ok();
    assert_eq!(docker.call(&format!("run --rm {image}")).ok().stdout, "b\n0\n1000\n/home\n");
    docker.call(&format!("rmi --force {image}")).ok();
}

#[track_caller]
fn fails(docker: &Docker, buildkit: &str, status: i32, line: &str, needle: &str) {
    let output = build(docker, &docker.name(), buildkit, line).exits(status);
    let said = output.stdout + &output.stderr;
    assert!(said.contains(needle), "{said}");
}

fn classic(docker: &Docker) {
    builds(docker, "0");
}

fn classic_fails(docker: &Docker) {
    fails(docker, "0", 42, "RUN exit 42", "returned a non-zero code: 42");
    fails(docker, "0", 1, "RUN [\"nothing\"]", "exec: \"nothing\": executable file not found in $PATH");
}

fn buildkit(docker: &Docker) {
    builds(docker, "1");
}

fn buildkit_fails(docker: &Docker) {
    fails(docker, "1", 1, "RUN exit 42", "exit code: 42");
    fails(docker, "1", 1, "RUN [\"nothing\"]", "exec: \"nothing\": executable file not found in $PATH");
}

/// Steps that do not wait for each other run side by side.
fn buildkit_many(docker: &Docker) {
    let steps: String = (0..4).map(|it| format!("FROM {BOX} AS step{it}\nRUN echo {it} >/file{it}\n")).collect();
    let copies: String = (0..4).map(|it| format!("COPY --from=step{it} /file{it} /\n")).collect();
    let image = docker.name();
    build(docker, &image, "1", &format!("{steps}FROM {BOX}\n{copies}CMD [\"sh\", \"-c\", \"cat /file?\"]")).ok();
    assert_eq!(docker.call(&format!("run --rm {image}")).ok().stdout, "0\n1\n2\n3\n");
    docker.call(&format!("rmi --force {image}")).ok();
}
