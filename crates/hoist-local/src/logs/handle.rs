use serde_json::Value;

use super::{events, groups, live, streams, tags};
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::logs::Logs;

/// Answers one call of the CloudWatch Logs API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(logs: &Logs, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "CreateLogGroup" => groups::create(logs, call),
        "DeleteLogGroup" => groups::delete(logs, call),
        "DescribeLogGroups" => groups::describe(logs, call),
        "ListLogGroups" => groups::list(logs, call),
        "PutRetentionPolicy" => groups::put_retention(logs, call),
        "DeleteRetentionPolicy" => groups::delete_retention(logs, call),
        "CreateLogStream" => streams::create(logs, call),
        "DeleteLogStream" => streams::delete(logs, call),
        "DescribeLogStreams" => streams::describe(logs, call),
        "PutLogEvents" => events::put(logs, call).await,
        "GetLogEvents" => events::get(logs, call),
        "StartLiveTail" => live::start(logs, call),
        "FilterLogEvents" => events::filter(logs, call),
        "TagResource" | "TagLogGroup" => tags::tag(logs, call),
        "UntagResource" | "UntagLogGroup" => tags::untag(logs, call),
        "ListTagsForResource" | "ListTagsLogGroup" => tags::list(logs, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

/// `InvalidParameterException` with that text.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// A parameter that must be there.
pub(super) fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// The group that a call means, by name or by ARN.
pub(super) fn group_name(call: &Call) -> Result<&str, ApiError> {
    match call.str("logGroupIdentifier") {
        Some(identifier) if call.str("logGroupName").is_none() => {
            Ok(name_of(identifier).unwrap_or(identifier))
        }
        Some(_) => Err(invalid(
            "Only one of logGroupName and logGroupIdentifier can be specified",
        )),
        None => required(call, "logGroupName"),
    }
}

/// The group's name in its ARN.
pub(super) fn name_of(arn: &str) -> Option<&str> {
    let name = arn.strip_prefix("arn:aws:logs:")?.splitn(4, ':').nth(3)?;
    Some(name.strip_suffix(":*").unwrap_or(name))
}

/// A group's ARN, as other services refer to it.
pub(super) fn arn(region: &str, group: &str) -> String {
    format!("arn:aws:logs:{region}:{ACCOUNT}:log-group:{group}")
}

/// An integer within `low..=high`.
pub(super) fn number(
    call: &Call,
    name: &str,
    low: i64,
    high: i64,
) -> Result<Option<i64>, ApiError> {
    let bound = |value: i64, text: &str, bound: i64| {
        invalid(format!(
            "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have value {text} than or equal to {bound}"
        ))
    };
    match call.integer(name) {
        Some(value) if value < low => Err(bound(value, "greater", low)),
        Some(value) if value > high => Err(bound(value, "less", high)),
        value => Ok(value),
    }
}
