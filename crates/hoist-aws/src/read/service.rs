//! `DescribeServices`.

use jiff::Timestamp;
use serde_json::Value;

use super::{list, moment, number, text, view};

view! {
    /// A service.
    ServiceView
}
view! {
    /// One of a service's `deployments`.
    DeploymentView
}
view! {
    /// One of a service's `events`.
    EventView
}
view! {
    /// One of a service's `loadBalancers`.
    BalancerLink
}

/// The services of an answer.
pub fn services(answer: &Value) -> impl Iterator<Item = ServiceView<'_>> {
    list(answer, "services").map(ServiceView::of)
}

/// The names or ARNs in `failures` whose reason is MISSING.
pub fn missing(answer: &Value) -> impl Iterator<Item = &str> {
    list(answer, "failures")
        .filter(|failure| text(failure, "reason") == "MISSING")
        .map(|failure| text(failure, "arn"))
}

impl<'a> ServiceView<'a> {
    /// `serviceArn`.
    pub fn arn(&self) -> &'a str {
        text(self.raw(), "serviceArn")
    }

    /// `serviceName`.
    pub fn name(&self) -> &'a str {
        text(self.raw(), "serviceName")
    }

    /// `clusterArn`.
    pub fn cluster_arn(&self) -> &'a str {
        text(self.raw(), "clusterArn")
    }

    /// `status`: ACTIVE, DRAINING or INACTIVE.
    pub fn status(&self) -> &'a str {
        text(self.raw(), "status")
    }

    /// Whether the service exists for a deploy: a deleted one stays visible as INACTIVE.
    pub fn is_active(&self) -> bool {
        self.status() == "ACTIVE"
    }

    /// `taskDefinition`: the ARN of the revision.
    pub fn task_definition(&self) -> &'a str {
        text(self.raw(), "taskDefinition")
    }

    /// `desiredCount`.
    pub fn desired(&self) -> i64 {
        number(self.raw(), "desiredCount").unwrap_or(0)
    }

    /// `runningCount`.
    pub fn running(&self) -> i64 {
        number(self.raw(), "runningCount").unwrap_or(0)
    }

    /// `pendingCount`.
    pub fn pending(&self) -> i64 {
        number(self.raw(), "pendingCount").unwrap_or(0)
    }

    /// `deploymentController.type`; ECS where it is not named.
    pub fn controller(&self) -> &'a str {
        match self
            .raw()
            .pointer("/deploymentController/type")
            .and_then(Value::as_str)
        {
            Some(kind) => kind,
            None => "ECS",
        }
    }

    /// `deployments`.
    pub fn deployments(&self) -> impl Iterator<Item = DeploymentView<'a>> + use<'a> {
        list(self.raw(), "deployments").map(DeploymentView::of)
    }

    /// The deployment with status PRIMARY.
    pub fn primary(&self) -> Option<DeploymentView<'a>> {
        self.deployments()
            .find(|deployment| deployment.status() == "PRIMARY")
    }

    /// `events`, newest first.
    pub fn events(&self) -> impl Iterator<Item = EventView<'a>> + use<'a> {
        list(self.raw(), "events").map(EventView::of)
    }

    /// `loadBalancers`.
    pub fn balancers(&self) -> impl Iterator<Item = BalancerLink<'a>> + use<'a> {
        list(self.raw(), "loadBalancers").map(BalancerLink::of)
    }

    /// `currentServiceDeployment`, an ARN; empty on endpoints that do not know it.
    pub fn current_service_deployment(&self) -> &'a str {
        text(self.raw(), "currentServiceDeployment")
    }

    /// Whether tasks get public addresses.
    pub fn assigns_public_ip(&self) -> bool {
        self.raw()
            .pointer("/networkConfiguration/awsvpcConfiguration/assignPublicIp")
            .and_then(Value::as_str)
            == Some("ENABLED")
    }

    /// `healthCheckGracePeriodSeconds`.
    pub fn grace_seconds(&self) -> i64 {
        number(self.raw(), "healthCheckGracePeriodSeconds").unwrap_or(0)
    }
}

