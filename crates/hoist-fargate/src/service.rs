//! Services, their deployments and revisions, as the scheduler keeps them.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    Arn, Balance, Course, DeploymentAlarms, EarlySuccess, Hook, HookRun, LifecycleStage, Members,
    Millis, Strategy, TaskSet, Traffic,
};
use serde::{Deserialize, Serialize};

/// `status` of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    #[default]
    Active,
    /// Deleted, with tasks that still stop.
    Draining,
    /// Deleted; stays visible for [`crate::Pace::keep_stopped`].
    Inactive,
}

impl ServiceStatus {
    /// The word of the API, such as `ACTIVE`.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceStatus::Active => "ACTIVE",
            ServiceStatus::Draining => "DRAINING",
            ServiceStatus::Inactive => "INACTIVE",
        }
    }
}

/// How the circuit breaker's threshold is meant (`deploymentCircuitBreaker.thresholdConfiguration.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ThresholdKind {
    /// Per cent of the desired count, rounded up, at least 3 and at most 200.
    #[default]
    BoundedPercent,
    /// Per cent of the desired count, rounded up.
    UnboundedPercent,
    /// A fixed number of failures.
    Count,
}

/// `deploymentConfiguration.deploymentCircuitBreaker`, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    pub enable: bool,
    pub rollback: bool,
    /// Count failures in a row (`true`, the default) or all of a deployment.
    pub reset_on_healthy_task: bool,
    pub threshold_kind: ThresholdKind,
    pub threshold_value: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            enable: false,
            rollback: false,
            reset_on_healthy_task: true,
            threshold_kind: ThresholdKind::BoundedPercent,
            threshold_value: 50,
        }
    }
}

/// What the scheduler reads of `deploymentConfiguration`, defaults filled in (facts: 100/200, breaker off).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentConfiguration {
    pub minimum_healthy_percent: u32,
    pub maximum_percent: u32,
    pub breaker: Breaker,
    /// How long a finished rollout is watched before it counts as successful.
    pub bake_time: Millis,
    pub strategy: Strategy,
    /// `stepPercent` or `canaryPercent`, in tenths.
    pub step: u32,
    /// `stepBakeTimeInMinutes` or `canaryBakeTimeInMinutes`.
    pub step_bake_time: Millis,
    pub hooks: Vec<Hook>,
    pub alarms: DeploymentAlarms,
    /// `earlySuccessCriteria`, where they are enabled.
    pub early_success: Option<EarlySuccess>,
}

impl Default for DeploymentConfiguration {
    fn default() -> Self {
        DeploymentConfiguration {
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            breaker: Breaker::default(),
            bake_time: 0,
            strategy: Strategy::Rolling,
            step: 0,
            step_bake_time: 0,
            hooks: Vec::new(),
            alarms: DeploymentAlarms::default(),
            early_success: None,
        }
    }
}

/// One entry of `loadBalancers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Of a service: as configured; of a revision: the one that its tasks are in.
    pub target_group: Arn,
    pub container: String,
    pub port: u16,
    /// `advancedConfiguration.alternateTargetGroupArn`.
    pub alternate: Option<Arn>,
    pub production_rule: Option<Arn>,
    pub test_rule: Option<Arn>,
}

/// One entry of `events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    pub id: String,
    pub created_at: Millis,
    pub message: String,
}

/// `status` of an entry of `deployments[]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentStatus {
    /// The newest one: the only one that launches tasks.
    #[default]
    Primary,
    /// Older, with tasks that still run.
    Active,
}

impl DeploymentStatus {
    /// The word of the API, such as `PRIMARY`.
    pub fn as_str(self) -> &'static str {
        match self {
            DeploymentStatus::Primary => "PRIMARY",
            DeploymentStatus::Active => "ACTIVE",
        }
    }
}

/// `rolloutState` of an entry of `deployments[]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    #[default]
    InProgress,
    Completed,
    Failed,
}

impl RolloutState {
    /// The word of the API, such as `IN_PROGRESS`.
    pub fn as_str(self) -> &'static str {
        match self {
            RolloutState::InProgress => "IN_PROGRESS",
            RolloutState::Completed => "COMPLETED",
            RolloutState::Failed => "FAILED",
        }
    }
}

