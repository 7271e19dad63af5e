//! `hoist history`.

use hoist_pipeline::{Entry, Failure, Journal, Kind};

use super::dispatch::async_run;
use super::{connect, local, project};
use crate::arguments::Past;
use crate::render;

/// Shows what was deployed, by whom, and what became of it.
pub fn run(options: &Past) -> Result<(), Failure> {
    let look = &options.look;
    let project = project::load(&look.project)?;
    let services = hoist_pipeline::some(&project, &look.services)?;
    let aws = connect::connect(&look.aws, project.region.as_deref())?;
    let journal = entries()?;
    let history = async_run(hoist_pipeline::history(
        &aws,
        &project.app,
        &services,
        &journal,
        options.limit,
    ))?;
    render::report(&history, look.output);
    Ok(())
}

/// What this machine's journal holds.
pub fn entries() -> Result<Vec<Entry>, Failure> {
    let file = local::home()?.path().join("journal.jsonl");
    Journal::open(&file)
        .and_then(|journal| journal.entries())
        .map_err(|error| {
            Failure::because(
                Kind::Unexpected,
                format!("failed to read the journal {}", file.display()),
                &error,
            )
        })
}
