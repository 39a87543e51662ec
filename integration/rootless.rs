//! As a user without privileges, under that user's own service manager: `u` in the guest (`integration/vm`).

use std::fs;

use serde_json::{Value, json};

use crate::support::{Sandbox, requires};

/// Whom the tests are about. Root skips them.
fn is_unprivileged() -> bool {
    !rustix::process::geteuid().is_root()
}

#[test]
fn spec_maps_root_to_the_user() {
    requires!(is_unprivileged(), "a user without privileges");
    let sandbox = Sandbox::new();
    sandbox.runtime("spec").args(["--rootless", "--bundle"]).arg(sandbox.path("")).output().ok().silent();
    let config: Value = serde_json::from_slice(&fs::read(sandbox.path("config.json")).unwrap()).unwrap();
    let of_one = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    assert_eq!(config["linux"]["uidMappings"], of_one(rustix::process::geteuid().as_raw()));
    assert_eq!(config["linux"]["gidMappings"], of_one(rustix::process::getegid().as_raw()));
}
