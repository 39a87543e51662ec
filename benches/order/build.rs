//! Has the linker put the functions that a container's life needs next to each other, in the order of `symbols`, which
//! `make order` writes: the kernel maps the program's file in pieces of 64 KiB, and each costs a fault (docs/performance.md).
//!
//! The names in there are those that one version of the compiler gives to one version of each package. Others are not found, and
//! stay where they would be without.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=benches/order/symbols");
    println!("cargo::rerun-if-env-changed=CORTEN_LINK_MAP");
    let is_release = variable("PROFILE") == "release" && variable("TARGET") == "x86_64-unknown-linux-gnu";
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let is_told = env::var_os("RUSTC_LINKER").is_some() || flags.contains("linker") || flags.contains("fuse-ld");
    let Some(lld) = lld().filter(|_| is_release && !is_told) else { return };
    argument(&format!("-B{lld}"));
    argument("-fuse-ld=lld");
    argument(&format!("-Wl,--symbol-ordering-file={}/benches/order/symbols", variable("CARGO_MANIFEST_DIR")));
    argument("-Wl,--no-warn-symbol-ordering");
    // Where everything is in the program, which has no symbols itself.
    if let Ok(map) = env::var("CORTEN_LINK_MAP") {
        argument("-Wl,--no-demangle");
        argument(&format!("-Wl,-Map={map}"));
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn argument(text: &str) {
    println!("cargo::rustc-link-arg-bins={text}");
}

/// No other linker knows the option. Where the one is that comes with the compiler, which not everybody's does.
fn lld() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    let directory = format!("{}/lib/rustlib/{}/bin/gcc-ld", sysroot.trim_end(), variable("HOST"));
    Path::new(&directory).join("ld.lld").exists().then_some(directory)
}
