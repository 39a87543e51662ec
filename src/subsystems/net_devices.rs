//! Network devices that move from the runtime's network namespace to the container's, and back if there is no container.
//!
//! SPEC(config-linux, Network Devices): the kernel takes along what belongs to the device (MTU, MAC address); addresses stay
//! behind and are given to it anew. When the container is deleted nothing is moved back: with the namespace, physical devices
//! return to the first one, and virtual ones are gone.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::config::NamespaceKind;
use crate::config::net_devices::{NUMBERED, NetDevices};
use crate::config::property::member;
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::machine::rtnetlink::{Link, Rtnetlink};
use crate::subsystems::namespaces::host::namespace_of;
use crate::sys;
use crate::sys::clone::Child;

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

/// A device as it was, and what it may be called where it is now.
struct Device {
    was: Link,
    addresses: Vec<AddressMessage>,
    /// As asked for.
    name: String,
    /// The numbers of those that were there before.
    others: BTreeSet<u32>,
}

impl Moved {
    /// Moves `devices` to the network namespace of a process, and brings them up there.
    pub fn to(&mut self, process: &Child, devices: &NetDevices) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let roads = self.roads.insert(Roads::to(process).within(|| "linux.netDevices")?);
        // A free number is looked for when the other names are taken.
        let (numbered, named): (Vec<_>, Vec<_>) = devices.iter().partition(|(_, name)| name.ends_with(NUMBERED));
        for (host_name, name) in named.into_iter().chain(numbered) {
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

impl Device {
    /// Where it is in the container. Who shares its network namespace may make devices there, too: the name must be exact.
    fn found_in(&self, links: Vec<Link>) -> Option<Link> {
        let is_named = |link: &Link| match self.name.strip_suffix(NUMBERED) {
            None => link.name == self.name,
            Some(prefix) => link.name.strip_prefix(prefix).is_some_and(|number| number.parse::<u32>().is_ok()),
        };
        // Half-way it has its old name still.
        let is_it = |link: &Link| is_named(link) || link.name == self.was.name;
        links.into_iter().filter(|link| !self.others.contains(&link.index)).find(is_it)
    }
}

impl Roads {
    /// Opened before anything moves: with the namespace open, the devices outlive the container's process.
    fn to(process: &Child) -> Result<Self> {
        let own = namespace_of("thread-self", NamespaceKind::Network)?;
        let inside = namespace_of(process.pid, NamespaceKind::Network)?;
        // Else the pid may have gone to somebody else before it was looked up.
        if !sys::pidfd::is_alive(&process.pidfd).or_call(|| "poll(pidfd)")? {
            return Err(Error::new(Kind::ProcessGone, "the container's process is gone"));
        }
        let number = |file: &OwnedFd| fstat(file).or_call(|| "fstat(network namespace)").map(|stat| stat.st_ino);
        if number(&own)? == number(&inside)? {
            return Err(Error::new(Kind::InvalidConfig, "the container's network namespace is the runtime's own"));
        }
        let there = Rtnetlink::in_namespace(&inside)?;
        Ok(Self { own, here: Rtnetlink::here()?, inside, there })
    }

    fn move_one(&self, host_name: &str, name: &str, moved: &mut Vec<Device>) -> Result<()> {
        let was = self.here.links()?.into_iter().find(|link| link.name == host_name);
        let was = was.ok_or_else(|| Error::call("RTM_GETLINK", Errno::ENODEV))?;
        let before = self.there.links()?;
        // The kernel would find out in the middle, when the device has moved and cannot take its name.
        if before.iter().any(|link| link.name == name) {
            let why = format!("the container's network namespace has a device {name:?} already");
            return Err(Error::new(Kind::AlreadyExists, why));
        }
        let others = before.iter().map(|link| link.index).collect();
        let addresses = self.here.addresses(was.index)?;
        let index = was.index;
        // From here on it is taken back, also if it only moved half-way.
        moved.push(Device { was, addresses, name: name.to_owned(), others });
        self.here.move_link(index, &self.inside, name)?;

        let missing = || Error::new(Kind::Failed, "the device did not arrive in the container");
        let device = moved.last().ok_or_else(missing)?;
        let arrived = device.found_in(self.there.links()?).ok_or_else(missing)?;
        for address in device.addresses.iter().filter(|address| goes_along(address)) {
            self.there.add_address(without_label(at(address, arrived.index)))?;
        }
        self.there.bring_up(arrived.index)
    }

    /// As it was: name, addresses, and whether it was up. What is refused does not keep the rest from being done.
    fn take_back(&self, device: &Device) -> Result<()> {
        // It never left.
        if self.here.links()?.iter().any(|link| link.name == device.was.name) {
            return Ok(());
        }
        let gone = || Error::call("RTM_GETLINK", Errno::ENODEV);
        let there = device.found_in(self.there.links()?).ok_or_else(gone)?;
        self.there.move_link(there.index, &self.own, &device.was.name)?;
        let back = self.here.links()?.into_iter().find(|link| link.name == device.was.name).ok_or_else(gone)?;
        let given = device.addresses.iter().map(|address| self.here.add_address(at(address, back.index)));
        let given = given.collect::<Vec<_>>();
        let up = if device.was.is_up { self.here.bring_up(back.index) } else { Ok(()) };
        given.into_iter().chain([up]).collect()
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
