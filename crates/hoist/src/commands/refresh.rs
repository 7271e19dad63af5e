//! `hoist refresh`.

use hoist_pipeline::{Failure, Request, Until, Version};

use super::deploy::{carry_out, say_urls, told};
use super::{connect, local, project};
use crate::arguments::Refresh;

/// Replaces all tasks by new ones of the same revision; watched and judged as a deployment.
pub fn run(options: &Refresh) -> Result<(), Failure> {
    let deployed = told(options.output, |events| {
        let project = project::load(&options.project)?;
        let aws = connect::connect(&options.aws, project.region.as_deref())?;
        let home = local::home()?;
        let request = Request {
            project: &project,
            version: Version::Current,
            until: Until::Deployed,
            aws: &aws,
            embedded: options.aws.local,
            services: options.services.clone(),
            count: None,
            force: true,
            timeout: options.timeout,
            journal: home.path().join("journal.jsonl"),
        };
        carry_out(&request, events)
    })?;
    say_urls(&deployed);
    Ok(())
}
