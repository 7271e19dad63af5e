//! The local ECS scheduler as a pure state machine: services, deployments, tasks and targets.
//!
//! [`step`] takes what happened (an API call, a report of the driver, the time) and returns what is to be done. It has no clock,
//! no threads and no I/O, and the same events give the same commands, identifiers included. The daemon carries the commands out on
//! real containers; the tests do so on a virtual clock.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod announce;
mod calls;
mod command;
mod definition;
mod event;
mod health;
mod ids;
mod life;
mod pace;
mod request;
mod rolling;
mod rollout;
mod service;
mod step;
mod task;
mod world;

pub use command::Command;
pub use definition::{
    Cluster, Condition, ContainerDefinition, Dependency, HealthCheck, TaskDefinition,
};
pub use event::{Action, Answer, Call, Event, Refusal};
pub use pace::{Millis, Pace};
pub use service::{
    Breaker, BreakerStatus, Completed, Deployment, DeploymentConfiguration, DeploymentStatus,
    LoadBalancer, RevisionSummary, Rollback, RolloutState, Service, ServiceDeployment,
    ServiceDeploymentStatus, ServiceEvent, ServiceRevision, ServiceStatus, ThresholdKind,
};
pub use step::{call, step};
pub use task::{
    Container, ContainerStatus, Health, StopCode, Target, TargetState, Task, TaskStatus,
};
pub use world::{Change, Kind, RestoreError, World};

/// An Amazon Resource Name; the key of every record.
pub type Arn = String;
