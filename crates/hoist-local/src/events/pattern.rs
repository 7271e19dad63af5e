//! Event patterns: see "Comparison operators" in the EventBridge user guide.

use serde_json::{Map, Value};

/// A pattern that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Map<String, Value>);

/// The operators of a matcher.
const OPERATORS: [&str; 9] = [
    "prefix",
    "suffix",
    "anything-but",
    "numeric",
    "exists",
    "equals-ignore-case",
    "wildcard",
    "cidr",
    "$or",
];

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none, as it stands behind `Event pattern is not valid. Reason: `.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let read: Value =
            serde_json::from_str(text).map_err(|error| format!("Failed to parse JSON: {error}"))?;
        let Value::Object(fields) = read else {
            return Err("Filter is not an object".to_owned());
        };
        if fields.is_empty() {
            return Err("Empty event pattern is not allowed".to_owned());
        }
        check(&fields)?;
        Ok(Pattern(fields))
    }

    /// Whether an event matches.
    pub fn matches(&self, event: &Value) -> bool {
        fits(&self.0, event)
    }
}

fn check(fields: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in fields {
        match value {
            Value::Object(inner) if inner.is_empty() => {
                return Err("Empty objects are not allowed".to_owned());
            }
            Value::Object(inner) => check(inner)?,
            Value::Array(list) if list.is_empty() => {
                return Err("Empty arrays are not allowed".to_owned());
            }
            Value::Array(list) if name == "$or" => {
                for choice in list {
                    check(
                        choice
                            .as_object()
                            .ok_or("\"$or\" must be an array of objects")?,
                    )?;
                }
            }
            Value::Array(list) => list.iter().try_for_each(check_matcher)?,
            _ => return Err(format!("\"{name}\" must be an object or an array")),
        }
    }
    Ok(())
}

fn check_matcher(matcher: &Value) -> Result<(), String> {
    let Value::Object(matcher) = matcher else {
        return match matcher {
            Value::Array(_) => {
                Err("Match value must be String, number, true, false, or null".to_owned())
            }
            _ => Ok(()),
        };
    };
    let known = |name: &String| OPERATORS.contains(&name.as_str());
    match matcher.keys().find(|name| !known(name)) {
        Some(name) => Err(format!("Unrecognized match type {name}")),
        None if matcher.len() != 1 => Err("Only one key allowed in match expression".to_owned()),
        None => Ok(()),
    }
}

fn fits(fields: &Map<String, Value>, event: &Value) -> bool {
    fields.iter().all(|(name, wanted)| match wanted {
        Value::Array(choices) if name == "$or" => choices
            .iter()
            .filter_map(Value::as_object)
            .any(|choice| fits(choice, event)),
        Value::Object(inner) => match event.get(name) {
            // A list of objects matches if one of them does.
            Some(Value::Array(items)) => items.iter().any(|item| fits(inner, item)),
            Some(found) => fits(inner, found),
            None => fits(inner, &Value::Null),
        },
        Value::Array(matchers) => {
            let found = event.get(name);
            matchers.iter().any(|matcher| match found {
                Some(Value::Array(items)) if !items.is_empty() => {
                    items.iter().any(|item| meets(matcher, Some(item)))
                }
                found => meets(matcher, found),
            })
        }
        _ => false,
    })
}

fn meets(matcher: &Value, found: Option<&Value>) -> bool {
    let Value::Object(operator) = matcher else {
        return found.is_some_and(|found| same(matcher, found));
    };
    let Some((name, operand)) = operator.iter().next() else {
        return false;
    };
    if name == "exists" {
        let is_there = found.is_some_and(|it| !it.is_object());
        return operand == &Value::Bool(is_there);
    }
    let Some(found) = found else {
        return false;
    };
    compares(name, operand, found)
}

fn compares(name: &str, operand: &Value, found: &Value) -> bool {
    let text = found.as_str();
    let lower = |text: &str| text.to_lowercase();
    let begins = |text: &str, with: &Value| match with {
        Value::String(with) => text.starts_with(with.as_str()),
        other => other["equals-ignore-case"]
            .as_str()
            .is_some_and(|with| lower(text).starts_with(&lower(with))),
    };
    let ends = |text: &str, with: &Value| match with {
        Value::String(with) => text.ends_with(with.as_str()),
        other => other["equals-ignore-case"]
            .as_str()
            .is_some_and(|with| lower(text).ends_with(&lower(with))),
    };
    match name {
        "prefix" => text.is_some_and(|text| begins(text, operand)),
        "suffix" => text.is_some_and(|text| ends(text, operand)),
        "equals-ignore-case" => text
            .zip(operand.as_str())
            .is_some_and(|(text, other)| lower(text) == lower(other)),
        "wildcard" => text
            .zip(operand.as_str())
            .is_some_and(|(text, mask)| wildcard(mask.as_bytes(), text.as_bytes())),
        "anything-but" => !excluded(operand, found),
        "numeric" => found
            .as_f64()
            .zip(operand.as_array())
            .is_some_and(|(number, tests)| numeric(number, tests)),
        "cidr" => text
            .zip(operand.as_str())
            .is_some_and(|(text, net)| within(text, net).unwrap_or(false)),
        _ => false,
    }
}

