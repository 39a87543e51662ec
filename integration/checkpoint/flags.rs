//! Flags without which something cannot be taken along, or is not: each is tried without, and with it.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{FlockOperation, flock};

use super::refusals::{checkpoint, checkpoint_of, fails};
use super::{COUNTS, Subject, counter, requires_criu, with_volume};
use crate::lsm::{Profile, has_apparmor};
use crate::support::{Bundle, requires};

const PERL: &str = "/usr/bin/perl";

/// Counts in Perl, which makes the calls that a shell does not, after what `script` does.
fn perl(script: &str) -> Bundle {
    let counts = "$|=1; for (my $i = 1; ; $i++) { open(my $n, '>', '/tmp/n'); print $n \"$i\\n\"; close $n; select(undef, undef, undef, 0.2); }";
    let bundle = with_volume(Bundle::new().args(&[PERL, "-MSocket", "-e", &format!("{script}; {counts}")]));
    bundle.bind("/usr", "/usr", &["ro"]).link("lib", "usr/lib").link("lib64", "usr/lib64")
}

macro_rules! requires_perl {
    () => {
        requires_criu!();
        requires!(fs::exists(PERL).unwrap(), "Perl");
    };
}

impl Subject {
    /// It goes on, and CRIU says which flag it wants.
    #[track_caller]
    fn cannot_without(&self, flag: &str) {
        checkpoint_of(self, checkpoint(self, &[])).because("criu: ").because(flag);
        self.counts_on(self.count());
    }
}

#[test]
fn file_locks() {
    requires_perl!();
    let subject = Subject::run(perl("open(L, '>>', '/vol/file'); flock(L, 2) or die"));
    let last = subject.count();
    let file = File::open(subject.path("volume/file")).unwrap();
    let is_free = || {
        let got = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        flock(&file, FlockOperation::Unlock).unwrap();
        got
    };
    assert!(!is_free());
    subject.cannot_without("--file-locks");
    subject.is_taken_down("images", &["--file-locks"]);
    assert!(is_free());
    let subject = subject.restore("images", &["--file-locks"]);
    subject.counts_on(last);
    assert!(!is_free());
}

/// The other end is the host's: it has a name, at which it is found again.
#[test]
fn unix_sockets_to_the_outside() {
    requires_perl!();
    let bundle = Bundle::new();
    let place = bundle.host_directory("socket");
    let name = place.join("here");
    let receives = UnixDatagram::bind(&name).unwrap();
    receives.set_read_timeout(Some(crate::support::wait::DEADLINE)).unwrap();
    let script = format!(
        "socket(S, AF_UNIX, SOCK_DGRAM, 0); connect(S, sockaddr_un('{}')) or die; $| = 1; \
         for (my $i = 1; ; $i++) {{ send(S, $i, 0); select(undef, undef, undef, 0.2); }}",
        name.display()
    );
    let bundle = perl(&script).bind(&place, place.to_str().unwrap(), &[]).without_namespace("network");
    let subject = Subject::run(bundle);
    let number = || {
        let mut text = [0; 16];
        let length = receives.recv(&mut text).ok()?;
        std::str::from_utf8(&text[..length]).unwrap().parse::<u64>().ok()
    };
    assert!(number().unwrap() > 0);
    let refusal = checkpoint_of(&subject, checkpoint(&subject, &[]));
    refusal.because("criu: ").because("--ext-unix-sk");
    subject.is_taken_down("images", &["--ext-unix-sk"]);
    // What it has said already.
    receives.set_nonblocking(true).unwrap();
    let last = std::iter::from_fn(number).last().unwrap();
    receives.set_nonblocking(false).unwrap();
    let _subject = subject.restore("images", &["--ext-unix-sk"]);
    assert_eq!(number(), Some(last + 1));
}

