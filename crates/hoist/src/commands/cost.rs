//! `hoist cost`.

use hoist_pipeline::Failure;

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Cost;
use crate::render;

/// Whose prices are taken where no region is named.
const ANY_REGION: &str = "us-east-1";

/// Shows what the services cost in a month.
pub fn run(options: &Cost) -> Result<(), Failure> {
    let look = &options.look;
    let project = project::load(&look.project)?;
    let costs = if options.offline {
        let region = look.aws.region.as_deref().or(project.region.as_deref());
        let region = region.unwrap_or(ANY_REGION);
        hoist_pipeline::cost_of_definitions(region, &project, &look.services)?
    } else {
        let aws = connect::connect(&look.aws, project.region.as_deref())?;
        async_run(hoist_pipeline::cost(&aws, &project, &look.services))?
    };
    render::report(&costs, look.output);
    Ok(())
}
