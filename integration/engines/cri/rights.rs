//! What the security context says.

use std::fs;

use k8s_cri::v1::*;

use super::{Cri, SERVICE, pod_security, security};
use crate::containerd::Containerd;
use crate::support::case::{Case, cases};
use crate::support::machine::has_apparmor;
use crate::support::requires;

pub fn cases() -> Vec<Case<Containerd>> {
    cases![user, capabilities, seccomp, no_new_privileges, read_only_and_masked, privileged]
}

fn user(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let ids = |adjust: fn(&mut LinuxContainerSecurityContext)| {
        pod.sh("id -u; id -g; id -G", |config| adjust(security(config)))
    };
    assert_eq!(ids(|_| ()), "0\n0\n0\n");
    assert_eq!(ids(|it| it.run_as_user = Some(Int64Value { value: 1000 })), "1000\n1000\n1000\n");
    let numbers = |it: &mut LinuxContainerSecurityContext| {
        it.run_as_user = Some(Int64Value { value: 4711 });
        it.run_as_group = Some(Int64Value { value: 4712 });
        it.supplemental_groups = vec![4713, 4714];
    };
    assert_eq!(ids(numbers), "4711\n4712\n4712 4713 4714\n");
    assert_eq!(ids(|it| it.run_as_username = "user".to_owned()), "1000\n1000\n1000\n");
    // Whose output has to be theirs to open.
    let out = pod.sh("echo out >/dev/stdout", |config| security(config).run_as_user = Some(Int64Value { value: 1000 }));
    assert_eq!(out, "out\n");
}

fn capabilities(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let bounding = |add: &[&str], drop: &[&str]| {
        let words = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let set = Capability { add_capabilities: words(add), drop_capabilities: words(drop), ..Default::default() };
        let output = pod.sh("grep CapEff /proc/self/status", |config| security(config).capabilities = Some(set));
        u64::from_str_radix(output.split_whitespace().last().unwrap(), 16).unwrap()
    };
    const CHOWN: u64 = 1 << 0;
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    let default = bounding(&[], &[]);
    assert_eq!(default & (CHOWN | NET_ADMIN | SYS_ADMIN), CHOWN);
    assert_eq!(bounding(&["NET_ADMIN"], &["CHOWN"]), default & !CHOWN | NET_ADMIN);
    assert_eq!(bounding(&[], &["ALL"]), 0);
    assert_eq!(bounding(&["SYS_ADMIN"], &["ALL"]), SYS_ADMIN);
    let exec = pod.run(SERVICE, |config| {
        security(config).capabilities =
            Some(Capability { drop_capabilities: vec!["ALL".to_owned()], ..Default::default() });
    });
    assert_eq!(exec.exec("grep CapEff /proc/self/status"), "CapEff:\t0000000000000000\n");
}

fn seccomp(containerd: &Containerd) {
    requires!(!has_apparmor(), "no AppArmor, whose profile denies the same");
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let profile = containerd.path(&containerd.name());
    let rule =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    fs::write(&profile, rule).unwrap();
    let seen = |kind: security_profile::ProfileType, profile: &str| {
        let script =
            "grep Seccomp: /proc/self/status; mkdir /tmp/x && echo made; unshare -U true && echo unshared; true";
        pod.sh(script, |config| {
            security(config).seccomp =
                Some(SecurityProfile { profile_type: kind.into(), localhost_ref: profile.to_owned() });
        })
    };
    use security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    assert_eq!(seen(Unconfined, ""), "Seccomp:\t0\nmade\nunshared\n");
    assert_eq!(seen(RuntimeDefault, ""), "Seccomp:\t2\nmade\n");
    assert_eq!(seen(Localhost, profile.to_str().unwrap()), "Seccomp:\t2\nunshared\n");
}

fn no_new_privileges(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    for no in [true, false] {
        let output = pod.sh("grep NoNewPrivs /proc/self/status", |config| security(config).no_new_privs = no);
        assert_eq!(output, format!("NoNewPrivs:\t{}\n", u8::from(no)));
    }
}

fn read_only_and_masked(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|_| ());
    let output = pod.sh("touch /file || echo read-only; touch /dev/shm/file", |config| {
        security(config).readonly_rootfs = true;
    });
    assert_eq!(output, "read-only\n");
    let script = "wc -c </proc/timer_list; ls /proc/acpi 2>/dev/null | wc -l; echo x >/proc/sys/kernel/domainname || echo read-only";
    let output = pod.sh(script, |config| {
        security(config).masked_paths = ["/proc/timer_list", "/proc/acpi"].map(str::to_owned).to_vec();
        security(config).readonly_paths = vec!["/proc/sys".to_owned()];
    });
    assert_eq!(output, "0\n0\nread-only\n");
}

fn privileged(containerd: &Containerd) {
    let cri = Cri::connect(containerd);
    let pod = cri.run_pod(|config| pod_security(config).privileged = true);
    let output = pod.sh(
        "set -e; mount -t tmpfs none /tmp; grep -c ' /tmp ' /proc/self/mountinfo; ls /dev/kmsg; grep Seccomp: /proc/self/status",
        |config| security(config).privileged = true,
    );
    assert_eq!(output, "1\n/dev/kmsg\nSeccomp:\t0\n");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapBnd:")).unwrap();
    let bounding = pod.sh("grep CapEff /proc/self/status", |config| security(config).privileged = true);
    assert_eq!(bounding.trim().trim_start_matches("CapEff:"), own.trim_start_matches("CapBnd:"));
}
