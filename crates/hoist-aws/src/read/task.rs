//! `DescribeTasks`.

use jiff::Timestamp;
use serde_json::Value;

use super::{list, moment, number, text, view};

view! {
    /// A task.
    TaskView
}
view! {
    /// One of a task's `containers`.
    ContainerView
}

/// The tasks of an answer.
pub fn tasks(answer: &Value) -> impl Iterator<Item = TaskView<'_>> {
    list(answer, "tasks").map(TaskView::of)
}

/// What could not be described or started: ARN (may be empty), reason, detail.
pub fn failures(answer: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    list(answer, "failures").map(|failure| {
        (
            text(failure, "arn"),
            text(failure, "reason"),
            text(failure, "detail"),
        )
    })
}

impl<'a> TaskView<'a> {
    /// `taskArn`.
    pub fn arn(&self) -> &'a str {
        text(self.raw(), "taskArn")
    }

    /// The last part of the ARN.
    pub fn id(&self) -> &'a str {
        self.arn().rsplit('/').next().unwrap_or_default()
    }

    /// `taskDefinitionArn`.
    pub fn task_definition(&self) -> &'a str {
        text(self.raw(), "taskDefinitionArn")
    }

    /// `group`: `service:<name>` for the tasks of a service.
    pub fn group(&self) -> &'a str {
        text(self.raw(), "group")
    }

    /// `startedBy`: the deployment's id for the tasks of a service.
    pub fn started_by(&self) -> &'a str {
        text(self.raw(), "startedBy")
    }

    /// `lastStatus`.
    pub fn last_status(&self) -> &'a str {
        text(self.raw(), "lastStatus")
    }

    /// `desiredStatus`.
    pub fn desired_status(&self) -> &'a str {
        text(self.raw(), "desiredStatus")
    }

    /// `healthStatus`: HEALTHY, UNHEALTHY or UNKNOWN.
    pub fn health(&self) -> &'a str {
        text(self.raw(), "healthStatus")
    }

    /// `stopCode`.
    pub fn stop_code(&self) -> &'a str {
        text(self.raw(), "stopCode")
    }

    /// `stoppedReason`.
    pub fn stopped_reason(&self) -> &'a str {
        text(self.raw(), "stoppedReason")
    }

    /// `containers`.
    pub fn containers(&self) -> impl Iterator<Item = ContainerView<'a>> + use<'a> {
        list(self.raw(), "containers").map(ContainerView::of)
    }

    /// The private address of the task's network interface.
    pub fn private_ip(&self) -> &'a str {
        self.interface_detail("privateIPv4Address")
    }

    /// The id of the task's network interface.
    pub fn interface(&self) -> &'a str {
        self.interface_detail("networkInterfaceId")
    }

    fn interface_detail(&self, name: &str) -> &'a str {
        list(self.raw(), "attachments")
            .filter(|attachment| text(attachment, "type") == "ElasticNetworkInterface")
            .flat_map(|attachment| list(attachment, "details"))
            .find(|detail| text(detail, "name") == name)
            .map(|detail| text(detail, "value"))
            .unwrap_or_default()
    }

    /// `createdAt`.
    pub fn created(&self) -> Option<Timestamp> {
        moment(self.raw(), "createdAt")
    }

    /// `pullStartedAt`.
    pub fn pull_started(&self) -> Option<Timestamp> {
        moment(self.raw(), "pullStartedAt")
    }

    /// `pullStoppedAt`.
    pub fn pull_stopped(&self) -> Option<Timestamp> {
        moment(self.raw(), "pullStoppedAt")
    }

    /// `startedAt`.
    pub fn started(&self) -> Option<Timestamp> {
        moment(self.raw(), "startedAt")
    }

    /// `stoppedAt`.
    pub fn stopped(&self) -> Option<Timestamp> {
        moment(self.raw(), "stoppedAt")
    }
}

impl<'a> ContainerView<'a> {
    /// `name`.
    pub fn name(&self) -> &'a str {
        text(self.raw(), "name")
    }

    /// `image`.
    pub fn image(&self) -> &'a str {
        text(self.raw(), "image")
    }

    /// `imageDigest`: `sha256:...` once pulled.
    pub fn digest(&self) -> &'a str {
        text(self.raw(), "imageDigest")
    }

    /// `runtimeId`.
    pub fn runtime_id(&self) -> &'a str {
        text(self.raw(), "runtimeId")
    }

    /// `lastStatus`.
    pub fn last_status(&self) -> &'a str {
        text(self.raw(), "lastStatus")
    }

    /// `healthStatus`.
    pub fn health(&self) -> &'a str {
        text(self.raw(), "healthStatus")
    }

    /// `exitCode`, once it ended.
    pub fn exit_code(&self) -> Option<i64> {
        number(self.raw(), "exitCode")
    }

    /// `reason`.
    pub fn reason(&self) -> &'a str {
        text(self.raw(), "reason")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stopped_task_is_read_with_its_containers_and_addresses() {
        let answer = json!({"tasks": [{
            "taskArn": "arn:aws:ecs:eu-central-1:1:task/default/0123abcd", "lastStatus": "STOPPED", "desiredStatus": "STOPPED",
            "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited",
            "containers": [{"name": "web", "exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage", "imageDigest": "sha256:aa"}],
            "attachments": [{"type": "ElasticNetworkInterface", "details": [{"name": "networkInterfaceId", "value": "eni-1"}, {"name": "privateIPv4Address", "value": "10.0.0.9"}]}]
        }], "failures": [{"arn": "arn:x", "reason": "MISSING"}]});
        let task = tasks(&answer).next().unwrap();
        assert_eq!(
            (task.id(), task.private_ip(), task.interface()),
            ("0123abcd", "10.0.0.9", "eni-1")
        );
        let container = task.containers().next().unwrap();
        assert_eq!(
            (container.exit_code(), container.digest()),
            (Some(137), "sha256:aa")
        );
        assert_eq!(
            failures(&answer).collect::<Vec<_>>(),
            [("arn:x", "MISSING", "")]
        );
    }
}
