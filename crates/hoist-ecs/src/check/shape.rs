//! A definition against ECS's own shapes: unknown members, wrong kinds, missing members, unknown values.

use super::Findings;
use crate::node::{Kind, Node, Span};
use crate::overlay::{DESCRIBE_ONLY, DESCRIBE_ONLY_SERVICE};
use crate::problem::Severity::{Error, Warning};
use crate::shapes::{Shape, shape};
use crate::suggest;

/// Compares the whole document with the shape of a request.
pub(super) fn check(findings: &mut Findings, request: &'static str) {
    let root = findings.document.root();
    compare(findings, root, root.span, "the definition", request);
}

/// `what` names the value in messages; `key` is where it hangs, for values that take many lines.
fn compare(findings: &mut Findings, node: &Node, key: Span, what: &str, name: &'static str) {
    let wrong = |findings: &mut Findings, expected: &str, help: &str| {
        let message = format!(
            "{what} must be {expected}, and this is {}",
            node.kind_name()
        );
        findings.add(
            Error,
            "wrong-kind",
            node.span,
            message,
            &format!("expected {expected}"),
            help,
        );
    };
    match shape(name) {
        _ if matches!(node.kind, Kind::Null) => {}
        Shape::Structure { members, required } => {
            let Kind::Object(entries) = &node.kind else {
                return wrong(findings, "an object", "");
            };
            for entry in entries {
                match members.iter().find(|(member, _)| *member == entry.key) {
                    Some((member, shape)) => {
                        compare(
                            findings,
                            &entry.value,
                            entry.key_span,
                            &format!("`{member}`"),
                            shape,
                        );
                    }
                    None => unknown(findings, &entry.key, entry.key_span, &members, name),
                }
            }
            for member in required {
                // Two required members are supplied by hoist itself.
                let ours = name == "CreateServiceRequest" && member == "serviceName";
                if node.get(member).is_none() && !ours {
                    let message = format!("`{member}` is missing from {what}");
                    let place = if key == node.span {
                        start_of(node.span)
                    } else {
                        key
                    };
                    let label = format!("needs `{member}`");
                    findings.add(Error, "required-key", place, message, &label, "");
                }
            }
        }
        Shape::List(item) => {
            let Kind::Array(items) = &node.kind else {
                return wrong(findings, "a list", "put it in brackets: [...]");
            };
            for node in items {
                compare(
                    findings,
                    node,
                    node.span,
                    &format!("an item of {what}"),
                    item,
                );
            }
        }
        Shape::Map(item) => {
            let Kind::Object(entries) = &node.kind else {
                return wrong(findings, "an object", "");
            };
            for entry in entries {
                compare(
                    findings,
                    &entry.value,
                    entry.key_span,
                    &format!("`{}`", entry.key),
                    item,
                );
            }
        }
        Shape::Enum(values) => match node.as_str() {
            None => wrong(
                findings,
                "a string",
                &format!("write one of {}", list(&values)),
            ),
            Some(value) if values.contains(&value) => {}
            Some(value) => match values
                .iter()
                .find(|known| known.eq_ignore_ascii_case(value))
            {
                Some(known) => {
                    let message = format!("`{value}` is not a value of {what}: `{known}` is");
                    findings.add(
                        Error,
                        "unknown-value",
                        node.span,
                        message,
                        "",
                        &format!("write `{known}`"),
                    );
                }
                None => {
                    let message =
                        format!("`{value}` is not a value of {what} that ECS is known to take");
                    let help = match suggest::nearest(value, values.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known are {}", list(&values)),
                    };
                    findings.add(Warning, "unknown-value", node.span, message, "", &help);
                }
            },
        },
        Shape::Scalar(kind) => {
            let number = matches!(&node.kind, Kind::Number(_));
            let whole =
                matches!(&node.kind, Kind::Number(number) if number.is_i64() || number.is_u64());
            match kind {
                "string" if node.as_str().is_none() => wrong(findings, "a string", &quoted(node)),
                "boolean" if node.as_bool().is_none() => {
                    wrong(findings, "true or false", &unquoted(node))
                }
                "integer" | "long" if !whole => wrong(findings, "a whole number", &unquoted(node)),
                "double" | "float" if !number => wrong(findings, "a number", &unquoted(node)),
                _ => {}
            }
        }
    }
}

fn unknown(
    findings: &mut Findings,
    key: &str,
    span: Span,
    members: &[(&'static str, &'static str)],
    shape: &str,
) {
    let describe_only: &[&str] = match shape {
        "RegisterTaskDefinitionRequest" => &DESCRIBE_ONLY,
        "CreateServiceRequest" => &DESCRIBE_ONLY_SERVICE,
        _ => &[],
    };
    // What a describe adds is dropped before the call; a file made from an answer is no mistake.
    if describe_only.contains(&key) {
        return;
    }
    let help = match suggest::nearest(key, members.iter().map(|(member, _)| *member)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "it is sent as it is; ECS refuses what it does not know".to_owned(),
    };
    findings.add(
        Warning,
        "unknown-key",
        span,
        format!("ECS is not known to have a key `{key}` here"),
        "",
        &help,
    );
}

fn quoted(node: &Node) -> String {
    match &node.kind {
        Kind::Number(number) => format!("write \"{number}\""),
        Kind::Bool(yes) => format!("write \"{yes}\""),
        _ => String::new(),
    }
}

fn unquoted(node: &Node) -> String {
    match node.as_str() {
        Some(text) if text.parse::<f64>().is_ok() || text == "true" || text == "false" => {
            format!("write {text} without quotes")
        }
        _ => String::new(),
    }
}

/// The first character of a value, so that a whole file is not marked.
fn start_of(span: Span) -> Span {
    Span {
        end: (span.start + 1).min(span.end),
        ..span
    }
}

fn list(values: &[&str]) -> String {
    values
        .iter()
        .map(|value| format!("`{value}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
