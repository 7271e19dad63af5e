//! `hoist tasks`.

use hoist_pipeline::Failure;

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::TaskList;
use crate::render;

/// Shows the tasks of the services.
pub fn run(options: &TaskList) -> Result<(), Failure> {
    let look = &options.look;
    let project = project::load(&look.project)?;
    let services = hoist_pipeline::some(&project, &look.services)?;
    let aws = connect::connect(&look.aws, project.region.as_deref())?;
    let tasks = async_run(hoist_pipeline::tasks(&aws, &services, options.all))?;
    render::report(&tasks, look.output);
    Ok(())
}
