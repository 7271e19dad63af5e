//! What happens to the world: calls of the API, reports of the driver, time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Arn, HookAnswer, TargetState};

/// One thing that happened. Reports about tasks that are gone, or that come late or twice, change nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// An API call that changes something. Its first command is always [`crate::Command::Answer`]; see also [`crate::call`].
    Call(Call),

    /// The answer to `ResolveImages`; must come, and may leave out what could not be resolved: the tasks then pull by tag and
    /// report what they find. Container name to manifest digest (`sha256:…`).
    ImagesResolved {
        revision: Arn,
        digests: BTreeMap<String, String>,
    },

    /// The answer to `ProvisionTask`. `attachments` is kept verbatim for DescribeTasks.
    TaskProvisioned {
        task: Arn,
        ip: String,
        availability_zone: String,
        /// The zones of all subnets that it may have been placed in; none where they are not known.
        zones: Vec<String>,
        attachments: Vec<Value>,
    },
    /// The other answer to `ProvisionTask`; `reason` as AWS words it, such as `ResourceInitializationError: …`.
    ProvisionFailed { task: Arn, reason: String },

    /// The answer to `PullImage`, with the manifest digest (`sha256:…`).
    ImagePulled {
        task: Arn,
        container: String,
        digest: Option<String>,
    },
    /// The other answer to `PullImage`; `reason` begins with `CannotPullContainerError: `.
    PullFailed {
        task: Arn,
        container: String,
        reason: String,
    },

    /// The answer to `StartContainer`.
    ContainerStarted {
        task: Arn,
        container: String,
        runtime_id: String,
    },
    /// The other answer to `StartContainer`; `reason` begins with `CannotStartContainerError: ` or `ResourceInitializationError: `.
    StartFailed {
        task: Arn,
        container: String,
        reason: String,
    },
    /// A container that was started has ended, by itself or by `StopContainer`. Comes exactly once for each start.
    ContainerExited {
        task: Arn,
        container: String,
        /// 128 + N for signal N.
        exit_code: i32,
        /// The kernel killed it for its memory: the reason becomes ECS's `OutOfMemoryError`.
        oom: bool,
    },
    /// The answer to `RunHealthCheck`; a check that timed out or could not run did not pass.
    HealthChecked {
        task: Arn,
        container: String,
        passed: bool,
    },

    /// The answer to `RemoveTask`: containers, network and interface of the task are gone.
    TaskRemoved { task: Arn },

    /// The load balancer changed its mind about a target.
    TargetHealth {
        task: Arn,
        target_group: Arn,
        port: u16,
        state: TargetState,
        /// Such as `Target.ResponseCodeMismatch`.
        reason: Option<String>,
        /// Such as `Health checks failed with these codes: [404]`.
        description: Option<String>,
    },
    /// `RegisterTarget` was refused, such as for a target group that is gone.
    TargetRefused {
        task: Arn,
        target_group: Arn,
        port: u16,
        reason: String,
    },
    /// The answer to `DeregisterTarget`: the deregistration delay is over, or no connection is left.
    TargetDrained {
        task: Arn,
        target_group: Arn,
        port: u16,
    },

    /// The answer to `ShiftTraffic`.
    TrafficShifted { service: Arn, number: u64 },
    /// The other answer to `ShiftTraffic`.
    TrafficRefused {
        service: Arn,
        number: u64,
        reason: String,
    },
    /// The answer to `CallHook`; what cannot be called has failed.
    HookAnswered {
        service: Arn,
        hook: String,
        answer: HookAnswer,
    },
    /// A CloudWatch alarm went into the ALARM state, or left it.
    AlarmChanged {
        region: String,
        alarm: String,
        alarming: bool,
    },
    /// The capacity of a FARGATE_SPOT task is taken back.
    SpotInterrupted { task: Arn },

    /// Nothing but time; due at [`crate::World::next_wakeup`]. Every other event does what is due, too.
    Tick,

    /// The daemon starts on a world that was [restored](crate::World::restore): nothing of what ran before runs any more.
    /// Must be the first event then.
    Restarted,
}

/// A mutating call of the ECS API, its request as it came (members in the API's own names), already checked against the
/// service's shapes. Names and short forms in it (cluster name, `family:revision`) are resolved here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub region: String,
    pub action: Action,
    pub request: Map<String, Value>,
}

/// The calls that [`Call`] can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    CreateCluster,
    /// Also UpdateClusterSettings and PutClusterCapacityProviders: the members lie over the old ones.
    UpdateCluster,
    DeleteCluster,
    RegisterTaskDefinition,
    DeregisterTaskDefinition,
    /// One of DeleteTaskDefinitions.
    DeleteTaskDefinition,
    CreateService,
    UpdateService,
    DeleteService,
    RunTask,
    StopTask,
    /// `tasks`, of a service all, are protected until `expiresInMinutes` is over, or not any more.
    UpdateTaskProtection,
    StopServiceDeployment,
    ContinueServiceDeployment,
    CreateTaskSet,
    UpdateTaskSet,
    DeleteTaskSet,
    UpdateServicePrimaryTaskSet,
    TagResource,
    UntagResource,
}

/// What an API call came to: where to read the answer in the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    Cluster(Arn),
    TaskDefinition(Arn),
    Service(Arn),
    /// Tasks of RunTask, the one of StopTask, or those whose protection UpdateTaskProtection has set.
    Tasks(Vec<Arn>),
    ServiceDeployment(Arn),
    TaskSet {
        service: Arn,
        id: String,
    },
    /// TagResource, UntagResource.
    Nothing,
}

/// An API call that was refused, with AWS's error code and message. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Such as `ClusterNotFoundException`.
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Refusal {
            code: code.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Refusal::new("InvalidParameterException", message)
    }
}
