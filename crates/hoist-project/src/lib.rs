//! `hoist.yaml`, templates, and what git says of the source.
//!
//! A [`Project`] is the file with its templates filled in, one environment laid over it, and its definition files loaded. Every
//! mistake in it is a [`hoist_ecs::Problem`] with file, line, column and what would be right.
//!
//! ```
//! use hoist_project::{Project, Variables};
//!
//! let folder = std::env::temp_dir().join(format!("hoist-project-example-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! std::fs::write(folder.join("hoist.yaml"), "app: shop\nservices:\n  web: { port: 8080, health: /healthz }\n")?;
//! let project = Project::load_with(&folder, None, &Variables::new()).unwrap();
//! assert_eq!(project.services[0].name, "shop-web");
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checks;
mod config;
mod ecspresso;
mod error;
mod jsonnet;
mod overlay;
mod project;
mod read;
mod release;
pub mod scaffold;
mod schedule;
mod service;
mod short;
mod source;
mod task;
pub mod template;
mod values;

pub use config::{
    AccessConfig, Compression, Config, Engine, FailureBudget, GatesConfig, ImageConfig, Platform,
    PricesConfig, ReleaseConfig, ScalingConfig, ScanConfig, ServiceConfig, TaskConfig, TestConfig,
    Unlimited, UrlConfig, schema,
};
pub use error::ProjectError;
pub use project::Project;
pub use release::Release;
pub use schedule::{Schedule, Starter};
pub use service::{CodeDeploy, Definition, Definitions, Service, TaskDefinition};
pub use source::{Source, committed_at};
pub use task::Task;
pub use template::Variables;
pub use values::{Command, Expect, HealthConfig, Ordered, Text};
