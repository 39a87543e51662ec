//! Which ids are legal.

use crate::error::{Error, Kind, Result};

/// NAME_MAX: an id is the name of a directory.
const LONGEST: usize = 255;

/// Letters, digits, `_`, `+`, `-` and `.`, as in runc; not `.` and not `..`.
pub fn check(id: &str) -> Result<()> {
    let refused = |why: &str| Err(Error::new(Kind::InvalidConfig, format!("container id {id:?}: {why}")));
    if id.is_empty() {
        return refused("is empty");
    }
    if id == "." || id == ".." || id.len() > LONGEST {
        return refused("cannot be the name of a directory");
    }
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '+' | '-' | '.');
    match id.chars().find(|letter| !legal(*letter)) {
        Some(letter) => refused(&format!("{letter:?} is not one of a-z A-Z 0-9 _ + - .")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn ids() {
        for id in ["a", "A0_+-.", "...", "-", "0123456789abcdef"] {
            assert!(check(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\n", "a\0b", &"x".repeat(256)] {
            assert!(check(id).is_err(), "{id:?}");
        }
        assert_eq!(
            check("a/b").unwrap_err().to_string(),
            "container id \"a/b\": '/' is not one of a-z A-Z 0-9 _ + - ."
        );
    }
}
