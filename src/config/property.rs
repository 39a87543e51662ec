//! JSON paths such as `mounts[3].options[1]`: the first word of every message about a configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where in a document we are: a list on the stack while walking down, made into text only for a message.
#[derive(Clone, Copy)]
pub(super) enum Property<'a> {
    /// The top of the document; `""`, or what the document itself is called, such as `process`.
    Document(&'static str),
    /// A member of an object.
    Key(&'a Property<'a>, &'a str),
    /// An element of an array.
    Item(&'a Property<'a>, usize),
}

impl fmt::Display for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document("") => f.write_str("the document"),
            Self::Document(name) => f.write_str(name),
            Self::Key(Self::Document(""), key) if is_word(key) => f.write_str(key),
            Self::Key(Self::Document(""), key) => write!(f, "[{key:?}]"),
            Self::Key(parent, key) if is_word(key) => write!(f, "{parent}.{key}"),
            Self::Key(parent, key) => write!(f, "{parent}[{key:?}]"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Whether a key needs no quotes: an annotation's `org.example.key` would read as three keys.
fn is_word(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `linux.sysctl["net.ipv4.ip_forward"]`.
pub(crate) fn member(object: &str, key: &str) -> String {
    if is_word(key) { format!("{object}.{key}") } else { format!("{object}[{key:?}]") }
}

/// The path as serde saw it, below `document`.
pub(super) fn of_serde(document: &'static str, path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::from(document);
    for segment in path {
        match segment {
            Segment::Seq { index } => text = format!("{text}[{index}]"),
            Segment::Map { key } if text.is_empty() && is_word(key) => text.clone_from(key),
            Segment::Map { key } => text = member(&text, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    if text.is_empty() { Property::Document("").to_string() } else { text }
}

/// SPEC(config): many paths must be absolute; this is that check.
pub(super) fn absolute(property: impl Into<String>, path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        Ok(path.to_path_buf())
    } else {
        Err(Error::invalid(property, format!("{path:?} is not an absolute path")))
    }
}

/// A string, where Go writes an empty one for "unset".
pub(super) fn unless_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_path() {
        let top = Property::Document("");
        let mounts = Property::Key(&top, "mounts");
        let third = Property::Item(&mounts, 3);
        assert_eq!(Property::Key(&third, "options").to_string(), "mounts[3].options");
        let annotations = Property::Key(&top, "annotations");
        assert_eq!(Property::Key(&annotations, "org.example").to_string(), "annotations[\"org.example\"]");
        assert_eq!(Property::Key(&Property::Document("process"), "cwd").to_string(), "process.cwd");
        assert_eq!(top.to_string(), "the document");
        assert_eq!(member("linux.rdma", "mlx5_1"), "linux.rdma.mlx5_1");
    }
}
