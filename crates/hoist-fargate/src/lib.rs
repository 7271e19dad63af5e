//! The local ECS scheduler as a pure state machine: services, deployments, tasks and targets.
//!
//! [`step`] takes what happened (an API call, a report of the driver, the time) and returns what is to be done. It has no clock,
//! no threads and no I/O, and the same events give the same commands, identifiers included. The daemon carries the commands out on
//! real containers; the tests do so on a virtual clock. How it decides is told in `docs/design/scheduler.md`.
//!
//! ```
//! use hoist_fargate::{Action, Answer, Call, Command, Pace, World, call};
//! use serde_json::json;
//!
//! let mut world = World::new("000000000000", 7, Pace::fast());
//! let mut ask = |action, request: serde_json::Value| {
//!     let region = "eu-central-1".to_owned();
//!     let request = request.as_object().cloned().unwrap_or_default();
//!     call(&mut world, Call { region, action, request }, 1_800_000_000_000)
//! };
//! ask(Action::CreateCluster, json!({ "clusterName": "default" }));
//! ask(Action::RegisterTaskDefinition, json!({
//!     "family": "hello",
//!     "containerDefinitions": [{ "name": "web", "image": "hello@sha256:1f" }],
//! }));
//! let (answer, commands) = ask(Action::CreateService, json!({
//!     "serviceName": "hello", "taskDefinition": "hello", "desiredCount": 1,
//! }));
//! let Ok(Answer::Service(arn)) = answer else { panic!("refused: {answer:?}") };
//! assert!(matches!(commands[..], [Command::ProvisionTask { .. }]));
//! let service = world.service(&arn).expect("just created");
//! let said = &service.events[0].message;
//! assert!(said.starts_with("(service hello) has started 1 tasks: (task "));
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod announce;
mod balance;
mod calls;
mod capacity;
mod command;
mod conclude;
mod course;
mod crew;
mod definition;
mod event;
mod failures;
mod given_up;
mod health;
mod ids;
mod launches;
mod life;
mod members;
mod pace;
mod pins;
mod request;
mod rolling;
mod rollout;
mod service;
mod service_calls;
mod sets;
mod stages;
mod step;
mod table;
mod task;
mod world;

pub use balance::{Balance, Move};
pub use command::{Command, RuleWeights};
pub use course::{
    ALL_TRAFFIC, Course, DeploymentAlarms, EarlySuccess, Hook, HookAction, HookAnswer, HookRun,
    HookStatus, LifecycleStage, Share, Shift, Strategy, Traffic,
};
pub use definition::{
    Cluster, Condition, ContainerDefinition, Dependency, HealthCheck, TaskDefinition,
};
pub use event::{Action, Answer, Call, Event, Refusal};
pub use members::Members;
pub use pace::{Millis, Pace};
pub use service::{
    Breaker, BreakerStatus, Completed, Deployment, DeploymentConfiguration, DeploymentStatus,
    LoadBalancer, RevisionSummary, Rollback, RolloutState, Service, ServiceDeployment,
    ServiceDeploymentStatus, ServiceEvent, ServiceRevision, ServiceStatus, ThresholdKind,
};
pub use sets::{TaskSet, TaskSetStatus};
pub use step::{call, step};
pub use task::{
    Container, ContainerStatus, Health, StopCode, Target, TargetState, Task, TaskStatus,
};
pub use world::{Change, Kind, RestoreError, World};

/// An Amazon Resource Name; the key of every record.
pub type Arn = String;
