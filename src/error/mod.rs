//! The one error type, and how it reads.
//!
//! An error is one line: the general first, the root cause last, because engines look for the cause at the end:
//!
//! ```text
//! <program> <command> failed: <property>: <doing what>: <call with arguments>: <errno in words>[ (<what to do>)]
//! ```
//!
//! Each layer adds the fact that only it knows, once, with [`Error::within`]. An error crosses the channel between the
//! container's side and ours whole, so what the user reads is what happened, not "the child failed".

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub mod phrases;
mod refusal;

pub use refusal::Refusal;

/// What a caller can act on. The text says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The configuration, or a request, asks for something that cannot mean anything.
    InvalidConfig,
    /// It means something, but this program or this machine cannot do it.
    Unsupported,
    /// No container, bundle or file of that name.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// The container is not in a status that allows the operation.
    WrongStatus,
    /// The kernel said EPERM, EACCES or EROFS.
    Denied,
    /// Somebody else uses it (EBUSY), or holds the container's lock.
    Busy,
    /// A wait came to its deadline.
    TimedOut,
    /// The process that was acted on is gone.
    ProcessGone,
    /// Any other failed call.
    Failed,
}

/// An error: a [`Kind`] to act on and a line to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.line())]
pub struct Error {
    kind: Kind,
    errno: Option<i32>,
    /// Innermost first: adding a layer is a push.
    links: Vec<String>,
    also: Vec<String>,
}

/// `std::result::Result` with our error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error whose root cause is `cause`.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self { kind, errno: None, links: vec![cause.into()], also: Vec::new() }
    }

    /// The value at `property`, a JSON path such as `mounts[3].options[1]`, cannot be meant.
    pub fn invalid(property: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Kind::InvalidConfig, why).within(property)
    }

    /// The value at `property` has a meaning that this program or machine cannot give it.
    pub fn unsupported(property: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, why).within(property)
    }

    /// `call`, written with its arguments, was refused by the kernel.
    pub fn call(call: impl Into<String>, errno: Errno) -> Self {
        let kind = match errno {
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Kind::Denied,
            Errno::EBUSY => Kind::Busy,
            Errno::ETIMEDOUT => Kind::TimedOut,
            Errno::ESRCH => Kind::ProcessGone,
            Errno::ENOSYS => Kind::Unsupported,
            _ => Kind::Failed,
        };
        Self { errno: Some(errno as i32), ..Self::new(kind, in_words(errno)) }.within(call)
    }

    /// The same for an error of the standard library.
    pub fn io(doing: impl Into<String>, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::call(doing, Errno::from_raw(number)),
            None => Self::new(Kind::Failed, error.to_string()).within(doing),
        }
    }

    /// Says what was being done when this happened.
    #[must_use]
    pub fn within(mut self, doing: impl Into<String>) -> Self {
        self.links.push(doing.into());
        self
    }

    /// Adds what the reader can do about it, in brackets behind the cause.
    #[must_use]
    pub fn hint(mut self, what_to_do: impl std::fmt::Display) -> Self {
        if let Some(cause) = self.links.first_mut() {
            *cause = format!("{cause} ({what_to_do})");
        }
        self
    }

    /// Adds an error of the clean-up, which never takes the place of the cause.
    #[must_use]
    pub fn also(mut self, other: &Error) -> Self {
        self.also.push(other.line());
        self
    }

    /// Replaces the kind: a layer may know better what a failed call means.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What to act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the kernel said, if it was the kernel.
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }

    fn line(&self) -> String {
        let mut line = String::new();
        for link in self.links.iter().rev() {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(link);
        }
        if !self.also.is_empty() {
            line = format!("{line} (also: {})", self.also.join("; "));
        }
        // A configuration may hold line breaks; an error never does, because engines read logs by the line.
        line.replace('\n', "\\n").replace('\r', "\\r")
    }
}

/// The kernel's error number in the words that Go, and so every engine's matching, uses: lower case.
pub fn in_words(errno: Errno) -> String {
    // The C library's text, which Go has too; nix's own differs for some.
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        // "I/O error" stays as it is, "No such process" becomes "no such process".
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// `result.within(|| ..)`: the layer's fact, made only when there is an error.
pub trait Within<T> {
    /// Says what was being done when this happened.
    fn within<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Within<T> for Result<T> {
    fn within<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.within(doing()))
    }
}

/// `call().or_call(|| "unlinkat(..)")`: turns an errno into our error, naming the call.
pub trait OrCall<T> {
    /// Names the call that was refused, with its arguments.
    fn or_call<S: Into<String>>(self, call: impl FnOnce() -> S) -> Result<T>;
}

impl<T> OrCall<T> for nix::Result<T> {
    fn or_call<S: Into<String>>(self, call: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::call(call(), errno))
    }
}

impl<T> OrCall<T> for std::io::Result<T> {
    fn or_call<S: Into<String>>(self, call: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::io(call(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_general_first_and_cause_last() {
        let error = Error::call("openat2(\"/srv/data\")", Errno::EACCES).within("open source").within("mounts[4]");
        assert_eq!(error.to_string(), "mounts[4]: open source: openat2(\"/srv/data\"): permission denied");
        assert_eq!(error.kind(), Kind::Denied);
        let error = error.hint("is uid 100000 outside").also(&Error::new(Kind::Busy, "rmdir"));
        assert_eq!(
            error.to_string(),
            "mounts[4]: open source: openat2(\"/srv/data\"): permission denied (is uid 100000 outside) (also: rmdir)"
        );
    }

    #[test]
    fn is_one_line_whatever_the_configuration_holds() {
        assert_eq!(
            Error::invalid("hostname", "\"a\nb\" is not a name").to_string(),
            "hostname: \"a\\nb\" is not a name"
        );
    }

    #[test]
    fn words_are_those_that_engines_search_for() {
        assert_eq!(in_words(Errno::ENOENT), "no such file or directory");
        assert_eq!(in_words(Errno::EACCES), "permission denied");
        assert_eq!(in_words(Errno::EISDIR), "is a directory");
        assert_eq!(in_words(Errno::ESRCH), "no such process");
        assert_eq!(in_words(Errno::EBADF), "bad file descriptor");
        assert_eq!(in_words(Errno::ENOMEM), "cannot allocate memory");
        assert_eq!(in_words(Errno::EIO), "input/output error");
    }
}
