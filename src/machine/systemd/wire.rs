//! D-Bus messages as bytes (D-Bus specification, "Message Protocol"), in the machine's own byte order.
//!
//! Pure, and only what is needed to speak with one service manager. The crates that speak D-Bus were looked at: zbus brings an
//! executor with threads, rustbus waits for ever while it authenticates, has descriptors that are not close-on-exec and says
//! its uid, which is another one for the bus when we are in a user namespace.

use crate::error::{Error, Kind, Result};

/// A value of D-Bus.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Value {
    Byte(u8),
    Boolean(bool),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    ObjectPath(String),
    Signature(String),
    /// The index of a descriptor that goes along with the message.
    UnixFd(u32),
    /// The signature of the elements, and these.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    /// One of the elements of an array that is a dictionary.
    DictEntry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// An array of strings.
    pub fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::Array("s".to_owned(), texts.into_iter().map(Self::String).collect())
    }

    /// Its type, such as `a(sv)`.
    pub fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".to_owned(),
            Self::Boolean(_) => "b".to_owned(),
            Self::Int16(_) => "n".to_owned(),
            Self::Uint16(_) => "q".to_owned(),
            Self::Int32(_) => "i".to_owned(),
            Self::Uint32(_) => "u".to_owned(),
            Self::Int64(_) => "x".to_owned(),
            Self::Uint64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::String(_) => "s".to_owned(),
            Self::ObjectPath(_) => "o".to_owned(),
            Self::Signature(_) => "g".to_owned(),
            Self::UnixFd(_) => "h".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(members) => format!("({})", signature_of(members)),
            Self::DictEntry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Self::Variant(_) => "v".to_owned(),
        }
    }

    /// The text of a string or of an object path.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::ObjectPath(text) => Some(text),
            _ => None,
        }
    }
}

fn signature_of(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// On what a value of this type begins.
fn alignment(signature: u8) -> usize {
    match signature {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Bytes that grow. Positions count from the beginning, which is aligned to 8.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number<const SIZE: usize>(&mut self, bytes: [u8; SIZE]) {
        self.align(SIZE);
        self.0.extend_from_slice(&bytes);
    }

    fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(byte) => self.0.push(*byte),
            Value::Boolean(value) => self.number(u32::from(*value).to_ne_bytes()),
            Value::Int16(number) => self.number(number.to_ne_bytes()),
            Value::Uint16(number) => self.number(number.to_ne_bytes()),
            Value::Int32(number) => self.number(number.to_ne_bytes()),
            Value::Uint32(number) | Value::UnixFd(number) => self.number(number.to_ne_bytes()),
            Value::Int64(number) => self.number(number.to_ne_bytes()),
            Value::Uint64(number) => self.number(number.to_ne_bytes()),
            Value::Double(number) => self.number(number.to_ne_bytes()),
            Value::String(text) | Value::ObjectPath(text) => self.text(text),
            Value::Signature(signature) => self.signature(signature),
            Value::Array(element, items) => self.array(element, items),
            Value::Struct(members) => {
                self.align(8);
                members.iter().for_each(|member| self.value(member));
            }
            Value::DictEntry(entry) => {
                self.align(8);
                self.value(&entry.0);
                self.value(&entry.1);
            }
            Value::Variant(value) => {
                self.signature(&value.signature());
                self.value(value);
            }
        }
    }

    /// The length is that of the elements, without what aligns the first one.
    fn array(&mut self, element: &str, items: &[Value]) {
        self.length(0);
        let at = self.0.len();
        self.align(alignment(element.bytes().next().unwrap_or_default()));
        let first = self.0.len();
        items.iter().for_each(|item| self.value(item));
        let length = u32::try_from(self.0.len() - first).unwrap_or(u32::MAX);
        self.0[at - 4..at].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A method to be called.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub body: &'a [Value],
}

const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const PROTOCOL: u8 = 1;

// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;
const UNIX_FDS: u8 = 9;

impl Call<'_> {
    /// The bytes; `fds` descriptors go along.
    pub fn encode(&self, serial: u32, fds: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let mut fields = vec![
            field(PATH, Value::ObjectPath(self.path.to_owned())),
            field(DESTINATION, Value::text(self.destination)),
            field(INTERFACE, Value::text(self.interface)),
            field(MEMBER, Value::text(self.member)),
        ];
        if !self.body.is_empty() {
            fields.push(field(SIGNATURE, Value::Signature(signature_of(self.body))));
        }
        if fds > 0 {
            fields.push(field(UNIX_FDS, Value::Uint32(fds)));
        }
        let mut message = Writer(vec![ENDIAN, METHOD_CALL, 0, PROTOCOL]);
        message.length(body.0.len());
        message.number(serial.to_ne_bytes());
        message.array("(yv)", &fields);
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A call's answer.
    Return {
        /// The call.
        serial: u32,
        /// What it returned.
        body: Vec<Value>,
    },
    /// A call's refusal.
    Refusal {
        /// The call.
        serial: u32,
        /// Such as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// For people.
        text: String,
    },
    /// Something happened.
    Signal {
        /// What.
        member: String,
        /// More about it.
        body: Vec<Value>,
    },
    /// What nobody here asked for.
    Other,
}

/// The longest message that is read; the property list of a unit is 20 kB.
const LONGEST: usize = 4 << 20;
/// The part whose length is known.
const HEADER: usize = 16;

/// How long the message is that begins like this; `None`: not enough of it is there to know.
pub fn message_length(begun: &[u8]) -> Result<Option<usize>> {
    let Some(header) = begun.get(..HEADER) else { return Ok(None) };
    if header[0] != ENDIAN || header[3] != PROTOCOL {
        return Err(malformed("begins like no message of this machine"));
    }
    let mut reader = Reader { bytes: header, at: 4, depth: 0 };
    let body = reader.length()?;
    reader.at = 12;
    let fields = reader.length()?;
    let length = (HEADER + fields).next_multiple_of(8) + body;
    if length > LONGEST { Err(malformed("is too long")) } else { Ok(Some(length)) }
}

fn malformed(why: &str) -> Error {
    Error::new(Kind::Failed, format!("malformed D-Bus message: {why}"))
}

/// Reads a whole message.
pub fn decode(message: &[u8]) -> Result<Incoming> {
    let mut reader = Reader { bytes: message, at: 12, depth: 0 };
    let Value::Array(_, fields) = reader.value(&mut "a(yv)".bytes().peekable())? else {
        return Err(malformed("has no header fields"));
    };
    reader.align(8);
    let mut serial = None;
    let (mut member, mut error_name, mut signature) = (String::new(), String::new(), String::new());
    for field in fields {
        let Value::Struct(pair) = field else { continue };
        match pair.as_slice() {
            [Value::Byte(code), Value::Variant(value)] => match (*code, value.as_ref()) {
                (REPLY_SERIAL, Value::Uint32(number)) => serial = Some(*number),
                (MEMBER, Value::String(name)) => member.clone_from(name),
                (ERROR_NAME, Value::String(name)) => error_name.clone_from(name),
                (SIGNATURE, Value::Signature(text)) => signature.clone_from(text),
                _ => {}
            },
            _ => return Err(malformed("has a strange header field")),
        }
    }
    let mut body = Vec::new();
    let mut types = signature.bytes().peekable();
    while types.peek().is_some() {
        body.push(reader.value(&mut types)?);
    }
    Ok(match (message.get(1), serial) {
        (Some(&METHOD_RETURN), Some(serial)) => Incoming::Return { serial, body },
        (Some(&ERROR), Some(serial)) => {
            let text = body.first().and_then(Value::as_text).unwrap_or_default().to_owned();
            Incoming::Refusal { serial, name: error_name, text }
        }
        (Some(&SIGNAL), _) => Incoming::Signal { member, body },
        _ => Incoming::Other,
    })
}

/// Bytes that are read. Positions count from the beginning of the message.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many containers we are in: variants can nest as deep as a message is long.
    depth: usize,
}

