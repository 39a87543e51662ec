//! The forms in which the kernel writes numbers (Documentation/admin-guide/cgroup-v2, "Format").

use std::collections::BTreeMap;
use std::str::FromStr;

use super::Files;
use super::document::{BlkioEntry, Psi, PsiData};
use crate::error::{Error, Kind, Result, Within};

/// One number; `max` is the largest there is.
pub fn number(files: &dyn Files, name: &str) -> Result<Option<u64>> {
    parsed(files, name, |text| limit(text.trim()))
}

/// `name number` per line.
pub fn flat(files: &dyn Files, name: &str) -> Result<Option<BTreeMap<String, u64>>> {
    parsed(files, name, |text| {
        let pair = |line: &str| match line.split_once(' ') {
            Some((key, value)) => Ok((key.to_owned(), limit(value.trim())?)),
            None => Err(not(line, "a name and a number")),
        };
        text.lines().map(pair).collect()
    })
}

/// `what key=value key=value` per line.
pub fn nested(files: &dyn Files, name: &str) -> Result<Option<BTreeMap<String, BTreeMap<String, String>>>> {
    parsed(files, name, |text| {
        let keyed = |line: &str| {
            let (pairs, names): (Vec<&str>, Vec<&str>) = line.split_ascii_whitespace().partition(|it| it.contains('='));
            let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
            // KERNEL(io.stat before 6.1): devices that did nothing stand on the line of the next one that did.
            let what = (*names.last()?).to_owned();
            Some((what, pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()))
        };
        Ok(text.lines().filter_map(keyed).collect())
    })
}

/// `0-3,7`.
pub fn list(files: &dyn Files, name: &str) -> Result<Option<Vec<u16>>> {
    parsed(files, name, |text| {
        let mut members = Vec::new();
        for range in text.trim().split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            members.extend(integer::<u16>(first)?..=integer::<u16>(last)?);
        }
        Ok(members)
    })
}

/// Numbers in a row.
pub fn row(files: &dyn Files, name: &str) -> Result<Option<Vec<u64>>> {
    parsed(files, name, |text| text.split_ascii_whitespace().map(integer).collect())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub fn pressure(files: &dyn Files, name: &str) -> Result<Option<Psi>> {
    let Some(lines) = nested(files, name)? else { return Ok(None) };
    let data = |which: &str| -> Result<PsiData> {
        let Some(values) = lines.get(which) else { return Ok(PsiData::default()) };
        let value = |key: &str| values.get(key).map_or("0", String::as_str);
        Ok(PsiData {
            avg10: integer(value("avg10"))?,
            avg60: integer(value("avg60"))?,
            avg300: integer(value("avg300"))?,
            total: integer(value("total"))?,
        })
    };
    Ok(Some(Psi { some: data("some").within(|| name)?, full: data("full").within(|| name)? }))
}

/// v1's `8:0 Read 4096` or `8:0 4096` per line. The sum on the last line is left out.
pub fn by_device(files: &dyn Files, name: &str) -> Result<Option<Vec<BlkioEntry>>> {
    parsed(files, name, |text| {
        let mut entries = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (place, op, value) = match words.as_slice() {
                ["Total", _] => continue,
                [place, op, value] => (place, *op, value),
                [place, value] => (place, "", value),
                _ => return Err(not(line, "a device and a number")),
            };
            let (major, minor) = device(place)?;
            entries.push(BlkioEntry { major, minor, op: op.to_owned(), value: integer(value)? });
        }
        Ok(entries)
    })
}

/// `8:0`.
pub fn device(word: &str) -> Result<(u64, u64)> {
    let (major, minor) = word.split_once(':').ok_or_else(|| not(word, "a device"))?;
    Ok((integer(major)?, integer(minor)?))
}

/// A number or `max`.
pub fn limit(word: &str) -> Result<u64> {
    if word == "max" { Ok(u64::MAX) } else { integer(word) }
}

/// A number.
pub fn integer<T: FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| not(word, "a number"))
}

fn parsed<T>(files: &dyn Files, name: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    files.read(name)?.map(|text| parse(&text).within(|| name)).transpose()
}

fn not(text: &str, what: &str) -> Error {
    Error::new(Kind::Failed, format!("{text:?} is not {what}"))
}
