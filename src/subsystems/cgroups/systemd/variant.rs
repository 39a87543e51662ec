//! `org.systemd.property.NAME` annotations: properties of the unit, in the text form of GVariant (the GLib reference,
//! "GVariant Text Format").
//!
//! All of it but dictionaries and maybes, which no unit's property has.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use super::properties::Property;
use crate::error::{Error, Result};
use crate::machine::systemd::Value;

/// Annotations that begin so are properties of the unit.
pub const UNIT_PROPERTY: &str = "org.systemd.property.";

/// The properties that annotations ask for.
pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(UNIT_PROPERTY) else { continue };
        let invalid = |why: String| Error::invalid(format!("annotations[{key:?}]"), why);
        // COMPAT(runc): the same rule.
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(invalid(format!("{name:?} is not the name of a property, three letters or more")));
        }
        let value = parse(text).map_err(|why| invalid(format!("{text:?}: {why}")))?;
        let property = in_microseconds(name, value).map_err(|why| invalid(format!("{text:?}: {why}")))?;
        properties.push(Property { annotation: Some(key.clone()), ..property });
    }
    Ok(properties)
}

/// COMPAT(runc): unit files have `TimeoutStopSec=`, the bus has `TimeoutStopUSec`; either can be written.
fn in_microseconds(name: &str, value: Value) -> std::result::Result<Property, String> {
    let stem = name.strip_suffix("Sec").filter(|stem| stem.ends_with(|letter: char| letter.is_ascii_lowercase()));
    let Some(stem) = stem else { return Ok(Property::new(name, value)) };
    let seconds = as_seconds(&value).ok_or("is not a number of seconds")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    let microseconds = match seconds {
        Seconds::Whole(seconds) => seconds.checked_mul(1_000_000),
        Seconds::Fraction(seconds) if (0.0..1e12).contains(&seconds) => Some((seconds * 1e6).round() as u64),
        Seconds::Fraction(_) => None,
    };
    let microseconds = microseconds.ok_or("is out of range")?;
    Ok(Property::new(&format!("{stem}USec"), Value::Uint64(microseconds)))
}

enum Seconds {
    Whole(u64),
    Fraction(f64),
}

fn as_seconds(value: &Value) -> Option<Seconds> {
    let whole = match *value {
        Value::Byte(number) => Some(number.into()),
        Value::Int16(number) => number.try_into().ok(),
        Value::Uint16(number) => Some(number.into()),
        Value::Int32(number) => number.try_into().ok(),
        Value::Uint32(number) => Some(number.into()),
        Value::Int64(number) => number.try_into().ok(),
        Value::Uint64(number) => Some(number),
        Value::Double(number) => return Some(Seconds::Fraction(number)),
        _ => None,
    };
    whole.map(Seconds::Whole)
}

type Parsed<T> = std::result::Result<T, String>;

