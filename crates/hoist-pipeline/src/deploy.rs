//! The whole story, from the source to a URL that answers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hoist_aws::Client;
use hoist_project::Project;

use crate::cancel::Cancel;
use crate::check::{self, Weight};
use crate::event::{Event, Events, ServiceOutcome, Step};
use crate::failure::{Failure, Kind};
use crate::image::{Builder, Published};
use crate::journal::{Journal, What};
use crate::killed::{self, Last};
use crate::ready::Ready;
use crate::release;
use crate::request::{Request, Until, Version};
use crate::rollout::Mover;
use crate::schedules::Fresh;
use crate::table::tail;
use crate::together::Together;
use crate::work::{self, Work};
use crate::{back, existing, gate, resume, select, service, target_group, telemetry, url};

/// A run that ended well.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    /// What became of each service, in the order of hoist.yaml.
    pub services: Vec<ServiceOutcome>,
    /// The image by digest.
    pub image: Option<String>,
}

impl Deployed {
    /// Whether anything was changed.
    pub fn changed(&self) -> bool {
        self.services.iter().any(|service| service.changed)
    }
}

/// Runs the story. Every end, good or bad, is told as an [`Event::Finished`] and recorded in the journal.
///
/// # Errors
/// Each end that is no success, by its kind.
pub fn deploy<'a>(
    request: &'a Request<'a>,
    cancel: &'a Cancel,
    events: &'a Events,
    name_of: fn(Kind) -> &'static str,
) -> Pin<Box<dyn Future<Output = Result<Deployed, Failure>> + 'a>> {
    Box::pin(tell(request, cancel, events, name_of))
}

