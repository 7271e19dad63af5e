//! Tasks: their life, containers and targets.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::table::Key;
use crate::{Arn, Members, Millis};

/// Where a task is in its life (`lastStatus`, and `desiredStatus` with only `Running` and `Stopped`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Its network interface is being made ([`crate::Command::ProvisionTask`]).
    #[default]
    Provisioning,
    /// It has a network interface and waits for its place.
    Pending,
    /// Images are pulled and containers are started.
    Activating,
    /// Every container was started.
    Running,
    /// Its targets are deregistered and drain.
    Deactivating,
    /// Its containers are being stopped.
    Stopping,
    /// Its network interface is being removed ([`crate::Command::RemoveTask`]).
    Deprovisioning,
    /// Nothing of it is left but this record.
    Stopped,
}

impl TaskStatus {
    /// The word of the API, such as `RUNNING`.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Provisioning => "PROVISIONING",
            TaskStatus::Pending => "PENDING",
            TaskStatus::Activating => "ACTIVATING",
            TaskStatus::Running => "RUNNING",
            TaskStatus::Deactivating => "DEACTIVATING",
            TaskStatus::Stopping => "STOPPING",
            TaskStatus::Deprovisioning => "DEPROVISIONING",
            TaskStatus::Stopped => "STOPPED",
        }
    }
}

/// Why a task stops, in one word (`stopCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    ServiceSchedulerInitiated,
    SpotInterruption,
    TerminationNotice,
    /// What it ran on went away: here, the daemon was restarted.
    InfrastructureHealth,
}

impl StopCode {
    /// The word of the API, such as `EssentialContainerExited`.
    pub fn as_str(self) -> &'static str {
        match self {
            StopCode::TaskFailedToStart => "TaskFailedToStart",
            StopCode::EssentialContainerExited => "EssentialContainerExited",
            StopCode::UserInitiated => "UserInitiated",
            StopCode::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            StopCode::SpotInterruption => "SpotInterruption",
            StopCode::TerminationNotice => "TerminationNotice",
            StopCode::InfrastructureHealth => "InfrastructureHealth",
        }
    }
}

/// The health of a container or a task (`healthStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// No check is defined, or none has decided yet.
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

impl Health {
    /// The word of the API, such as `HEALTHY`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "UNKNOWN",
            Health::Healthy => "HEALTHY",
            Health::Unhealthy => "UNHEALTHY",
        }
    }
}

/// Where a container of a task is (`containers[].lastStatus`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContainerStatus {
    #[default]
    Pending,
    Running,
    Stopped,
}

impl ContainerStatus {
    /// The word of the API, such as `RUNNING`.
    pub fn as_str(self) -> &'static str {
        match self {
            ContainerStatus::Pending => "PENDING",
            ContainerStatus::Running => "RUNNING",
            ContainerStatus::Stopped => "STOPPED",
        }
    }
}

/// One container of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its name in the task definition.
    pub name: String,
    /// `arn:aws:ecs:R:A:container/CLUSTER/TASK/UUID`.
    pub arn: Arn,
    /// The image as the task definition names it.
    pub image: String,
    /// The manifest digest that was pulled (`sha256:…`), once known.
    pub image_digest: Option<String>,
    /// The id that the runtime gave it.
    pub runtime_id: Option<String>,
    pub status: ContainerStatus,
    pub exit_code: Option<i32>,
    /// Why it failed, such as `CannotPullContainerError: …` or `OutOfMemoryError: Container killed due to memory usage`.
    pub reason: Option<String>,
    pub health: Health,
    /// Whether the task stops when this container does.
    pub essential: bool,
    pub started_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
    /// Inner: its image is here.
    pub pulled: bool,
    /// Inner: `StartContainer` was sent and not answered yet.
    pub starting: bool,
    /// Inner: `StopContainer` was sent.
    pub stopping: bool,
    /// Inner: failed health checks in a row that count.
    pub failing_checks: u32,
    /// Inner: when the next health check is due; `None` while one runs, or when there is none.
    pub next_check_at: Option<Millis>,
    /// Inner: a health check was sent and not answered yet.
    pub checking: bool,
}

/// What the load balancer says of a target (`TargetHealth.State`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TargetState {
    #[default]
    #[serde(rename = "initial")]
    Initial,
    #[serde(rename = "healthy")]
    Healthy,
    #[serde(rename = "unhealthy")]
    Unhealthy,
    #[serde(rename = "unhealthy.draining")]
    UnhealthyDraining,
    #[serde(rename = "unused")]
    Unused,
    #[serde(rename = "draining")]
    Draining,
    #[serde(rename = "unavailable")]
    Unavailable,
}