/// Reads one value.
fn parse(text: &str) -> Parsed<Value> {
    let mut parser = Parser { rest: text.chars().peekable(), depth: 0 };
    let value = parser.value(None)?;
    parser.skip_spaces();
    let rest: String = parser.rest.collect();
    if rest.is_empty() { Ok(value) } else { Err(format!("{rest:?} is left over behind the value")) }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

/// Words that say a value's type, with its letter.
const TYPES: [(&str, char); 13] = [
    ("boolean", 'b'),
    ("byte", 'y'),
    ("int16", 'n'),
    ("uint16", 'q'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("handle", 'h'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
    ("string", 's'),
    ("objectpath", 'o'),
    ("signature", 'g'),
];

/// How deep values may be nested: as deep as on the bus.
const DEEPEST: usize = 64;

impl Parser<'_> {
    fn skip_spaces(&mut self) {
        while self.rest.next_if(|letter| letter.is_whitespace()).is_some() {}
    }

    /// The next letter behind spaces.
    fn peek(&mut self) -> Option<char> {
        self.skip_spaces();
        self.rest.peek().copied()
    }

    fn take(&mut self, letter: char) -> bool {
        self.peek() == Some(letter) && self.rest.next().is_some()
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> String {
        std::iter::from_fn(|| self.rest.next_if(|letter| is_part(*letter))).collect()
    }

    /// A value; `wanted` is its type when that is known: that of the other elements of an array, or one that was written.
    fn value(&mut self, wanted: Option<&str>) -> Parsed<Value> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("is nested too deep".to_owned());
        }
        let value = match self.peek().ok_or("a value is missing")? {
            '@' => {
                self.rest.next();
                let signature = self.word(|letter| letter.is_ascii_alphabetic() || "(){}".contains(letter));
                check_type(&signature)?;
                self.value(Some(&signature))?
            }
            '\'' | '"' => string(self.quoted()?, wanted)?,
            '[' => self.array(wanted)?,
            '(' => self.tuple(wanted)?,
            '<' => {
                self.rest.next();
                let value = Value::Variant(Box::new(self.value(None)?));
                if !self.take('>') {
                    return Err("a '>' is missing".to_owned());
                }
                value
            }
            letter if letter.is_ascii_digit() || "+-.".contains(letter) => self.number(wanted)?,
            letter if letter.is_ascii_alphabetic() => self.keyword(wanted)?,
            letter => return Err(format!("{letter:?} begins no value")),
        };
        self.depth -= 1;
        match wanted {
            Some(wanted) if value.signature() != wanted => {
                Err(format!("a value of type {:?} where one of {wanted:?} is expected", value.signature()))
            }
            _ => Ok(value),
        }
    }

    fn keyword(&mut self, wanted: Option<&str>) -> Parsed<Value> {
        let word = self.word(|letter| letter.is_ascii_alphanumeric());
        match word.as_str() {
            "true" => return Ok(Value::Boolean(true)),
            "false" => return Ok(Value::Boolean(false)),
            "inf" | "nan" => return number(&word, wanted),
            "b" if matches!(self.rest.peek(), Some('\'' | '"')) => {
                let mut bytes: Vec<Value> = self.quoted()?.bytes().map(Value::Byte).collect();
                bytes.push(Value::Byte(0));
                return Ok(Value::Array("y".to_owned(), bytes));
            }
            _ => {}
        }
        match TYPES.iter().find(|(name, _)| *name == word) {
            Some((_, letter)) => self.value(Some(letter.encode_utf8(&mut [0; 4]))),
            None => Err(format!("{word:?} is neither a value nor a type (is a string without quotes meant?)")),
        }
    }

    fn number(&mut self, wanted: Option<&str>) -> Parsed<Value> {
        let text = self.word(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
        number(&text, wanted)
    }

    fn array(&mut self, wanted: Option<&str>) -> Parsed<Value> {
        self.rest.next();
        let mut element = wanted.and_then(|signature| signature.strip_prefix('a')).map(str::to_owned);
        let mut items = Vec::new();
        while !self.take(']') {
            if !items.is_empty() && !self.take(',') {
                return Err("a ',' or a ']' is missing".to_owned());
            }
            let item = self.value(element.as_deref())?;
            element = Some(item.signature());
            items.push(item);
        }
        let element = element.ok_or("an empty array needs a type, such as @as []")?;
        Ok(Value::Array(element, items))
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Parsed<Value> {
        self.rest.next();
        let mut types = wanted.and_then(|signature| signature.strip_prefix('(')).unwrap_or_default();
        let mut members = Vec::new();
        while !self.take(')') {
            if !members.is_empty() && !self.take(',') {
                return Err("a ',' or a ')' is missing".to_owned());
            }
            // (1,) has one member.
            if !members.is_empty() && self.take(')') {
                break;
            }
            let length = first_type(types).unwrap_or(0);
            let member = self.value(Some(&types[..length]).filter(|member| !member.is_empty()))?;
            types = &types[length..];
            members.push(member);
        }
        if members.is_empty() { Err("an empty tuple".to_owned()) } else { Ok(Value::Struct(members)) }
    }

    fn quoted(&mut self) -> Parsed<String> {
        let quote = self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err("a string does not end".to_owned()),
                letter if letter == quote => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(letter) => text.push(letter),
            }
        }
    }

    fn escaped(&mut self) -> Parsed<char> {
        let digits = match self.rest.next().ok_or("a string does not end")? {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            'u' => 4,
            'U' => 8,
            letter => return Ok(letter),
        };
        let code: String = self.rest.by_ref().take(digits).collect();
        let letter = u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == digits).and_then(char::from_u32);
        letter.filter(|letter| *letter != '\0').ok_or_else(|| format!("{code:?} is not the code of a letter"))
    }
}

fn string(text: String, wanted: Option<&str>) -> Parsed<Value> {
    if text.contains('\0') {
        return Err("a string has a zero in it".to_owned());
    }
    match wanted {
        Some("o") if text.starts_with('/') => Ok(Value::ObjectPath(text)),
        Some("o") => Err(format!("{text:?} is not an object path")),
        Some("g") => check_type(&text).map(|()| Value::Signature(text)),
        _ => Ok(Value::String(text)),
    }
}

