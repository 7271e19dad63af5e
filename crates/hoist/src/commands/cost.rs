//! `hoist cost`.

use hoist_pipeline::Failure;

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Look;
use crate::render;

/// Shows what the services cost in a month.
pub fn run(options: &Look) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let costs = async_run(hoist_pipeline::cost(&aws, &project, &options.services))?;
    render::report(&costs, options.output);
    Ok(())
}