/// The D-Bus specification allows 32 arrays and 32 structures.
const DEEPEST: usize = 64;

/// The rest of a signature.
type Types<'a> = std::iter::Peekable<std::str::Bytes<'a>>;

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| malformed("ends too early"))?;
        self.at += count;
        Ok(taken)
    }

    fn number<const SIZE: usize>(&mut self) -> Result<[u8; SIZE]> {
        self.align(SIZE);
        let mut bytes = [0; SIZE];
        bytes.copy_from_slice(self.take(SIZE)?);
        Ok(bytes)
    }

    fn length(&mut self) -> Result<usize> {
        usize::try_from(u32::from_ne_bytes(self.number()?)).map_err(|_| malformed("is too long"))
    }

    /// Text of that length, and its zero.
    fn text(&mut self, length: usize) -> Result<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| malformed("is not UTF-8"))?;
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.take(1)?[0];
        self.text(length.into())
    }

    /// The value whose type comes next in `types`.
    fn value(&mut self, types: &mut Types<'_>) -> Result<Value> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(malformed("is nested too deeply"));
        }
        let value = self.value_at_depth(types)?;
        self.depth -= 1;
        Ok(value)
    }

    fn value_at_depth(&mut self, types: &mut Types<'_>) -> Result<Value> {
        let code = types.next().ok_or_else(|| malformed("has an incomplete signature"))?;
        Ok(match code {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => Value::Boolean(u32::from_ne_bytes(self.number()?) != 0),
            b'n' => Value::Int16(i16::from_ne_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_ne_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_ne_bytes(self.number()?)),
            b'u' => Value::Uint32(u32::from_ne_bytes(self.number()?)),
            b'h' => Value::UnixFd(u32::from_ne_bytes(self.number()?)),
            b'x' => Value::Int64(i64::from_ne_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_ne_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_ne_bytes(self.number()?)),
            b's' => Value::String(self.length().and_then(|length| self.text(length))?),
            b'o' => Value::ObjectPath(self.length().and_then(|length| self.text(length))?),
            b'g' => Value::Signature(self.signature()?),
            b'a' => self.array(types)?,
            b'(' => {
                self.align(8);
                let mut members = Vec::new();
                while types.next_if_eq(&b')').is_none() {
                    members.push(self.value(types)?);
                }
                if members.is_empty() {
                    // It would take no room: an array of them has no end.
                    return Err(malformed("has an empty structure"));
                }
                Value::Struct(members)
            }
            b'{' => {
                self.align(8);
                let entry = Box::new((self.value(types)?, self.value(types)?));
                types.next();
                Value::DictEntry(entry)
            }
            b'v' => {
                let signature = self.signature()?;
                Value::Variant(Box::new(self.value(&mut signature.bytes().peekable())?))
            }
            _ => return Err(malformed("has an unknown type")),
        })
    }

    fn array(&mut self, types: &mut Types<'_>) -> Result<Value> {
        let length = self.length()?;
        let element = complete_type(types)?;
        self.align(alignment(element.bytes().next().unwrap_or_default()));
        let end = self.at + length;
        let mut items = Vec::new();
        while self.at < end {
            items.push(self.value(&mut element.bytes().peekable())?);
        }
        Ok(Value::Array(element, items))
    }
}

