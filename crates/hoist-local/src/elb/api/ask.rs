//! What requests have in common: required parameters, names, tags, attributes, pages.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{ApiError, Call};
use crate::elb::model::Pairs;

/// `ValidationError` with that text.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

/// A parameter that must be there.
pub fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| {
        let member = name[..1].to_lowercase() + &name[1..];
        invalid(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// A structure or a list of structures, where it is sent.
pub fn structured<T: DeserializeOwned>(call: &Call, name: &str) -> Result<Option<T>, ApiError> {
    match call.params.get(name) {
        None => Ok(None),
        Some(value) => T::deserialize(value)
            .map(Some)
            .map_err(|error| ApiError::new("MalformedInput", format!("{name}: {error}"))),
    }
}

/// An integer within `low..=high`.
pub fn number(
    call: &Call,
    name: &str,
    low: i64,
    high: i64,
    what: &str,
) -> Result<Option<u32>, ApiError> {
    let Some(text) = call.str(name) else {
        return Ok(None);
    };
    let value = text
        .parse::<i64>()
        .map_err(|_| invalid(format!("{what} '{text}' is not a number")))?;
    if !(low..=high).contains(&value) {
        return Err(invalid(format!(
            "{what} '{value}' must be in the range {low}-{high}"
        )));
    }
    u32::try_from(value).map(Some).map_err(|_| {
        invalid(format!(
            "{what} '{value}' must be in the range {low}-{high}"
        ))
    })
}

/// A name of 1-32 letters, digits and hyphens.
pub fn name(text: &str, what: &str) -> Result<(), ApiError> {
    if text.len() > 32 {
        return Err(invalid(format!(
            "{what} name '{text}' cannot be longer than '32' characters"
        )));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(invalid(format!(
            "{what} name '{text}' can only contain characters that are alphanumeric characters and hyphens(-)"
        )));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(invalid(format!(
            "{what} name '{text}' cannot begin or end with hyphen(-)"
        )));
    }
    Ok(())
}

/// The tags of a create call.
pub fn tags(call: &Call) -> Result<Pairs, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in call.list("Tags") {
        let key = tag.get("Key").and_then(Value::as_str).unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(invalid(
                "Tag keys must be between 1 and 128 characters long",
            ));
        }
        let value = tag.get("Value").and_then(Value::as_str).unwrap_or_default();
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::new(
                "DuplicateTagKeys",
                format!("Duplicate tag keys are found in the request: {key}"),
            ));
        }
    }
    if tags.len() > 50 {
        return Err(ApiError::new(
            "TooManyTags",
            "The maximum number of tags has been reached",
        ));
    }
    Ok(tags)
}

/// Changes `attributes` by those sent; only known keys are taken.
pub fn change_attributes(call: &Call, attributes: &mut Pairs, what: &str) -> Result<(), ApiError> {
    for sent in call.list("Attributes") {
        let key = sent.get("Key").and_then(Value::as_str).unwrap_or_default();
        let value = sent
            .get("Value")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(kept) = attributes.get_mut(key) else {
            return Err(invalid(format!(
                "{what} attribute key '{key}' is not recognized"
            )));
        };
        let range = match key {
            "deregistration_delay.timeout_seconds" => Some(0..=3600),
            "idle_timeout.timeout_seconds" => Some(1..=4000),
            "client_keep_alive.seconds" => Some(60..=604_800),
            "tcp.idle_timeout.seconds" => Some(60..=6000),
            "slow_start.duration_seconds" => Some(0..=900),
            _ => None,
        };
        let bad = |why: String| {
            Err(invalid(format!(
                "{what} attribute value '{value}' for '{key}' {why}"
            )))
        };
        match range {
            Some(range)
                if !value
                    .parse::<u32>()
                    .is_ok_and(|number| range.contains(&number)) =>
            {
                return bad(format!(
                    "must be between '{}' and '{}' inclusive",
                    range.start(),
                    range.end()
                ));
            }
            None if key.ends_with(".enabled")
                && key != "load_balancing.cross_zone.enabled"
                && !matches!(value, "true" | "false") =>
            {
                return bad("must be 'true' or 'false'".to_owned());
            }
            None if key == "load_balancing.algorithm.type"
                && !matches!(
                    value,
                    "round_robin" | "least_outstanding_requests" | "weighted_random"
                ) =>
            {
                return bad("is not supported".to_owned());
            }
            _ => {}
        }
        value.clone_into(kept);
    }
    Ok(())
}

/// Pairs as the API lists them.
pub fn listed(pairs: &Pairs) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

/// One page of `items`, as `PageSize` and `Marker` ask for it, with the marker of the next.
pub fn page<T>(call: &Call, mut items: Vec<T>) -> Result<(Vec<T>, Option<String>), ApiError> {
    let size = number(call, "PageSize", 1, 400, "Page size")?.unwrap_or(400) as usize;
    let start = match call.str("Marker") {
        None => 0,
        Some(marker) => marker
            .strip_prefix("m-")
            .and_then(|at| at.parse::<usize>().ok())
            .filter(|at| *at <= items.len())
            .ok_or_else(|| invalid(format!("Invalid marker '{marker}'")))?,
    };
    let next = start.saturating_add(size);
    let marker = (next < items.len()).then(|| format!("m-{next}"));
    items.truncate(next.min(items.len()));
    Ok((items.split_off(start), marker))
}
