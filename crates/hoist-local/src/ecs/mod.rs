//! The ECS API: requests checked as the service checks them, and the scheduler's records written as the service writes them.
//!
//! Calls that change something go through the [driver](crate::driver) to the scheduler, which resolves names, refuses what
//! conflicts and keeps the records; reads look at its world. ECS never makes what a definition refers to: a missing cluster,
//! task definition, target group or subnet is the caller's error, in ECS's words.

mod account;
mod api;
mod clusters;
mod definition_json;
mod definitions;
mod deployments;
mod execute;
mod instances;
mod page;
mod protection;
mod service_check;
mod service_json;
mod services;
mod sizes;
mod tags;
mod task_json;
mod task_sets;
mod tasks;
mod words;

pub use api::handle;
pub(crate) use service_json::render as shown_service;

/// The scheduler's records as the answers of ECS write them, for whoever plays the wire without a daemon.
pub mod wire {
    pub use super::deployments::{
        brief as service_deployment_brief, render as service_deployment,
        render_revision as service_revision,
    };
    pub use super::service_json::render as service;
    pub use super::task_json::render as task;
}
pub(crate) use sizes::{cpu, memory};
pub(crate) use task_json::render as shown_task;
