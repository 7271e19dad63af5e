//! Tags.

use hoist_fargate::Action;
use serde_json::{Map, Value, json};

use super::words::{invalid, need, request};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "resourceArn", "Resource ARN can not be blank.")?;
    check(call)?;
    ctx.driver
        .call(&call.region, Action::TagResource, request(call))
        .await?;
    Ok(json!({}))
}

pub async fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "resourceArn", "Resource ARN can not be blank.")?;
    ctx.driver
        .call(&call.region, Action::UntagResource, request(call))
        .await?;
    Ok(json!({}))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let arn = need(call, "resourceArn", "Resource ARN can not be blank.")?;
    let kind = arn
        .splitn(6, ':')
        .nth(5)
        .and_then(|resource| resource.split('/').next())
        .unwrap_or_default();
    let tags_of = |members: &Map<String, Value>| members.get("tags").cloned().unwrap_or_default();
    let found = ctx.driver.read(|world| match kind {
        "cluster" => world.cluster(arn).map(|it| tags_of(&it.request)),
        "service" => world.service(arn).map(|it| tags_of(&it.request)),
        "task" => world.task(arn).map(|it| tags_of(&it.request)),
        "task-definition" => world.task_definition(arn).map(|it| tags_of(&it.document)),
        _ => None,
    });
    let not_found = match kind {
        "cluster" => ApiError::new("ClusterNotFoundException", "Cluster not found."),
        "service" => ApiError::new("ServiceNotFoundException", "Service not found."),
        "task" | "task-definition" => invalid(
            "The specified resource was not found. Specify a valid resource ARN and try again.",
        ),
        _ => invalid("Invalid ARN. Specify a valid resource ARN and try again."),
    };
    let tags = found.ok_or(not_found)?;
    Ok(json!({"tags": if tags.is_array() { tags } else { json!([]) }}))
}

/// What every request with tags must keep to (API reference, `Tag`).
pub fn check(call: &Call) -> Result<(), ApiError> {
    let tags = call.list("tags");
    if tags.len() > 50 {
        return Err(invalid("Too many tags: the maximum is 50."));
    }
    for tag in tags {
        let key = tag["key"].as_str().unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(invalid("Tag keys must have between 1 and 128 characters."));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(
                "Tag keys that begin with aws: are reserved for system use.",
            ));
        }
        if tag["value"]
            .as_str()
            .is_some_and(|value| value.chars().count() > 256)
        {
            return Err(invalid("Tag values must have at most 256 characters."));
        }
    }
    Ok(())
}
