//! The host's cgroups, seen by the container.

use crate::support::mountinfo::Mountinfo;
use crate::support::{Bundle, cgroup};

/// runc before 1.1.5: without a cgroup namespace, `/sys/fs/cgroup` was a bind mount that had lost `ro`, so that a container
/// could write to its user's cgroups on the host.
#[test]
fn cve_2023_25809_cgroups_of_the_host_can_be_written_to() {
    let script = "cat /proc/self/mountinfo; for it in /sys/fs/cgroup /sys/fs/cgroup/pids; do
        mkdir $it/made && echo made; echo 1 > $it/cgroup.procs && echo moved; done 2> /dev/null; echo ran";
    for without_privileges in [false, true] {
        let bundle = Bundle::sh(script);
        let options = ["ro", "nosuid", "nodev", "noexec", "relatime"];
        let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &options);
        let bundle = if without_privileges { bundle.without_privileges() } else { bundle };
        let output = bundle.run();
        let printed = &output.stdout;
        assert!(!printed.contains("made\n") && !printed.contains("moved\n"), "it can write: {output:#?}");
        if !output.status.success() {
            // A user in v1's hierarchies, which are nobody's to show.
            assert!(without_privileges && cgroup::view() == cgroup::View::Hybrid, "{output:#?}");
            continue;
        }
        let table = Mountinfo::parse(printed);
        let shown = table.lines.iter().filter(|line| line.target.starts_with("/sys/fs/cgroup"));
        assert!(
            shown.clone().count() > 0 && shown.clone().all(|line| line.is("ro")),
            "{:#?}",
            shown.collect::<Vec<_>>()
        );
    }
}
