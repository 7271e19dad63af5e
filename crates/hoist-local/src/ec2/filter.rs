//! Filters and identifier lists, the same for every Describe call.

use serde_json::{Value, json};

use crate::api::{ApiError, Call};
use crate::elb::wild;

/// What a filter name looks at: a path into the answered item, through lists.
pub type Paths = &'static [(&'static str, &'static str)];

/// Keeps the items that pass all filters of the call.
pub fn filter(call: &Call, items: &mut Vec<Value>, paths: Paths) -> Result<(), ApiError> {
    for asked in call.list("Filter") {
        let name = asked
            .get("Name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let values: Vec<&str> = asked
            .get("Value")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let passes = |found: &str| values.iter().any(|value| wild(value, found));
        if let Some(key) = name.strip_prefix("tag:") {
            items.retain(|item| tags(item).any(|(k, v)| k == key && passes(v)));
        } else if name == "tag-key" {
            items.retain(|item| tags(item).any(|(k, _)| passes(k)));
        } else if let Some((_, path)) = paths.iter().find(|(known, _)| *known == name) {
            items.retain(|item| {
                let mut found = Vec::new();
                collect(item, path, &mut found);
                found.iter().any(|text| passes(text))
            });
        } else {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("The filter '{name}' is invalid"),
            ));
        }
    }
    Ok(())
}

/// Keeps the items that the call lists by id; one that is not there is an error.
pub fn by_id(
    call: &Call,
    parameter: &str,
    items: &mut Vec<Value>,
    member: &str,
    code: &str,
    what: &str,
) -> Result<(), ApiError> {
    let asked = call.strings(parameter);
    if asked.is_empty() {
        return Ok(());
    }
    let id = |item: &Value| {
        item.get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let missing: Vec<&str> = asked
        .iter()
        .copied()
        .filter(|asked| !items.iter().any(|item| id(item) == *asked))
        .collect();
    match missing.as_slice() {
        [] => {}
        [one] => {
            return Err(ApiError::new(
                code,
                format!("The {what} ID '{one}' does not exist"),
            ));
        }
        several => {
            return Err(ApiError::new(
                code,
                format!("The {what} IDs '{}' do not exist", several.join(", ")),
            ));
        }
    }
    items.retain(|item| asked.contains(&id(item).as_str()));
    Ok(())
}

/// One page of the items under `member`, as `MaxResults` and `NextToken` ask for it.
pub fn paged(call: &Call, mut items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let start = match call.str("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|at| at.parse::<usize>().ok())
            .filter(|at| *at <= items.len())
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidParameterValue",
                    format!("Invalid value '{token}' for nextToken"),
                )
            })?,
    };
    let size = match call.integer("MaxResults") {
        None => usize::MAX,
        Some(size) if (5..=1000).contains(&size) => usize::try_from(size).unwrap_or(usize::MAX),
        Some(size) => {
            let text = format!(
                "Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
            );
            return Err(ApiError::new("InvalidParameterValue", text));
        }
    };
    let end = start.saturating_add(size);
    let next = (end < items.len()).then(|| format!("page-{end}"));
    items.truncate(end.min(items.len()));
    Ok(json!({member: items.split_off(start), "nextToken": next}))
}

fn tags(item: &Value) -> impl Iterator<Item = (&str, &str)> {
    let tags = item
        .get("tagSet")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    tags.filter_map(|tag| Some((tag.get("key")?.as_str()?, tag.get("value")?.as_str()?)))
}

fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    if let Value::Array(items) = value {
        for item in items {
            collect(item, path, found);
        }
        return;
    }
    if path.is_empty() {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Null | Value::Object(_) | Value::Array(_) => {}
            other => found.push(other.to_string()),
        }
        return;
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some(inner) = value.get(first) {
        collect(inner, rest, found);
    }
}
