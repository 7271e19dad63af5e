//! `hoist deploy`.

use hoist_pipeline::{Cancel, Events, Failure, Request, cancellation};

use super::dispatch::{async_run, say};
use super::{connect, local, project, signals};
use crate::arguments::Deploy;
use crate::{exit, render};

/// Variables whose values must never show in a job's log.
const SECRETS: [&str; 3] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
];

/// Deploys; the URL is the last line of standard output.
pub fn run(options: &Deploy) -> Result<(), Failure> {
    if options.output.is_github() {
        for name in SECRETS {
            std::env::var(name)
                .iter()
                .for_each(|secret| render::github::mask(secret));
        }
    }
    let project = project::load(&options.project)?;
    let source = project.source();
    // The embedded AWS is started as the user, before this process becomes what builds need it to be.
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let home = local::home()?;
    let workspace = project::workspace(&home)?;
    let events = Events::new(vec![render::reader(options.output)]);
    let request = Request {
        project: &project,
        source: &source,
        aws: &aws,
        embedded: options.aws.local,
        workspace: &workspace,
        build: project::build_options(&options.building),
        services: options.services.clone(),
        count: options.count,
        force: options.force,
        timeout: options.timeout,
        journal: home.path().join("journal.jsonl"),
    };
    let deployed = async_run(async {
        let (canceller, cancel) = cancellation();
        signals::listen(canceller)?;
        story(&request, &cancel, &events).await
    })?;
    for url in deployed.urls {
        say(url);
    }
    Ok(())
}

async fn story(
    request: &Request<'_>,
    cancel: &Cancel,
    events: &Events,
) -> Result<hoist_pipeline::Deployed, Failure> {
    hoist_pipeline::deploy(request, cancel, events, |kind| exit::of(kind).1).await
}