/// A place of a task in a target group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    pub target_group: Arn,
    pub container: String,
    pub port: u16,
    pub state: TargetState,
    /// Such as `Target.ResponseCodeMismatch`.
    pub reason: Option<String>,
    /// Such as `Health checks failed with these codes: [404]`.
    pub description: Option<String>,
    /// Since when it is in `state`.
    pub since: Millis,
    /// When `RegisterTarget` was sent.
    pub registered_at: Option<Millis>,
    /// When `DeregisterTarget` was sent.
    pub deregistered_at: Option<Millis>,
    /// It carries no connection any more (or never was registered).
    pub drained: bool,
}

/// A task: what DescribeTasks tells, and what the scheduler must remember of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    pub arn: Arn,
    /// The last part of the ARN: 32 hexadecimal digits.
    pub id: String,
    pub region: String,
    pub cluster: Arn,
    pub task_definition: Arn,
    /// `service:NAME` or `family:NAME`, or what RunTask asked for.
    pub group: String,
    /// `ecs-svc/N` of the deployment that launched it, or what RunTask asked for.
    pub started_by: Option<String>,
    /// The service that it belongs to; `None` for one of RunTask.
    pub service: Option<Arn>,
    /// The service revision that it runs; tasks belong to the deployment of this revision.
    pub revision: Option<Arn>,
    pub status: TaskStatus,
    /// `Running` or `Stopped`.
    pub desired_status: TaskStatus,
    pub containers: Vec<Container>,
    pub targets: Vec<Target>,
    pub health: Health,
    /// `capacityProviderName`: `FARGATE` or `FARGATE_SPOT`, where a strategy chose one.
    pub capacity_provider: Option<String>,
    pub stop_code: Option<StopCode>,
    pub stopped_reason: Option<String>,
    /// The private address, once provisioned.
    pub ip: Option<String>,
    pub availability_zone: Option<String>,
    /// The Availability Zone that it is to be placed in, to balance its service; else the one with the fewest of its revision's tasks.
    pub meant_for: Option<String>,
    /// `attachments` as the driver made them (`ElasticNetworkInterface` with its details), verbatim.
    pub attachments: Vec<Value>,
    pub created_at: Millis,
    pub connectivity_at: Option<Millis>,
    pub pull_started_at: Option<Millis>,
    pub pull_stopped_at: Option<Millis>,
    /// When it became RUNNING.
    pub started_at: Option<Millis>,
    /// When it was decided to stop it.
    pub stopping_at: Option<Millis>,
    /// When its last container had stopped.
    pub execution_stopped_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
    /// Counts every change of the record, as `version` in DescribeTasks does.
    pub version: u64,
    /// The members of RunTask or of the service that shape the task, verbatim: `networkConfiguration`, `overrides`, `tags`,
    /// `launchType`, `platformVersion`, `enableExecuteCommand`, `capacityProviderStrategy`, …
    pub request: Members,
    /// Neither scaling in nor a deployment stops it before this time (`protectionEnabled`, `expirationDate`).
    pub protected_until: Option<Millis>,
    /// Inner: it counts as healthy now.
    pub healthy: bool,
    /// Inner: when it was first healthy.
    pub healthy_at: Option<Millis>,
    /// Inner: when it was found unhealthy; it is to be replaced and never counts as healthy again.
    pub unhealthy_at: Option<Millis>,
    /// Inner: `stopped_reason` for when it is stopped because of `unhealthy_at`.
    pub unhealthy_reason: Option<String>,
    /// Derived: the place of its definition; definitions stay for ever.
    #[serde(skip)]
    pub definition: Option<Key>,
    /// Inner: since when it is in `status`.
    pub status_since: Millis,
    /// Inner: its network was answered for (made or failed).
    pub provisioned: bool,
    /// Inner: `RemoveTask` was sent.
    pub removing: bool,
    /// Inner: and answered.
    pub removed: bool,
    /// Inner: it counted as a failure of its deployment.
    pub counted_failed: bool,
    /// Inner: it counted as a success of its deployment.
    pub counted_healthy: bool,
    /// Inner: its service has announced that it is unhealthy.
    pub unhealthy_announced: bool,
}

impl Task {
    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }

    pub(crate) fn container_mut(&mut self, name: &str) -> Option<&mut Container> {
        self.containers
            .iter_mut()
            .find(|container| container.name == name)
    }

    /// Whether its container checks or a target are unhealthy, forgiven or not.
    pub(crate) fn fails_checks(&self) -> bool {
        self.health == Health::Unhealthy
            || self
                .targets
                .iter()
                .any(|it| it.state == TargetState::Unhealthy)
    }

    /// Whether it is meant to run: nobody has decided to stop it.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.desired_status == TaskStatus::Running
    }
}
