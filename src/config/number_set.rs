//! Sets of CPUs and of memory nodes, which a configuration writes as `0-3,7`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A set of CPUs or memory nodes as the bit mask that the kernel takes: number 0 is the lowest bit of the first word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberSet(Vec<u64>);

/// More CPUs or nodes than any kernel can be built for.
const TOO_MANY: u32 = 1 << 16;

impl NumberSet {
    /// Reads a list. Blanks are legal in it; an empty one is no set.
    pub(super) fn parse(property: &str, list: &str) -> Result<Option<Self>> {
        let list: String = list.chars().filter(|letter| *letter != ' ').collect();
        if list.is_empty() {
            return Ok(None);
        }
        let ranges = ranges(&list).ok_or_else(|| not_a_list(property, &list))?;
        let greatest = ranges.iter().map(|(_, last)| *last).max().unwrap_or(0);
        if greatest >= TOO_MANY {
            return Err(Error::invalid(property, format!("{greatest} is more than any kernel has, {}", TOO_MANY - 1)));
        }
        let mut words = vec![0; greatest as usize / 64 + 1];
        for number in ranges.into_iter().flat_map(|(first, last)| first..=last) {
            words[number as usize / 64] |= 1 << (number % 64);
        }
        Ok(Some(Self(words)))
    }

    /// The mask.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        let bits = |(index, word): (usize, u64)| {
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index * 64 + bit)
        };
        self.0.iter().copied().enumerate().flat_map(bits)
    }
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.numbers().peekable();
        let mut comma = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

/// For lists that the kernel reads itself.
pub(super) fn check_list(property: &str, list: &str) -> Result<()> {
    ranges(list).map(|_| ()).ok_or_else(|| not_a_list(property, list))
}

fn not_a_list(property: &str, list: &str) -> Error {
    Error::invalid(property, format!("{list:?} is not a list of numbers and ranges such as \"0-3,7\""))
}

/// First and last number of each range.
fn ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u32>().ok() } else { None }
    };
    let range = |text: &str| match text.split_once('-') {
        None => number(text).map(|only| (only, only)),
        Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
    };
    list.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let rows = [
            ("0", true),
            ("0-3,7", true),
            ("3-3", true),
            ("4294967295", true),
            ("", false),
            ("3-1", false),
            ("1,", false),
            ("-1", false),
            ("+1", false),
            ("1-2-3", false),
            ("a", false),
            ("4294967296", false),
        ];
        for (list, good) in rows {
            assert_eq!(check_list("x", list).is_ok(), good, "{list:?}");
        }
    }

    #[test]
    fn sets() {
        let words = |list: &str| NumberSet::parse("x", list).map(|set| set.map(|set| (set.to_string(), set.0)));
        let some = |text: &str, words: &[u64]| Ok(Some((text.to_owned(), words.to_vec())));
        assert_eq!(words("0"), some("0", &[1]));
        assert_eq!(words("7, 0-3"), some("0-3,7", &[0b1000_1111]));
        assert_eq!(words("63-64"), some("63-64", &[1 << 63, 1]));
        assert_eq!(words("1-2,2-4,3"), some("1-4", &[0b1_1110]));
        assert_eq!(words("200"), some("200", &[0, 0, 0, 1 << 8]));
        assert_eq!(words(" "), Ok(None));
        let refused = |list: &str| words(list).unwrap_err().to_string();
        assert_eq!(refused("0-65536"), "x: 65536 is more than any kernel has, 65535");
        assert_eq!(refused("0--1"), "x: \"0--1\" is not a list of numbers and ranges such as \"0-3,7\"");
    }
}