/// Without a type: an int32, or a double when it has a point or an exponent.
fn number(text: &str, wanted: Option<&str>) -> Parsed<Value> {
    let out_of_range = |_| format!("{text} is out of range for type {:?}", wanted.unwrap_or("i"));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
    let has_fraction = !is_hexadecimal && digits.contains(['.', 'e', 'E', 'n']);
    match wanted {
        Some("d") => return float(text).map(Value::Double),
        None if has_fraction => return float(text).map(Value::Double),
        _ => {}
    }
    let (radix, digits) = match digits.get(..2) {
        _ if is_hexadecimal => (16, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    let size =
        i128::from_str_radix(digits, radix).ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_alphanumeric()));
    let size = size.ok_or_else(|| format!("{text:?} is not a number"))?;
    let number = if text.starts_with('-') { -size } else { size };
    Ok(match wanted {
        Some("y") => Value::Byte(number.try_into().map_err(out_of_range)?),
        Some("n") => Value::Int16(number.try_into().map_err(out_of_range)?),
        Some("q") => Value::Uint16(number.try_into().map_err(out_of_range)?),
        Some("u") => Value::Uint32(number.try_into().map_err(out_of_range)?),
        Some("x") => Value::Int64(number.try_into().map_err(out_of_range)?),
        Some("t") => Value::Uint64(number.try_into().map_err(out_of_range)?),
        Some("h") => return Err("a descriptor cannot be in an annotation".to_owned()),
        _ => Value::Int32(number.try_into().map_err(out_of_range)?),
    })
}

fn float(text: &str) -> Parsed<f64> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// The length of the complete type at the beginning.
fn first_type(types: &str) -> Option<usize> {
    let inner = types.trim_start_matches('a');
    let prefix = types.len() - inner.len();
    match inner.chars().next()? {
        '(' => {
            let mut at = 1;
            while inner.get(at..)?.chars().next()? != ')' {
                at += first_type(&inner[at..])?;
            }
            (at > 1).then_some(prefix + at + 1)
        }
        letter => "bynqiuhxtdsogv".contains(letter).then_some(prefix + 1),
    }
}

