//! `hoist register`.

use hoist_pipeline::{Failure, Until};

use super::deploy;
use super::dispatch::say;
use crate::arguments::Step;

/// Builds, tests, pushes and registers; the ARNs are the last lines of standard output.
pub fn run(options: &Step) -> Result<(), Failure> {
    let deployed = deploy::part(options, Until::Registered)?;
    for arn in deployed
        .services
        .iter()
        .filter_map(|service| service.task_definition.as_ref())
    {
        say(arn);
    }
    Ok(())
}
