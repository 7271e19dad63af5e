//! Clusters.

use hoist_fargate::{Action, Answer, Cluster, TaskStatus, World};
use serde_json::{Map, Value, json};

use super::page::page;
use super::words::{includes, invalid, is_name, missing, need, object, request};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

const PROVIDERS: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

pub async fn create(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut request = request(call);
    let name = call.str("clusterName").unwrap_or("default");
    if !is_name(name) {
        return Err(invalid("Cluster name is invalid."));
    }
    request.insert("clusterName".to_owned(), name.into());
    check_providers(call)?;
    // A default strategy is there only for providers that come with it.
    if call.params.get("capacityProviders").is_none() {
        check_associated(call.list("defaultCapacityProviderStrategy"), &[])?;
    }
    change(ctx, call, Action::CreateCluster, request).await
}

pub async fn update(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "cluster", "Cluster can not be blank.")?;
    change(ctx, call, Action::UpdateCluster, request(call)).await
}

pub async fn put_capacity_providers(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "cluster", "Cluster can not be blank.")?;
    for (member, title) in [
        ("capacityProviders", "Capacity providers"),
        (
            "defaultCapacityProviderStrategy",
            "Default capacity provider strategy",
        ),
    ] {
        if !call.params.get(member).is_some_and(Value::is_array) {
            return Err(invalid(format!("{title} can not be null.")));
        }
    }
    check_providers(call)?;
    check_unused(ctx, call)?;
    change(ctx, call, Action::UpdateCluster, request(call)).await
}

/// A provider that tasks or services of the cluster use stays with it.
fn check_unused(ctx: &Ctx, call: &Call) -> Result<(), ApiError> {
    let kept = call.strings("capacityProviders");
    let used = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let mut used: Vec<String> = world
            .tasks(&cluster.arn)
            .filter(|it| it.status != TaskStatus::Stopped)
            .filter_map(|it| it.capacity_provider.clone())
            .collect();
        for service in world.services(&cluster.arn) {
            let strategy = service.request.get("capacityProviderStrategy");
            let items = strategy.and_then(Value::as_array).into_iter().flatten();
            if service.status != hoist_fargate::ServiceStatus::Inactive {
                used.extend(
                    items.filter_map(|it| Some(it["capacityProvider"].as_str()?.to_owned())),
                );
            }
        }
        Ok::<_, ApiError>(used)
    })?;
    if used.iter().any(|it| !kept.contains(&it.as_str())) {
        return Err(ApiError::new(
            "ResourceInUseException",
            "The specified capacity provider is in use and cannot be removed.",
        ));
    }
    Ok(())
}

pub async fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "cluster", "Cluster can not be blank.")?;
    change(ctx, call, Action::DeleteCluster, request(call)).await
}

async fn change(
    ctx: &Ctx,
    call: &Call,
    action: Action,
    request: Map<String, Value>,
) -> Result<Value, ApiError> {
    let answer = ctx.driver.call(&call.region, action, request).await?;
    let Answer::Cluster(arn) = answer else {
        return Err(ApiError::internal(
            "the scheduler answered something that is no cluster",
        ));
    };
    let everything = ["SETTINGS", "TAGS", "CONFIGURATIONS", "STATISTICS"];
    ctx.driver.read(|world| {
        let cluster = world
            .cluster(&arn)
            .ok_or_else(|| ApiError::internal("the cluster is gone"))?;
        Ok(json!({"cluster": render(world, cluster, |what| everything.contains(&what))}))
    })
}

/// Every strategy must name providers of the cluster, and here there are two.
fn check_providers(call: &Call) -> Result<(), ApiError> {
    let named = call.strings("capacityProviders");
    let strategy = call
        .list("defaultCapacityProviderStrategy")
        .iter()
        .filter_map(|item| item.get("capacityProvider")?.as_str());
    for name in named.iter().copied().chain(strategy) {
        if !PROVIDERS.contains(&name) {
            return Err(invalid(format!(
                "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
            )));
        }
    }
    if call
        .params
        .get("capacityProviders")
        .is_some_and(Value::is_array)
    {
        check_associated(call.list("defaultCapacityProviderStrategy"), &named)?;
    }
    Ok(())
}

