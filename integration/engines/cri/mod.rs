//! Kubernetes' Container Runtime Interface, spoken to containerd's real socket: what a kubelet does with pods.
//!
//! Pods and containers are values here that take themselves away at their end.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::*;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::containerd::Containerd;
use crate::support::case::{Case, clean_up};
use crate::support::cgroup;
use crate::support::image::BOX;
use crate::support::place::Place;
use crate::support::rootfs;
use crate::support::run::Run;
use crate::support::wait::{DEADLINE, until};

mod exec;
mod images;
mod life;
mod pods;
mod resources;
mod rights;
mod volumes;
mod websocket;

pub fn cases() -> Vec<Case<Containerd>> {
    let cases = [
        pods::cases(),
        life::cases(),
        exec::cases(),
        resources::cases(),
        rights::cases(),
        volumes::cases(),
        images::cases(),
    ];
    cases.concat()
}

/// Runs until it is told to end.
const SERVICE: &[&str] = &["sleep", "1000"];

/// A connection of one case.
struct Cri<'a> {
    containerd: &'a Containerd,
    tokio: Runtime,
    channel: Channel,
}

impl<'a> Cri<'a> {
    fn connect(containerd: &'a Containerd) -> Self {
        let tokio = Builder::new_current_thread().enable_all().build().unwrap();
        let address = format!("unix://{}", containerd.socket().display());
        let endpoint = Endpoint::from_shared(address).unwrap().timeout(DEADLINE);
        let channel = tokio.block_on(endpoint.connect()).unwrap();
        Self { containerd, tokio, channel }
    }

    /// A call of the runtime service.
    fn call<A>(
        &self,
        call: impl AsyncFnOnce(RuntimeServiceClient<Channel>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        self.tokio.block_on(call(RuntimeServiceClient::new(self.channel.clone()))).map(Response::into_inner)
    }

    /// A call of the image service.
    fn call_images<A>(
        &self,
        call: impl AsyncFnOnce(ImageServiceClient<Channel>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        self.tokio.block_on(call(ImageServiceClient::new(self.channel.clone()))).map(Response::into_inner)
    }

    /// A running pod with the default runtime.
    #[track_caller]
    fn run_pod(&self, adjust: impl FnOnce(&mut PodSandboxConfig)) -> Pod<'_> {
        self.try_run_pod("", adjust).unwrap()
    }

    /// A running pod of the runtime class `handler`, in a cgroup that is made for it, as the kubelet does.
    fn try_run_pod(&self, handler: &str, adjust: impl FnOnce(&mut PodSandboxConfig)) -> Result<Pod<'_>, Status> {
        let name = self.containerd.name();
        let cgroup = PodCgroup::new(self.containerd.place(), &name);
        let metadata =
            PodSandboxMetadata { uid: name.clone(), namespace: "tests".to_owned(), attempt: 0, name: name.clone() };
        let logs = self.containerd.path(&format!("logs-{name}"));
        let linux = LinuxPodSandboxConfig { cgroup_parent: cgroup.path.clone(), ..Default::default() };
        let mut config = PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name,
            log_directory: logs.to_str().unwrap().to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        adjust(&mut config);
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
        let id = self.call(async |mut it| it.run_pod_sandbox(request).await)?.pod_sandbox_id;
        Ok(Pod { cri: self, id, config, cgroup })
    }
}

/// The cgroup of a pod in all hierarchies.
struct PodCgroup {
    path: String,
}

impl PodCgroup {
    fn new(place: &Place, pod: &str) -> Self {
        let parent = place.cgroup_parent();
        if let Some(slice) = parent.strip_suffix(".slice") {
            // systemd makes it when it is needed.
            return Self { path: format!("/{parent}/{slice}-{}.slice", pod.replace('-', "_")) };
        }
        let cgroup = Self { path: format!("{parent}/{pod}") };
        cgroup::directories(&cgroup.path).iter().for_each(|it| rootfs::directory(it));
        cgroup
    }
}

impl Drop for PodCgroup {
    fn drop(&mut self) {
        // As the kubelet does. What is in it is reported at the end of all.
        match self.path.rsplit_once('/') {
            Some((_, slice)) if cgroup::are_systemds() => drop(Run::new("systemctl").args(["stop", slice]).output()),
            _ => cgroup::directories(&self.path).iter().for_each(|it| drop(fs::remove_dir(it))),
        }
    }
}

/// A pod, which ends with its case.
struct Pod<'a> {
    cri: &'a Cri<'a>,
    id: String,
    config: PodSandboxConfig,
    cgroup: PodCgroup,
}

