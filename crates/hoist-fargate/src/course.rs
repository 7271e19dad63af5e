//! Deployments that shift traffic (`BLUE_GREEN`, `LINEAR`, `CANARY`): their stages, hooks and weights, as records.

use serde::{Deserialize, Serialize};

use crate::{Arn, Millis};

/// `strategy` of `deploymentConfiguration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Strategy {
    #[default]
    Rolling,
    BlueGreen,
    Linear,
    Canary,
}

impl Strategy {
    /// Whether it brings up a second revision beside the first and shifts traffic, instead of replacing tasks.
    pub fn shifts_traffic(self) -> bool {
        self != Strategy::Rolling
    }
}

/// Where a deployment that shifts traffic is (`lifecycleStage`), in order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LifecycleStage {
    /// What an earlier deployment left unfinished is put away; only with more than one revision to begin with.
    ReconcileService,
    #[default]
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    /// Comes before every step.
    PreProductionTrafficShift,
    /// One step; its bake time belongs to it.
    ProductionTrafficShift,
    PostProductionTrafficShift,
    BakeTime,
    CleanUp,
}

impl LifecycleStage {
    /// All of them, in order.
    pub const ALL: [LifecycleStage; 11] = [
        LifecycleStage::ReconcileService,
        LifecycleStage::PreScaleUp,
        LifecycleStage::ScaleUp,
        LifecycleStage::PostScaleUp,
        LifecycleStage::TestTrafficShift,
        LifecycleStage::PostTestTrafficShift,
        LifecycleStage::PreProductionTrafficShift,
        LifecycleStage::ProductionTrafficShift,
        LifecycleStage::PostProductionTrafficShift,
        LifecycleStage::BakeTime,
        LifecycleStage::CleanUp,
    ];

    /// The word of the API, such as `PRE_SCALE_UP`.
    pub fn as_str(self) -> &'static str {
        match self {
            LifecycleStage::ReconcileService => "RECONCILE_SERVICE",
            LifecycleStage::PreScaleUp => "PRE_SCALE_UP",
            LifecycleStage::ScaleUp => "SCALE_UP",
            LifecycleStage::PostScaleUp => "POST_SCALE_UP",
            LifecycleStage::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            LifecycleStage::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            LifecycleStage::PreProductionTrafficShift => "PRE_PRODUCTION_TRAFFIC_SHIFT",
            LifecycleStage::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            LifecycleStage::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            LifecycleStage::BakeTime => "BAKE_TIME",
            LifecycleStage::CleanUp => "CLEAN_UP",
        }
    }

    /// The stage of that word.
    pub fn named(word: &str) -> Option<LifecycleStage> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Whether hooks may be configured for it (facts: none on SCALE_UP, BAKE_TIME, CLEAN_UP).
    pub fn takes_hooks(self) -> bool {
        !matches!(
            self,
            LifecycleStage::ScaleUp | LifecycleStage::BakeTime | LifecycleStage::CleanUp
        )
    }

    pub(crate) fn next(self) -> LifecycleStage {
        let index = Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        Self::ALL[(index + 1).min(Self::ALL.len() - 1)]
    }
}

/// What is done about a hook that is not resolved in time, or asked for by ContinueServiceDeployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookAction {
    Continue,
    #[default]
    Rollback,
}

impl HookAction {
    /// The word of the API, such as `ROLLBACK`.
    pub fn as_str(self) -> &'static str {
        match self {
            HookAction::Continue => "CONTINUE",
            HookAction::Rollback => "ROLLBACK",
        }
    }
}

/// One of `lifecycleHooks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// `hookTargetArn`; `None` for a PAUSE hook.
    pub target: Option<String>,
    pub stages: Vec<LifecycleStage>,
    /// `hookDetails`, as JSON.
    pub details: Option<String>,
    /// How long it may take (default 24 h).
    pub timeout: Millis,
    pub on_timeout: HookAction,
}

/// `status` of a hook in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookStatus {
    AwaitingAction,
    #[default]
    InProgress,
    Succeeded,
    Failed,
    TimedOut,
}

