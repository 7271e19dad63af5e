//! `hoist push`.

use hoist_pipeline::{Failure, Until};

use super::deploy::{self, say_image};
use crate::arguments::Step;

/// Builds, tests and pushes the image; its reference is the last line of standard output.
pub fn run(options: &Step) -> Result<(), Failure> {
    say_image(&deploy::part(options, Until::Pushed)?);
    Ok(())
}
