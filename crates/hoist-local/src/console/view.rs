use hoist_fargate::{Service, ServiceStatus, World};
use serde_json::{Value, json};

use crate::clock;
use crate::ctx::Ctx;
use crate::ecs;

/// All that the page shows but the logs.
pub fn state(ctx: &Ctx) -> Value {
    let services = ctx.driver.read(|world| {
        let live = world
            .every_service()
            .filter(|it| it.status != ServiceStatus::Inactive);
        live.map(|service| shown(world, service))
            .collect::<Vec<_>>()
    });
    let services: Vec<Value> = services
        .into_iter()
        .map(|mut service| {
            service["traffic"] = traffic(ctx, &service);
            service
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pace": ctx.settings.pace,
        "runtime": ctx.runtime.name(),
        "endpoint": format!("http://{}", ctx.host),
        "now": clock::now(),
        "services": services,
    })
}

fn shown(world: &World, service: &Service) -> Value {
    let tasks: Vec<Value> = world
        .tasks_of(&service.arn)
        .map(|task| ecs::shown_task(world, task, false))
        .collect();
    let definition = world
        .task_definition(&service.task_definition)
        .map(|it| &it.document);
    let containers = definition
        .and_then(|it| it.get("containerDefinitions"))
        .and_then(Value::as_array);
    let groups: Vec<&Value> = containers
        .into_iter()
        .flatten()
        .map(|it| &it["logConfiguration"]["options"]["awslogs-group"])
        .filter(|it| it.is_string())
        .collect();
    json!({
        "region": service.region,
        "service": ecs::shown_service(world, service, false),
        "tasks": tasks,
        "logGroups": groups,
    })
}

/// Where requests go: each rule of a listener that leads to a target group of the service, with weights and targets.
fn traffic(ctx: &Ctx, service: &Value) -> Value {
    let region = service["region"].as_str().unwrap_or_default();
    let mut groups: Vec<String> = Vec::new();
    for link in service["service"]["loadBalancers"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let others = &link["advancedConfiguration"]["alternateTargetGroupArn"];
        groups.extend(
            [&link["targetGroupArn"], others]
                .into_iter()
                .filter_map(|it| it.as_str().map(str::to_owned)),
        );
    }
    match ctx.balancers.traffic(region, &groups) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "the traffic cannot be shown");
            Value::Null
        }
    }
}