impl HookStatus {
    /// The word of the API, such as `AWAITING_ACTION`.
    pub fn as_str(self) -> &'static str {
        match self {
            HookStatus::AwaitingAction => "AWAITING_ACTION",
            HookStatus::InProgress => "IN_PROGRESS",
            HookStatus::Succeeded => "SUCCEEDED",
            HookStatus::Failed => "FAILED",
            HookStatus::TimedOut => "TIMED_OUT",
        }
    }
}

/// A hook of the current stage (`lifecycleHookDetails[]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookRun {
    /// `hookId`, and the `executionId` that a Lambda function is given.
    pub id: String,
    pub target: Option<String>,
    pub details: Option<String>,
    pub status: HookStatus,
    pub expires_at: Millis,
    pub on_timeout: HookAction,
    /// Inner: it is being called.
    pub calling: bool,
    /// Inner: when it is called again, while it says IN_PROGRESS.
    pub call_at: Option<Millis>,
    /// Inner: what was wrong with it, where it did not say FAILED itself.
    pub error: Option<String>,
}

/// What a hook's function answered (`hookStatus`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookAnswer {
    Succeeded,
    Failed,
    /// It could not be called, or what it said is no answer: what AWS says of that, such as
    /// `ECS was unable to parse the response from … due to: HookStatus must not be null.`
    Broken(String),
    /// Call it again after this time (`callBackDelay`; default 30 s).
    InProgress(Millis),
}

/// `alarms` of `deploymentConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentAlarms {
    pub names: Vec<String>,
    pub enable: bool,
    pub rollback: bool,
}

/// `earlySuccessCriteria` of a rolling update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlySuccess {
    pub healthy_percent: u32,
    /// Older tasks are removed after the deployment has succeeded, not before.
    pub deferred: bool,
}

/// The share of traffic that a revision is to have, in tenths of a per cent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Share {
    pub revision: Arn,
    pub tenths: u32,
}

/// All traffic, in tenths of a per cent.
pub const ALL_TRAFFIC: u32 = 1_000;

/// How a service's traffic is shared out; each list is empty or sums to [`ALL_TRAFFIC`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    pub production: Vec<Share>,
    pub test: Vec<Share>,
}

impl Traffic {
    /// All of it for one revision.
    pub(crate) fn all_to(revision: Option<&str>) -> Traffic {
        let all: Vec<Share> = revision
            .into_iter()
            .map(|revision| Share {
                revision: revision.to_owned(),
                tenths: ALL_TRAFFIC,
            })
            .collect();
        Traffic {
            production: all.clone(),
            test: all,
        }
    }

    /// The share of a revision in a list.
    pub fn of(shares: &[Share], revision: &str) -> u32 {
        let its = shares.iter().find(|it| it.revision == revision);
        its.map_or(0, |it| it.tenths)
    }

    /// The revision that has most of the production traffic.
    pub fn holder(&self) -> Option<&Arn> {
        let most = self.production.iter().max_by_key(|it| it.tenths)?;
        Some(&most.revision)
    }
}

/// The course of a deployment that shifts traffic, or of its rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    pub strategy: Strategy,
    /// The step, in tenths of a per cent, and the bake times, as they were configured when it began.
    pub step: u32,
    pub step_bake_time: Millis,
    pub bake_time: Millis,
    pub stage: LifecycleStage,
    /// Since when it is in that stage.
    pub since: Millis,
    pub began: Millis,
    /// The revision that serves while the new one comes up.
    pub standing: Option<Arn>,
    /// It brings the older revision back.
    pub back: bool,
    /// The hooks of this stage.
    pub hooks: Vec<HookRun>,
    /// Inner: the hooks of this stage were set off.
    pub hooked: bool,
    /// Inner: the shift of this stage: not asked for, under way, or done.
    pub shift: Shift,
    /// Inner: the end of the bake time of this stage, once it has begun.
    pub bake_until: Option<Millis>,
    /// Inner: when a refused shift is tried again.
    pub try_again_at: Option<Millis>,
    /// Inner: steps taken.
    pub steps: u32,
}

/// How far a shift of traffic is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shift {
    #[default]
    Due,
    /// Asked for under this number.
    Underway(u64),
    Done,
}
