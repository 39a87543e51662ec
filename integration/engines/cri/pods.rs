//! Pods: their namespaces, networks and settings.

use std::fs;

use k8s_cri::v1::*;

use super::{Container, Cri, SERVICE, pod_security, security};
use crate::containerd::Containerd;
use crate::support::case::{Case, cases};
use crate::support::cgroup;
use crate::support::requires;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![
        from_creation_to_removal,
        shared_namespaces,
        namespaces_of_the_node,
        network,
        sysctls,
        stop_with_containers,
        runtime_class,
        user_namespace,
        refused
    ]
}

fn from_creation_to_removal(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    assert_eq!(pod.status().state(), PodSandboxState::SandboxReady);

    let container = pod.create(SERVICE, |_| ()).unwrap();
    assert_eq!(container.status().state(), ContainerState::ContainerCreated);
    container.start().unwrap();
    assert_eq!(container.status().state(), ContainerState::ContainerRunning);
    let again = container.start().unwrap_err();
    assert!(again.message().contains("container is in CONTAINER_RUNNING state"), "{again}");
    container.stop(0).unwrap();
    let status = container.wait();
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    container.stop(0).unwrap();
    container.remove().unwrap();
    container.remove().unwrap();

    pod.stop().unwrap();
    assert_eq!(pod.status().state(), PodSandboxState::SandboxNotready);
    pod.stop().unwrap();
    pod.remove().unwrap();
    pod.remove().unwrap();
    let pods = cri.call(async |mut it| it.list_pod_sandbox(ListPodSandboxRequest::default()).await).unwrap().items;
    assert!(pods.iter().all(|it| it.id != pod.id), "{pods:?}");
}

fn shared_namespaces(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|config| config.hostname = "shared".to_owned());
    let [one, other] = [(); 2].map(|()| pod.run(SERVICE, |_| ()));
    let alone = pod.run(SERVICE, |config| {
        security(config).namespace_options.get_or_insert_default().set_pid(NamespaceMode::Container);
    });
    for namespace in ["ipc", "net", "uts", "pid"] {
        assert_eq!(namespace_of(&one, namespace), namespace_of(&other, namespace));
        assert_ne!(namespace_of(&one, namespace), own(namespace));
    }
    for namespace in ["pid", "mnt"] {
        assert_ne!(namespace_of(&one, namespace), namespace_of(&alone, namespace));
    }
    assert_eq!(one.exec("cat /proc/1/comm"), "sleep\n");
    assert_ne!(namespace_of(&one, "mnt"), namespace_of(&other, "mnt"));
    assert_eq!(one.exec("hostname; cat /etc/hostname"), "shared\nshared\n");
    one.exec("echo hello >/dev/shm/file");
    assert_eq!(other.exec("cat /dev/shm/file"), "hello\n");

    let debugger = pod.run(SERVICE, |config| {
        let options = security(config).namespace_options.get_or_insert_default();
        options.set_pid(NamespaceMode::Target);
        options.target_id.clone_from(&alone.id);
    });
    assert_eq!(namespace_of(&debugger, "pid"), namespace_of(&alone, "pid"));
}

fn namespaces_of_the_node(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let node = NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Node.into(),
        ipc: NamespaceMode::Node.into(),
        ..Default::default()
    };
    let pod = cri.run_pod(|config| {
        pod_security(config).namespace_options = Some(node.clone());
        // It is the node's.
        config.hostname.clear();
    });
    let container = pod.run(SERVICE, |config| security(config).namespace_options = Some(node));
    for namespace in ["ipc", "net", "uts", "pid"] {
        assert_eq!(namespace_of(&container, namespace), own(namespace));
    }
    // What it leaves behind has no first process whose end would end it.
    container.exec("setsid sleep 1000 >/dev/null 2>&1 &");
    container.stop(0).unwrap();
    assert_eq!(container.wait().exit_code, 137);
}

fn network(containerd: &Containerd) {
    let filtered = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|it| it == "1\n");
    requires!(!filtered, "a kernel in which Docker's firewall is not that of all bridges");
    let cri = Cri::connect(containerd);
    let [server, client] = [(); 2].map(|()| cri.run_pod(|_| ()));
    let address = server.status().network.unwrap().ip;
    let service = server.run(&["sh", "-c", "echo hello | nc -l -p 8080"], |_| ());
    assert!(service.exec("ifconfig eth0").contains(&address));
    let answer = client.sh(&format!("until nc {address} 8080 </dev/null; do sleep 0.05; done"), |_| ());
    assert_eq!(answer, "hello\n");
    assert_eq!(service.wait().exit_code, 0);
}

fn sysctls(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|config| {
        let sysctls = [("net.ipv4.ip_local_port_range", "2000 3000"), ("kernel.shm_rmid_forced", "1")];
        config.linux.get_or_insert_default().sysctls =
            sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    });
    let output = pod.sh("cd /proc/sys; cat net/ipv4/ip_local_port_range kernel/shm_rmid_forced", |_| ());
    assert_eq!(output, "2000\t3000\n1\n");
}

fn stop_with_containers(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let containers = [(); 3].map(|()| pod.run(SERVICE, |_| ()));
    pod.stop().unwrap();
    for container in containers {
        assert_eq!(container.wait().exit_code, 137);
    }
    pod.remove().unwrap();
    for directory in cgroup::directories(&pod.cgroup.path).into_iter().filter(|it| it.exists()) {
        assert_eq!(cgroup::entries(&directory), [""; 0].map(std::path::PathBuf::from));
    }
}

/// What is given to Kubernetes so that pods can ask for corten.
const RUNTIME_CLASS: &str = include_str!("../../../docs/kubernetes/runtime-class.yaml");

fn runtime_class(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let handler = RUNTIME_CLASS.lines().find_map(|line| line.strip_prefix("handler: ")).unwrap();
    let pod = cri.try_run_pod(handler, |_| ()).unwrap();
    assert_eq!(pod.status().runtime_handler, handler);
    assert_eq!(pod.sh("echo hello", |_| ()), "hello\n");
    let error = cri.try_run_pod("another", |_| ()).map(drop).unwrap_err();
    assert!(error.message().contains("no runtime for \"another\" is configured"), "{error}");
}

fn user_namespace(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let version = cri.call(async |mut it| it.version(VersionRequest::default()).await).unwrap().runtime_version;
    requires!(!version.starts_with("1."), format!("containerd 2: {version} does not know userns_options"));
    let mapping = IdMapping { host_id: 100_000, container_id: 0, length: 65536 };
    let options = NamespaceOption {
        userns_options: Some(UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![mapping],
            gids: vec![mapping],
        }),
        ..Default::default()
    };
    let pod = cri.run_pod(|config| pod_security(config).namespace_options = Some(options.clone()));
    let output = pod.sh("cat /proc/self/uid_map", |config| security(config).namespace_options = Some(options));
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

/// A namespace of the node.
fn own(namespace: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap().to_str().unwrap().to_owned()
}

fn namespace_of(container: &Container<'_>, name: &str) -> String {
    container.exec(&format!("readlink /proc/self/ns/{name}")).trim().to_owned()
}

/// Nothing of it is left, which is looked at when all is over.
fn refused(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.try_run_pod("", |config| {
        let sysctls = &mut config.linux.get_or_insert_default().sysctls;
        sysctls.insert("net.ipv4.no_such_thing".to_owned(), "1".to_owned());
    });
    let error = pod.map(drop).unwrap_err();
    for needle in ["OCI runtime create failed: ", "no_such_thing", "no such file or directory"] {
        assert!(error.message().contains(needle), "{needle}: {error}");
    }
}
