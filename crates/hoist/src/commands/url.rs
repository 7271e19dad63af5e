//! `hoist url`.

use hoist_pipeline::{Failure, Kind};

use super::dispatch::{async_run, say};
use super::{connect, project};
use crate::arguments::Url;

/// Prints where a service answers.
pub fn run(options: &Url) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let found = async_run(hoist_pipeline::service_url(
        &aws,
        &project,
        options.service.as_deref(),
    ))?;
    match found {
        Some(url) => {
            say(url);
            Ok(())
        }
        None => Err(Failure::new(
            Kind::Check,
            "the service has neither a load balancer nor a task with a public address",
        )),
    }
}