impl Pod<'_> {
    fn status(&self) -> PodSandboxStatus {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: false };
        self.cri.call(async |mut it| it.pod_sandbox_status(request).await).unwrap().status.unwrap()
    }

    fn stop(&self) -> Result<StopPodSandboxResponse, Status> {
        let request = StopPodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.cri.call(async |mut it| it.stop_pod_sandbox(request).await)
    }

    fn remove(&self) -> Result<RemovePodSandboxResponse, Status> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.cri.call(async |mut it| it.remove_pod_sandbox(request).await)
    }

    /// A container that has not been started.
    fn create(&self, command: &[&str], adjust: impl FnOnce(&mut ContainerConfig)) -> Result<Container<'_>, Status> {
        let name = self.cri.containerd.name();
        let mut config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.clone(), attempt: 0 }),
            image: Some(ImageSpec { image: BOX.to_owned(), ..Default::default() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            log_path: format!("{name}.log"),
            ..Default::default()
        };
        adjust(&mut config);
        let log = Path::new(&self.config.log_directory).join(&config.log_path);
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let id = self.cri.call(async |mut it| it.create_container(request).await)?.container_id;
        Ok(Container { pod: self, id, log })
    }

    /// A running container.
    #[track_caller]
    fn run(&self, command: &[&str], adjust: impl FnOnce(&mut ContainerConfig)) -> Container<'_> {
        let container = self.create(command, adjust).unwrap();
        container.start().unwrap();
        container
    }

    /// What a shell script prints in a container of its own, and that it ends well.
    #[track_caller]
    fn sh(&self, script: &str, adjust: impl FnOnce(&mut ContainerConfig)) -> String {
        let container = self.run(&["sh", "-c", script], adjust);
        let status = container.wait();
        assert_eq!(status.exit_code, 0, "{script}: {} {}", container.stdout(), container.stderr());
        container.stdout()
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // It ends what runs.
        clean_up(|| _ = self.remove().unwrap());
    }
}

/// A container, which ends with its pod.
struct Container<'a> {
    pod: &'a Pod<'a>,
    id: String,
    log: PathBuf,
}

impl Container<'_> {
    fn call<A>(
        &self,
        call: impl AsyncFnOnce(RuntimeServiceClient<Channel>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        self.pod.cri.call(call)
    }

    fn start(&self) -> Result<StartContainerResponse, Status> {
        let request = StartContainerRequest { container_id: self.id.clone() };
        self.call(async |mut it| it.start_container(request).await)
    }

    fn status(&self) -> ContainerStatus {
        self.verbose_status().status.unwrap()
    }

    fn verbose_status(&self) -> ContainerStatusResponse {
        let request = ContainerStatusRequest { container_id: self.id.clone(), verbose: true };
        self.call(async |mut it| it.container_status(request).await).unwrap()
    }

    /// Its first process.
    fn pid(&self) -> i64 {
        let info: serde_json::Value = serde_json::from_str(&self.verbose_status().info["info"]).unwrap();
        info["pid"].as_i64().unwrap()
    }

    /// A file of its cgroup in the hierarchy of `controller`.
    #[track_caller]
    fn cgroup_file(&self, controller: &str, name: &str) -> String {
        cgroup::value(self.pid(), controller, name)
    }

    /// Waits for its end.
    #[track_caller]
    fn wait(&self) -> ContainerStatus {
        let what = format!("the end of {}", self.id);
        until(&what, || Some(self.status()).filter(|it| it.state() == ContainerState::ContainerExited))
    }

    /// Waits until it has said this.
    #[track_caller]
    fn says(&self, needle: &str) {
        until(&format!("{needle:?} from the program"), || self.stdout().contains(needle).then_some(()));
    }

    /// Runs a command inside, for `timeout` seconds at most, if that is not 0.
    fn try_exec(&self, command: &[&str], timeout: i64) -> Result<ExecSyncResponse, Status> {
        let cmd = command.iter().map(|&word| word.to_owned()).collect();
        let request = ExecSyncRequest { container_id: self.id.clone(), cmd, timeout };
        self.call(async |mut it| it.exec_sync(request).await)
    }

    /// What a shell script prints that is executed inside, and that it ends well.
    #[track_caller]
    fn exec(&self, script: &str) -> String {
        let answer = self.try_exec(&["sh", "-c", script], 0).unwrap();
        let (stdout, stderr) = (String::from_utf8(answer.stdout).unwrap(), String::from_utf8_lossy(&answer.stderr));
        assert_eq!(answer.exit_code, 0, "{script}: {stdout} {stderr}");
        stdout
    }

    /// SIGTERM, or the image's signal, and SIGKILL when `grace` seconds are over.
    fn stop(&self, grace: i64) -> Result<StopContainerResponse, Status> {
        let request = StopContainerRequest { container_id: self.id.clone(), timeout: grace };
        self.call(async |mut it| it.stop_container(request).await)
    }

    fn remove(&self) -> Result<RemoveContainerResponse, Status> {
        let request = RemoveContainerRequest { container_id: self.id.clone() };
        self.call(async |mut it| it.remove_container(request).await)
    }

    fn update(&self, linux: LinuxContainerResources) -> Result<UpdateContainerResourcesResponse, Status> {
        let container_id = self.id.clone();
        let (windows, annotations) = (None, HashMap::new());
        let request = UpdateContainerResourcesRequest { container_id, linux: Some(linux), windows, annotations };
        self.call(async |mut it| it.update_container_resources(request).await)
    }

    fn stats(&self) -> ContainerStats {
        let request = ContainerStatsRequest { container_id: self.id.clone() };
        self.call(async |mut it| it.container_stats(request).await).unwrap().stats.unwrap()
    }

    fn stdout(&self) -> String {
        self.logged("stdout")
    }

    fn stderr(&self) -> String {
        self.logged("stderr")
    }

    /// Lines of the log are `TIME STREAM F TEXT`, with `P` for a part of a line.
    fn logged(&self, stream: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut text = String::new();
        for line in log.lines() {
            let fields: Vec<_> = line.splitn(4, ' ').collect();
            if let [_, of, tag, part] = fields[..]
                && of == stream
            {
                text.push_str(part);
                text.push_str(if tag == "F" { "\n" } else { "" });
            }
        }
        text
    }
}

/// Where a container's rights are.
fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

/// Where a pod's rights are.
fn pod_security(config: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}
