//! Programs that the kernel has for containers.

use std::fs;

/// Device programs, by the symbols of their compiled code: to who may see them, each has another address. Those of every corten on the
/// machine; none where the kernel compiles none (`net.core.bpf_jit_enable`) or lists none (`net.core.bpf_jit_kallsyms`).
pub fn device_programs() -> Vec<String> {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    symbols.lines().filter(|line| line.contains("corten_devices")).map(str::to_owned).collect()
}
