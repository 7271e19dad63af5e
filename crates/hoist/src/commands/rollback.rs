//! `hoist rollback`.

use hoist_pipeline::{Failure, Request, Until, Version};

use super::deploy::{say_urls, told};
use super::{connect, local, project};
use crate::arguments::Rollback;

/// Goes back to the last good revision, or to the one that is named; watched and judged as a deployment.
pub fn run(options: &Rollback) -> Result<(), Failure> {
    let deployed = told(options.output, |events| {
        let project = project::load(&options.project)?;
        let aws = connect::connect(&options.aws, project.region.as_deref())?;
        let home = local::home()?;
        let request = Request {
            project: &project,
            version: match options.revision {
                Some(number) => Version::Revision(number),
                None => Version::LastGood,
            },
            until: Until::Deployed,
            aws: &aws,
            embedded: options.aws.local,
            services: options.services.clone(),
            count: None,
            force: false,
            timeout: options.timeout,
            journal: home.path().join("journal.jsonl"),
        };
        super::deploy::carry_out(&request, events)
    })?;
    say_urls(&deployed);
    Ok(())
}
