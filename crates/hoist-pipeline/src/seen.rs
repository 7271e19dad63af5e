//! Answers of AWS as observations of a rollout. Pure: the same answer always says the same.

use hoist_aws::read;
use hoist_rollout::{
    ContainerSeen, DeploymentSeen, EventSeen, RolloutSeen, ServiceSeen, TargetGroups, TargetSeen,
    TaskSeen,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::pauses;

/// The service deployments of a `DescribeServiceDeployments` answer; `definition` is the task definition of each one's revision.
pub fn deployment_seen(
    deployment: &read::ServiceDeploymentView<'_>,
    definition: Option<&str>,
    at: Timestamp,
) -> DeploymentSeen {
    let reason = [deployment.reason(), deployment.rollback_reason()]
        .into_iter()
        .find(|text| !text.is_empty());
    DeploymentSeen {
        at,
        arn: deployment.arn().to_owned(),
        status: deployment.status().to_owned(),
        reason: reason.unwrap_or_default().to_owned(),
        task_definition: definition.unwrap_or_default().to_owned(),
        created: deployment.created(),
        stage: deployment.stage().to_owned(),
        breaker: deployment
            .breaker()
            .map(|(_, count, threshold)| (count, threshold)),
        pause: pauses::waiting(deployment.raw()),
    }
}

/// The targets of a `DescribeTargetHealth` answer for the target group `group`.
pub fn targets_seen<'a>(
    answer: &'a Value,
    group: &'a str,
    at: Timestamp,
) -> impl Iterator<Item = TargetSeen> + 'a {
    read::targets(answer).map(move |target| TargetSeen {
        at,
        group: group.to_owned(),
        address: target.id().to_owned(),
        port: target.port().unwrap_or_default(),
        state: target.state().to_owned(),
        reason: target.reason().to_owned(),
        description: target.description().to_owned(),
    })
}

/// A service of a `DescribeServices` answer that was asked for at `at`.
pub fn service_seen(service: &read::ServiceView<'_>, at: Timestamp) -> ServiceSeen {
    let configured = &service.raw()["deploymentConfiguration"];
    ServiceSeen {
        at,
        bake_minutes: read::number(configured, "bakeTimeInMinutes").unwrap_or_default(),
        rolls_back: configured["deploymentCircuitBreaker"]["rollback"] == true,
        ends_early: configured["earlySuccessCriteria"]["enable"] == true,
        status: service.status().to_owned(),
        desired: service.desired(),
        running: service.running(),
        pending: service.pending(),
        deployments: service
            .deployments()
            .map(|deployment| RolloutSeen {
                id: deployment.id().to_owned(),
                status: deployment.status().to_owned(),
                task_definition: deployment.task_definition().to_owned(),
                rollout_state: deployment.rollout_state().to_owned(),
                rollout_reason: deployment.rollout_reason().to_owned(),
                desired: deployment.desired(),
                running: deployment.running(),
                pending: deployment.pending(),
                failed: deployment.failed(),
            })
            .collect(),
        events: service
            .events()
            .filter_map(|event| {
                Some(EventSeen {
                    id: event.id().to_owned(),
                    at: event.created()?,
                    message: event.message().to_owned(),
                })
            })
            .collect(),
        target_groups: service
            .balancers()
            .filter(|link| !link.target_group().is_empty())
            .map(|link| TargetGroups {
                arn: link.target_group().to_owned(),
                alternate: Some(link.alternate_target_group().to_owned())
                    .filter(|arn| !arn.is_empty()),
            })
            .collect(),
    }
}

/// A task of a `DescribeTasks` answer.
pub fn task_seen(task: &read::TaskView<'_>, at: Timestamp) -> TaskSeen {
    TaskSeen {
        at,
        arn: task.arn().to_owned(),
        task_definition: task.task_definition().to_owned(),
        last_status: task.last_status().to_owned(),
        desired_status: task.desired_status().to_owned(),
        health: task.health().to_owned(),
        stop_code: task.stop_code().to_owned(),
        stopped_reason: task.stopped_reason().to_owned(),
        address: task.private_ip().to_owned(),
        deployment: task.started_by().to_owned(),
        created: task.created(),
        pulling: task.pull_started(),
        started: task.started(),
        ended: read::moment(task.raw(), "executionStoppedAt"),
        stopped: task.stopped(),
        containers: task
            .containers()
            .map(|container| ContainerSeen {
                name: container.name().to_owned(),
                image: container.image().to_owned(),
                digest: container.digest().to_owned(),
                exit_code: container.exit_code(),
                reason: container.reason().to_owned(),
                health: container.health().to_owned(),
            })
            .collect(),
    }
}
