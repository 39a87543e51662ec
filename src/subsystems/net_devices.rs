//! Network devices that move from the runtime's network namespace to the container's, and back if there is no container.
//!
//! SPEC(config-linux, Network Devices): the kernel takes along what belongs to the device (MTU, MAC address); addresses stay
//! behind and are given to it anew. When the container is deleted nothing is moved back: with the namespace, physical devices
//! return to the first one, and virtual ones are gone.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::config::net_devices::{NUMBERED, NetDevices};
use crate::config::property::member;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::machine::rtnetlink::{Link, Rtnetlink};

/// The devices that were moved. Dropped, it takes them back.
#[derive(Default)]
pub struct Moved {
    roads: Option<Roads>,
    devices: Vec<Device>,
}

/// Both ends.
struct Roads {
    own: OwnedFd,
    here: Rtnetlink,
    inside: OwnedFd,
    there: Rtnetlink,
}

/// A device as it was, and where it is now.
struct Device {
    was: Link,
    addresses: Vec<AddressMessage>,
    index: u32,
}

impl Moved {
    /// Moves `devices` to the network namespace of the process `pid`, and brings them up there.
    pub fn to(&mut self, pid: i32, devices: &NetDevices) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let roads = self.roads.insert(Roads::to(pid).within(|| "linux.netDevices")?);
        for (host_name, name) in devices {
            roads.move_one(host_name, name, &mut self.devices).within(|| member("linux.netDevices", host_name))?;
        }
        Ok(())
    }

    /// They stay where they are.
    pub fn keep(mut self) {
        self.devices.clear();
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        let Some(roads) = &self.roads else { return };
        for device in self.devices.drain(..).rev() {
            if let Err(error) = roads.take_back(&device) {
                log::warn!("after a failed create: {}: {error}", member("linux.netDevices", &device.was.name));
            }
        }
    }
}

impl Roads {
    /// Opened before anything moves: with the namespace open, the devices outlive the container's process.
    fn to(pid: i32) -> Result<Self> {
        let namespace = |path: String| {
            open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).or_call(|| format!("open({path:?})"))
        };
        let inside = namespace(format!("/proc/{pid}/ns/net"))?;
        let there = Rtnetlink::in_namespace(&inside)?;
        Ok(Self { own: namespace("/proc/self/ns/net".to_owned())?, here: Rtnetlink::here()?, inside, there })
    }

    fn move_one(&self, host_name: &str, name: &str, moved: &mut Vec<Device>) -> Result<()> {
        let was = self.here.links()?.into_iter().find(|link| link.name == host_name);
        let was = was.ok_or_else(|| Error::call("RTM_GETLINK", Errno::ENODEV))?;
        let before = self.there.links()?;
        // The kernel would find out in the middle, when the device has moved and cannot take its name.
        if before.iter().any(|link| link.name == name) {
            let why = format!("the container's network namespace has a device {name:?} already");
            return Err(Error::new(Kind::AlreadyExists, why).within("name"));
        }
        let addresses = self.here.addresses(was.index)?;

        let result = self.here.move_link(was.index, &self.inside, name);
        // Also when it failed half-way.
        let known: BTreeSet<u32> = before.iter().map(|link| link.index).collect();
        let prefix = name.strip_suffix(NUMBERED).unwrap_or(name);
        let after = self.there.links()?.into_iter();
        let arrived = after
            .filter(|link| !known.contains(&link.index))
            .find(|link| link.name.starts_with(prefix) || link.name == host_name);
        let Some(arrived) = arrived else {
            return result.and_then(|()| Err(Error::new(Kind::Failed, "the device did not arrive in the container")));
        };
        let device = Device { was, addresses, index: arrived.index };
        let settled = result.and_then(|()| {
            for address in device.addresses.iter().filter(|address| goes_along(address)) {
                self.there.add_address(without_label(at(address, device.index)))?;
            }
            self.there.bring_up(device.index)
        });
        moved.push(device);
        settled
    }

    /// As it was: name, addresses, and whether it was up.
    fn take_back(&self, device: &Device) -> Result<()> {
        self.there.move_link(device.index, &self.own, &device.was.name)?;
        let back = self.here.links()?.into_iter().find(|link| link.name == device.was.name);
        let back = back.ok_or_else(|| Error::call("RTM_GETLINK", Errno::ENODEV))?;
        for address in &device.addresses {
            self.here.add_address(at(address, back.index))?;
        }
        if device.was.is_up { self.here.bring_up(back.index) } else { Ok(()) }
    }
}

/// SPEC(config-linux, Network Devices): permanent addresses of universal scope. Others mean something only where they were.
fn goes_along(address: &AddressMessage) -> bool {
    let permanent = address.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Flags(flags) => flags.contains(AddressFlags::Permanent),
        _ => false,
    });
    permanent && address.header.scope == AddressScope::Universe
}

fn at(address: &AddressMessage, index: u32) -> AddressMessage {
    let mut address = address.clone();
    address.header.index = index;
    address
}

/// A label begins with the name that the device had.
fn without_label(mut address: AddressMessage) -> AddressMessage {
    address.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Label(_)));
    address
}
