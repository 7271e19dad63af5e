//! Task definitions, service definitions, Fargate sizes, diff, plan and price of Amazon ECS, as pure functions.
//!
//! Definitions are documents, not structs: what the user wrote goes to AWS untouched, and this crate reads the few fields it
//! needs, overlays the few that hoist owns, and says precisely what would be refused. It has no clock, no network, no async
//! runtime and opens no file.
//!
//! ```
//! use hoist_ecs::{Document, check_task_definition};
//!
//! let document = Document::parse("task.yaml", "family: web\ncpu: '256'\nmemory: '4096'\n").unwrap();
//! let problems = check_task_definition(&document);
//! assert!(problems.iter().any(|problem| problem.line == 3 && problem.message.contains("256 CPU units")));
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod diff;
mod document;
mod estimate;
pub mod fargate;
mod json;
mod node;
mod overlay;
mod price;
mod problem;
mod references;
mod same;
mod shapes;
mod size;
pub mod suggest;
mod web_service;
mod yaml;

pub use check::{
    Check, check_service, check_service_definition, check_task_definition,
    check_task_definition_for, checks, is_express,
};
pub use diff::{Change, Kind as ChangeKind, diff};
pub use document::Document;
pub use estimate::{Pace, Part, estimate, estimate_first};
pub use node::{Entry, Kind, Node, Span};
pub use overlay::{
    DESCRIBE_ONLY, DESCRIBE_ONLY_SERVICE, OverlayError, container_index, container_names,
    strip_describe_only, strip_describe_only_service, with_environment, with_image, with_tags,
};
pub use price::{Bill, HOURS_PER_MONTH, Prices, Rates, monthly};
pub use problem::{Problem, Related, Severity};
pub use references::{Reference, Referent, references, with_references};
pub use same::{normalise_task_definition, same_task_definition};
pub use shapes::source as shapes_source;
pub use web_service::{Access, Health, LoadBalancer, Names, Surroundings, WebService};
