//! `ListServiceDeployments`, `DescribeServiceDeployments`, `DescribeServiceRevisions`.

use jiff::Timestamp;
use serde_json::Value;

use super::{list, moment, number, text, view};

view! {
    /// A service deployment, from the list (brief) or the description.
    ServiceDeploymentView
}
view! {
    /// A service revision: what exactly a deployment runs.
    RevisionView
}

/// The service deployments of a description.
pub fn service_deployments(answer: &Value) -> impl Iterator<Item = ServiceDeploymentView<'_>> {
    list(answer, "serviceDeployments").map(ServiceDeploymentView::of)
}

/// The service deployments of a list, newest first.
pub fn service_deployment_briefs(
    answer: &Value,
) -> impl Iterator<Item = ServiceDeploymentView<'_>> {
    service_deployments(answer)
}

/// The revisions of a description.
pub fn service_revisions(answer: &Value) -> impl Iterator<Item = RevisionView<'_>> {
    list(answer, "serviceRevisions").map(RevisionView::of)
}

impl<'a> ServiceDeploymentView<'a> {
    /// `serviceDeploymentArn`.
    pub fn arn(&self) -> &'a str {
        text(self.raw(), "serviceDeploymentArn")
    }

    /// `status`: PENDING, IN_PROGRESS, SUCCESSFUL, STOP_REQUESTED, STOPPED, ROLLBACK_REQUESTED, ROLLBACK_IN_PROGRESS, ROLLBACK_SUCCESSFUL,
    /// ROLLBACK_FAILED, or one that is not known yet.
    pub fn status(&self) -> &'a str {
        text(self.raw(), "status")
    }

    /// `statusReason`.
    pub fn reason(&self) -> &'a str {
        text(self.raw(), "statusReason")
    }

    /// The ARN of the revision it brings: `targetServiceRevision.arn` of a description, `targetServiceRevisionArn` of a list.
    pub fn target_revision(&self) -> &'a str {
        match self
            .raw()
            .pointer("/targetServiceRevision/arn")
            .and_then(Value::as_str)
        {
            Some(arn) => arn,
            None => text(self.raw(), "targetServiceRevisionArn"),
        }
    }

    /// The ARNs of the revisions it replaces.
    pub fn source_revisions(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        list(self.raw(), "sourceServiceRevisions").map(|revision| text(revision, "arn"))
    }

    /// `rollback.reason`.
    pub fn rollback_reason(&self) -> &'a str {
        self.raw()
            .pointer("/rollback/reason")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `deploymentCircuitBreaker`: status, failures so far, failures at which it acts.
    pub fn breaker(&self) -> Option<(&'a str, i64, i64)> {
        let breaker = self.raw().get("deploymentCircuitBreaker")?;
        Some((
            text(breaker, "status"),
            number(breaker, "failureCount").unwrap_or(0),
            number(breaker, "threshold").unwrap_or(0),
        ))
    }

    /// `lifecycleStage`, of blue/green, linear and canary deployments.
    pub fn stage(&self) -> &'a str {
        text(self.raw(), "lifecycleStage")
    }

    /// `createdAt`.
    pub fn created(&self) -> Option<Timestamp> {
        moment(self.raw(), "createdAt")
    }

    /// `startedAt`.
    pub fn started(&self) -> Option<Timestamp> {
        moment(self.raw(), "startedAt")
    }

    /// `finishedAt`.
    pub fn finished(&self) -> Option<Timestamp> {
        moment(self.raw(), "finishedAt")
    }
}

impl<'a> RevisionView<'a> {
    /// `serviceRevisionArn`.
    pub fn arn(&self) -> &'a str {
        text(self.raw(), "serviceRevisionArn")
    }

    /// `taskDefinition`.
    pub fn task_definition(&self) -> &'a str {
        text(self.raw(), "taskDefinition")
    }

    /// Container name and image digest, as ECS resolved them.
    pub fn digests(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        list(self.raw(), "containerImages")
            .map(|image| (text(image, "containerName"), text(image, "imageDigest")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rolled_back_deployment_is_read() {
        let answer = json!({"serviceDeployments": [{
            "serviceDeploymentArn": "arn:aws:ecs:eu-central-1:1:service-deployment/default/web/abc",
            "status": "ROLLBACK_SUCCESSFUL",
            "statusReason": "Service deployment rolled back because of a circuit breaker being triggered.",
            "targetServiceRevision": {"arn": "arn:rev/2", "requestedTaskCount": 2},
            "sourceServiceRevisions": [{"arn": "arn:rev/1"}],
            "deploymentCircuitBreaker": {"status": "TRIGGERED", "failureCount": 3, "threshold": 3},
            "rollback": {"reason": "tasks failed", "serviceRevisionArn": "arn:rev/1"},
            "createdAt": 1.7e9
        }]});
        let one = service_deployments(&answer).next().unwrap();
        assert_eq!(
            (one.status(), one.target_revision(), one.breaker()),
            (
                "ROLLBACK_SUCCESSFUL",
                "arn:rev/2",
                Some(("TRIGGERED", 3, 3))
            )
        );
        assert_eq!(one.source_revisions().collect::<Vec<_>>(), ["arn:rev/1"]);
        let brief = json!({"serviceDeployments": [{"targetServiceRevisionArn": "arn:rev/9", "status": "PENDING"}]});
        assert_eq!(
            service_deployment_briefs(&brief)
                .next()
                .unwrap()
                .target_revision(),
            "arn:rev/9"
        );
    }

    #[test]
    fn a_revision_tells_the_digests_that_ecs_resolved() {
        let answer = json!({"serviceRevisions": [{"taskDefinition": "arn:td", "containerImages": [{"containerName": "web", "imageDigest": "sha256:aa", "image": "x"}]}]});
        let revision = service_revisions(&answer).next().unwrap();
        assert_eq!(
            revision.digests().collect::<Vec<_>>(),
            [("web", "sha256:aa")]
        );
    }
}
