//! What a task learns about itself, and the AWS that it can call: an HTTP endpoint at 169.254.170.2, reachable from tasks only.
//!
//! It answers the task metadata endpoint version 4, the credentials of the task's role, and, for everything else, the AWS APIs, to
//! which `AWS_ENDPOINT_URL` in every container points. Who asks is known by the address that the connection comes from.

mod credentials;
mod describe;
mod protection;
mod serve;
mod statistics;

pub use credentials::Held;
pub use serve::{ADDRESS, open};
