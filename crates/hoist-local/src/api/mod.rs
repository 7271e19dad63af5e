//! Requests of every AWS protocol in, answers out.
//!
//! [`server`] reads the request, verifies its signature, and makes a [`Call`] of it, whatever the protocol; [`check`] holds it
//! against the shapes of its service; [`services`] hands the call to the service it is for. Services see and return JSON; query parameters arrive nested, and [`xml`] writes answers.

mod call;
mod check;
mod error;
mod page;
pub(crate) mod pattern;
pub mod query;
mod ready;
mod server;
mod services;
mod shapes;
pub mod xml;

pub use call::Call;
pub use error::ApiError;
pub use page::page;
pub use ready::Ready;
pub use server::handle;
pub use services::{Protocol, Service};
