//! `hoist render`.

use hoist_pipeline::{Failure, Kind};

use super::check::region;
use super::dispatch::say;
use super::project;
use crate::arguments::Render;

/// Prints the definitions that hoist.yaml stands for.
pub fn run(options: &Render) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let works = hoist_pipeline::works(&project, &region(options, &project), &[])?;
    hoist_pipeline::check(&works)?;
    let rendered: serde_json::Map<String, serde_json::Value> = works
        .iter()
        .map(|work| (work.key().to_owned(), work.to_value()))
        .collect();
    let text = serde_json::to_string_pretty(&rendered).map_err(|error| {
        Failure::because(Kind::Unexpected, "failed to write the definitions", &error)
    })?;
    say(text);
    Ok(())
}
