//! Task sets: what a service with the EXTERNAL deployment controller deploys by.

use hoist_fargate::{Action, Answer, Service, TaskSet, TaskSetStatus, World};
use serde_json::{Value, json};

use super::service_json::{PLATFORM, network};
use super::words::{includes, invalid, missing, need, object, request, time};
use super::{service_check, tags};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn create(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    find_external(ctx, call)?;
    need(call, "taskDefinition", "TaskDefinition can not be blank.")?;
    tags::check(call)?;
    check_scale(call)?;
    service_check::create_task_set(ctx, call)?;
    change(ctx, call, Action::CreateTaskSet).await
}

pub async fn update(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    find_external(ctx, call)?;
    need(call, "taskSet", "Task set can not be blank.")?;
    check_scale(call)?;
    change(ctx, call, Action::UpdateTaskSet).await
}

pub async fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    find_external(ctx, call)?;
    need(call, "taskSet", "Task set can not be blank.")?;
    change(ctx, call, Action::DeleteTaskSet).await
}

pub async fn make_primary(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    find_external(ctx, call)?;
    need(call, "primaryTaskSet", "Primary task set can not be blank.")?;
    change(ctx, call, Action::UpdateServicePrimaryTaskSet).await
}

/// "A floating-point percentage of the desired number of tasks" (API reference, `Scale`).
fn check_scale(call: &Call) -> Result<(), ApiError> {
    let value = call.params.pointer("/scale/value").and_then(Value::as_f64);
    if value.is_some_and(|it| !(0.0..=100.0).contains(&it)) {
        return Err(invalid("Scale value must be between 0 and 100."));
    }
    Ok(())
}

async fn change(ctx: &Ctx, call: &Call, action: Action) -> Result<Value, ApiError> {
    // What a set is deleted from may forget it at once.
    let shown = |name: &str, set: &str| {
        ctx.driver.read(|world| {
            let service = world.service(name)?;
            Some(render(world, service, service.task_set(set)?, true))
        })
    };
    let before = match action {
        Action::DeleteTaskSet => find_set(ctx, call)?,
        _ => None,
    };
    match ctx.driver.call(&call.region, action, request(call)).await? {
        Answer::TaskSet { service, id } => {
            let after = shown(&service, &id).or_else(|| {
                let mut set = before?;
                set["status"] = TaskSetStatus::Draining.as_str().into();
                Some(set)
            });
            let set = after.ok_or_else(|| ApiError::internal("the task set is gone"))?;
            Ok(json!({"taskSet": set}))
        }
        _ => Err(ApiError::internal(
            "the scheduler answered something that is no task set",
        )),
    }
}

fn find_set(ctx: &Ctx, call: &Call) -> Result<Option<Value>, ApiError> {
    let (cluster, service) = find(ctx, call)?;
    let name = call.str("taskSet").unwrap_or_default();
    Ok(ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, Some(&cluster)).ok()?;
        let service = world.find_service(cluster, &service)?;
        Some(render(world, service, service.task_set(name)?, true))
    }))
}

/// Those that were asked for, or all.
pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (cluster_name, service_name) = find(ctx, call)?;
    let wanted = call.strings("taskSets");
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, Some(&cluster_name))?;
        let service = world.find_service(cluster, &service_name);
        let show =
            |service: &Service, set: &TaskSet| render(world, service, set, includes(call, "TAGS"));
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &wanted {
            match service.and_then(|it| Some(show(it, it.task_set(name)?))) {
                Some(set) => found.push(set),
                None if name.starts_with("arn:") => failures.push(missing(*name)),
                None => {
                    let resource = format!("task-set/{cluster_name}/{service_name}/{name}");
                    failures.push(missing(ctx.arn("ecs", &call.region, &resource)));
                }
            }
        }
        if let (Some(service), true) = (service, wanted.is_empty()) {
            found.extend(service.task_sets.iter().map(|it| show(service, it)));
        }
        Ok(json!({"taskSets": found, "failures": failures}))
    })
}

/// [`find`] for a change: the service must deploy by task sets.
fn find_external(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    let (cluster, service) = find(ctx, call)?;
    let is_external = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, Some(&cluster)).ok();
        cluster
            .and_then(|it| world.find_service(it, &service))
            .is_some_and(Service::is_external)
    });
    if !is_external {
        return Err(invalid(
            "Amazon ECS only supports task set management on services configured to use external deployment controllers.",
        ));
    }
    Ok(())
}

/// The names of the cluster and the service.
fn find(ctx: &Ctx, call: &Call) -> Result<(String, String), ApiError> {
    let cluster = need(call, "cluster", "Cluster can not be blank.")?;
    let name = need(call, "service", "Service can not be blank.")?;
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, Some(cluster))?;
        let service = world
            .find_service(cluster, name)
            .ok_or_else(|| ApiError::new("ServiceNotFoundException", "Service not found."))?;
        Ok((cluster.name.clone(), service.name.clone()))
    })
}

/// A `taskSet` of an answer.
pub fn render(world: &World, service: &Service, set: &TaskSet, tags: bool) -> Value {
    let deployment = service.deployments.iter().find(|it| it.id == set.id);
    let members = deployment
        .and_then(|it| world.service_revision(&it.revision))
        .map_or(&set.request, |it| &it.request);
    let own = |name: &str| set.request.get(name).cloned().unwrap_or_default();
    let list = |name: &str| match own(name) {
        Value::Null => json!([]),
        other => other,
    };
    let strategy = own("capacityProviderStrategy");
    let launch_type = match (&strategy, members.get("launchType")) {
        (Value::Array(_), _) => Value::Null,
        (_, Some(kind)) => kind.clone(),
        _ => json!("FARGATE"),
    };
    let network_of = members.get("networkConfiguration").map(network);
    let stability = if set.steady {
        "STEADY_STATE"
    } else {
        "STABILIZING"
    };
    let mut out = object([
        ("id", set.id.clone().into()),
        ("taskSetArn", set.arn.clone().into()),
        ("serviceArn", service.arn.clone().into()),
        ("clusterArn", service.cluster.clone().into()),
        ("externalId", own("externalId")),
        ("status", set.status.as_str().into()),
        (
            "taskDefinition",
            deployment.map_or(Value::Null, |it| it.task_definition.clone().into()),
        ),
        (
            "computedDesiredCount",
            set.computed_desired_count(service).into(),
        ),
        (
            "pendingCount",
            deployment.map_or(0, |it| it.pending_count).into(),
        ),
        (
            "runningCount",
            deployment.map_or(0, |it| it.running_count).into(),
        ),
        (
            "createdAt",
            deployment.map_or(Value::Null, |it| time(it.created_at)),
        ),
        ("updatedAt", time(set.updated_at)),
        ("launchType", launch_type),
        ("capacityProviderStrategy", strategy),
        ("platformVersion", json!(PLATFORM)),
        ("platformFamily", json!("Linux")),
        ("networkConfiguration", network_of.unwrap_or_default()),
        ("loadBalancers", list("loadBalancers")),
        ("serviceRegistries", list("serviceRegistries")),
        ("scale", json!({"value": set.scale, "unit": "PERCENT"})),
        ("stabilityStatus", stability.into()),
        ("stabilityStatusAt", time(set.stability_at)),
    ]);
    if tags {
        out.insert("tags".to_owned(), list("tags"));
    }
    Value::Object(out)
}
