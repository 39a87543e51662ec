//! Which CPUs and memory nodes are online (Documentation/ABI/stable/sysfs-devices-system-cpu and -node).

use std::ops::RangeInclusive;

/// A list of numbers as the kernel writes it: `0-3,7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online(String);

/// Asked only for containers with a list of CPUs.
pub fn cpus() -> Option<Online> {
    read("/sys/devices/system/cpu/online")
}

/// Asked only for containers with a list of memory nodes; a kernel without NUMA has no such file.
pub fn memory_nodes() -> Option<Online> {
    read("/sys/devices/system/node/online")
}

fn read(path: &str) -> Option<Online> {
    std::fs::read_to_string(path).ok().map(|list| Online(list.trim().to_owned()))
}

impl Online {
    /// The list as the kernel writes it.
    pub fn list(&self) -> &str {
        &self.0
    }

    /// The first number of `wanted` that is not online.
    pub fn first_missing(&self, wanted: &str) -> Option<u32> {
        let online: Vec<_> = ranges(&self.0).collect();
        // The end of the range of `number`, so that a range of a billion takes no longer than one of two.
        let covered = |number: u32| online.iter().find(|range| range.contains(&number)).map(|range| *range.end());
        ranges(wanted).find_map(|range| {
            let mut number = *range.start();
            loop {
                let last = match covered(number) {
                    None => return Some(number),
                    Some(last) => last,
                };
                if last >= *range.end() {
                    return None;
                }
                number = last + 1;
            }
        })
    }
}

fn ranges(list: &str) -> impl Iterator<Item = RangeInclusive<u32>> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        for (online, wanted, missing) in [
            ("0-3", "0-3", None),
            ("0-3", "1,3", None),
            ("0-3", "0-99", Some(4)),
            ("0-3,8", "0,8-9", Some(9)),
            ("0-3,4-7", "2-6", None),
            ("0,2", "0-4294967295", Some(1)),
            ("0-3", "7,9", Some(7)),
        ] {
            assert_eq!(Online(online.to_owned()).first_missing(wanted), missing, "{wanted} of {online}");
        }
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert_ne!(cpus().unwrap().list(), "");
    }
}
