//! `hoist check`.

use hoist_pipeline::Failure;

use super::dispatch::say;
use super::project;
use crate::arguments::Render;

/// Checks hoist.yaml and the definitions that it names, without a call.
pub fn run(options: &Render) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let region = region(options, &project);
    let works = hoist_pipeline::plan(&project, &region, &[])?;
    for warning in hoist_pipeline::check(&works)? {
        anstream::eprintln!("{warning}");
    }
    say(format_args!("{} is in order", project.file.display()));
    Ok(())
}

/// The region that definitions are rendered for: as given, as configured, else the one that AWS's own tools start with.
pub fn region(options: &Render, project: &hoist_project::Project) -> String {
    options
        .region
        .clone()
        .or_else(|| project.region.clone())
        .or_else(|| std::env::var("AWS_REGION").ok())
        .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok())
        .unwrap_or_else(|| "us-east-1".to_owned())
}