/// Takes one complete type, such as `a{sv}`, off the front.
fn complete_type(types: &mut Types<'_>) -> Result<String> {
    let (mut taken, mut depth) = (String::new(), 0_usize);
    loop {
        let code = types.next().ok_or_else(|| malformed("has an incomplete signature"))?;
        taken.push(char::from(code));
        match code {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && code != b'a' {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(key: &str, value: Value) -> Value {
        Value::Struct(vec![Value::text(key), Value::Variant(Box::new(value))])
    }

    /// As an answer would be, with what the other side puts into its header.
    fn returned(body: &[Value]) -> Vec<u8> {
        let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let mut bytes = Writer::default();
        body.iter().for_each(|value| bytes.value(value));
        let mut message = Writer(vec![ENDIAN, METHOD_RETURN, 1, PROTOCOL]);
        message.length(bytes.0.len());
        message.number(7_u32.to_ne_bytes());
        message.array(
            "(yv)",
            &[field(REPLY_SERIAL, Value::Uint32(5)), field(SIGNATURE, Value::Signature(signature_of(body)))],
        );
        message.align(8);
        message.0.extend(bytes.0);
        message.0
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_call_in_bytes() {
        let call = Call { destination: "d.e", path: "/p", interface: "i.f", member: "M", body: &[Value::text("x")] };
        let expected: [&[u8]; 7] = [
            b"l\x01\x00\x01\x06\x00\x00\x00\x03\x00\x00\x00\x47\x00\x00\x00",
            b"\x01\x01o\x00\x02\x00\x00\x00/p\x00\x00\x00\x00\x00\x00",
            b"\x06\x01s\x00\x03\x00\x00\x00d.e\x00\x00\x00\x00\x00",
            b"\x02\x01s\x00\x03\x00\x00\x00i.f\x00\x00\x00\x00\x00",
            b"\x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00",
            b"\x08\x01g\x00\x01s\x00\x00",
            b"\x01\x00\x00\x00x\x00",
        ];
        let encoded = call.encode(3, 0);
        assert_eq!(encoded, expected.concat());
        assert_eq!(message_length(&encoded).unwrap(), Some(encoded.len()));
    }

    #[test]
    fn every_type_survives_the_way() {
        let body = [
            Value::Byte(1),
            Value::Boolean(true),
            Value::Int16(-2),
            Value::Uint16(3),
            Value::Int32(-4),
            Value::Uint32(5),
            Value::Int64(-6),
            Value::Uint64(u64::MAX),
            Value::Double(0.5),
            Value::text("grüße"),
            Value::ObjectPath("/a/b".into()),
            Value::Signature("a(sv)".into()),
            Value::UnixFd(0),
            Value::texts(["x".to_owned(), String::new()]),
            Value::Array("(sv)".into(), vec![boxed("one", Value::Uint64(1)), boxed("two", Value::Byte(2))]),
            Value::Array("t".into(), Vec::new()),
            Value::Array(
                "{sv}".into(),
                vec![Value::DictEntry(Box::new((Value::text("k"), Value::Variant(Box::new(Value::Byte(9))))))],
            ),
            Value::Array("a(ss)".into(), vec![Value::Array("(ss)".into(), Vec::new())]),
        ];
        let message = returned(&body);
        assert_eq!(message_length(&message).unwrap(), Some(message.len()));
        assert_eq!(message_length(&message[..15]).unwrap(), None);
        assert_eq!(decode(&message).unwrap(), Incoming::Return { serial: 5, body: body.into() });
    }

    #[test]
    fn what_is_cut_off_or_strange_is_an_error() {
        let message = returned(&[Value::texts(["long enough".to_owned()]), Value::Variant(Box::new(Value::Byte(1)))]);
        for length in 16..message.len() {
            assert!(decode(&message[..length]).is_err(), "{length}");
        }
        let mut other_order = message.clone();
        other_order[0] = b'?';
        assert!(message_length(&other_order).is_err());
        let mut long = message;
        long[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(message_length(&long).unwrap_err().to_string().contains("too long"));
    }
}