/// An entry of the classic `deployments[]` of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// `ecs-svc/<19 digits>`.
    pub id: String,
    pub status: DeploymentStatus,
    pub task_definition: Arn,
    /// The service revision whose tasks belong to this deployment.
    pub revision: Arn,
    /// The record of the newer API that it is part of.
    pub service_deployment: Arn,
    /// Tasks that it should have: for the PRIMARY 0 until it begins to launch, then the service's desired count.
    pub desired_count: u32,
    /// Its tasks before RUNNING.
    pub pending_count: u32,
    /// Its tasks that are RUNNING.
    pub running_count: u32,
    /// `failedTasks`: failures that the circuit breaker counts.
    pub failed_tasks: u32,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub rollout_state: RolloutState,
    pub rollout_state_reason: String,
    /// Whether it brings an older revision back.
    pub is_rollback: bool,
    /// Inner: failures in a row, for the restart back-off.
    pub failures_in_a_row: u32,
    /// Inner: unhealthy tasks whose replacement was not launched yet.
    pub unreplaced: u32,
    /// Inner: no launch before this time.
    pub launch_after: Option<Millis>,
    /// Inner: failures that count once the pause after them is over.
    pub uncounted: u32,
    /// Inner: when the circuit breaker trips, its threshold being reached.
    pub trips_at: Option<Millis>,
    /// Inner: since when everything is in place, for the bake time.
    pub settled_at: Option<Millis>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    pub arn: Arn,
    pub name: String,
    pub region: String,
    pub cluster: Arn,
    pub status: ServiceStatus,
    /// Of the PRIMARY deployment.
    pub task_definition: Arn,
    pub desired_count: u32,
    /// Tasks of any deployment that are RUNNING.
    pub running_count: u32,
    /// Tasks of any deployment before RUNNING.
    pub pending_count: u32,
    pub configuration: DeploymentConfiguration,
    pub load_balancers: Vec<LoadBalancer>,
    /// `healthCheckGracePeriodSeconds`.
    pub grace_period: Millis,
    /// The PRIMARY first, then older ones that still have tasks, newest first.
    pub deployments: Vec<Deployment>,
    /// Of a service with the EXTERNAL deployment controller, in the order in which they were made; `deployments` has an inner entry for
    /// each, at the same place, that is not shown.
    pub task_sets: Vec<TaskSet>,
    /// Newest first, at most 100.
    pub events: VecDeque<ServiceEvent>,
    pub created_at: Millis,
    pub deleted_at: Option<Millis>,
    /// The members of CreateService with those of later UpdateService calls over them, verbatim: `networkConfiguration`,
    /// `launchType`, `platformVersion`, `tags`, `propagateTags`, `deploymentConfiguration`, … Without `cluster`, `service`,
    /// `serviceName`, `taskDefinition`, `desiredCount`, `clientToken`, `forceNewDeployment`.
    pub request: Members,
    /// The service deployment in flight.
    pub current_service_deployment: Option<Arn>,
    /// The service revision of the PRIMARY.
    pub current_revision: Arn,
    /// How traffic is shared out, once a deployment has shifted it.
    pub traffic: Traffic,
    /// The course of the deployment in flight, if it shifts traffic.
    pub course: Option<Course>,
    /// Inner: how many shifts of traffic were asked for.
    pub shifts: u64,
    /// Inner: the last of them is not known to be in place, so `traffic` says what was asked for.
    pub unsettled: bool,
    /// `clientToken` of CreateService: the same call again gets the same answer.
    pub client_token: Option<String>,
    /// Inner: the newest revision whose deployment was COMPLETED, where a rollback goes.
    pub last_completed: Option<Completed>,
    /// Inner: how many events it ever had.
    pub announcements: u64,
    /// Inner: it reached its steady state and has not left it.
    pub steady: bool,
    /// Inner: when it last said so.
    pub steady_at: Option<Millis>,
    /// Inner: how its tasks stand over the Availability Zones, and what is done about it.
    pub balance: Balance,
    /// Inner: unresolved conditions that were announced, with the time of the last announcement.
    pub announced: BTreeMap<String, Millis>,
}

/// The deployment that a rollback returns to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// `ecs-svc/N`.
    pub deployment: String,
    pub revision: Arn,
    #[serde(default)]
    pub created_at: Millis,
}

impl Service {
    /// The deployment that launches tasks; there is one from creation to INACTIVE.
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.first()
    }
}

