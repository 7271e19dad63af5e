//! Values of `hoist.yaml` that may be written in more than one way.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A mapping that keeps the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Ordered::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_any(InOrder(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": values })
    }
}

/// A text; numbers and truth values count as the text that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl Visitor<'_> for AnyText {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Text, E> {
                Ok(Text(yes.to_string()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
                // 1.10 and 1.1 are the same number but not the same text.
                Err(E::custom(format!(
                    "expected a text, found the number {number}\nput it in quotes, so that it stays as it is written"
                )))
            }
        }
        deserializer.deserialize_any(AnyText)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// A command: a shell line, or a program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

impl Command {
    /// Program and arguments that run it.
    pub fn to_args(&self) -> Vec<String> {
        match self {
            Self::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            Self::Exec(args) => args.clone(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(line) => f.write_str(line),
            Self::Exec(args) => f.write_str(&args.join(" ")),
        }
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineOrList;
        impl<'de> Visitor<'de> for LineOrList {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shell line, or a list of program and arguments")
            }
            fn visit_str<E: de::Error>(self, line: &str) -> Result<Command, E> {
                if line.trim().is_empty() {
                    return Err(E::custom("the command is empty"));
                }
                Ok(Command::Shell(line.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Command, A::Error> {
                let mut args = Vec::new();
                while let Some(Text(arg)) = list.next_element()? {
                    args.push(arg);
                }
                if args.is_empty() {
                    return Err(de::Error::custom("the command is empty"));
                }
                Ok(Command::Exec(args))
            }
        }
        deserializer.deserialize_any(LineOrList)
    }
}

impl JsonSchema for Command {
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "minItems": 1, "items": { "type": ["string", "integer", "boolean"] } },
        ]})
    }
}

/// Status codes that count as a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect(Vec<(u16, u16)>);

impl Expect {
    /// All codes from one to another, both included.
    pub fn between(from: u16, to: u16) -> Self {
        Self(vec![(from, to)])
    }

    /// Whether a status counts.
    pub fn accepts(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }

    fn parse(text: &str) -> Option<(u16, u16)> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (100 <= from && from <= to && to <= 599).then_some((from, to))
    }
}

impl fmt::Display for Expect {
    /// As ELB's matcher writes it: `200`, `200-399`, `200,204`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, to)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match from == to {
                true => write!(f, "{comma}{from}")?,
                false => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Codes;
        fn wrong<E: de::Error>(found: impl fmt::Display) -> E {
            E::custom(format!(
                "`{found}` is not an HTTP status\nwrite `200`, a range such as `200-399`, or a list of both"
            ))
        }
        impl<'de> Visitor<'de> for Codes {
            type Value = Expect;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an HTTP status such as `200`, a range such as `200-399`, or a list of both",
                )
            }
            fn visit_u64<E: de::Error>(self, code: u64) -> Result<Expect, E> {
                Expect::parse(&code.to_string())
                    .map(|range| Expect(vec![range]))
                    .ok_or_else(|| wrong(code))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expect, E> {
                let ranges: Option<Vec<_>> = text.split(',').map(Expect::parse).collect();
                ranges.map(Expect).ok_or_else(|| wrong(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Expect, A::Error> {
                let mut ranges = Vec::new();
                while let Some(Expect(some)) = list.next_element()? {
                    ranges.extend(some);
                }
                if ranges.is_empty() {
                    return Err(de::Error::custom(
                        "no status is expected\nname at least one, such as `200`",
                    ));
                }
                Ok(Expect(ranges))
            }
        }
        deserializer.deserialize_any(Codes)
    }
}

impl JsonSchema for Expect {
    fn schema_name() -> Cow<'static, str> {
        "Expect".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*$" },
        ]});
        json_schema!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
    }
}

/// Health check of the short form: a path, or the details.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthConfig {
    /// Path that the load balancer asks.
    pub path: Option<String>,
    /// Status that counts as healthy.
    pub expect: Option<Expect>,
    /// Seconds between checks.
    pub interval: Option<u32>,
    /// Seconds to wait for an answer.
    pub timeout: Option<u32>,
    /// Passed checks in a row that make a target healthy again.
    pub healthy: Option<u32>,
    /// Failed checks in a row that make a target unhealthy.
    pub unhealthy: Option<u32>,
    /// Seconds after a task's start in which failed checks do not count.
    pub grace: Option<u32>,
}

/// The details of a health check; the defaults are quick ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct HealthDetails {
    /// Path that the load balancer asks. Default `/`.
    path: Option<String>,
    /// Status that counts as healthy. Default `200-399`.
    expect: Option<Expect>,
    /// Seconds between checks, 5 to 300. Default 5.
    interval: Option<u32>,
    /// Seconds to wait for an answer, 2 to 120 and below the interval. Default 2.
    timeout: Option<u32>,
    /// Passed checks in a row that make a target healthy again, 2 to 10. Default 2.
    healthy: Option<u32>,
    /// Failed checks in a row that make a target unhealthy, 2 to 10. Default 3.
    unhealthy: Option<u32>,
    /// Seconds after a task's start in which failed checks do not count. Default 0.
    grace: Option<u32>,
}

impl<'de> Deserialize<'de> for HealthConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrDetails;
        impl<'de> Visitor<'de> for PathOrDetails {
            type Value = HealthConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as `/healthz`, or a mapping with the details")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<HealthConfig, E> {
                Ok(HealthConfig {
                    path: Some(path.to_owned()),
                    ..HealthConfig::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HealthConfig, A::Error> {
                let details =
                    HealthDetails::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let HealthDetails {
                    path,
                    expect,
                    interval,
                    timeout,
                    healthy,
                    unhealthy,
                    grace,
                } = details;
                Ok(HealthConfig {
                    path,
                    expect,
                    interval,
                    timeout,
                    healthy,
                    unhealthy,
                    grace,
                })
            }
        }
        deserializer.deserialize_any(PathOrDetails)
    }
}

impl JsonSchema for HealthConfig {
    fn schema_name() -> Cow<'static, str> {
        "Health".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let details = generator.subschema_for::<HealthDetails>();
        json_schema!({ "anyOf": [{ "type": "string", "pattern": "^/" }, details] })
    }
}
