//! What IAM requests have in common.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{ApiError, Call};

/// `NoSuchEntity` with that text.
pub fn no_such_entity(message: impl Into<String>) -> ApiError {
    ApiError::new("NoSuchEntity", message).with_status(404)
}

/// `EntityAlreadyExists` with that text.
pub fn already_exists(message: impl Into<String>) -> ApiError {
    ApiError::new("EntityAlreadyExists", message).with_status(409)
}

/// `DeleteConflict` with that text.
pub fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("DeleteConflict", message).with_status(409)
}

pub fn constraint(value: &str, name: &str, constraint: &str) -> ApiError {
    let member = name[..1].to_lowercase() + &name[1..];
    let text = format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {constraint}"
    );
    ApiError::new("ValidationError", text)
}

/// A parameter that must be there.
pub fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name)
        .ok_or_else(|| constraint("null", name, "Member must not be null"))
}

/// A name of letters, digits and `+=,.@-_`, up to `longest` characters.
pub fn named<'a>(call: &'a Call, parameter: &str, longest: usize) -> Result<&'a str, ApiError> {
    let name = required(call, parameter)?;
    let quoted = format!("'{name}'");
    if name.len() > longest {
        return Err(constraint(
            &quoted,
            parameter,
            &format!("Member must have length less than or equal to {longest}"),
        ));
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_".contains(&b))
    {
        let text = r"Member must satisfy regular expression pattern: [\w+=,.@-]+";
        return Err(constraint(&quoted, parameter, text));
    }
    Ok(name)
}

/// The path of a new entity.
pub fn path(call: &Call) -> Result<&str, ApiError> {
    let path = call.str("Path").unwrap_or("/");
    if path.starts_with('/') && path.ends_with('/') && path.len() <= 512 {
        return Ok(path);
    }
    Err(constraint(
        &format!("'{path}'"),
        "Path",
        r"Member must satisfy regular expression pattern: (\u002F)|(\u002F[\u0021-\u007F]+\u002F)",
    ))
}

/// A policy document: JSON with at least one statement.
pub fn document<'a>(call: &'a Call, parameter: &str) -> Result<&'a str, ApiError> {
    let text = required(call, parameter)?;
    let malformed = |why: &str| ApiError::new("MalformedPolicyDocument", why);
    let parsed: Value =
        serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let statements = match parsed.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.clone(),
        Some(statement @ Value::Object(_)) => vec![statement.clone()],
        _ => return Err(malformed("Syntax errors in policy.")),
    };
    for statement in statements {
        if !matches!(
            statement.get("Effect").and_then(Value::as_str),
            Some("Allow" | "Deny")
        ) {
            return Err(malformed("Syntax errors in policy."));
        }
        if statement
            .get("Action")
            .or(statement.get("NotAction"))
            .is_none()
        {
            return Err(malformed("Policy statement must contain actions."));
        }
    }
    Ok(text)
}

/// The tags of a call.
pub fn tags(call: &Call) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in call.list("Tags") {
        let text = |name: &str| {
            tag.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if text("Key").is_empty() {
            return Err(constraint(
                "''",
                "Tags.1.member.key",
                "Member must have length greater than or equal to 1",
            ));
        }
        if tags.insert(text("Key"), text("Value")).is_some() {
            return Err(ApiError::new(
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    if tags.len() > 50 {
        return Err(ApiError::new(
            "LimitExceeded",
            "The number of tags has reached the maximum limit.",
        )
        .with_status(409));
    }
    Ok(tags)
}

/// One page of `items` under `member`, as `MaxItems` and `Marker` ask for it.
pub fn paged(call: &Call, mut items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let size = match call.integer("MaxItems") {
        None => 100,
        Some(size) => usize::try_from(size)
            .ok()
            .filter(|size| (1..=1000).contains(size))
            .ok_or_else(|| {
                constraint(
                    &format!("'{size}'"),
                    "MaxItems",
                    "Member must have value between 1 and 1000",
                )
            })?,
    };
    let start = match call.str("Marker") {
        None => 0,
        Some(marker) => marker
            .strip_prefix("m-")
            .and_then(|at| at.parse::<usize>().ok())
            .filter(|at| *at <= items.len())
            .ok_or_else(|| ApiError::new("ValidationError", format!("Invalid Marker: {marker}")))?,
    };
    let end = start.saturating_add(size);
    let more = end < items.len();
    items.truncate(end.min(items.len()));
    let marker = more.then(|| format!("m-{end}"));
    Ok(json!({member: items.split_off(start), "IsTruncated": more, "Marker": marker}))
}
