use serde_json::Value;

use super::{buses, rules, targets};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// Answers one call of the EventBridge API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "PutRule" => rules::put(ctx, call),
        "DescribeRule" => rules::describe(ctx, call),
        "ListRules" => rules::list(ctx, call),
        "DeleteRule" => rules::delete(ctx, call),
        "EnableRule" => rules::enable(ctx, call, true),
        "DisableRule" => rules::enable(ctx, call, false),
        "TagResource" => rules::tag(ctx, call),
        "UntagResource" => rules::untag(ctx, call),
        "ListTagsForResource" => rules::tags(ctx, call),
        "TestEventPattern" => rules::test(call),
        "PutTargets" => targets::put(ctx, call),
        "RemoveTargets" => targets::remove(ctx, call),
        "ListTargetsByRule" => targets::list(ctx, call),
        "ListRuleNamesByTarget" => targets::rules(ctx, call),
        "PutEvents" => buses::put_events(ctx, call).await,
        "CreateEventBus" => buses::create(ctx, call),
        "UpdateEventBus" => buses::update(ctx, call),
        "DeleteEventBus" => buses::delete(ctx, call),
        "DescribeEventBus" => buses::describe(ctx, call),
        "ListEventBuses" => buses::list(ctx, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}
