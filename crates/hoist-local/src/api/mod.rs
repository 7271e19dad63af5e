//! Requests of every AWS protocol in, answers out.
//!
//! [`server`] reads the request, verifies its signature, and makes a [`Call`] of it, whatever the protocol; [`services`] hands
//! the call to the service it is for. Services see and return JSON; query parameters arrive nested, and [`xml`] writes answers.

mod call;
mod error;
pub mod query;
mod server;
mod services;
pub mod xml;

pub use call::Call;
pub use error::ApiError;
pub use server::handle;
pub use services::{Protocol, Service};
