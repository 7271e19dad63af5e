//! Task sets, which only services with an external deployment controller have; every service here is ECS's own.

use serde_json::{Value, json};

use super::words::{invalid, missing, need};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

/// What every call about task sets comes to once its cluster and service are found.
pub fn refuse(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    find(ctx, call)?;
    Err(invalid(
        "Amazon ECS only supports task sets for services that use the EXTERNAL deployment controller.",
    ))
}

/// Those that were asked for are missing; a service of ECS's own has none to tell of.
pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let (cluster, service) = find(ctx, call)?;
    let failures: Vec<Value> = call
        .strings("taskSets")
        .into_iter()
        .map(|name| {
            if name.starts_with("arn:") {
                return missing(name);
            }
            let resource = format!("task-set/{cluster}/{service}/{name}");
            missing(ctx.arn("ecs", &call.region, &resource))
        })
        .collect();
    Ok(json!({"taskSets": [], "failures": failures}))
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
