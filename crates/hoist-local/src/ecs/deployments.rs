//! Service deployments and service revisions.

use hoist_fargate::{Action, Answer, HookRun, ServiceDeployment, ServiceRevision, World};
use serde_json::{Map, Value, json};

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

pub async fn carry_on(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(
        call,
        "serviceDeploymentArn",
        "Service deployment ARN can not be blank.",
    )?;
    need(call, "hookId", "Hook ID can not be blank.")?;
    match ctx
        .driver
        .call(
            &call.region,
            Action::ContinueServiceDeployment,
            request(call),
        )
        .await?
    {
        Answer::ServiceDeployment(arn) => Ok(json!({"serviceDeploymentArn": arn})),
        _ => Err(ApiError::internal(
            "the scheduler answered something that is no service deployment",
        )),
    }
}

/// An entry of ListServiceDeployments.
pub fn brief(deployment: &ServiceDeployment) -> Value {
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

/// An entry of DescribeServiceDeployments.
pub fn render(deployment: &ServiceDeployment) -> Value {
    let configuration = Value::Object(Map::clone(&deployment.configuration));
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
        ("alarms", alarms(deployment)),
        (
            "lifecycleStage",
            deployment
                .lifecycle_stage
                .map(|it| it.as_str().into())
                .unwrap_or_default(),
        ),
        ("lifecycleHookDetails", hooks(&deployment.hooks)),
    ]))
}

/// The alarms of a deployment; none are watched once it has ended.
fn alarms(deployment: &ServiceDeployment) -> Value {
    let status = if !deployment.triggered_alarms.is_empty() {
        "TRIGGERED"
    } else if deployment.alarms.is_empty() {
        "DISABLED"
    } else if deployment.status.is_final() {
        "MONITORING_COMPLETE"
    } else {
        "MONITORING"
    };
    json!({
        "status": status,
        "alarmNames": deployment.alarms,
        "triggeredAlarmNames": deployment.triggered_alarms,
    })
}

fn hooks(hooks: &[HookRun]) -> Value {
    if hooks.is_empty() {
        return Value::Null;
    }
    let one = |hook: &HookRun| {
        let lambda = hook.target.is_some();
        Value::Object(object([
            ("hookId", hook.id.clone().into()),
            (
                "targetType",
                if lambda { "AWS_LAMBDA" } else { "PAUSE" }.into(),
            ),
            (
                "targetArn",
                hook.target.clone().map(Value::from).unwrap_or_default(),
            ),
            ("status", hook.status.as_str().into()),
            ("expiresAt", time(hook.expires_at)),
            ("timeoutAction", hook.on_timeout.as_str().into()),
        ]))
    };
    hooks.iter().map(one).collect()
}

/// The target groups that a revision's tasks are in, with the rules that lead to them.
fn resolved(revision: &ServiceRevision) -> Value {
    if revision
        .load_balancers
        .iter()
        .all(|it| it.alternate.is_none())
    {
        return Value::Null;
    }
    let text = |text: &Option<String>| text.clone().map(Value::from).unwrap_or_default();
    let balancers: Vec<Value> = revision
        .load_balancers
        .iter()
        .map(|it| {
            Value::Object(object([
                ("targetGroupArn", it.target_group.clone().into()),
                ("productionListenerRule", text(&it.production_rule)),
            ]))
        })
        .collect();
    json!({ "loadBalancers": balancers })
}

/// An entry of DescribeServiceRevisions.
pub fn render_revision(world: &World, revision: &ServiceRevision) -> Value {
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
        ("resolvedConfiguration", resolved(revision)),
        ("guardDutyEnabled", json!(false)),
        ("createdAt", time(revision.created_at)),
    ]))
}
