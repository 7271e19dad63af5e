//! Container instances, their attributes, daemons and gateways, of which the embedded ECS has none: tasks run on Fargate alone.

use serde_json::{Value, json};

use super::page::page;
use super::words::{client, invalid, missing, names, need};
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

/// Daemons run on managed instances, of which there are none.
pub fn list_daemons(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    if let Some(arn) = call.str("clusterArn") {
        ctx.driver
            .read(|world| world.find_cluster(&call.region, Some(arn)).map(drop))?;
    }
    nothing(call, "daemonSummariesList")
}

/// A list of what nothing here can make.
pub fn nothing(call: &Call, member: &str) -> Result<Value, ApiError> {
    page(call, member, Vec::new(), 100)
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    describe_up_to(ctx, call, 100)
}

fn describe_up_to(ctx: &Ctx, call: &Call, most: usize) -> Result<Value, ApiError> {
    let cluster = cluster(ctx, call)?;
    let failures: Vec<Value> = names(call, "containerInstances", most)?
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

/// The container instance that a call names is not there, whichever it is. `ClientException: Referenced container instance ... not
/// registered` is what its agent hears (RegisterContainerInstance); the same words are told of the other calls.
pub fn of_one(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    cluster(ctx, call)?;
    let name = need(
        call,
        "containerInstance",
        "Container instance can not be blank.",
    )?;
    let id = name.rsplit('/').next().unwrap_or(name);
    Err(client(format!(
        "Referenced container instance {id} not found."
    )))
}

pub fn set_states(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let wanted = call.str("status").unwrap_or_default();
    if !["ACTIVE", "DRAINING"].contains(&wanted) {
        return Err(invalid(
            "Container instances status should be one of [ACTIVE,DRAINING]",
        ));
    }
    if call.list("containerInstances").len() > 10 {
        return Err(invalid("instanceIds can have at most 10 items."));
    }
    let mut answer = describe_up_to(ctx, call, 10)?;
    answer["containerInstances"] = json!([]);
    Ok(answer)
}

/// StartTask places tasks on container instances that it names; there is none, so every one is a failure.
pub fn start_task(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    cluster(ctx, call)?;
    let name = need(call, "taskDefinition", "TaskDefinition can not be blank.")?;
    let known = ctx.driver.read(|world| {
        let found = world.find_task_definition(&call.region, name);
        found.map(|it| it.active)
    });
    match known {
        None => return Err(client("TaskDefinition not found.")),
        Some(false) => return Err(client("TaskDefinition is inactive")),
        Some(true) => {}
    }
    let failures = describe_up_to(ctx, call, 10)?["failures"].take();
    Ok(json!({"tasks": [], "failures": failures}))
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
