//! What the scheduler wants done.

use serde::{Deserialize, Serialize};

use crate::{Answer, Arn, LifecycleStage, Millis, Refusal};

/// One thing to do. Commands are carried out in any order and at the same time unless their documentation says otherwise; each
/// that has an answer gets exactly one, as an [`crate::Event`], however it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// The answer to the API call that was the event.
    Answer(Result<Answer, Refusal>),

    /// Look up the manifest digests of these images, once for a whole deployment; no task of the revision starts before the answer.
    /// Answer: `ImagesResolved`.
    ResolveImages {
        revision: Arn,
        region: String,
        /// Container name and image.
        images: Vec<(String, String)>,
    },

    /// Make the task's network interface (from `networkConfiguration` in [`crate::Task::request`]) and its network.
    /// Answer: `TaskProvisioned` or `ProvisionFailed`.
    ProvisionTask { task: Arn },

    /// Have the image ready for the container. Secrets may be fetched and the log stream made here, too: what fails before the
    /// start. Answer: `ImagePulled` or `PullFailed`; none is needed once the task was removed.
    PullImage {
        task: Arn,
        container: String,
        /// As in the task definition.
        image: String,
        /// Pull this manifest, whatever the tag says now.
        digest: Option<String>,
    },

    /// Start a container; comes when its image is there and what it depends on is ready.
    /// Answer: `ContainerStarted` or `StartFailed`, and after the former, some time, `ContainerExited`.
    StartContainer { task: Arn, container: String },

    /// Run the health check of the container definition in a running container. The scheduler keeps interval, start period and
    /// retries; the driver keeps only `timeout`. Answer: `HealthChecked`; none is needed once the container exited.
    RunHealthCheck {
        task: Arn,
        container: String,
        /// `["CMD", …]` or `["CMD-SHELL", "…"]`.
        command: Vec<String>,
        timeout: Millis,
    },

    /// Send the image's stop signal (SIGTERM if it names none), and SIGKILL after `timeout`. Sent only to containers that were
    /// reported started, at most once. Answer: `ContainerExited`.
    StopContainer {
        task: Arn,
        container: String,
        timeout: Millis,
    },

    /// Remove what is left of the task: containers, files, network, interface; end its pulls. Also sent for tasks of a daemon that
    /// was killed, of which the driver may know nothing: that is no error. Answer: `TaskRemoved`.
    RemoveTask { task: Arn },

    /// Put the task into the target group. Health comes as `TargetHealth`; a refusal as `TargetRefused`.
    RegisterTarget {
        task: Arn,
        target_group: Arn,
        ip: String,
        port: u16,
        availability_zone: String,
    },

    /// Take it out again; after the `RegisterTarget` of the same target has ended, which may still be under way.
    /// Answer: `TargetDrained`, after the deregistration delay (or at once if the target is unknown).
    DeregisterTarget {
        task: Arn,
        target_group: Arn,
        ip: String,
        port: u16,
    },

    /// Give listener rules these weights. Answer: `TrafficShifted` or `TrafficRefused` with the same number.
    ShiftTraffic {
        service: Arn,
        region: String,
        number: u64,
        rules: Vec<RuleWeights>,
    },

    /// Call a lifecycle hook's function. Answer: `HookAnswered`.
    CallHook {
        service: Arn,
        /// `resourceArn` of the function's event.
        service_deployment: Arn,
        /// `targetServiceRevisionArn` of it.
        revision: Arn,
        /// `executionId` of it.
        hook: String,
        /// The function's ARN.
        target: String,
        /// `lifecycleStage` of it.
        stage: LifecycleStage,
        /// `hookDetails`, as JSON.
        details: Option<String>,
    },
}

/// What a rule is to forward: the weights of its target groups, each at most 999.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleWeights {
    /// The ARN of a listener rule, or of a listener for its default action.
    pub rule: Arn,
    /// Target group and weight.
    pub weights: Vec<(Arn, u32)>,
}