/// A service revision: what a service ran at one time. It never changes after its images are resolved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRevision {
    /// `arn:aws:ecs:R:A:service-revision/CLUSTER/SERVICE/<19 digits>`.
    pub arn: Arn,
    pub service: Arn,
    pub cluster: Arn,
    pub task_definition: Arn,
    pub created_at: Millis,
    /// Container name to image digest (`sha256:…`), for the pinned ones that could be resolved.
    pub image_digests: BTreeMap<String, String>,
    /// Whether `ImagesResolved` has come.
    pub resolved: bool,
    pub load_balancers: Vec<LoadBalancer>,
    /// The Availability Zones that its tasks may be in, once one was provisioned.
    pub zones: Vec<String>,
    /// The service's `request` at that time.
    pub request: Members,
    /// Derived: what of it shapes its tasks.
    #[serde(skip)]
    pub(crate) shaped: Option<Members>,
}

/// `status` of a service deployment (the newer API). There is no FAILED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceDeploymentStatus {
    #[default]
    Pending,
    InProgress,
    Successful,
    StopRequested,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

impl ServiceDeploymentStatus {
    /// The word of the API, such as `ROLLBACK_IN_PROGRESS`.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceDeploymentStatus::Pending => "PENDING",
            ServiceDeploymentStatus::InProgress => "IN_PROGRESS",
            ServiceDeploymentStatus::Successful => "SUCCESSFUL",
            ServiceDeploymentStatus::StopRequested => "STOP_REQUESTED",
            ServiceDeploymentStatus::Stopped => "STOPPED",
            ServiceDeploymentStatus::RollbackRequested => "ROLLBACK_REQUESTED",
            ServiceDeploymentStatus::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            ServiceDeploymentStatus::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            ServiceDeploymentStatus::RollbackFailed => "ROLLBACK_FAILED",
        }
    }

    /// Whether nothing will change it any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            ServiceDeploymentStatus::Successful
                | ServiceDeploymentStatus::Stopped
                | ServiceDeploymentStatus::RollbackSuccessful
                | ServiceDeploymentStatus::RollbackFailed
        )
    }
}

/// `deploymentCircuitBreaker.status` of a service deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BreakerStatus {
    #[default]
    Disabled,
    Monitoring,
    MonitoringComplete,
    Triggered,
}

impl BreakerStatus {
    /// The word of the API, such as `TRIGGERED`.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerStatus::Disabled => "DISABLED",
            BreakerStatus::Monitoring => "MONITORING",
            BreakerStatus::MonitoringComplete => "MONITORING_COMPLETE",
            BreakerStatus::Triggered => "TRIGGERED",
        }
    }
}

/// A revision within a service deployment, with its tasks (`sourceServiceRevisions[]`, `targetServiceRevision`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionSummary {
    pub arn: Arn,
    pub requested: u32,
    pub running: u32,
    pub pending: u32,
    /// Tenths of a per cent of the production traffic; `None` where nothing is shifted.
    pub production: Option<u32>,
    /// The same of the test traffic.
    pub test: Option<u32>,
}

/// `rollback` of a service deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    pub reason: String,
    pub started_at: Millis,
    pub revision: Arn,
}

/// A service deployment: what DescribeServiceDeployments tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceDeployment {
    /// `arn:aws:ecs:R:A:service-deployment/CLUSTER/SERVICE/<21 characters>`.
    pub arn: Arn,
    pub service: Arn,
    pub cluster: Arn,
    pub status: ServiceDeploymentStatus,
    pub status_reason: Option<String>,
    pub created_at: Millis,
    pub started_at: Option<Millis>,
    pub updated_at: Millis,
    pub finished_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
    pub source_revisions: Vec<RevisionSummary>,
    pub target_revision: RevisionSummary,
    /// `deploymentConfiguration` of the service when it began, verbatim.
    pub configuration: Members,
    pub rollback: Option<Rollback>,
    pub breaker_status: BreakerStatus,
    pub failure_count: u32,
    pub threshold: u32,
    /// Where it is, if it shifts traffic.
    pub lifecycle_stage: Option<LifecycleStage>,
    /// The hooks of that stage.
    pub hooks: Vec<HookRun>,
    /// The alarms that are watched; those that were in ALARM when it began are not.
    pub alarms: Vec<String>,
    /// The alarms that gave it up.
    pub triggered_alarms: Vec<String>,
}
