//! Container instances and their attributes, of which the embedded ECS has none: tasks run on Fargate alone.

use serde_json::{Value, json};

use super::page::page;
use super::words::{invalid, missing, names};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// The cluster that the call names; its absence comes before all other faults.
fn cluster(ctx: &Ctx, call: &Call) -> Result<String, ApiError> {
    let cluster = |world: &hoist_fargate::World| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        Ok::<_, ApiError>(cluster.name.clone())
    };
    ctx.driver.read(cluster)
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    cluster(ctx, call)?;
    page(call, "containerInstanceArns", Vec::new(), 100)
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let cluster = cluster(ctx, call)?;
    let failures: Vec<Value> = names(call, "containerInstances", 100)?
        .into_iter()
        .map(|name| {
            if name.starts_with("arn:") {
                return missing(name);
            }
            let resource = format!("container-instance/{cluster}/{name}");
            missing(ctx.arn("ecs", &call.region, &resource))
        })
        .collect();
    Ok(json!({"containerInstances": [], "failures": failures}))
}

pub fn put_attributes(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    cluster(ctx, call)?;
    let attributes = call.list("attributes");
    if attributes.is_empty() {
        return Err(invalid("Attributes cannot be empty."));
    }
    if attributes.len() > 10 {
        return Err(invalid("Attributes cannot have more than 10 elements."));
    }
    Err(no_target())
}

pub fn delete_attributes(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    put_attributes(ctx, call)
}

pub fn list_attributes(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    cluster(ctx, call)?;
    if call.str("targetType").is_none() {
        return Err(invalid("TargetType can not be blank."));
    }
    page(call, "attributes", Vec::new(), 100)
}

/// The words are those of the exception's documentation.
fn no_target() -> ApiError {
    ApiError::new(
        "TargetNotFoundException",
        "The specified target wasn't found. You can view your available container instances with ListContainerInstances.",
    )
}
