//! Service deployments and service revisions.

use hoist_fargate::{Action, Answer, ServiceDeployment, ServiceRevision, World};
use serde_json::{Value, json};

use super::page::page;
use super::service_json::{PLATFORM, deployment_configuration, network, revision_summary};
use super::words::{missing, names, need, object, request, time};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = need(call, "service", "Service can not be blank.")?;
    let statuses = call.strings("status");
    let bound = |name: &str| {
        call.params
            .pointer(&format!("/createdAt/{name}"))
            .and_then(Value::as_f64)
            .map(|at| at * 1000.0)
    };
    let (after, before) = (bound("after"), bound("before"));
    let briefs = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let service = world
            .find_service(cluster, name)
            .ok_or_else(|| ApiError::new("ServiceNotFoundException", "Service not found."))?;
        let mut found: Vec<&ServiceDeployment> = world
            .service_deployments(&service.arn)
            .filter(|it| statuses.is_empty() || statuses.contains(&it.status.as_str()))
            .filter(|it| {
                after.is_none_or(|at| it.created_at as f64 >= at)
                    && before.is_none_or(|at| it.created_at as f64 <= at)
            })
            .collect();
        found.sort_by_key(|it| std::cmp::Reverse(it.created_at));
        Ok::<_, ApiError>(found.into_iter().map(brief).collect::<Vec<Value>>())
    })?;
    page(call, "serviceDeployments", briefs, 20)
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let arns = names(call, "serviceDeploymentArns", 20)?;
    Ok(ctx.driver.read(|world| {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in arns {
            match world.service_deployment(arn) {
                Some(deployment) => found.push(render(deployment)),
                None => failures.push(missing(arn)),
            }
        }
        json!({"serviceDeployments": found, "failures": failures})
    }))
}

pub fn revisions(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let arns = names(call, "serviceRevisionArns", 20)?;
    Ok(ctx.driver.read(|world| {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in arns {
            match world.service_revision(arn) {
                Some(revision) => found.push(render_revision(world, revision)),
                None => failures.push(missing(arn)),
            }
        }
        json!({"serviceRevisions": found, "failures": failures})
    }))
}

pub async fn stop(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(
        call,
        "serviceDeploymentArn",
        "Service deployment ARN can not be blank.",
    )?;
    match ctx
        .driver
        .call(&call.region, Action::StopServiceDeployment, request(call))
        .await?
    {
        Answer::ServiceDeployment(arn) => Ok(json!({"serviceDeploymentArn": arn})),
        _ => Err(ApiError::internal(
            "the scheduler answered something that is no service deployment",
        )),
    }
}

fn brief(deployment: &ServiceDeployment) -> Value {
    Value::Object(object([
        ("serviceDeploymentArn", deployment.arn.clone().into()),
        ("serviceArn", deployment.service.clone().into()),
        ("clusterArn", deployment.cluster.clone().into()),
        (
            "startedAt",
            deployment.started_at.map(time).unwrap_or_default(),
        ),
        ("createdAt", time(deployment.created_at)),
        (
            "finishedAt",
            deployment.finished_at.map(time).unwrap_or_default(),
        ),
        (
            "targetServiceRevisionArn",
            deployment.target_revision.arn.clone().into(),
        ),
        ("status", deployment.status.as_str().into()),
        (
            "statusReason",
            deployment
                .status_reason
                .clone()
                .map(Value::from)
                .unwrap_or_default(),
        ),
    ]))
}

fn render(deployment: &ServiceDeployment) -> Value {
    let configuration = Value::Object(deployment.configuration.clone());
    let rollback = deployment.rollback.as_ref().map(|it| {
        json!({"reason": it.reason, "startedAt": time(it.started_at), "serviceRevisionArn": it.revision})
    });
    let breaker = json!({
        "status": deployment.breaker_status.as_str(),
        "failureCount": deployment.failure_count,
        "threshold": deployment.threshold,
    });
    Value::Object(object([
        ("serviceDeploymentArn", deployment.arn.clone().into()),
        ("serviceArn", deployment.service.clone().into()),
        ("clusterArn", deployment.cluster.clone().into()),
        ("createdAt", time(deployment.created_at)),
        (
            "startedAt",
            deployment.started_at.map(time).unwrap_or_default(),
        ),
        (
            "finishedAt",
            deployment.finished_at.map(time).unwrap_or_default(),
        ),
        (
            "stoppedAt",
            deployment.stopped_at.map(time).unwrap_or_default(),
        ),
        ("updatedAt", time(deployment.updated_at)),
        (
            "sourceServiceRevisions",
            deployment
                .source_revisions
                .iter()
                .map(revision_summary)
                .collect(),
        ),
        (
            "targetServiceRevision",
            revision_summary(&deployment.target_revision),
        ),
        ("status", deployment.status.as_str().into()),
        (
            "statusReason",
            deployment
                .status_reason
                .clone()
                .map(Value::from)
                .unwrap_or_default(),
        ),
        (
            "deploymentConfiguration",
            Value::Object(deployment_configuration(Some(&configuration))),
        ),
        ("rollback", rollback.unwrap_or_default()),
        ("deploymentCircuitBreaker", breaker),
        (
            "alarms",
            json!({"status": "DISABLED", "alarmNames": [], "triggeredAlarmNames": []}),
        ),
    ]))
}

fn render_revision(world: &World, revision: &ServiceRevision) -> Value {
    let kept = |name: &str| revision.request.get(name).cloned().unwrap_or_default();
    let or = |name: &str, default: Value| match kept(name) {
        Value::Null => default,
        other => other,
    };
    let containers = world
        .task_definition(&revision.task_definition)
        .map_or(&[][..], |it| &it.containers);
    let images: Vec<Value> = containers
        .iter()
        .map(|container| {
            let digest = revision
                .image_digests
                .get(&container.name)
                .cloned()
                .map(Value::from)
                .unwrap_or_default();
            let members = [
                ("containerName", container.name.clone().into()),
                ("imageDigest", digest),
                ("image", container.image.clone().into()),
            ];
            Value::Object(object(members))
        })
        .collect();
    let strategy = kept("capacityProviderStrategy");
    let has_strategy = strategy.as_array().is_some_and(|list| !list.is_empty());
    Value::Object(object([
        ("serviceRevisionArn", revision.arn.clone().into()),
        ("serviceArn", revision.service.clone().into()),
        ("clusterArn", revision.cluster.clone().into()),
        ("taskDefinition", revision.task_definition.clone().into()),
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
        ("platformVersion", json!(PLATFORM)),
        ("platformFamily", json!("Linux")),
        ("loadBalancers", or("loadBalancers", json!([]))),
        ("serviceRegistries", or("serviceRegistries", json!([]))),
        (
            "networkConfiguration",
            network(&kept("networkConfiguration")),
        ),
        ("containerImages", images.into()),
        ("guardDutyEnabled", json!(false)),
        ("createdAt", time(revision.created_at)),
    ]))
}
