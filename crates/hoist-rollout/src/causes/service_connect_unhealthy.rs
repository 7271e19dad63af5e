//! The proxy of Service Connect ended or is not healthy.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "service-connect-unhealthy",
    sentence: "the proxy of Service Connect ended or is not healthy",
    finds,
};

/// What ECS calls the proxy that it adds to a task; a suffix follows.
const PROXY: &str = "ecs-service-connect";

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .tasks
        .iter()
        .flat_map(|task| &task.containers)
        .filter(|container| container.name.starts_with(PROXY))
        .find(|proxy| {
            proxy.health == "UNHEALTHY"
                || proxy
                    .exit_code
                    .is_some_and(|code| !matches!(code, 0 | 137 | 143))
        })?;
    Finding::new(
        "the proxy that Service Connect adds to the task ended or did not become healthy",
        "it needs memory and CPU of its own beside the containers' (256 CPU units and 64 MiB); look at its log (`logConfiguration` of `serviceConnectConfiguration`), and whether the namespace still exists",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::{Case, OURS, time};
    use crate::observation::{ContainerSeen, Observation, TaskSeen};

    /// A task that was stopped because of its proxy, or of its own container.
    fn stopped(unhealthy: &str) -> Case {
        let container = |name: &str| ContainerSeen {
            name: name.into(),
            exit_code: Some(143),
            health: if name == unhealthy {
                "UNHEALTHY"
            } else {
                "HEALTHY"
            }
            .into(),
            ..ContainerSeen::default()
        };
        Case::new().see(Observation::Task(TaskSeen {
            at: time(60),
            arn: "arn:aws:ecs:eu-central-1:123456789012:task/default/0af1".into(),
            task_definition: OURS.into(),
            last_status: "STOPPED".into(),
            desired_status: "STOPPED".into(),
            health: "UNHEALTHY".into(),
            stop_code: "ServiceSchedulerInitiated".into(),
            stopped_reason: "Task failed container health checks".into(),
            stopped: Some(time(59)),
            containers: vec![container("web"), container("ecs-service-connect-Y84Lt")],
            ..TaskSeen::default()
        }))
    }

    #[test]
    fn a_proxy_that_is_not_healthy() {
        assert_eq!(
            stopped("ecs-service-connect-Y84Lt").diagnose().id,
            "service-connect-unhealthy"
        );
        assert_eq!(stopped("web").diagnose().id, "container-unhealthy");
    }
}
