//! `hoist status`.

use hoist_pipeline::Failure;

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Look;
use crate::render;

/// Shows counts, revisions, targets and URL.
pub fn run(options: &Look) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let services = hoist_pipeline::some(&project, &options.services)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let status = async_run(hoist_pipeline::status(&aws, &services))?;
    render::report(&status, options.output);
    Ok(())
}
