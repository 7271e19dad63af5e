//! `hoist prune`.

use hoist_pipeline::{Failure, Keep};

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Prune;
use crate::render;

/// Removes old revisions and images that nothing needs, or says which.
pub fn run(options: &Prune) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let keep = Keep {
        newest: options.keep,
        younger_than: i64::try_from(options.older_than.as_secs()).unwrap_or(i64::MAX),
        act: options.yes,
    };
    let pruned = async_run(hoist_pipeline::prune(&aws, &project, &keep))?;
    render::report(&pruned, options.output);
    Ok(())
}
