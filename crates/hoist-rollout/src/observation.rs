//! What can be seen of a rollout. Every observation says when it was asked for, so that late and repeated ones do no harm.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Observation {
    /// `DescribeServices`.
    Service(ServiceSeen),
    /// The service is not there.
    ServiceMissing {
        /// When it was asked for.
        at: Timestamp,
    },
    /// `DescribeServiceDeployments`: ours or another.
    Deployment(DeploymentSeen),
    /// The endpoint does not know service deployments (an emulator): the service's own `deployments` decide.
    NoServiceDeployments,
    /// `DescribeTasks`.
    Task(TaskSeen),
    /// `DescribeTargetHealth`.
    Target(TargetSeen),
    /// The last lines that a container printed.
    Logs(LogsSeen),
}

/// A snapshot of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSeen {
    /// When it was asked for.
    pub at: Timestamp,
    /// ACTIVE, DRAINING or INACTIVE.
    pub status: String,
    /// Tasks wanted.
    pub desired: i64,
    /// Tasks running, of all deployments.
    pub running: i64,
    /// Tasks on their way, of all deployments.
    pub pending: i64,
    /// `deployments`.
    pub deployments: Vec<RolloutSeen>,
    /// `events`, newest first.
    pub events: Vec<EventSeen>,
    /// The target groups that its tasks register in.
    pub target_groups: Vec<TargetGroups>,
    /// The bake time of its deployments, in minutes.
    #[serde(default)]
    pub bake_minutes: i64,
    /// Whether the circuit breaker rolls back what it ends.
    #[serde(default)]
    pub rolls_back: bool,
    /// Whether a deployment may end before the tasks of the revision before have gone (`earlySuccessCriteria`).
    #[serde(default)]
    pub ends_early: bool,
}

impl ServiceSeen {
    /// The deployment with status PRIMARY.
    pub fn primary(&self) -> Option<&RolloutSeen> {
        self.deployments
            .iter()
            .find(|deployment| deployment.status == "PRIMARY")
    }

    /// Whether every task that is wanted runs, and none of another deployment does.
    pub(crate) fn is_in_place(&self) -> bool {
        self.primary().is_some_and(|primary| {
            primary.running >= self.desired
                && self
                    .deployments
                    .iter()
                    .all(|one| one.id == primary.id || one.running == 0)
        })
    }

    /// The ARNs of all target groups, alternates included.
    pub fn groups(&self) -> Vec<String> {
        self.target_groups
            .iter()
            .flat_map(|groups| std::iter::once(&groups.arn).chain(&groups.alternate))
            .cloned()
            .collect()
    }
}

/// One target group, or the pair of a blue/green deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroups {
    /// The target group's ARN.
    pub arn: String,
    /// The ARN of its alternate.
    pub alternate: Option<String>,
}

/// One of a service's `deployments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSeen {
    /// `ecs-svc/<n>`.
    pub id: String,
    /// PRIMARY, ACTIVE or INACTIVE.
    pub status: String,
    /// The revision's ARN.
    pub task_definition: String,
    /// IN_PROGRESS, COMPLETED, FAILED; empty where the endpoint does not say.
    pub rollout_state: String,
    /// Why.
    pub rollout_reason: String,
    /// Tasks wanted.
    pub desired: i64,
    /// Tasks running.
    pub running: i64,
    /// Tasks on their way.
    pub pending: i64,
    /// Tasks that failed.
    pub failed: i64,
}

/// A service event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSeen {
    /// The event's id.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// Its words.
    pub message: String,
}

/// A service deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSeen {
    /// When it was asked for.
    pub at: Timestamp,
    /// Its ARN.
    pub arn: String,
    /// Its status; see [`crate::DeploymentStatus`].
    pub status: String,
    /// Why.
    pub reason: String,
    /// The revision that it brings (an ARN of a task definition), where known.
    pub task_definition: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The stage, of blue/green, linear and canary.
    pub stage: String,
    /// Failures that the circuit breaker has counted, and its threshold.
    pub breaker: Option<(i64, i64)>,
    /// The PAUSE hook that it waits in, if it does.
    #[serde(default)]
    pub pause: Option<PauseSeen>,
}

/// A PAUSE hook that waits for somebody's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseSeen {
    /// The hook's id.
    pub hook: String,
    /// When it stops waiting.
    pub expires: Option<Timestamp>,
    /// CONTINUE or ROLLBACK: what comes then.
    pub then: String,
}

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSeen {
    /// When it was asked for.
    pub at: Timestamp,
    /// Its ARN.
    pub arn: String,
    /// The revision that it runs.
    pub task_definition: String,
    /// PROVISIONING to STOPPED.
    pub last_status: String,
    /// RUNNING or STOPPED.
    pub desired_status: String,
    /// HEALTHY, UNHEALTHY or UNKNOWN.
    pub health: String,
    /// Why it stopped, as a code.
    pub stop_code: String,
    /// Why it stopped, in words.
    pub stopped_reason: String,
    /// The private address.
    pub address: String,
    /// The deployment that made it (`ecs-svc/<n>`).
    #[serde(default)]
    pub deployment: String,
    /// When it was made.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// When it began to pull its images.
    #[serde(default)]
    pub pulling: Option<Timestamp>,
    /// When it began to run.
    pub started: Option<Timestamp>,
    /// When its containers had ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// When it stopped.
    pub stopped: Option<Timestamp>,
    /// Its containers.
    pub containers: Vec<ContainerSeen>,
}

impl TaskSeen {
    /// The last part of the ARN.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it runs and is meant to.
    pub fn is_running(&self) -> bool {
        self.last_status == "RUNNING" && self.desired_status != "STOPPED"
    }

    /// Whether it has come to its end.
    pub fn is_stopped(&self) -> bool {
        self.last_status == "STOPPED"
    }

    /// Whether its end has begun: the reason is known before the task is STOPPED.
    pub fn is_ending(&self) -> bool {
        self.is_stopped() || !self.stop_code.is_empty() || !self.stopped_reason.is_empty()
    }
}

/// A container of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSeen {
    /// Its name.
    pub name: String,
    /// The image as the task definition names it.
    pub image: String,
    /// The digest that runs; empty until pulled.
    pub digest: String,
    /// Its exit code, once it ended.
    pub exit_code: Option<i64>,
    /// Why it ended, where ECS says.
    pub reason: String,
    /// HEALTHY, UNHEALTHY or UNKNOWN.
    pub health: String,
}

/// A target of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSeen {
    /// When it was asked for.
    pub at: Timestamp,
    /// The target group's ARN.
    pub group: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// initial, healthy, unhealthy, unhealthy.draining, unused, draining or unavailable.
    pub state: String,
    /// Such as `Target.Timeout`.
    pub reason: String,
    /// Such as `Request timed out`.
    pub description: String,
}

/// The last lines of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsSeen {
    /// When they were asked for.
    pub at: Timestamp,
    /// The task's ARN.
    pub task: String,
    /// The container's name.
    pub container: String,
    /// The lines, oldest first.
    pub lines: Vec<String>,
}
