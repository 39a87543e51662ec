//! How privileged we are.

use crate::error::Result;
use crate::fs::procfs;

/// Whether our user namespace is not the initial one, by its id map: the initial one maps every id to itself.
pub fn in_user_namespace() -> Result<bool> {
    Ok(!is_initial_map(&procfs::read_own("/proc/self/uid_map")?))
}

fn is_initial_map(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::is_initial_map;

    #[test]
    fn the_initial_map_is_the_whole_range() {
        assert!(is_initial_map("         0          0 4294967295\n"));
        assert!(!is_initial_map("         0       1000          1\n"));
        assert!(!is_initial_map("0 0 1\n1 1 4294967294\n"));
    }
}