/// Somebody has connected, and nobody has accepted it yet.
#[test]
fn connections_in_flight() {
    requires_perl!();
    let script = "socket(S, AF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(0, INADDR_LOOPBACK)); listen(S, 5) or die; \
        open(P, '>', '/vol/port'); print P (sockaddr_in(getsockname(S)))[0]; close P";
    let subject = Subject::run(perl(script).without_namespace("network"));
    let last = subject.count();
    let port: u16 = fs::read_to_string(subject.path("volume/port")).unwrap().parse().unwrap();
    let connect = || TcpStream::connect(("127.0.0.1", port));
    let _waits = connect().unwrap();
    subject.cannot_without("skip-in-flight");
    subject.is_taken_down("images", &["--tcp-skip-in-flight"]);
    assert!(connect().is_err());
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    connect().unwrap();
}

/// An open file whose name has gone, while it has another one.
#[test]
fn files_whose_names_have_gone() {
    requires_criu!();
    let script = format!("exec 9>/vol/one; ln /vol/one /vol/two; rm /vol/one; echo text >&9; {COUNTS}");
    let subject = Subject::run(with_volume(Bundle::sh(&script)));
    let last = subject.count();
    subject.cannot_without("link-remap");
    subject.is_taken_down("images", &["--link-remap"]);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    subject.exec("echo more >>/proc/1/fd/9");
    assert_eq!(fs::read_to_string(subject.path("volume/two")).unwrap(), "text\nmore\n");
    let volume = fs::read_dir(subject.path("volume")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = volume.collect();
    names.sort();
    assert_eq!(names, ["file", "two"]);
}

/// What the later images have goes from the earlier ones; what restore has read goes, too.
#[test]
fn pages_that_are_there_twice() {
    requires_criu!();
    let subject = Subject::run(counter());
    let last = subject.count();
    subject.checkpoint("first", &["--pre-dump"]).ok().silent();
    let whole = pages_of(&subject, "first");
    subject.checkpoint("second", &["--parent-path", "../first", "--leave-running"]).ok().silent();
    assert_eq!(pages_of(&subject, "first"), whole);
    subject.counts_on(subject.count());
    subject.checkpoint("third", &["--parent-path", "../first", "--leave-running", "--auto-dedup"]).ok().silent();
    let left = pages_of(&subject, "first");
    assert!(left < whole, "{left} {whole}");
    subject.is_taken_down("whole", &[]);
    let whole = pages_of(&subject, "whole");
    let subject = subject.restore("whole", &["--auto-dedup"]);
    subject.counts_on(last);
    let left = pages_of(&subject, "whole");
    assert!(left < whole / 2, "{left} {whole}");
}

/// What the pages in these images take on the disk, in blocks.
fn pages_of(subject: &Subject, images: &str) -> u64 {
    let files = fs::read_dir(subject.images(images)).unwrap().map(Result::unwrap);
    let pages = files.filter(|file| file.file_name().to_string_lossy().starts_with("pages-"));
    pages.map(|file| file.metadata().unwrap().blocks()).sum()
}

/// `--lsm-profile`
#[test]
fn another_profile_of_apparmor() {
    requires_criu!();
    requires!(has_apparmor(), "AppArmor");
    let bundle = counter();
    // CRIU cuts a name at its first space, and then waits for ever.
    let name = |name: &str| format!("corten-test-{name}-{}", std::process::id());
    let load = |which: &str| Profile::called(name(which), &bundle.path(which));
    let (own, other) = (load("dumped"), load("restored"));
    let subject = Subject::run(bundle.set("/process/apparmorProfile", own.name.clone()));
    let last = subject.count();
    let profile = |subject: &Subject| subject.proc("attr/apparmor/current");
    subject.is_taken_down("images", &[]);
    let subject = subject.restore("images", &[]);
    subject.counts_on(last);
    assert_eq!(profile(&subject), format!("{} (enforce)\n", own.name));
    subject.is_taken_down("more", &[]);
    let output = subject.restore_command("more", &["--detach", "--lsm-profile", "apparmor:corten-no-such"]).output();
    fails("restore", output).because("--lsm-profile: \"corten-no-such\" is not loaded");
    subject.assert_nothing_left();
    let subject = subject.restore("more", &["--lsm-profile", &format!("apparmor:{}", other.name)]);
    assert_eq!(profile(&subject), format!("{} (enforce)\n", other.name));
    subject.counts_on(last);
}