async fn tell(
    request: &Request<'_>,
    cancel: &Cancel,
    events: &Events,
    name_of: fn(Kind) -> &'static str,
) -> Result<Deployed, Failure> {
    let began = Instant::now();
    let told = Mutex::new(Told::default());
    let unreadable = |error: std::io::Error| {
        Failure::because(
            Kind::Unexpected,
            format!("failed to open the journal {}", request.journal.display()),
            &error,
        )
    };
    let mut journal = Journal::open(&request.journal).map_err(unreadable)?;
    let target = if request.embedded {
        "embedded AWS".to_owned()
    } else {
        request.aws.region().to_owned()
    };
    let last = killed::last(&journal, &request.project.app, &target).map_err(unreadable)?;
    let resumed = match (&request.version, &last) {
        (Version::Killed, Last::Killed(killed)) => Some(killed.run.as_str()),
        _ => None,
    };
    journal.live(resumed).map_err(unreadable)?;
    let journal = Arc::new(journal);
    let events = &events.and(steps_into(Arc::clone(&journal)));
    let source = match &request.version {
        Version::Source { source, .. } => work::describe(source),
        Version::Written => "the definitions as they stand".to_owned(),
        Version::Image(image) => format!("the image {image}"),
        Version::Revision(number) => format!("revision {number}"),
        Version::Current => "the revision that is live".to_owned(),
        Version::LastGood => "the last good revision".to_owned(),
        Version::Killed => "what the last run left open".to_owned(),
    };
    let begins = match resumed {
        Some(_) => What::Resumed,
        None => request.started(&target, &source),
    };
    if let Err(error) = journal.note(begins) {
        events.warn(Step::Check, format!("failed to write the journal: {error}"));
    }
    events.emit(Event::Started {
        app: request.project.app.clone(),
        target: target.clone(),
        source,
    });
    let outcome = Run {
        request,
        cancel,
        events,
        journal: &journal,
        told: &told,
        target,
        last: &last,
    }
    .all()
    .await;
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (name, summary) = match &outcome {
        Ok(deployed) => ("done", request.summary(deployed).to_owned()),
        Err(failure) => (name_of(failure.kind), failure.message.clone()),
    };
    let ended = What::Ended {
        outcome: name.to_owned(),
        summary: summary.clone(),
    };
    // What was not gone on with stays to be resumed.
    let is_open = resumed.is_some() && !told.is_resumed;
    if !is_open && let Err(error) = journal.record(ended) {
        events.warn(
            Step::Verify,
            format!(
                "failed to record the end in {}: {error}",
                request.journal.display()
            ),
        );
    }
    let cancelled = matches!(&outcome, Err(failure) if matches!(failure.kind, Kind::Interrupted | Kind::Terminated));
    telemetry::export(&journal, cancelled, events).await;
    let last = |of: fn(&ServiceOutcome) -> Option<&String>| {
        told.services
            .iter()
            .rev()
            .find_map(|service| of(service).cloned())
    };
    events.emit(Event::Finished {
        outcome: name.to_owned(),
        summary,
        image: told.image.as_ref().map(|image| image.reference.clone()),
        tag: told.image.as_ref().map(|image| image.tag.clone()),
        digest: told.image.as_ref().map(|image| image.digest.to_string()),
        task_definition: last(|service| service.task_definition.as_ref()),
        url: last(|service| service.url.as_ref()),
        services: told.services,
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    outcome
}

/// Records each step that ends, with the time that it took.
fn steps_into(journal: Arc<Journal>) -> Box<dyn Fn(&Event) + Send + Sync> {
    Box::new(move |event| {
        if let Event::StepFinished {
            step,
            summary,
            millis,
        } = event
        {
            let ended = What::StepEnded {
                step: step.name().to_owned(),
                summary: summary.clone(),
                millis: *millis,
            };
            // It only serves to explain where the time went: the deployment goes on without it.
            if let Err(error) = journal.note(ended) {
                tracing::debug!(%error, "the journal did not take a step");
            }
        }
    })
}

/// What can be said of a run, however it ended.
#[derive(Default)]
struct Told {
    /// Whether what a run that was killed left open was gone on with.
    is_resumed: bool,
    image: Option<Published>,
    services: Vec<ServiceOutcome>,
}

/// What a service comes to before it moves.
enum Found {
    /// It can be moved.
    Ready(Box<Ready>),
    /// Its deployment in flight was taken back, which is all that a rollback asks for.
    TakenBack(ServiceOutcome),
}

/// Key and revision of each service.
fn revisions(ready: &[Ready]) -> Vec<(String, String)> {
    ready
        .iter()
        .map(|service| (service.work.key().to_owned(), service.revision.arn.clone()))
        .collect()
}

struct Run<'a> {
    request: &'a Request<'a>,
    cancel: &'a Cancel,
    events: &'a Events,
    journal: &'a Journal,
    told: &'a Mutex<Told>,
    target: String,
    /// What the journal says of the newest run before.
    last: &'a Last,
}

impl Run<'_> {
    async fn all(self) -> Result<Deployed, Failure> {
        let request = self.request;
        let is_resumed = matches!(request.version, Version::Killed);
        // What is gone on with was chosen then.
        let services = match is_resumed {
            true => &[],
            false => request.services.as_slice(),
        };
        let works = work::works(request.project, request.aws.region(), services)?;
        let step = self
            .events
            .start(Step::Check, "hoist.yaml and the definitions");
        let mut warnings = work::project_warnings(request.project);
        warnings.extend(work::check(&works)?);
        if let Version::Source { source, .. } = &request.version {
            warnings.extend(source.note.clone());
        }
        for warning in &warnings {
            self.events.warn(Step::Check, warning);
        }
        // A way back must not wait for what only a new version would need.
        if matches!(
            request.version,
            Version::Source { .. } | Version::Written | Version::Image(_)
        ) {
            let checks = check::account(
                request.aws,
                request.project,
                request.embedded,
                true,
                &request.services,
            );
            let checked = self.cancel.or(checks).await?;
            for found in checked
                .found
                .iter()
                .filter(|found| found.weight != Weight::Error)
            {
                let text = found.to_string();
                match found.weight {
                    Weight::Note => self.events.note(Step::Check, text.trim_end()),
                    _ => self
                        .events
                        .warn(Step::Check, text.trim_start_matches("warning: ").trim_end()),
                }
            }
            if let Some(failure) = checked.failure() {
                return Err(failure);
            }
        }
        let keys: Vec<&str> = works.iter().map(Work::key).collect();
        step.finish(format!("{} ok", keys.join(", ")));
        request.names_one(works.len())?;
        let killed = match self.last {
            Last::Killed(killed) => Some(&**killed),
            Last::Ended | Last::Alive(_) => None,
        };
        let plan = killed.map(|killed| &killed.plan).filter(|_| is_resumed);
        let mover = Mover {
            aws: request.aws,
            together: Together::new(request.aws.clone()),
            embedded: request.embedded,
            project: request.project,
            count: plan.map_or(request.count, |plan| plan.count),
            force: plan.map_or(request.force, |plan| plan.force),
            timeout: request.timeout,
            journal: self.journal,
            cancel: self.cancel,
            killed,
            resumes: is_resumed,
        };
        if is_resumed {
            return self.resume(&mover, works).await;
        }
        self.tell_last().await?;

        let image = self.image().await?;
        if let Some(image) = &image {
            self.record(What::Began {
                app: request.project.app.clone(),
                tag: image.tag.clone(),
                target: self.target.clone(),
            })?;
            self.record(What::Pushed {
                image: image.reference.clone(),
            })?;
            self.tell(|told| told.image = Some(image.clone()));
        }
        let mut deployed = Deployed {
            services: Vec::new(),
            image: image.as_ref().map(|image| image.reference.clone()),
        };
        if request.until == Until::Pushed {
            return Ok(deployed);
        }
        if let Some(image) = &image {
            let (aws, repository) = (request.aws, request.project.repository());
            let gates = &request.project.gates;
            gate::scan(aws, repository, image, gates, self.cancel, self.events).await?;
        }
        let mut ready = Vec::new();
        for work in works {
            let found = match &image {
                None if !matches!(request.version, Version::Written) => {
                    self.revision(&mover, work).await?
                }
                image => {
                    let tags = self.tags(image.as_ref());
                    let prepared = mover.prepare(work, image.as_ref(), &tags, self.events);
                    Found::Ready(Box::new(prepared.await?))
                }
            };
            match found {
                Found::Ready(prepared) => ready.push(*prepared),
                Found::TakenBack(outcome) => {
                    self.tell(|told| told.services.push(outcome.clone()));
                    deployed.services.push(outcome);
                }
            }
        }
        if request.until == Until::Registered {
            deployed.services.extend(ready.iter().map(Ready::outcome));
            self.tell(|told| told.services.clone_from(&deployed.services));
            return Ok(deployed);
        }
        let tags = self.tags(image.as_ref());
        let fresh = Fresh {
            image: image.as_ref().map(|image| image.reference.as_str()),
            tags: &tags,
            revisions: revisions(&ready),
            whole: ready.len() == request.project.services.len(),
            begins: image.is_some() || matches!(request.version, Version::Written),
        };
        let fresh = Some(&fresh).filter(|_| !matches!(request.version, Version::Current));
        let moved = self.release(&mover, ready, fresh).await?;
        deployed.services.extend(moved);
        Ok(deployed)
    }

    /// Says what became of the run before, where it did not say so itself.
    async fn tell_last(&self) -> Result<(), Failure> {
        match self.last {
            Last::Ended => Ok(()),
            Last::Alive(since) => {
                let text = format!("another run of hoist, begun at {since}, is still at work");
                self.events.note(Step::Check, text);
                Ok(())
            }
            Last::Killed(killed) => {
                let told = resume::tell(self.request.aws, self.journal, killed, self.events);
                let told = async {
                    told.await;
                    Ok(())
                };
                self.cancel.or(told).await
            }
        }
    }

    /// Goes on with the run that was killed, to its end.
    async fn resume(&self, mover: &Mover<'_>, works: Vec<Work>) -> Result<Deployed, Failure> {
        let killed = match self.last {
            Last::Killed(killed) => killed,
            Last::Alive(since) => {
                return Err(Failure::new(
                    Kind::InFlight,
                    format!("the last run, begun at {since}, is still at work"),
                )
                .hint("there is nothing to resume while it lives"));
            }
            Last::Ended => {
                self.events.note(
                    Step::Deploy,
                    "there is nothing to resume: every run recorded its end",
                );
                return Ok(Deployed::default());
            }
        };
        let ready = resume::ready(mover, killed, works, self.events).await?;
        self.tell(|told| told.is_resumed = true);
        let plan = &killed.plan;
        let fresh = Fresh {
            image: plan.image.as_deref(),
            tags: &plan.tags,
            revisions: revisions(&ready),
            whole: plan.whole,
            begins: plan.begins,
        };
        let services = self.release(mover, ready, Some(&fresh).filter(|_| plan.schedules));
        let deployed = Deployed {
            services: services.await?,
            image: plan.image.clone(),
        };
        Ok(deployed)
    }

    async fn release(
        &self,
        mover: &Mover<'_>,
        ready: Vec<Ready>,
        fresh: Option<&Fresh<'_>>,
    ) -> Result<Vec<ServiceOutcome>, Failure> {
        let project = self.request.project;
        let tell = |outcome: &ServiceOutcome| self.tell(|told| told.services.push(outcome.clone()));
        release::carry_out(mover, project, ready, fresh, self.events, &tell).await
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The image, where the version is one.
    async fn image(&self) -> Result<Option<Published>, Failure> {
        let request = self.request;
        match &request.version {
            Version::Source {
                source,
                workspace,
                build,
            } => {
                let builder = Builder {
                    project: request.project,
                    workspace,
                    options: build,
                    events: self.events,
                    cancel: self.cancel,
                };
                builder.publish(request.aws, source).await.map(Some)
            }
            Version::Image(given) => {
                let step = self.events.start(Step::Push, format!("find {given}"));
                let found = self
                    .cancel
                    .or(existing::find(request.aws, request.project, given))
                    .await?;
                step.skip(format!("{} is there", found.reference));
                Ok(Some(found))
            }
            Version::Written
            | Version::Revision(_)
            | Version::Current
            | Version::LastGood
            | Version::Killed => Ok(None),
        }
    }

    fn tags(&self, image: Option<&Published>) -> Vec<(String, String)> {
        let tag = image.map(|image| image.tag.as_str());
        let commit = match &self.request.version {
            Version::Source { source, .. } => source.commit.as_deref(),
            // A full hash as the tag of an image that exists is the commit that it was built from.
            _ => tag
                .filter(|tag| tag.len() == 40 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())),
        };
        work::tags(&self.request.project.app, commit, tag)
    }

    /// The revision that exists already.
    async fn revision(&self, mover: &Mover<'_>, work: Work) -> Result<Found, Failure> {
        let aws = self.request.aws;
        let live = self.cancel.or(select::live(aws, &work.service)).await?;
        let arn = match self.request.version {
            Version::Revision(number) => self.cancel.or(back::numbered(aws, &live, number)).await?,
            Version::Current => live["taskDefinition"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            _ => {
                let flying = service::in_flight(aws, work.cluster(), work.name());
                if let Some(flying) = self.cancel.or(flying).await? {
                    let pause = mover.pause();
                    let (cancel, events) = (self.cancel, self.events);
                    let killed = mover.killed.filter(|_| mover.embedded);
                    // The way back may not end without.
                    if let Some(left) =
                        killed.and_then(|killed| killed.retargeted(work.cluster(), work.name()))
                    {
                        left.put_back(aws, events).await;
                    }
                    back::take_back(
                        aws,
                        work.name(),
                        &flying,
                        pause,
                        self.request.timeout,
                        cancel,
                        events,
                    )
                    .await?;
                    let live = self.cancel.or(select::live(aws, &work.service)).await?;
                    let mut outcome = ServiceOutcome::of(&work);
                    outcome.changed = true;
                    outcome.task_definition = live["taskDefinition"].as_str().map(str::to_owned);
                    outcome.url = self
                        .cancel
                        .or(url::find(aws, &live))
                        .await?
                        .map(|found| found.url);
                    return Ok(Found::TakenBack(outcome));
                }
                let found = back::last_good(aws, work.cluster(), work.name(), &live);
                self.cancel.or(found).await?
            }
        };
        let definition = self.cancel.or(back::describe(aws, &arn)).await?;
        let went_with = match self.request.version {
            Version::Current => None,
            _ => back::checked_by(self.journal, work.cluster(), work.name(), &arn),
        };
        if let (false, Some(wanted)) = (mover.embedded, &went_with) {
            let differing = target_group::differing(aws, &live, wanted).await;
            if let Ok(Some(differing)) = differing {
                let deployed_as = format!("{} was deployed with", tail(&arn));
                let text = differing.left_alone(&deployed_as);
                self.events.warn(Step::Deploy, text);
            }
        }
        let mut ready = Ready::existing(work, live, arn, definition);
        ready.work.target_group = went_with;
        Ok(Found::Ready(Box::new(ready)))
    }

    fn record(&self, what: What) -> Result<(), Failure> {
        record(self.journal, what)
    }
}

/// Writes into the journal.
///
/// # Errors
/// It cannot be written.
pub fn record(journal: &Journal, what: What) -> Result<(), Failure> {
    journal
        .record(what)
        .map_err(|error| Failure::because(Kind::Unexpected, "failed to write the journal", &error))
}

/// Where a service of the project answers; `None` where it has no address. `name` may be left out where there is one service.
///
/// # Errors
/// No such service, or AWS refused a call.
pub async fn service_url(
    aws: &Client,
    project: &Project,
    name: Option<&str>,
) -> Result<Option<String>, Failure> {
    let live = select::live(aws, select::one(project, name)?).await?;
    Ok(url::find(aws, &live).await?.map(|found| found.url))
}
