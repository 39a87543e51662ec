//! Limits and usage.

use std::collections::BTreeSet;
use std::fs;

use k8s_cri::v1::*;

use super::{Cri, SERVICE};
use crate::containerd::Containerd;
use crate::support::case::{Case, cases};
use crate::support::cgroup;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![usage, limits_and_update]
}

fn usage(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let container = pod.run(SERVICE, |_| ());
    let other = pod.run(SERVICE, |_| ());
    container
        .exec("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; dd if=/dev/zero of=/dev/shm/fill bs=1M count=8");

    let stats = container.stats();
    let cpu = stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value;
    assert!(cpu > 1_000_000, "{cpu} ns");
    let memory = stats.memory.unwrap();
    assert!(memory.working_set_bytes.unwrap().value > 8 << 20, "{memory:?}");

    let filter = Some(ContainerStatsFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() });
    let request = ListContainerStatsRequest { filter };
    let listed = cri.call(async |mut it| it.list_container_stats(request).await).unwrap().stats;
    let ids: BTreeSet<_> = listed.into_iter().map(|it| it.attributes.unwrap().id).collect();
    assert_eq!(ids, BTreeSet::from([container.id, other.id]));

    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let stats = cri.call(async |mut it| it.pod_sandbox_stats(request).await).unwrap().stats.unwrap();
    let linux = stats.linux.unwrap();
    assert!(linux.cpu.unwrap().usage_core_nano_seconds.unwrap().value >= cpu);
    assert!(linux.memory.unwrap().working_set_bytes.unwrap().value > 8 << 20);
    // Without the pod's own process.
    assert_eq!(linux.process.unwrap().process_count.unwrap().value, 2);
    assert_eq!(linux.network.unwrap().default_interface.unwrap().name, "eth0");
    let filter = Some(PodSandboxStatsFilter { id: pod.id.clone(), ..Default::default() });
    let request = ListPodSandboxStatsRequest { filter };
    assert_eq!(cri.call(async |mut it| it.list_pod_sandbox_stats(request).await).unwrap().stats.len(), 1);
}

fn limits_and_update(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let limits = LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 500,
        cpuset_cpus: "0".to_owned(),
        ..Default::default()
    };
    let container = pod.run(SERVICE, |config| config.linux.get_or_insert_default().resources = Some(limits.clone()));
    let read = |controller, file| container.cgroup_file(controller, file);
    assert_eq!(read("cpu", "cpu.cfs_period_us"), "100000");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(read("cpu", "cpu.shares"), cgroup::shares(512));
    assert_eq!(read("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(fs::read_to_string(format!("/proc/{}/oom_score_adj", container.pid())).unwrap(), "500\n");
    assert_eq!(container.exec("cat /proc/self/oom_score_adj"), "500\n");

    let update = LinuxContainerResources {
        cpu_quota: 80_000,
        cpu_shares: 1000,
        memory_limit_in_bytes: 128 << 20,
        cpuset_cpus: "0-1".to_owned(),
        ..limits
    };
    container.update(update).unwrap();
    assert_eq!(read("cpu", "cpu.cfs_period_us"), "100000");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "80000");
    assert_eq!(read("cpu", "cpu.shares"), cgroup::shares(1000));
    assert_eq!(read("memory", "memory.limit_in_bytes"), (128 << 20).to_string());
    assert_eq!(read("cpuset", "cpuset.cpus"), "0-1");
    // Devices go along with each update, and stay as they were.
    container.exec("head -c 1 /dev/zero; ! dd if=/dev/loop0 count=1");

    // v2 takes memory away by killing.
    if cgroup::is_v2() {
        return;
    }
    container.exec("dd if=/dev/zero of=/dev/shm/fill bs=1M count=8");
    let small = LinuxContainerResources { memory_limit_in_bytes: 4096, ..Default::default() };
    let error = container.update(small).unwrap_err();
    assert!(error.message().contains("failed to update resources: "), "{error}");
    assert_eq!(read("memory", "memory.limit_in_bytes"), (128 << 20).to_string());
}
