//! The error of a call that is yet to be made, by somebody who cannot put words together any more.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{Error, Kind};

/// What is to be said if a call is refused: everything but the errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The call, and what was being done; innermost first.
    links: Vec<String>,
    remarks: Vec<Remark>,
}

/// What one errno means here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remark {
    errno: i32,
    kind: Option<Kind>,
    hint: String,
}

impl Refusal {
    /// The refusal of `call`, written with its arguments.
    pub fn of(call: impl Into<String>) -> Self {
        Self { links: vec![call.into()], remarks: Vec::new() }
    }

    /// Says what was being done when this happened.
    #[must_use]
    pub fn within(mut self, doing: impl Into<String>) -> Self {
        self.links.push(doing.into());
        self
    }

    /// Adds what the reader can do about it if it is this errno, and perhaps what kind of error that is.
    #[must_use]
    pub fn hint(mut self, errno: Errno, kind: Option<Kind>, what_to_do: impl Into<String>) -> Self {
        self.remarks.push(Remark { errno: errno as i32, kind, hint: what_to_do.into() });
        self
    }

    /// The error. No errno: the call did less than it was asked for, because nobody is at the other end.
    pub fn into_error(self, errno: Option<Errno>) -> Error {
        let mut links = self.links.into_iter();
        let call = links.next().unwrap_or_default();
        let mut error = match errno {
            Some(errno) => Error::call(call, errno),
            None => Error::new(Kind::ProcessGone, "the runtime is gone").within(call),
        };
        let remark = self.remarks.into_iter().find(|remark| errno.is_some_and(|errno| errno as i32 == remark.errno));
        if let Some(Remark { kind, hint, .. }) = remark {
            error = error.hint(hint);
            error.kind = kind.unwrap_or(error.kind);
        }
        links.fold(error, Error::within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn becomes_the_error_that_the_call_would_have_been() {
        let refusal = Refusal::of("capset").within("process.capabilities");
        assert_eq!(
            refusal.clone().into_error(Some(Errno::EPERM)),
            Error::call("capset", Errno::EPERM).within("process.capabilities")
        );
        let refusal = refusal.hint(Errno::EINVAL, Some(Kind::Unsupported), "old kernel");
        let error = refusal.clone().into_error(Some(Errno::EINVAL));
        assert_eq!(error.to_string(), "process.capabilities: capset: invalid argument (old kernel)");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(refusal.clone().into_error(Some(Errno::EPERM)).kind(), Kind::Denied);
        assert_eq!(refusal.into_error(None).to_string(), "process.capabilities: capset: the runtime is gone");
    }
}
