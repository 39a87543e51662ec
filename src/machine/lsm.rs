//! Which Linux security modules are enabled, and what they know.

use std::path::Path;

use crate::fs::procfs;

/// Asked only for containers that want one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the modules'")]
pub struct Lsms {
    pub apparmor: bool,
    pub selinux: bool,
}

/// Looks for their filesystems, as their own libraries do.
pub fn probe() -> Lsms {
    Lsms {
        apparmor: Path::new("/sys/kernel/security/apparmor").exists(),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
    }
}

/// Whether the kernel has an AppArmor profile of this name. `None`: it does not tell us, or the name is not one of its
/// list: of another policy namespace, or several at once.
pub fn has_apparmor_profile(name: &str) -> Option<bool> {
    if name == "unconfined" {
        return Some(true);
    }
    if name.starts_with(':') || name.contains("//&") {
        return None;
    }
    let list = procfs::read_own("/sys/kernel/security/apparmor/profiles").ok()?;
    Some(is_listed(&list, name))
}

/// A line is `docker-default (enforce)`; a name may hold spaces and brackets, too.
fn is_listed(list: &str, name: &str) -> bool {
    list.lines().filter_map(|line| line.rsplit_once(" (")).any(|(listed, _)| listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_listed_by_its_whole_name() {
        let list = "docker-default (enforce)\n/usr/bin/a (b) (complain)\nlxc//child (unconfined)\n";
        for name in ["docker-default", "/usr/bin/a (b)", "lxc//child"] {
            assert!(is_listed(list, name), "{name}");
        }
        for name in ["docker", "docker-default ", "default", "/usr/bin/a", "", "lxc"] {
            assert!(!is_listed(list, name), "{name}");
        }
    }

    #[test]
    fn what_is_in_no_list_is_left_to_the_kernel() {
        assert_eq!(has_apparmor_profile(":ns:profile"), None);
        assert_eq!(has_apparmor_profile("one//&two"), None);
        assert_eq!(has_apparmor_profile("unconfined"), Some(true));
    }
}
