//! AWS access: credentials, signing, retries, and one pass-through client.
//!
//! [`Config`] reads what every AWS tool reads (environment, shared files, profiles), [`Client`] sends signed calls and hands back the answers as
//! JSON values with nothing dropped, and [`read`] has lenient views of the few fields that hoist looks at.
//!
//! ```no_run
//! use hoist_aws::{Client, Config, Overrides, Service};
//!
//! # async fn example() -> Result<(), hoist_aws::AwsError> {
//! let client = Client::new(Config::load(Overrides::default())?)?;
//! let answer = client.json(Service::Ecs, "ListClusters", serde_json::json!({})).await?;
//! for arn in answer["clusterArns"].as_array().into_iter().flatten() {
//!     assert!(arn.is_string());
//! }
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod config;
pub mod credentials;
pub mod endpoint;
mod environment;
mod error;
mod partition;
mod profile;
pub mod query;
mod rate;
pub mod read;
mod rest;
mod retry;
mod service;
pub mod sigv4;
mod transport;
mod wire;

pub use client::Client;
pub use config::{Config, Overrides, Retries, StaticCredentials};
pub use credentials::Credentials;
pub use environment::Environment;
pub use error::{Attempt, AwsError, ConfigError, TransportKind};
pub use partition::Partition;
pub use profile::Profiles;
pub use service::{Protocol, Service};
