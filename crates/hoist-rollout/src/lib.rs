//! Judges an ECS rollout: observations in, verdict, news and diagnosis out.
//!
//! Pure: no clock, no network, no files. The pipeline polls and hands over what it saw; [`judge`] says what the rollout has come to, and
//! [`diagnose`] why it failed. Success is only ever said when our service deployment is SUCCESSFUL, PRIMARY runs our revision with our
//! digests, and its targets are healthy; a status that nobody knows is a failure.
//!
//! ```
//! use hoist_rollout::{Intent, Observation, Rollout, ServiceSeen, Verdict, judge};
//!
//! let start = "2026-11-22T10:00:00Z".parse().expect("a time");
//! let mut rollout = Rollout::new(Intent::new("web", "arn:aws:ecs:eu-central-1:1:task-definition/web:8", start));
//! let seen = ServiceSeen { at: start, status: "ACTIVE".into(), desired: 1, ..ServiceSeen::default() };
//! rollout.see(&[Observation::Service(seen)]);
//! assert!(matches!(judge(&rollout, start), Verdict::InProgress { .. }));
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod awaits;
mod budget;
mod causes;
mod diagnosis;
mod due;
mod observation;
mod progress;
mod rollout;
mod status;
mod timeline;
mod verdict;

#[cfg(test)]
mod properties;

pub use budget::{Budget, FailureKind, Hopeless};
pub use causes::{Cause, catalogue};
pub use diagnosis::{Diagnosis, Evidence, TargetEvidence, TaskEvidence, diagnose};
pub use due::{Due, Timing, due};
pub use observation::{
    ContainerSeen, DeploymentSeen, EventSeen, LogsSeen, Observation, PauseSeen, RolloutSeen,
    ServiceSeen, TargetGroups, TargetSeen, TaskSeen,
};
pub use progress::Progress;
pub use rollout::{ContainerFacts, Intent, Rollout};
pub use status::DeploymentStatus;
pub use timeline::{
    Cost, Facts, GroupSettings, Lane, Mark, Phase, Settings, Shift, Span, StepTime, TaskTimes,
    Timeline, costs, timeline,
};
pub use verdict::{Verdict, judge};
