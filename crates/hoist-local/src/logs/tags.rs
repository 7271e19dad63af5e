use serde_json::{Value, json};

use super::handle::{invalid, name_of, required};
use super::store::{LogsError, lock};
use crate::api::{ApiError, Call};
use crate::logs::Logs;

/// The group by ARN (newer calls) or by name (older ones).
fn with<R>(
    logs: &Logs,
    call: &Call,
    change: impl FnOnce(&mut std::collections::BTreeMap<String, String>) -> R,
) -> Result<R, ApiError> {
    let name = match call.str("resourceArn") {
        Some(arn) => name_of(arn)
            .ok_or_else(|| invalid(format!("The ARN '{arn}' is not that of a log group")))?,
        None => required(
            call,
            if call.action.ends_with("LogGroup") {
                "logGroupName"
            } else {
                "resourceArn"
            },
        )?,
    };
    let group = logs.group(&call.region, name)?.ok_or(LogsError::NoGroup)?;
    let mut group = lock(&group);
    let before = group.settings.tags.clone();
    let result = change(&mut group.settings.tags);
    if group.settings.tags.len() > 50 {
        group.settings.tags = before;
        return Err(ApiError::new(
            "TooManyTagsException",
            "A resource can have no more than 50 tags.",
        ));
    }
    if group.settings.tags != before {
        group.save().map_err(|source| logs.disk(source))?;
    }
    Ok(result)
}

pub fn tag(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let tags = call
        .params
        .get("tags")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    with(logs, call, |kept| {
        kept.extend(
            tags.into_iter()
                .map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned())),
        );
    })?;
    Ok(Value::Null)
}

pub fn untag(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    let keys = [call.strings("tagKeys"), call.strings("tags")].concat();
    with(logs, call, |kept| {
        kept.retain(|key, _| !keys.contains(&key.as_str()))
    })?;
    Ok(Value::Null)
}

pub fn list(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"tags": with(logs, call, |kept| kept.clone())?}))
}
