//! A parsed value that remembers where each key and value stands in the text.

use serde_json::{Map, Number, Value};

/// Where something stands in a text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset just past the last byte.
    pub end: usize,
}

/// A value with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The whole value, brackets and quotes included.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, or nothing at all in YAML.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that fits 64 bits, or a finite floating-point number.
    Number(Number),
    /// A string, escapes resolved.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// An object; keys are unique and keep their order.
    Object(Vec<Entry>),
}

/// One key of an object with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, escapes resolved.
    pub key: String,
    /// Where the key stands, quotes included.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The plain value, without positions.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(yes) => Value::Bool(*yes),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::String(text) => Value::String(text.clone()),
            Kind::Array(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Kind::Object(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The member `key`, if this is an object that has one. A `null` member counts as present.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of member `key`; a member that is `null` counts as absent, as it does for AWS.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key)
            .map(|entry| &entry.value)
            .filter(|node| !matches!(node.kind, Kind::Null))
    }

    /// Members of an object; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Object(entries) => entries,
            _ => &[],
        }
    }

    /// Items of a list; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is an integer.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.kind {
            Kind::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.kind {
            Kind::Bool(yes) => Some(*yes),
            _ => None,
        }
    }

    /// What to call this kind of value in a message.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a string",
            Kind::Array(_) => "a list",
            Kind::Object(_) => "an object",
        }
    }

    /// The node at a JSON pointer (RFC 6901); the empty pointer is this node.
    pub fn pointer(&self, pointer: &str) -> Option<&Node> {
        self.located(pointer).map(|(_, node)| node)
    }

    /// The node at a JSON pointer with the span of the key it hangs on, if it hangs on one.
    pub fn located(&self, pointer: &str) -> Option<(Option<Span>, &Node)> {
        let mut found = (None, self);
        if pointer.is_empty() {
            return Some(found);
        }
        for token in pointer.strip_prefix('/')?.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            found = match &found.1.kind {
                Kind::Object(_) => {
                    let entry = found.1.entry(&token)?;
                    (Some(entry.key_span), &entry.value)
                }
                Kind::Array(items) => (None, items.get(token.parse::<usize>().ok()?)?),
                _ => return None,
            };
        }
        Some(found)
    }
}
