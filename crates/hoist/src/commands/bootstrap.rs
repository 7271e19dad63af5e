//! `hoist bootstrap`.

use hoist_pipeline::{Failure, Kind, Trust, Wish};

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Bootstrap;
use crate::render;

/// Makes what an account needs before the first deployment, or says what that is.
pub fn run(options: &Bootstrap) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let repository = match &options.github {
        Some(given) => Some(given.clone()),
        None if options.no_github => None,
        None => hoist_pipeline::repository_of(&project.root),
    };
    let wish = Wish {
        make: options.yes,
        trust: repository.map(|repository| Trust {
            repository,
            branch: options.branch.clone(),
            environment: options.github_environment.clone(),
        }),
    };
    let done = async_run(hoist_pipeline::bootstrap(&aws, &project, &wish))?;
    render::report(&done, options.output);
    match done.lacking() {
        0 => Ok(()),
        _ => Err(Failure::new(
            Kind::Check,
            "the account lacks what hoist cannot make",
        )),
    }
}
