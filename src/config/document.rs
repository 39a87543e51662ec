//! A JSON document as it was written: what the typed model forgets.
//!
//! oci-spec gives many required numbers a default, so there "absent" and 0 are one; it reads an array where an object
//! belongs; and no reader of structures sees a key that stands twice in a map. This tree keeps all of it, in order,
//! borrowing its strings from the bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the order written, duplicates included.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The member of that name; `Null` when there is none, or when this is no object.
    pub(super) fn get(&self, key: &str) -> &Node<'a> {
        self.entries().iter().find(|(name, _)| name == key).map_or(&Node::Null, |(_, value)| value)
    }

    /// The element at `index`; `Null` when there is none.
    pub(super) fn item(&self, index: usize) -> &Node<'a> {
        self.items().get(index).unwrap_or(&Node::Null)
    }

    /// The elements of an array, none for anything else.
    pub(super) fn items(&self) -> &[Node<'a>] {
        if let Node::List(items) = self { items } else { &[] }
    }

    /// The members of an object, none for anything else.
    pub(super) fn entries(&self) -> &[(Cow<'a, str>, Node<'a>)] {
        if let Node::Object(entries) = self { entries } else { &[] }
    }

    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Node::Text(text) = self { Some(text) } else { None }
    }

    /// Whether there is something: `null` is how Go writes nothing.
    pub(super) fn is_given(&self) -> bool {
        *self != Node::Null
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "a string",
            Node::List(_) => "an array",
            Node::Object(_) => "an object",
        }
    }

    /// The same for the ecosystem's types.
    pub(super) fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Number(number) => Value::Number(number.clone()),
            Node::Text(text) => Value::String(text.clone().into_owned()),
            Node::List(items) => items.iter().map(Self::to_value).collect(),
            Node::Object(entries) => {
                entries.iter().map(|(key, value)| (key.clone().into_owned(), value.to_value())).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// A key; `Cow` alone would always copy.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        serde_json::Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            entries.push((key, value));
        }
        Ok(Node::Object(entries))
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => serializer.serialize_unit(),
            Node::Bool(value) => serializer.serialize_bool(*value),
            Node::Number(number) => number.serialize(serializer),
            Node::Text(text) => serializer.serialize_str(text),
            Node::List(items) => serializer.collect_seq(items),
            Node::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_duplicates_and_absence() {
        let node: Node<'_> = serde_json::from_str(r#"{"b": 1, "a": [null, "x\n"], "b": -1.5}"#).unwrap();
        assert_eq!(node.entries().len(), 3);
        assert_eq!(node.get("a").item(1).text(), Some("x\n"));
        assert!(!node.get("a").item(0).is_given() && !node.get("c").is_given() && !node.item(0).is_given());
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"b":1,"a":[null,"x\n"],"b":-1.5}"#);
    }

    #[test]
    fn borrows_from_the_bytes() {
        let node: Node<'_> = serde_json::from_slice(br#"{"key": "plain"}"#).unwrap();
        let Node::Object(entries) = &node else { panic!("not an object") };
        assert!(matches!(&entries[0], (Cow::Borrowed("key"), Node::Text(Cow::Borrowed("plain")))));
    }
}
