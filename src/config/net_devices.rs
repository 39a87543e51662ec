//! `linux.netDevices`: network devices that the container takes from the runtime's network namespace.

use std::collections::BTreeMap;

use super::document::Node;
use super::linux::{NamespaceKind, Namespaces};
use super::property::member;
use crate::error::{Error, Result};

/// Names in the runtime's namespace, and those in the container's: a name that ends in `%d` gets a free number from the kernel.
pub type NetDevices = BTreeMap<String, String>;

/// At the end of a name: the kernel puts a number there.
pub const NUMBERED: &str = "%d";

/// SPEC(config-linux, Network Devices): a device without a name keeps the one that it has.
pub(super) fn check(given: &Node<'_>, namespaces: &Namespaces) -> Result<NetDevices> {
    const PROPERTY: &str = "linux.netDevices";
    let mut devices = NetDevices::new();
    for (host_name, device) in given.entries() {
        let property = member(PROPERTY, host_name);
        check_length(&property, host_name)?;
        check_name(&property, host_name)?;
        let name = match device.get("name") {
            Node::Null => host_name.to_string(),
            Node::Text(name) if name.is_empty() => host_name.to_string(),
            Node::Text(name) => name.to_string(),
            other => {
                return Err(Error::invalid(
                    format!("{property}.name"),
                    format!("expected a string, found {}", other.kind()),
                ));
            }
        };
        check_length(&format!("{property}.name"), &name)?;
        check_name(&format!("{property}.name"), name.strip_suffix(NUMBERED).unwrap_or(&name))?;
        if !name.ends_with(NUMBERED) && devices.values().any(|other| *other == name) {
            return Err(Error::invalid(
                format!("{property}.name"),
                format!("{name:?} is given to another device, too"),
            ));
        }
        devices.insert(host_name.to_string(), name);
    }
    if !devices.is_empty() && !namespaces.has(NamespaceKind::Network) {
        let why = "linux.namespaces has no network namespace to which a device could be moved";
        return Err(Error::invalid(PROPERTY, why));
    }
    Ok(devices)
}

/// KERNEL: the `%d` counts, too.
fn check_length(property: &str, name: &str) -> Result<()> {
    if name.len() < libc::IFNAMSIZ {
        return Ok(());
    }
    Err(Error::invalid(property, format!("{name:?} is no name of a network device: it has more than 15 bytes")))
}

/// KERNEL: dev_valid_name().
fn check_name(property: &str, name: &str) -> Result<()> {
    let refused = |why: &str| Err(Error::invalid(property, format!("{name:?} is no name of a network device: {why}")));
    match name {
        "" => refused("it is empty"),
        "." | ".." => refused("it means a directory"),
        _ if name.contains(|letter: char| matches!(letter, '/' | ':' | '%') || letter.is_ascii_whitespace()) => {
            refused("it has a slash, a colon, a percent sign or a blank")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{accept, assert_refused};
    use super::*;
    use crate::error::Kind;

    fn devices(members: Value) -> Value {
        json!({"linux": {"netDevices": members}})
    }

    #[test]
    fn names() {
        let read = |members: Value| accept(&devices(members)).linux.net_devices;
        let expected = [("eth0", "eth0"), ("eth1", "lan0"), ("eth2", "ppp%d"), ("eth3", "eth3"), ("eth4", "ppp%d")];
        let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!(
            read(json!({"eth0": {}, "eth1": {"name": "lan0"}, "eth2": {"name": "ppp%d"}, "eth3": {"name": ""},
                        "eth4": {"name": "ppp%d"}})),
            NetDevices::from(expected)
        );
        assert!(read(json!({})).is_empty());
    }

    #[test]
    fn refused() {
        let named = |name: &str| devices(json!({"eth0": {"name": name}}));
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "long",
                    named("sixteen-letters-"),
                    "linux.netDevices.eth0.name: \"sixteen-letters-\" is no name of a network device: \
                     it has more than 15 bytes",
                ),
                (
                    "slash",
                    devices(json!({"a/b": {}})),
                    "linux.netDevices[\"a/b\"]: \"a/b\" is no name of a network device: \
                     it has a slash, a colon, a percent sign or a blank",
                ),
                (
                    "number in the middle",
                    named("a%db"),
                    "linux.netDevices.eth0.name: \"a%db\" is no name of a network device: \
                     it has a slash, a colon, a percent sign or a blank",
                ),
                (
                    "only a number",
                    named("%d"),
                    "linux.netDevices.eth0.name: \"\" is no name of a network device: it is empty",
                ),
                (
                    "parent",
                    named(".."),
                    "linux.netDevices.eth0.name: \"..\" is no name of a network device: it means a directory",
                ),
                (
                    "two of one name",
                    devices(json!({"eth0": {"name": "lan"}, "eth1": {"name": "lan"}})),
                    "linux.netDevices.eth1.name: \"lan\" is given to another device, too",
                ),
                (
                    "nowhere to go",
                    json!({"linux": {"netDevices": {"eth0": {}}, "namespaces": [{"type": "mount"}]}}),
                    "linux.netDevices: linux.namespaces has no network namespace to which a device could be moved",
                ),
            ],
        );
    }
}