impl<'a> DeploymentView<'a> {
    /// `id`: `ecs-svc/<n>`.
    pub fn id(&self) -> &'a str {
        text(self.raw(), "id")
    }

    /// `status`: PRIMARY, ACTIVE or INACTIVE.
    pub fn status(&self) -> &'a str {
        text(self.raw(), "status")
    }

    /// `taskDefinition`.
    pub fn task_definition(&self) -> &'a str {
        text(self.raw(), "taskDefinition")
    }

    /// `rolloutState`: IN_PROGRESS, COMPLETED or FAILED; empty on other controllers.
    pub fn rollout_state(&self) -> &'a str {
        text(self.raw(), "rolloutState")
    }

    /// `rolloutStateReason`.
    pub fn rollout_reason(&self) -> &'a str {
        text(self.raw(), "rolloutStateReason")
    }

    /// `desiredCount`.
    pub fn desired(&self) -> i64 {
        number(self.raw(), "desiredCount").unwrap_or(0)
    }

    /// `runningCount`.
    pub fn running(&self) -> i64 {
        number(self.raw(), "runningCount").unwrap_or(0)
    }

    /// `pendingCount`.
    pub fn pending(&self) -> i64 {
        number(self.raw(), "pendingCount").unwrap_or(0)
    }

    /// `failedTasks`.
    pub fn failed(&self) -> i64 {
        number(self.raw(), "failedTasks").unwrap_or(0)
    }

    /// `createdAt`.
    pub fn created(&self) -> Option<Timestamp> {
        moment(self.raw(), "createdAt")
    }

    /// `updatedAt`.
    pub fn updated(&self) -> Option<Timestamp> {
        moment(self.raw(), "updatedAt")
    }
}

impl<'a> EventView<'a> {
    /// `id`.
    pub fn id(&self) -> &'a str {
        text(self.raw(), "id")
    }

    /// `message`.
    pub fn message(&self) -> &'a str {
        text(self.raw(), "message")
    }

    /// `createdAt`.
    pub fn created(&self) -> Option<Timestamp> {
        moment(self.raw(), "createdAt")
    }
}

impl<'a> BalancerLink<'a> {
    /// `targetGroupArn`.
    pub fn target_group(&self) -> &'a str {
        text(self.raw(), "targetGroupArn")
    }

    /// `containerName`.
    pub fn container(&self) -> &'a str {
        text(self.raw(), "containerName")
    }

    /// `containerPort`.
    pub fn port(&self) -> Option<u16> {
        number(self.raw(), "containerPort").and_then(|port| u16::try_from(port).ok())
    }

    /// `advancedConfiguration.alternateTargetGroupArn`, of blue/green deployments.
    pub fn alternate_target_group(&self) -> &'a str {
        self.raw()
            .pointer("/advancedConfiguration/alternateTargetGroupArn")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_in_the_middle_of_a_rollout_is_read() {
        let answer = json!({
            "services": [{
                "serviceArn": "arn:aws:ecs:eu-central-1:1:service/default/web", "serviceName": "web", "status": "ACTIVE",
                "desiredCount": 2, "runningCount": 3, "pendingCount": 1,
                "deployments": [
                    {"id": "ecs-svc/2", "status": "PRIMARY", "taskDefinition": "arn:aws:ecs:eu-central-1:1:task-definition/web:8", "desiredCount": 2, "runningCount": 1,
                     "pendingCount": 1, "failedTasks": 1, "rolloutState": "IN_PROGRESS", "rolloutStateReason": "ECS deployment ecs-svc/2 in progress."},
                    {"id": "ecs-svc/1", "status": "ACTIVE", "taskDefinition": "arn:aws:ecs:eu-central-1:1:task-definition/web:7", "runningCount": 2}
                ],
                "events": [{"id": "e1", "createdAt": 1.7e9, "message": "(service web) has started 1 tasks: (task abc)."}],
                "loadBalancers": [{"targetGroupArn": "arn:tg", "containerName": "web", "containerPort": 8080}],
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"], "assignPublicIp": "ENABLED"}}
            }],
            "failures": [{"arn": "arn:aws:ecs:eu-central-1:1:service/default/api", "reason": "MISSING"}]
        });
        let service = services(&answer).next().unwrap();
        assert!(service.is_active() && service.assigns_public_ip());
        assert_eq!(
            (service.desired(), service.running(), service.pending()),
            (2, 3, 1)
        );
        let primary = service.primary().unwrap();
        assert_eq!(
            (primary.id(), primary.failed(), primary.rollout_state()),
            ("ecs-svc/2", 1, "IN_PROGRESS")
        );
        assert_eq!(service.balancers().next().unwrap().port(), Some(8080));
        assert_eq!(
            service
                .events()
                .next()
                .unwrap()
                .created()
                .unwrap()
                .as_second(),
            1_700_000_000
        );
        assert_eq!(
            missing(&answer).collect::<Vec<_>>(),
            ["arn:aws:ecs:eu-central-1:1:service/default/api"]
        );
        assert_eq!(service.controller(), "ECS");
    }
}