fn check_type(signature: &str) -> Parsed<()> {
    let nested = signature.chars().filter(|letter| "a(".contains(*letter)).count();
    match first_type(signature) {
        Some(length) if length == signature.len() && nested < DEEPEST => Ok(()),
        _ => Err(format!("{signature:?} is not a type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Value {
        Value::texts(items.iter().map(|item| (*item).to_owned()))
    }

    #[test]
    fn values() {
        for (text, value) in [
            ("true", Value::Boolean(true)),
            (" false ", Value::Boolean(false)),
            ("15", Value::Int32(15)),
            ("-1", Value::Int32(-1)),
            ("+0x1F", Value::Int32(31)),
            ("010", Value::Int32(8)),
            ("0", Value::Int32(0)),
            ("uint64 10000000", Value::Uint64(10_000_000)),
            ("uint64 0xffffffffffffffff", Value::Uint64(u64::MAX)),
            ("int64 -5", Value::Int64(-5)),
            ("byte 255", Value::Byte(255)),
            ("int16 -3", Value::Int16(-3)),
            ("uint16 3", Value::Uint16(3)),
            ("uint32 3", Value::Uint32(3)),
            ("int32 3", Value::Int32(3)),
            ("@t 7", Value::Uint64(7)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("double 2", Value::Double(2.0)),
            ("'a b'", Value::text("a b")),
            ("\"it's\"", Value::text("it's")),
            (r"'\'\n\t\\ü\u0041\U0001F600'", Value::text("'\n\t\\üA😀")),
            ("string 'x'", Value::text("x")),
            ("objectpath '/a'", Value::ObjectPath("/a".into())),
            ("signature 'a(sv)'", Value::Signature("a(sv)".into())),
            ("['crio.service']", strings(&["crio.service"])),
            ("[ 'a' , \"b\" ]", strings(&["a", "b"])),
            ("@as []", strings(&[])),
            ("@as ['x']", strings(&["x"])),
            ("[uint64 1, 2]", Value::Array("t".into(), vec![Value::Uint64(1), Value::Uint64(2)])),
            ("@ay [1, 2]", Value::Array("y".into(), vec![Value::Byte(1), Value::Byte(2)])),
            ("b'ab'", Value::Array("y".into(), vec![Value::Byte(97), Value::Byte(98), Value::Byte(0)])),
            (
                "[('/dev/sda', uint64 5)]",
                Value::Array("(st)".into(), vec![Value::Struct(vec![Value::text("/dev/sda"), Value::Uint64(5)])]),
            ),
            (
                "@a(st) [('/dev/sda', 5)]",
                Value::Array("(st)".into(), vec![Value::Struct(vec![Value::text("/dev/sda"), Value::Uint64(5)])]),
            ),
            ("(1,)", Value::Struct(vec![Value::Int32(1)])),
            ("<'x'>", Value::Variant(Box::new(Value::text("x")))),
            (
                "[[1], @ai []]",
                Value::Array(
                    "ai".into(),
                    vec![Value::Array("i".into(), vec![Value::Int32(1)]), Value::Array("i".into(), vec![])],
                ),
            ),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_value() {
        for (text, why) in [
            ("", "a value is missing"),
            ("  ", "a value is missing"),
            ("yes", "\"yes\" is neither a value nor a type"),
            ("'open", "a string does not end"),
            ("'open\\", "a string does not end"),
            (r"'\u00zz'", "\"00zz\" is not the code of a letter"),
            (r"'\u0000'", "is not the code of a letter"),
            ("1 2", "\"2\" is left over"),
            ("[]", "an empty array needs a type"),
            ("[1, 'a']", "a value of type \"s\" where one of \"i\" is expected"),
            ("[1 2]", "a ',' or a ']' is missing"),
            ("[1", "a ',' or a ']' is missing"),
            ("(1 2)", "a ',' or a ')' is missing"),
            ("()", "an empty tuple"),
            ("<1", "a '>' is missing"),
            ("uint64 -1", "-1 is out of range for type \"t\""),
            ("2147483648", "2147483648 is out of range for type \"i\""),
            ("byte 256", "out of range"),
            ("1x", "\"1x\" is not a number"),
            ("--1", "is not a number"),
            ("-", "\"-\" is not a number"),
            ("0x", "is not a number"),
            ("1.2.3", "is not a number"),
            ("uint64 'x'", "a value of type \"s\" where one of \"t\" is expected"),
            ("handle 1", "a descriptor cannot be"),
            ("objectpath 'x'", "is not an object path"),
            ("@a( []", "\"a(\" is not a type"),
            ("@ss 'x'", "\"ss\" is not a type"),
            ("{'a': 1}", "'{' begins no value"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(parse(&"[".repeat(10_000)).unwrap_err().contains("nested too deep"));
        assert!(parse(&format!("@{}i []", "a".repeat(10_000))).unwrap_err().contains("is not a type"));
    }

    #[test]
    fn annotations_become_properties() {
        for (key, text, name, value) in [
            // Podman, then CRI-O.
            ("KillSignal", "15", "KillSignal", Value::Int32(15)),
            ("TimeoutStopUSec", "uint64 10000000", "TimeoutStopUSec", Value::Uint64(10_000_000)),
            ("After", "['crio.service']", "After", strings(&["crio.service"])),
            ("DefaultDependencies", "true", "DefaultDependencies", Value::Boolean(true)),
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::text("inactive-or-failed")),
            ("TimeoutStopSec", "90", "TimeoutStopUSec", Value::Uint64(90_000_000)),
            ("TimeoutStopSec", "uint64 1", "TimeoutStopUSec", Value::Uint64(1_000_000)),
            ("TimeoutStopSec", "1.5", "TimeoutStopUSec", Value::Uint64(1_500_000)),
            // Neither has a lower-case letter before.
            ("RuntimeUSec", "5", "RuntimeUSec", Value::Int32(5)),
            ("Sec", "5", "Sec", Value::Int32(5)),
        ] {
            let annotations = [(format!("org.systemd.property.{key}"), text.to_owned()), ("other".into(), "x".into())];
            let annotation = Some(annotations[0].0.clone());
            let expected = Property { annotation, ..Property::new(name, value) };
            assert_eq!(from_annotations(&annotations.into()).unwrap(), [expected], "{key}={text}");
        }
    }

    #[test]
    fn an_error_names_the_annotation() {
        for (key, text, expected) in [
            ("Ab", "1", "annotations[\"org.systemd.property.Ab\"]: \"Ab\" is not the name of a property"),
            ("Exec-Start", "1", "is not the name of a property"),
            ("", "1", "is not the name of a property"),
            ("KillSignal", "x", "annotations[\"org.systemd.property.KillSignal\"]: \"x\": \"x\" is neither"),
            ("TimeoutStopSec", "'x'", "\"'x'\": is not a number of seconds"),
            ("TimeoutStopSec", "-1", "is not a number of seconds"),
            ("TimeoutStopSec", "-1.0", "is out of range"),
            ("TimeoutStopSec", "uint64 18446744073709551615", "is out of range"),
        ] {
            let annotations = [(format!("org.systemd.property.{key}"), text.to_owned())];
            let error = from_annotations(&annotations.into()).unwrap_err().to_string();
            assert!(error.contains(expected), "{key}={text}: {error}");
        }
    }
}
