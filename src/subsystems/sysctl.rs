//! `linux.sysctl`. Which keys belong to the container's namespaces was checked with the configuration.

use std::path::PathBuf;

use nix::errno::Errno;

use crate::error::{Result, Within};
use crate::fs::procfs::Procfs;
use crate::subsystems::doors::Inside;

/// Writes all values, as `key` and `value`, through the host's procfs: what a key means depends on the namespaces of the
/// process that writes. The container's own procfs is not to be trusted with it (CVE-2025-52881).
pub fn write_all(_: &Inside, values: &[(String, String)]) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let mounted = Procfs::mounted()?;
    for (key, value) in values {
        let path = PathBuf::from("sys").join(path_of(key));
        let written = match mounted.write(&path, value) {
            // Nested in a container, /proc/sys is covered by a read-only mount.
            Err(error) if error.errno() == Some(Errno::EXDEV) => {
                log::debug!("a private procfs is used for sysctl: {error}");
                Procfs::private()?.write(&path, value)
            }
            other => other,
        };
        written.within(|| format!("linux.sysctl[{key:?}]"))?;
    }
    Ok(())
}

/// sysctl(8): dots separate, and a slash stands for a dot in a name, as in `net.ipv4.conf.eth0/1.forwarding`.
fn path_of(key: &str) -> String {
    let swapped = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(swapped).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn dots_and_slashes_change_places() {
        assert_eq!(super::path_of("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