/// A strategy names providers of its cluster.
pub fn check_associated(strategy: &[Value], providers: &[&str]) -> Result<(), ApiError> {
    let strange = |it: &Value| {
        let name = it["capacityProvider"].as_str().unwrap_or_default();
        !providers.contains(&name)
    };
    if strategy.iter().any(strange) {
        return Err(invalid(
            "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. \
             Associate the capacity provider with the cluster and try again.",
        ));
    }
    Ok(())
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let names = call.strings("clusters");
    let names = if names.is_empty() {
        vec!["default"]
    } else {
        names
    };
    if names.len() > 100 {
        return Err(invalid("Clusters cannot have more than 100 elements."));
    }
    Ok(ctx.driver.read(|world| {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            let arn = arn_of(ctx, call, name);
            match world.cluster(&arn) {
                Some(cluster) => found.push(render(world, cluster, |what| includes(call, what))),
                None => failures.push(missing(arn)),
            }
        }
        json!({"clusters": found, "failures": failures})
    }))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let arns = ctx.driver.read(|world| {
        world
            .clusters(&call.region)
            .filter(|it| it.active)
            .map(|it| it.arn.clone().into())
            .collect::<Vec<Value>>()
    });
    page(call, "clusterArns", arns, 100)
}

pub fn describe_capacity_providers(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let asked = call.strings("capacityProviders");
    let provider = |name: &str| {
        json!({
            "capacityProviderArn": ctx.arn("ecs", &call.region, &format!("capacity-provider/{name}")),
            "name": name,
            "status": "ACTIVE",
            "tags": [],
            "type": name,
        })
    };
    let name_of = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
    let wanted: Vec<String> = if asked.is_empty() {
        PROVIDERS.map(str::to_owned).to_vec()
    } else {
        asked.iter().map(|it| name_of(it)).collect()
    };
    let (known, unknown): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|name| PROVIDERS.contains(&name.as_str()));
    let failures: Vec<Value> = unknown
        .iter()
        .map(|name| missing(ctx.arn("ecs", &call.region, &format!("capacity-provider/{name}"))))
        .collect();
    let found: Vec<Value> = known.iter().map(|name| provider(name)).collect();
    Ok(json!({"capacityProviders": found, "failures": failures}))
}

/// The ARN that a name of a cluster stands for.
pub fn arn_of(ctx: &Ctx, call: &Call, name: &str) -> String {
    if name.starts_with("arn:") {
        name.to_owned()
    } else {
        ctx.arn("ecs", &call.region, &format!("cluster/{name}"))
    }
}

fn render(world: &World, cluster: &Cluster, includes: impl Fn(&str) -> bool) -> Value {
    let mut counts = [0, 0];
    for task in world.tasks(&cluster.arn) {
        match task.status {
            TaskStatus::Running => counts[0] += 1,
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => {
                counts[1] += 1
            }
            _ => {}
        }
    }
    let services = world
        .services(&cluster.arn)
        .filter(|it| it.status == hoist_fargate::ServiceStatus::Active)
        .count();
    let kept = |name: &str| cluster.request.get(name).cloned();
    let list = |name: &str| kept(name).unwrap_or_else(|| json!([]));
    let when = |what: &str, value: Value| if includes(what) { value } else { json!([]) };
    let settings = kept("settings")
        .unwrap_or_else(|| json!([{"name": "containerInsights", "value": "disabled"}]));
    let statistics: Vec<Value> = [
        ("runningFargateTasksCount", counts[0]),
        ("pendingFargateTasksCount", counts[1]),
        ("activeFargateServiceCount", services),
    ]
    .iter()
    .map(|(name, value)| json!({"name": name, "value": value.to_string()}))
    .collect();
    let configuration = if includes("CONFIGURATIONS") {
        kept("configuration").unwrap_or_default()
    } else {
        Value::Null
    };
    Value::Object(object([
        ("clusterArn", cluster.arn.clone().into()),
        ("clusterName", cluster.name.clone().into()),
        ("configuration", configuration),
        (
            "status",
            if cluster.active { "ACTIVE" } else { "INACTIVE" }.into(),
        ),
        ("registeredContainerInstancesCount", 0.into()),
        ("runningTasksCount", counts[0].into()),
        ("pendingTasksCount", counts[1].into()),
        ("activeServicesCount", services.into()),
        ("statistics", when("STATISTICS", statistics.into())),
        ("tags", when("TAGS", list("tags"))),
        ("settings", when("SETTINGS", settings)),
        ("capacityProviders", list("capacityProviders")),
        (
            "defaultCapacityProviderStrategy",
            list("defaultCapacityProviderStrategy"),
        ),
        (
            "serviceConnectDefaults",
            kept("serviceConnectDefaults").unwrap_or_default(),
        ),
    ]))
}
