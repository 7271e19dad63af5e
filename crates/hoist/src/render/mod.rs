//! Readers of the event stream: a terminal, plain lines, GitHub Actions, JSON.

pub mod github;
pub mod image;
pub mod json;
pub mod plain;
pub mod terminal;

mod choose;
mod failure;
mod report;
mod units;

pub use choose::{Output, reader};
pub use failure::failure;
pub use report::{Format, coloured, item, report};
pub use units::{human_duration, human_size};
