//! `hoist deploy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hoist_pipeline::{Deployed, Event, Events, Failure, Request, Until, Version, cancellation};

use super::dispatch::{async_run, say};
use super::{connect, local, project, signals};
use crate::arguments::{self, Deploy, Step};
use crate::render::Output;
use crate::{exit, render};

/// Variables whose values must never show in a job's log.
const SECRETS: [&str; 3] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
];

/// Deploys; the URL is the last line of standard output.
pub fn run(options: &Deploy) -> Result<(), Failure> {
    let output = options.output;
    let output = output.beside_a_shell(options.building.debug_shell);
    let deployed = told(output, |events| {
        let chosen = match (&options.image, options.revision) {
            (Some(image), _) => Some(Version::Image(image.clone())),
            (None, Some(number)) => Some(Version::Revision(number)),
            (None, None) if options.resume => Some(Version::Killed),
            (None, None) => None,
        };
        let asked = Asked {
            project: &options.project,
            aws: &options.aws,
            building: &options.building,
            services: &options.services,
            count: options.count,
            force: options.force,
            timeout: options.timeout,
            until: Until::Deployed,
        };
        asked.carry_out(chosen, events)
    })?;
    say_urls(&deployed);
    Ok(())
}

/// The steps of a deployment up to `until`.
pub fn part(options: &Step, until: Until) -> Result<Deployed, Failure> {
    let output = options.output;
    told(
        output.beside_a_shell(options.building.debug_shell),
        |events| {
            let asked = Asked {
                project: &options.project,
                aws: &options.aws,
                building: &options.building,
                services: &options.services,
                count: None,
                force: false,
                timeout: Duration::from_secs(1800),
                until,
            };
            asked.carry_out(None, events)
        },
    )
}

/// What the command line says of a deployment.
struct Asked<'a> {
    project: &'a arguments::Project,
    aws: &'a arguments::Aws,
    building: &'a arguments::Building,
    services: &'a [String],
    count: Option<u32>,
    force: bool,
    timeout: Duration,
    until: Until,
}

impl Asked<'_> {
    /// Deploys the `chosen` version, else what the source builds to.
    fn carry_out(&self, chosen: Option<Version<'_>>, events: &Events) -> Result<Deployed, Failure> {
        let project = project::load(self.project)?;
        let source = project.source();
        // The embedded AWS is started as the user, before this process becomes what builds need it to be.
        let aws = connect::connect(self.aws, project.region.as_deref())?;
        let home = local::home()?;
        let workspace;
        let version = match chosen {
            Some(version) => version,
            None if project.as_written => Version::Written,
            None => {
                workspace = project::workspace(&home)?;
                Version::Source {
                    source: &source,
                    workspace: &workspace,
                    build: Box::new(project::build_options(self.building)),
                }
            }
        };
        let request = Request {
            project: &project,
            version,
            until: self.until,
            aws: &aws,
            embedded: self.aws.local,
            services: self.services.to_vec(),
            count: self.count,
            force: self.force,
            timeout: self.timeout,
            journal: home.path().join("journal.jsonl"),
        };
        carry_out(&request, events)
    }
}

/// Runs the story, listening for signals.
pub fn carry_out(request: &Request<'_>, events: &Events) -> Result<Deployed, Failure> {
    async_run(async {
        let (canceller, cancel) = cancellation();
        signals::listen(canceller)?;
        hoist_pipeline::deploy(request, &cancel, events, |kind| exit::of(kind).1).await
    })
}

/// Runs `work` with an event stream that always ends with the end: also where it failed before the story began.
pub fn told(
    output: Output,
    work: impl FnOnce(&Events) -> Result<Deployed, Failure>,
) -> Result<Deployed, Failure> {
    if output.is_github() {
        for name in SECRETS {
            std::env::var(name)
                .iter()
                .for_each(|secret| render::github::mask(secret));
        }
    }
    let began = Instant::now();
    let finished = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&finished);
    let events = Events::new(vec![
        render::reader(output),
        Box::new(move |event| {
            if matches!(event, Event::Finished { .. }) {
                seen.store(true, Ordering::Relaxed);
            }
        }),
    ]);
    work(&events).inspect_err(|failure| {
        if !finished.load(Ordering::Relaxed) {
            events.emit(Event::Finished {
                outcome: exit::of(failure.kind).1.to_owned(),
                summary: failure.message.clone(),
                image: None,
                tag: None,
                digest: None,
                task_definition: None,
                url: None,
                services: Vec::new(),
                millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
    })
}

/// The URLs that answer, one a line.
pub fn say_urls(deployed: &Deployed) {
    for url in deployed
        .services
        .iter()
        .filter_map(|service| service.url.as_ref())
    {
        say(url);
    }
}

/// The image's reference.
pub fn say_image(deployed: &Deployed) {
    if let Some(image) = &deployed.image {
        say(image);
    }
}