/// Whether `anything-but` names it: a value, a list of them, or one of the other operators on texts.
fn excluded(operand: &Value, found: &Value) -> bool {
    match operand {
        Value::Array(list) => list.iter().any(|it| same(it, found)),
        Value::Object(inner) => inner.iter().any(|(name, operand)| match operand {
            Value::Array(list) => list.iter().any(|one| compares(name, one, found)),
            one => compares(name, one, found),
        }),
        one => same(one, found),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// `["<", 5]`, `[">=", 0, "<", 10]`.
fn numeric(number: f64, tests: &[Value]) -> bool {
    !tests.is_empty()
        && tests.chunks(2).all(|test| {
            let [Value::String(operator), bound] = test else {
                return false;
            };
            let Some(bound) = bound.as_f64() else {
                return false;
            };
            match operator.as_str() {
                "=" => number == bound,
                "<" => number < bound,
                "<=" => number <= bound,
                ">" => number > bound,
                ">=" => number >= bound,
                _ => false,
            }
        })
}

/// `*` stands for any number of characters, `\*` for itself.
fn wildcard(mask: &[u8], text: &[u8]) -> bool {
    match mask {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| wildcard(rest, &text[at..])),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && wildcard(rest, &text[1..])
        }
    }
}

fn within(address: &str, net: &str) -> Option<bool> {
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let (base, length) = net.split_once('/')?;
    let base: std::net::Ipv4Addr = base.parse().ok()?;
    let length: u32 = length.parse().ok().filter(|it| *it <= 32)?;
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    Some(u32::from(address) & mask == u32::from(base) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(pattern: Value, event: &Value) -> bool {
        Pattern::parse(&pattern.to_string()).unwrap().matches(event)
    }

    #[test]
    fn every_operator_compares_as_the_guide_says() {
        let event = json!({"source": "aws.ecs", "n": 7, "ip": "10.0.3.9", "list": ["a", "b"], "none": null,
            "detail": {"lastStatus": "STOPPED", "containers": [{"exitCode": 0}, {"exitCode": 137}]}});
        let good = [
            json!({"source": ["aws.ec2", "aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}}),
            json!({"source": [{"prefix": "aws."}], "list": ["b"], "none": [null]}),
            json!({"source": [{"suffix": ".ecs"}], "n": [{"numeric": [">", 0, "<=", 7]}]}),
            json!({"detail": {"lastStatus": [{"equals-ignore-case": "stopped"}]}}),
            json!({"detail": {"lastStatus": [{"anything-but": ["RUNNING", "PENDING"]}]}}),
            json!({"detail": {"lastStatus": [{"anything-but": {"prefix": "RUN"}}]}}),
            json!({"detail": {"reason": [{"exists": false}], "lastStatus": [{"exists": true}]}}),
            json!({"detail": {"containers": {"exitCode": [137]}}}),
            json!({"source": [{"wildcard": "a*.e*s"}], "ip": [{"cidr": "10.0.0.0/16"}]}),
            json!({"$or": [{"n": [1]}, {"source": ["aws.ecs"]}]}),
        ];
        for pattern in good {
            assert!(matches(pattern.clone(), &event), "{pattern}");
        }
        let bad = [
            json!({"source": ["aws.ec2"]}),
            json!({"n": ["7"]}),
            json!({"n": [{"numeric": [">", 7]}]}),
            json!({"detail": {"lastStatus": [{"anything-but": "STOPPED"}]}}),
            json!({"detail": {"reason": [{"anything-but": "x"}]}}),
            json!({"detail": {"lastStatus": [{"exists": false}]}}),
            json!({"ip": [{"cidr": "10.1.0.0/16"}]}),
            json!({"$or": [{"n": [1]}, {"source": ["x"]}]}),
        ];
        for pattern in bad {
            assert!(!matches(pattern.clone(), &event), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("[]", "Filter is not an object"),
            ("{}", "Empty event pattern is not allowed"),
            (r#"{"a": "b"}"#, "\"a\" must be an object or an array"),
            (r#"{"a": []}"#, "Empty arrays are not allowed"),
            (r#"{"a": [{"like": 1}]}"#, "Unrecognized match type like"),
        ] {
            assert_eq!(Pattern::parse(text), Err(why.to_owned()), "{text}");
        }
    }
}
