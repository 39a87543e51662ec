//! The kernel's links and their addresses (rtnetlink(7)), as they are in one network namespace.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Error, Kind, OrCall, Result};

/// The kernel answers at once; but nothing is waited for without an end.
const PATIENCE_IN_SECONDS: i64 = 10;

/// More than the kernel puts into one datagram (netlink_dump: 32 KiB).
const LARGEST_DATAGRAM: usize = 64 << 10;

/// A conversation with the kernel about one network namespace: the one in which it was opened.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: OwnedFd,
    /// How many there were: the number of each is in its answers.
    requests: Cell<u32>,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, in its namespace.
    pub index: u32,
    /// Its name, in its namespace.
    pub name: String,
    /// Whether it is up (IFF_UP).
    pub is_up: bool,
}

impl Rtnetlink {
    /// In our own namespace.
    pub fn here() -> Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .or_call(|| "socket(NETLINK_ROUTE)")?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE_IN_SECONDS))
            .or_call(|| "setsockopt(RCVTIMEO)")?;
        Ok(Self { socket, requests: Cell::new(0) })
    }

    /// In another one. A thread goes there, so that this one stays where it is, whatever happens.
    pub fn in_namespace(namespace: impl AsFd + Sync) -> Result<Self> {
        let going = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).or_call(|| "setns(NEWNET)")?;
            Self::here()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, going);
            let thread = thread.map_err(|error| Error::io("pthread_create", &error))?;
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::new(Kind::Failed, "the thread that opens a socket there panicked")))
        })
    }

    /// All devices.
    pub fn links(&self) -> Result<Vec<Link>> {
        let answers = self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP);
        Ok(answers.or_call(|| "RTM_GETLINK")?.into_iter().filter_map(link_of).collect())
    }

    /// The addresses of a device.
    pub fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>> {
        let answers = self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP);
        let addresses = answers.or_call(|| "RTM_GETADDR")?.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        });
        Ok(addresses.filter(|address| address.header.index == index).collect())
    }

    /// Moves a device to another namespace, where it is called `name` and is down. Its addresses do not go with it.
    pub fn move_link(&self, index: u32, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let namespace = LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd());
        message.attributes = vec![namespace, LinkAttribute::IfName(name.to_owned())];
        let answers = self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK);
        answers.or_call(|| format!("RTM_SETLINK(to another namespace, as {name:?})")).map(|_| ())
    }

    /// Brings a device up.
    pub fn bring_up(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        (message.header.flags, message.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).or_call(|| "RTM_SETLINK(UP)").map(|_| ())
    }

    /// Gives the device that the message names an address.
    pub fn add_address(&self, address: AddressMessage) -> Result<()> {
        let shown = shown(&address);
        self.ask(RouteNetlinkMessage::NewAddress(address), NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
            .or_call(|| format!("RTM_NEWADDR({shown})"))
            .map(|_| ())
    }

    /// One request, and all that the kernel says to it. Answers to an earlier one, which was given up, are passed over.
    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> nix::Result<Vec<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.requests.get().wrapping_add(1);
        self.requests.set(header.sequence_number);
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        sendto(self.socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut datagram = vec![0; LARGEST_DATAGRAM];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
            let datagram = datagram.get(..length).unwrap_or_default();
            if read_answers(datagram, header.sequence_number, &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// Reads the messages of a datagram; true is the end of the answer.
///
/// What cannot be read is passed over: somebody else's device may have an alias that is no text.
fn read_answers(mut datagram: &[u8], number: u32, answers: &mut Vec<RouteNetlinkMessage>) -> nix::Result<bool> {
    while let Ok(buffer) = NetlinkBuffer::new_checked(datagram) {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram);
        let is_ours = buffer.sequence_number() == number;
        // Messages begin at multiples of four, and none is shorter than its header.
        let length = usize::try_from(buffer.length()).map_err(|_| Errno::EBADMSG)?.next_multiple_of(4).max(16);
        datagram = datagram.get(length..).unwrap_or_default();
        match message.map(|message| message.payload) {
            Ok(NetlinkPayload::InnerMessage(answer)) if is_ours => answers.push(answer),
            Ok(NetlinkPayload::Error(error)) if is_ours => {
                return error.code.map_or(Ok(true), |code| Err(Errno::from_raw(code.get().wrapping_neg())));
            }
            Ok(NetlinkPayload::Done(done)) if is_ours => {
                return if done.code < 0 { Err(Errno::from_raw(done.code.wrapping_neg())) } else { Ok(true) };
            }
            Ok(NetlinkPayload::Overrun(_)) if is_ours => return Err(Errno::ENOBUFS),
            Ok(_) => {}
            Err(error) => log::debug!("an answer of the kernel's is passed over: {error}"),
        }
    }
    Ok(false)
}

/// `192.0.2.7/24`. The local address is the device's own; without one, as with IPv6, there is only the other attribute.
fn shown(address: &AddressMessage) -> String {
    let of = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) => Some((0, *address)),
        AddressAttribute::Address(address) => Some((1, *address)),
        _ => None,
    };
    let own = address.attributes.iter().filter_map(of).min_by_key(|(rank, _)| *rank);
    own.map_or_else(String::new, |(_, own)| format!("{own}/{}", address.header.prefix_len))
}

fn link_of(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    Some(Link { index: message.header.index, name, is_up: message.header.flags.contains(LinkFlags::Up) })
}
