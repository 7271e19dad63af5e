use serde_json::Value;

use super::{groups, schedules};
use crate::api::{ApiError, Call, page};
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
pub(super) fn paged(call: &Call, items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let size = usize::try_from(call.integer("MaxResults").unwrap_or(100))
        .unwrap_or(100)
        .clamp(1, 100);
    page(call, items, member, size, || invalid("Invalid NextToken."))
}
