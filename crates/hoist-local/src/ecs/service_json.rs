//! Services as DescribeServices writes them, with the read-back defaults of a service that says nothing (facts/ecs.md, "Rolling
//! update").

use hoist_fargate::{Deployment, RevisionSummary, Service, World};
use serde_json::{Map, Value, json};

use super::task_sets;
use super::words::{object, time};
use crate::ctx::ACCOUNT;

/// The platform version that LATEST stands for.
pub const PLATFORM: &str = "1.4.0";

/// The `service` of an answer.
pub fn render(world: &World, service: &Service, tags: bool) -> Value {
    let request = &service.request;
    let kept = |name: &str| request.get(name).cloned().unwrap_or_default();
    let or = |name: &str, default: Value| {
        request
            .get(name)
            .filter(|it| !it.is_null())
            .cloned()
            .unwrap_or(default)
    };
    let is_external = service.is_external();
    let strategy = kept("capacityProviderStrategy");
    let has_strategy = strategy.as_array().is_some_and(|list| !list.is_empty());
    let mut out = object([
        ("serviceArn", service.arn.clone().into()),
        ("serviceName", service.name.clone().into()),
        ("clusterArn", service.cluster.clone().into()),
        ("loadBalancers", or("loadBalancers", json!([]))),
        ("serviceRegistries", or("serviceRegistries", json!([]))),
        ("status", service.status.as_str().into()),
        ("desiredCount", service.desired_count.into()),
        ("runningCount", service.running_count.into()),
        ("pendingCount", service.pending_count.into()),
        (
            "launchType",
            if has_strategy {
                Value::Null
            } else {
                or("launchType", json!("FARGATE"))
            },
        ),
        (
            "capacityProviderStrategy",
            if has_strategy { strategy } else { Value::Null },
        ),
        ("platformVersion", or("platformVersion", json!("LATEST"))),
        ("platformFamily", json!("Linux")),
        (
            "taskDefinition",
            match service.task_definition.as_str() {
                "" => Value::Null,
                arn => arn.into(),
            },
        ),
        (
            "deploymentConfiguration",
            Value::Object(deployment_configuration(
                request.get("deploymentConfiguration"),
            )),
        ),
        (
            "deployments",
            service
                .deployments
                .iter()
                .filter(|_| !is_external)
                .map(|it| deployment(world, service, it))
                .collect(),
        ),
        (
            "taskSets",
            match is_external {
                true => service
                    .task_sets
                    .iter()
                    .map(|it| task_sets::render(world, service, it, tags))
                    .collect(),
                false => Value::Null,
            },
        ),
        ("roleArn", service_role().into()),
        ("events", service.events.iter().map(event).collect()),
        ("createdAt", time(service.created_at)),
        (
            "currentServiceDeployment",
            service
                .current_service_deployment
                .clone()
                .map(Value::from)
                .unwrap_or_default(),
        ),
        ("currentServiceRevisions", current_revisions(world, service)),
        (
            "placementConstraints",
            or("placementConstraints", json!([])),
        ),
        ("placementStrategy", or("placementStrategy", json!([]))),
        (
            "networkConfiguration",
            network(&kept("networkConfiguration")),
        ),
        (
            "healthCheckGracePeriodSeconds",
            (service.grace_period / 1000).into(),
        ),
        (
            "schedulingStrategy",
            or("schedulingStrategy", json!("REPLICA")),
        ),
        (
            "deploymentController",
            or("deploymentController", json!({"type": "ECS"})),
        ),
        ("createdBy", kept("createdBy")),
        (
            "enableECSManagedTags",
            or("enableECSManagedTags", json!(false)),
        ),
        ("propagateTags", or("propagateTags", json!("NONE"))),
        (
            "enableExecuteCommand",
            or("enableExecuteCommand", json!(false)),
        ),
        (
            "availabilityZoneRebalancing",
            or("availabilityZoneRebalancing", json!("DISABLED")),
        ),
    ]);
    if tags {
        out.insert("tags".to_owned(), or("tags", json!([])));
    }
    Value::Object(out)
}

fn service_role() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
}

