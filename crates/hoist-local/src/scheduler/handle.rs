use serde_json::{Value, json};

use super::{groups, schedules};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// Answers one call of the Scheduler API.
///
/// # Errors
/// As the service answers them.
pub fn handle(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "CreateSchedule" => schedules::create(ctx, call),
        "GetSchedule" => schedules::get(ctx, call),
        "UpdateSchedule" => schedules::update(ctx, call),
        "DeleteSchedule" => schedules::delete(ctx, call),
        "ListSchedules" => schedules::list(ctx, call),
        "CreateScheduleGroup" => groups::create(ctx, call),
        "GetScheduleGroup" => groups::get(ctx, call),
        "DeleteScheduleGroup" => groups::delete(ctx, call),
        "ListScheduleGroups" => groups::list(ctx, call),
        "TagResource" => groups::tag(ctx, call),
        "UntagResource" => groups::untag(ctx, call),
        "ListTagsForResource" => groups::tags(ctx, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

pub(super) fn missing(message: impl Into<String>) -> ApiError {
    ApiError::new("ResourceNotFoundException", message).with_status(404)
}

pub(super) fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("ConflictException", message).with_status(409)
}

/// One page of `items` under `member`.
pub(super) fn paged(call: &Call, mut items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let size = usize::try_from(call.integer("MaxResults").unwrap_or(100))
        .unwrap_or(100)
        .clamp(1, 100);
    let start = match call.str("NextToken") {
        None => 0,
        Some(token) => token
            .parse::<usize>()
            .ok()
            .filter(|at| *at <= items.len())
            .ok_or_else(|| invalid("Invalid NextToken."))?,
    };
    let end = (start + size).min(items.len());
    let more = end < items.len();
    items.truncate(end);
    let mut answer = json!({member: items.split_off(start)});
    if more {
        answer["NextToken"] = end.to_string().into();
    }
    Ok(answer)
}
