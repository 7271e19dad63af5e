//! From positioned values to types: a serde deserializer whose errors say where, and what would be right.

use std::fmt;

use hoist_ecs::{Document, Kind, Node, Problem, Span, suggest};
use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

/// Reads the nodes of `document` as a `T`.
///
/// # Errors
/// The first place that does not fit, with its position.
pub fn read<T: DeserializeOwned>(document: &Document, root: &Node) -> Result<T, Box<Problem>> {
    T::deserialize(Place {
        node: root,
        text: document.text(),
    })
    .map_err(|error| {
        let mut problem = document
            .error(error.span.unwrap_or(root.span), error.message)
            .label(error.label);
        if let Some(help) = error.help {
            problem = problem.help(help);
        }
        Box::new(problem)
    })
}

/// What did not fit, and where.
#[derive(Debug)]
pub struct Misfit {
    message: String,
    label: String,
    help: Option<String>,
    span: Option<Span>,
}

impl Misfit {
    fn at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        // "message\nhelp" lets a type say what would be right.
        let text = message.to_string();
        let (message, help) = match text.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (text, None),
        };
        Self {
            message,
            label: String::new(),
            help,
            span: None,
        }
    }

    fn invalid_type(unexpected: Unexpected, expected: &dyn de::Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(yes) => format!("`{yes}`"),
            Unexpected::Unsigned(number) => format!("the number {number}"),
            Unexpected::Signed(number) => format!("the number {number}"),
            Unexpected::Float(number) => format!("the number {number}"),
            Unexpected::Str(_) => "a text".to_owned(),
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a mapping".to_owned(),
            other => other.to_string(),
        };
        let help = match unexpected {
            Unexpected::Str(text)
                if text.parse::<f64>().is_ok() || matches!(text, "true" | "false") =>
            {
                Some(format!("write {text} without quotes"))
            }
            _ => example(unexpected, &expected.to_string()),
        };
        let expected = plain_words(&expected.to_string());
        Self {
            message: format!("expected {expected}, found {found}"),
            label: format!("expected {expected}"),
            help,
            span: None,
        }
    }

    fn invalid_value(unexpected: Unexpected, expected: &dyn de::Expected) -> Self {
        let found = match unexpected {
            Unexpected::Str(text) => format!("`{text}`"),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            other => other.to_string(),
        };
        let expected = plain_words(&expected.to_string());
        Self {
            message: format!("expected {expected}, found {found}"),
            label: format!("expected {expected}"),
            help: None,
            span: None,
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("value", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            message: format!("`{field}` is missing"),
            label: format!("needs `{field}`"),
            help: (field == "services").then(|| format!("say what runs, such as `{AN_EXAMPLE}`")),
            span: None,
        }
    }
}

/// The least that a hoist.yaml has to say.
pub(crate) const AN_EXAMPLE: &str = "services: { web: { port: 8080 } }";

/// How it could be written, where a mapping belongs and something else stands.
fn example(found: Unexpected, expected: &str) -> Option<String> {
    match (expected, found) {
        ("struct ServiceConfig", Unexpected::Unsigned(port)) if (1..=65_535).contains(&port) => {
            Some(format!("if this is its port, write `{{ port: {port} }}`"))
        }
        ("struct ServiceConfig", _) => Some("say what it is, such as `{ port: 8080 }`".to_owned()),
        ("a mapping", Unexpected::Seq) => {
            Some("write lines of `name: value` instead of a list".to_owned())
        }
        _ => None,
    }
}

impl Misfit {
    fn unknown(what: &str, word: &str, known: &'static [&'static str]) -> Self {
        let help = match suggest::nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
                format!("known here: {}", known.join(", "))
            }
        };
        Self {
            message: format!("unknown {what} `{word}`"),
            label: String::new(),
            help: Some(help),
            span: None,
        }
    }
}

/// serde's names of types in words for people.
fn plain_words(expected: &str) -> String {
    match expected {
        "u8" => "a number from 0 to 255".to_owned(),
        "u16" => "a number from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "f64" | "f32" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a string" | "a borrowed string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other => other.to_owned(),
    }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    node: &'a Node,
    text: &'a str,
}

impl<'a> Place<'a> {
    /// A text that came out of a template may stand for a number or a truth value.
    fn templated(self) -> Option<&'a str> {
        let source = self.text.get(self.node.span.start..self.node.span.end)?;
        self.node.as_str().filter(|_| source.contains("{{"))
    }
}

impl<'de> de::Deserializer<'de> for Place<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(yes) => visitor.visit_bool(*yes),
            Kind::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Kind::String(text) => visitor.visit_borrowed_str(text),
            Kind::Array(items) => visitor.visit_seq(Items {
                items: items.iter(),
                text: self.text,
            }),
            Kind::Object(_) => visitor.visit_map(Members {
                entries: self.node.entries().iter(),
                value: None,
                text: self.text,
            }),
        }
        .map_err(|error: Misfit| error.at(self.node.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.templated().and_then(|text| text.trim().parse().ok()) {
            Some(yes) => visitor.visit_bool(yes),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.templated().and_then(|text| text.trim().parse().ok()) {
            Some(number) => visitor
                .visit_u64(number)
                .map_err(|error: Misfit| error.at(self.node.span)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        // A key with nothing under it is an empty mapping.
        match self.node.kind {
            Kind::Null => {
                let none = Members {
                    entries: [].iter(),
                    value: None,
                    text: self.text,
                };
                visitor
                    .visit_map(none)
                    .map_err(|error: Misfit| error.at(self.node.span))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let Some(word) = self.node.as_str() else {
            let known: Vec<String> = variants.iter().map(|known| format!("`{known}`")).collect();
            let message = format!(
                "expected one of {}, found {}",
                known.join(", "),
                self.node.kind_name()
            );
            return Err(<Misfit as de::Error>::custom(message).at(self.node.span));
        };
        let word: StrDeserializer<'de, Misfit> = word.into_deserializer();
        visitor
            .visit_enum(word)
            .map_err(|error| error.at(self.node.span))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    text: &'a str,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Place {
            node,
            text: self.text,
        })
        .map(Some)
        .map_err(|error| error.at(node.span))
    }
}

struct Members<'a> {
    entries: std::slice::Iter<'a, hoist_ecs::Entry>,
    value: Option<&'a hoist_ecs::Entry>,
    text: &'a str,
}

impl<'de> de::MapAccess<'de> for Members<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(entry);
        let key: StringDeserializer<Misfit> = entry.key.clone().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.at(entry.key_span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let entry = self
            .value
            .take()
            .expect("serde asks for a value only after its key");
        seed.deserialize(Place {
            node: &entry.value,
            text: self.text,
        })
        .map_err(|error| {
            // An empty value has no text to point at: its key does.
            let span = entry.value.span;
            error.at(if span.start == span.end {
                entry.key_span
            } else {
                span
            })
        })
    }
}
