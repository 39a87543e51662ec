//! What goes over the channel, and the snapshot that is kept in the same format. The first byte says which.
//!
//! Whoever sends is ours; but one side is in a container, where another process may get hold of an end.
#![no_main]

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use corten::channel::{FromInside, HostEnd, InsideEnd};
use corten::config::Config;
use corten::machine::Machine;
use corten::plan::{Errand, ErrandRef, Snapshot};
use corten_fuzz::{assert_one_line, begin_with, configurations};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

const ERRAND: u8 = 0;
const SNAPSHOT: u8 = 1;
const TO_HOST: u8 = 2;
const TO_INSIDE: u8 = 3;

fuzz_target!(init: begin_with(seeds(), []), |input| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        ERRAND => errand(bytes),
        SNAPSHOT => stable::<Snapshot>(bytes),
        TO_HOST => to_host(bytes),
        _ => to_inside(bytes),
    }
});

/// What was read is written so that the same is read again.
fn stable<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = postcard::from_bytes::<T>(bytes) {
        let written = postcard::to_stdvec(&value).expect("write what was read");
        assert_eq!(postcard::from_bytes(&written), Ok(value));
    }
}

fn errand(bytes: &[u8]) {
    let written = |bytes: &[u8]| match Errand::from_bytes(bytes)? {
        Errand::Init(plan) => ErrandRef::Init(&plan).to_bytes(),
        Errand::Exec(plan) => ErrandRef::Exec(&plan).to_bytes(),
    };
    match written(bytes) {
        Ok(once) => assert_eq!(written(&once), Ok(once)),
        Err(error) => assert_one_line(&error),
    }
}

/// Fits into a socket that nobody reads from.
const MOST: usize = 64 << 10;

/// An end of a channel whose other end said this, and is closed.
fn having_said(bytes: &[u8]) -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.write_all(&bytes[..bytes.len().min(MOST)]).expect("say it");
    ours
}

fn to_host(bytes: &[u8]) {
    let end = HostEnd::new(having_said(bytes).into());
    // Of a process that lives: all that is to be said has been said.
    let process = corten::sys::pidfd::open(std::process::id().cast_signed()).expect("open our own process");
    let deadline = Instant::now().checked_add(Duration::from_secs(5));
    loop {
        match end.receive(process.as_fd(), deadline) {
            Ok(Some((message, passed))) => {
                assert!(passed.is_none());
                stable::<FromInside>(&postcard::to_stdvec(&message).expect("write what was read"));
            }
            Ok(None) => return,
            Err(error) => return assert_one_line(&error),
        }
    }
}

fn to_inside(bytes: &[u8]) {
    let end = InsideEnd::new(having_said(bytes).into());
    let said = end.receive_plan().and_then(|plan| {
        assert!(plan.len() <= bytes.len());
        end.wait_for_go()?;
        end.wait_for_descriptor()
    });
    assert_one_line(&said.map(drop).expect_err("nobody sent a descriptor"));
}

fn seeds() -> Vec<Vec<u8>> {
    let machine = Machine::default();
    let mut seeds = Vec::new();
    let mut add = |kind: u8, bytes: Vec<u8>| seeds.push([vec![kind], bytes].concat());
    for json in configurations() {
        let Ok(config) = Config::parse(&json) else { continue };
        let Ok(plan) = corten_fuzz::plan(&config, &machine) else { continue };
        let errand = ErrandRef::Init(&plan.inside).to_bytes().expect("write the plan");
        add(TO_INSIDE, framed(&errand));
        add(ERRAND, errand);
        add(SNAPSHOT, postcard::to_stdvec(&plan.snapshot(&config)).expect("write the snapshot"));
    }
    let error = corten::Error::invalid("mounts[0]", "cause").hint("what to do").within("doing");
    let text = "text".to_owned();
    let messages = [
        FromInside::MapsPlease,
        FromInside::SourcePlease { step: 1, refusal: Some(error.clone()) },
        FromInside::Terminal { name: "/dev/pts/0".to_owned() },
        FromInside::Listener { number: [7, 0, 0, 0] },
        FromInside::Log { warning: false, text },
        FromInside::Phase { text: "1 2 3 mounts".to_owned() },
        FromInside::Ready,
        FromInside::Executing,
        FromInside::Failed(error),
    ];
    let frames = messages.map(|message| framed(&postcard::to_stdvec(&message).expect("write a message")));
    add(TO_HOST, frames.concat());
    for frame in frames {
        add(TO_HOST, frame);
    }
    seeds
}

/// Behind its length.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short message");
    [&length.to_le_bytes(), body].concat()
}
