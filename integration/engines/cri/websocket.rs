//! The kubelet's end of a streaming URL: one WebSocket with a numbered channel for each stream (`v4.channel.k8s.io`).
//!
//! As much of RFC 6455 as that takes: we send short masked frames, and the other side whole messages.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::support::wait::DEADLINE;

/// The first byte of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// JSON: how the command ended.
    Status = 3,
    /// JSON: the size of the terminal.
    Resize = 4,
}

/// Frames of RFC 6455: the last part of a message in bytes, and the end of the connection.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

pub struct WebSocket {
    stream: BufReader<TcpStream>,
    /// All that came, by channel.
    seen: BTreeMap<u8, Vec<u8>>,
}

impl WebSocket {
    /// Follows a URL of CRI.
    #[track_caller]
    pub fn open(url: &str) -> Self {
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://{host}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "the connection ended: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { stream, seen: BTreeMap::new() }
    }

    /// One message of fewer than 125 bytes.
    pub fn write(&mut self, channel: Channel, text: &str) {
        let length = u8::try_from(text.len() + 1).unwrap();
        assert!(length < 126, "one short frame");
        // Masked, as a client's have to be, with zeros.
        let mut frame = vec![BINARY, 0x80 | length, 0, 0, 0, 0, channel as u8];
        frame.extend_from_slice(text.as_bytes());
        self.stream.get_mut().write_all(&frame).unwrap();
    }

    /// What has come on a channel so far.
    pub fn seen(&self, channel: Channel) -> String {
        let bytes = self.seen.get(&(channel as u8)).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The same, to see what comes from now on.
    pub fn take(&mut self, channel: Channel) -> String {
        let bytes = self.seen.remove(&(channel as u8)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads on until all that was read from a channel holds `needle`.
    #[track_caller]
    pub fn reads(&mut self, channel: Channel, needle: &str) {
        while !self.seen(channel).contains(needle) {
            assert!(self.read_message(), "ended before {needle:?}: {:?}", self.seen);
        }
    }

    /// Reads until the other side closes.
    pub fn read_to_end(mut self) -> Self {
        while self.read_message() {}
        self
    }

    /// Whether there was one.
    fn read_message(&mut self) -> bool {
        let mut head = [0; 2];
        if self.stream.read_exact(&mut head).is_err() || head[0] == CLOSE {
            return false;
        }
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.read_bytes())),
            127 => u64::from_be_bytes(self.read_bytes()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        if let ([_, ..], BINARY) = (payload.as_slice(), head[0]) {
            self.seen.entry(payload[0]).or_default().extend_from_slice(&payload[1..]);
        }
        true
    }

    fn read_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}
