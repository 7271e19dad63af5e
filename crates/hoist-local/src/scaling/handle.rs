use serde_json::Value;

use super::model::DIMENSION;
use super::{policies, targets};
use crate::api::{ApiError, Call, page};
use crate::ctx::Ctx;

/// Answers one call of the Application Auto Scaling API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let _changing = ctx.scaling.changing.lock().await;
    match call.action.as_str() {
        "RegisterScalableTarget" => targets::register(ctx, call).await,
        "DeregisterScalableTarget" => targets::deregister(ctx, call),
        "DescribeScalableTargets" => targets::describe(ctx, call),
        "TagResource" => targets::tag(ctx, call),
        "UntagResource" => targets::untag(ctx, call),
        "ListTagsForResource" => targets::list_tags(ctx, call),
        "DescribeScalingActivities" => targets::activities(ctx, call),
        "PutScalingPolicy" => policies::put(ctx, call),
        "DeleteScalingPolicy" => policies::delete(ctx, call),
        "DescribeScalingPolicies" => policies::describe(ctx, call),
        "PutScheduledAction" => policies::schedule(ctx, call),
        "DeleteScheduledAction" => policies::unschedule(ctx, call),
        "DescribeScheduledActions" => policies::schedules(ctx, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

/// A parameter that must be there.
pub(super) fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| {
        let member = name[..1].to_lowercase() + &name[1..];
        invalid(format!("1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"))
    })
}

/// The resource of a call, which must be a service of ECS.
pub(super) fn resource(call: &Call) -> Result<&str, ApiError> {
    let namespace = required(call, "ServiceNamespace")?;
    let dimension = call.str("ScalableDimension").unwrap_or(DIMENSION);
    if namespace != "ecs" || dimension != DIMENSION {
        return Err(invalid(format!(
            "Unsupported service namespace, resource type or scalable dimension: {namespace}, {dimension}; the embedded AWS scales services of ECS"
        )));
    }
    let id = required(call, "ResourceId")?;
    match id.split('/').collect::<Vec<_>>()[..] {
        ["service", cluster, name] if !cluster.is_empty() && !name.is_empty() => Ok(id),
        _ => Err(invalid(
            "Unsupported service namespace, resource type or scalable dimension",
        )),
    }
}

/// `ObjectNotFoundException` for something of a resource, such as `scalable target found`.
pub(super) fn not_found(what: &str, resource: &str) -> ApiError {
    let text = format!(
        "No {what} for service namespace: ecs, resource ID: {resource}, scalable dimension: {DIMENSION}"
    );
    ApiError::new("ObjectNotFoundException", text)
}

/// The same for something that has a name.
pub(super) fn not_found_by(what: &str, resource: &str, name: &str) -> ApiError {
    let mut error = not_found(&format!("{what} found"), resource);
    error.message += &format!(", {what} name: {name}").replace("scaling ", "");
    error
}

/// One page of `items` under `member`, of at most 50.
pub(super) fn paged(call: &Call, items: Vec<Value>, member: &str) -> Result<Value, ApiError> {
    let size = usize::try_from(call.integer("MaxResults").unwrap_or(50))
        .unwrap_or(50)
        .clamp(1, 50);
    page(call, items, member, size, || {
        ApiError::new("InvalidNextTokenException", "Invalid next token")
    })
}
