//! `hoist check`.

use hoist_pipeline::{Failure, check_account};

use super::dispatch::{async_run, say};
use super::{connect, project};
use crate::arguments::{Check, Render};
use crate::render;

/// Checks hoist.yaml and the definitions that it names; then, unless told not to, the account.
pub fn run(options: &Check) -> Result<(), Failure> {
    let look = &options.look;
    let project = project::load(&look.project)?;
    let region = choose(look.aws.region.as_deref(), &project);
    let works = hoist_pipeline::works(&project, &region, &look.services)?;
    let warnings = hoist_pipeline::project_warnings(&project);
    for warning in warnings.into_iter().chain(hoist_pipeline::check(&works)?) {
        anstream::eprintln!("{warning}");
    }
    if options.offline {
        say(format_args!("{} is in order", project.file.display()));
        return Ok(());
    }
    let aws = connect::connect(&look.aws, project.region.as_deref())?;
    let checked = async_run(check_account(
        &aws,
        &project,
        look.aws.local,
        false,
        &look.services,
    ))?;
    render::report(&checked, look.output);
    checked.failure().map_or(Ok(()), |failure| {
        // What was found is written already.
        Err(Failure {
            detail: None,
            ..failure
        })
    })
}

/// The region that definitions are rendered for: as given, as configured, else the one that AWS's own tools start with.
pub fn region(options: &Render, project: &hoist_project::Project) -> String {
    choose(options.region.as_deref(), project)
}

fn choose(given: Option<&str>, project: &hoist_project::Project) -> String {
    given
        .map(str::to_owned)
        .or_else(|| project.region.clone())
        .or_else(|| std::env::var("AWS_REGION").ok())
        .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok())
        .unwrap_or_else(|| "us-east-1".to_owned())
}
