//! The story of a deployment: check, build, test, push, provision, register, deploy, verify.
//!
//! [`deploy`] runs it from a project and a client to a URL that answers. Every step tells what it does as [`Event`]s; nothing here
//! prints. What has to survive a kill goes into the [`Journal`].
//!
//! ```
//! use hoist_pipeline::{Event, Events, Step};
//!
//! let events = Events::new(vec![Box::new(|event: &Event| assert!(matches!(event, Event::Note { .. })))]);
//! events.note(Step::Push, "2 layers sent");
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cancel;
mod deploy;
mod ecr;
mod event;
mod failure;
mod hook;
mod image;
mod journal;
mod observe;
mod provision;
mod refusal;
mod register;
mod resolve;
mod scaling;
#[cfg(test)]
mod second_opinion;
mod service;
#[cfg(test)]
mod testing;
mod url;
mod watch;
mod work;

pub use cancel::{Cancel, Canceller, Signal, cancellation};
pub use deploy::{Deployed, Request, deploy, service_url};
pub use event::{Event, Events, Step, StepTimer, Tone};
pub use failure::{Failure, Kind, Place};
pub use image::{BuildOptions, Builder, Published, build_failure};
pub use journal::{Entry, Journal, What};
pub use work::{Work, check, plan, project_failure};
