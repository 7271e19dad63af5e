//! `hoist deploy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hoist_pipeline::{Cancel, Event, Events, Failure, Request, cancellation};

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
    // Every end is told to the reader, also one that comes before the story begins: a job reads its outputs from it.
    let began = Instant::now();
    let finished = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&finished);
    let events = Events::new(vec![
        render::reader(options.output),
        Box::new(move |event| {
            if matches!(event, Event::Finished { .. }) {
                seen.store(true, Ordering::Relaxed);
            }
        }),
    ]);
    deploy(options, &events).inspect_err(|failure| {
        if !finished.load(Ordering::Relaxed) {
            events.emit(Event::Finished {
                outcome: exit::of(failure.kind).1.to_owned(),
                summary: failure.message.clone(),
                image: None,
                tag: None,
                digest: None,
                task_definition: None,
                url: None,
                millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
    })
}

fn deploy(options: &Deploy, events: &Events) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let source = project.source();
    // The embedded AWS is started as the user, before this process becomes what builds need it to be.
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let home = local::home()?;
    let workspace = project::workspace(&home)?;
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
        story(&request, &cancel, events).await
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
