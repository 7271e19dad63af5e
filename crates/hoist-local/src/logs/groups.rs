use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::group::Group;
use super::handle::{arn, group_name, invalid, name_of, number, required};
use super::store::{LogsError, lock};
use crate::api::{ApiError, Call};
use crate::logs::Logs;

/// Days that a retention may have.
const DAYS: [i64; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

pub fn check_name(name: &str) -> Result<(), ApiError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b".-_/#".contains(&b);
    if name.len() <= 512 && name.bytes().all(good) {
        return Ok(());
    }
    let constraint = if name.len() > 512 {
        "Member must have length less than or equal to 512"
    } else {
        r"Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+"
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: {constraint}"
    )))
}

pub fn create(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let name = required(call, "logGroupName")?;
    check_name(name)?;
    let tags: BTreeMap<String, String> = match call.params.get("tags") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(tags) => serde_json::from_value(tags.clone())
            .map_err(|error| ApiError::serialization(error.to_string()))?,
    };
    let class = call.str("logGroupClass").unwrap_or("STANDARD");
    if !matches!(class, "STANDARD" | "INFREQUENT_ACCESS" | "DELIVERY") {
        return Err(invalid(format!(
            "1 validation error detected: Value '{class}' at 'logGroupClass' failed to satisfy constraint: Member must satisfy enum value set: [STANDARD, INFREQUENT_ACCESS, DELIVERY]"
        )));
    }
    if !logs.create_group(&call.region, name, tags, class)? {
        return Err(ApiError::new(
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ));
    }
    Ok(Value::Null)
}

pub fn delete(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    if !logs.delete_group(&call.region, required(call, "logGroupName")?)? {
        return Err(LogsError::NoGroup.into());
    }
    Ok(Value::Null)
}

fn shown(region: &str, group: &Group) -> Value {
    let settings = &group.settings;
    let mut shown = json!({
        "logGroupName": settings.name,
        "creationTime": settings.created,
        "metricFilterCount": 0,
        "arn": format!("{}:*", arn(region, &settings.name)),
        "storedBytes": group.bytes(),
        "logGroupClass": settings.class,
        "logGroupArn": arn(region, &settings.name),
        "deletionProtectionEnabled": false,
    });
    if let Some(days) = settings.retention_days {
        shown["retentionInDays"] = days.into();
    }
    shown
}

pub fn describe(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let (prefix, pattern) = (
        call.str("logGroupNamePrefix"),
        call.str("logGroupNamePattern"),
    );
    if prefix.is_some() && pattern.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let limit = number(call, "limit", 1, 50)?.unwrap_or(50);
    let asked: Vec<&str> = call
        .strings("logGroupIdentifiers")
        .into_iter()
        .map(|one| name_of(one).unwrap_or(one))
        .collect();
    let after = call.str("nextToken");
    let mut found = Vec::new();
    let mut next = None;
    for group in logs.all(&call.region)? {
        let group = lock(&group);
        let name = group.settings.name.as_str();
        let wanted = prefix.is_none_or(|prefix| name.starts_with(prefix))
            && pattern.is_none_or(|pattern| name.to_lowercase().contains(&pattern.to_lowercase()))
            && (asked.is_empty() || asked.contains(&name))
            && after.is_none_or(|after| name > after);
        if !wanted || group.gone {
            continue;
        }
        if i64::try_from(found.len()).is_ok_and(|count| count == limit) {
            next = found
                .last()
                .and_then(|last: &Value| last["logGroupName"].as_str())
                .map(str::to_owned);
            break;
        }
        found.push(shown(&call.region, &group));
    }
    let mut answer = json!({"logGroups": found});
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(answer)
}

/// The groups in short. The pattern is a regular expression of a simple form (API reference, ListLogGroups): text, with `^` for the
/// beginning of the name.
pub fn list(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let pattern = call.str("logGroupNamePattern").unwrap_or_default();
    let class = call.str("logGroupClass");
    let meets = |name: &str| match pattern.strip_prefix('^') {
        Some(prefix) => name.starts_with(prefix),
        None => name.contains(pattern),
    };
    let limit = number(call, "limit", 1, 1000)?.unwrap_or(50);
    let after = call.str("nextToken");
    let mut found: Vec<Value> = Vec::new();
    let mut next = None;
    for group in logs.all(&call.region)? {
        let group = lock(&group);
        let settings = &group.settings;
        let wanted = meets(&settings.name)
            && class.is_none_or(|class| class == settings.class)
            && after.is_none_or(|after| settings.name.as_str() > after);
        if group.gone || !wanted {
            continue;
        }
        if i64::try_from(found.len()).is_ok_and(|count| count == limit) {
            next = found.last().map(|last| last["logGroupName"].clone());
            break;
        }
        found.push(json!({
            "logGroupName": settings.name,
            "logGroupArn": arn(&call.region, &settings.name),
            "logGroupClass": settings.class,
        }));
    }
    let mut answer = json!({"logGroups": found});
    if let Some(next) = next {
        answer["nextToken"] = next;
    }
    Ok(answer)
}

fn set_retention(logs: &Logs, call: &Call, days: Option<i64>) -> Result<Value, ApiError> {
    let group = logs
        .group(&call.region, group_name(call)?)?
        .ok_or(LogsError::NoGroup)?;
    let mut group = lock(&group);
    group.settings.retention_days = days;
    group.save().map_err(|source| logs.disk(source))?;
    Ok(Value::Null)
}

pub fn put_retention(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let days = call.integer("retentionInDays").unwrap_or(0);
    if !DAYS.contains(&days) {
        let known: Vec<String> = DAYS.iter().map(ToString::to_string).collect();
        return Err(invalid(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
            known.join(", ")
        )));
    }
    set_retention(logs, call, Some(days))
}

pub fn delete_retention(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    set_retention(logs, call, None)
}