/// A `deploymentConfiguration` with every default filled in.
pub fn deployment_configuration(given: Option<&Value>) -> Map<String, Value> {
    let mut out = object([
        (
            "deploymentCircuitBreaker",
            json!({
                "enable": false,
                "rollback": false,
                "resetOnHealthyTask": true,
                "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50},
            }),
        ),
        ("maximumPercent", json!(200)),
        ("minimumHealthyPercent", json!(100)),
        (
            "alarms",
            json!({"alarmNames": [], "rollback": false, "enable": false}),
        ),
        ("strategy", json!("ROLLING")),
        ("bakeTimeInMinutes", json!(0)),
    ]);
    let given = given.and_then(Value::as_object);
    for (name, value) in given
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
    {
        match (out.get_mut(name), value) {
            (Some(Value::Object(defaults)), Value::Object(members)) => {
                defaults.extend(
                    members
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone())),
                );
            }
            _ => drop(out.insert(name.clone(), value.clone())),
        }
    }
    out
}

/// A `networkConfiguration` with its defaults.
pub fn network(given: &Value) -> Value {
    let Some(vpc) = given.get("awsvpcConfiguration").and_then(Value::as_object) else {
        return given.clone();
    };
    let mut vpc = vpc.clone();
    vpc.entry("securityGroups").or_insert_with(|| json!([]));
    vpc.entry("assignPublicIp")
        .or_insert_with(|| json!("DISABLED"));
    json!({"awsvpcConfiguration": vpc})
}

/// An entry of `deployments`, with the members of its own revision.
fn deployment(world: &World, service: &Service, deployment: &Deployment) -> Value {
    let request = world
        .service_revision(&deployment.revision)
        .map_or(&service.request, |it| &it.request);
    let kept = |name: &str| request.get(name).cloned().unwrap_or_default();
    let strategy = kept("capacityProviderStrategy");
    let has_strategy = strategy.as_array().is_some_and(|list| !list.is_empty());
    let launch_type = match kept("launchType") {
        Value::Null => json!("FARGATE"),
        other => other,
    };
    Value::Object(object([
        ("id", deployment.id.clone().into()),
        ("status", deployment.status.as_str().into()),
        ("taskDefinition", deployment.task_definition.clone().into()),
        ("desiredCount", deployment.desired_count.into()),
        ("pendingCount", deployment.pending_count.into()),
        ("runningCount", deployment.running_count.into()),
        ("failedTasks", deployment.failed_tasks.into()),
        ("createdAt", time(deployment.created_at)),
        ("updatedAt", time(deployment.updated_at)),
        (
            "launchType",
            if has_strategy {
                Value::Null
            } else {
                launch_type
            },
        ),
        (
            "capacityProviderStrategy",
            if has_strategy { strategy } else { Value::Null },
        ),
        ("platformVersion", json!(PLATFORM)),
        ("platformFamily", json!("Linux")),
        (
            "networkConfiguration",
            network(&kept("networkConfiguration")),
        ),
        ("rolloutState", deployment.rollout_state.as_str().into()),
        (
            "rolloutStateReason",
            deployment.rollout_state_reason.clone().into(),
        ),
    ]))
}

fn event(event: &hoist_fargate::ServiceEvent) -> Value {
    json!({"id": event.id, "createdAt": time(event.created_at), "message": event.message})
}

fn current_revisions(world: &World, service: &Service) -> Value {
    if service.current_revision.is_empty() {
        return json!([]);
    }
    let mut summaries: Vec<RevisionSummary> = Vec::new();
    for deployment in &service.deployments {
        summaries.push(RevisionSummary {
            arn: deployment.revision.clone(),
            requested: deployment.desired_count,
            running: deployment.running_count,
            pending: deployment.pending_count,
            ..RevisionSummary::default()
        });
    }
    summaries.retain(|it| world.service_revision(&it.arn).is_some());
    summaries.iter().map(counts).collect()
}

/// A revision with its counts: what a service tells of its current revisions (`ServiceCurrentRevisionSummary`).
fn counts(summary: &RevisionSummary) -> Value {
    Value::Object(object([
        ("arn", summary.arn.clone().into()),
        ("requestedTaskCount", summary.requested.into()),
        ("runningTaskCount", summary.running.into()),
        ("pendingTaskCount", summary.pending.into()),
    ]))
}

/// A revision with its counts and its traffic: what a service deployment tells (`ServiceRevisionSummary`).
pub fn revision_summary(summary: &RevisionSummary) -> Value {
    let mut shown = counts(summary);
    for (name, share) in [
        ("requestedTestTrafficWeight", summary.test),
        ("requestedProductionTrafficWeight", summary.production),
    ] {
        if let Some(tenths) = share {
            shown[name] = json!(f64::from(tenths) / 10.0);
        }
    }
    shown
}
