//! The whole story, from the source to a URL that answers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hoist_aws::Client;
use hoist_image::Workspace;
use hoist_project::{Project, Source};
use serde_json::Value;

use crate::cancel::Cancel;
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::image::{BuildOptions, Builder, Published};
use crate::journal::{Journal, What};
use crate::provision::{self, Wanted};
use crate::register::{self, Revision};
use crate::work::{self, Work};
use crate::{resolve, scaling, service, url, watch};

/// What one run is asked to do.
pub struct Request<'a> {
    /// The project.
    pub project: &'a Project,
    /// The source that it is deployed from.
    pub source: &'a Source,
    /// AWS, real or embedded.
    pub aws: &'a Client,
    /// Whether AWS is the embedded one, where what the definitions refer to is made.
    pub embedded: bool,
    /// Store and cache of the build engine.
    pub workspace: &'a Workspace,
    /// How the image is built.
    pub build: BuildOptions,
    /// Services to deploy; all of them if empty.
    pub services: Vec<String>,
    /// Number of tasks, if it is to be set.
    pub count: Option<u32>,
    /// Whether to deploy although nothing changed.
    pub force: bool,
    /// Longest time for the rollout of a service.
    pub timeout: Duration,
    /// The journal's file.
    pub journal: PathBuf,
}

/// A run that ended well.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    /// URLs that answered, in the order of the services.
    pub urls: Vec<String>,
    /// The image by digest.
    pub image: Option<String>,
    /// Task definition ARN of the last service.
    pub task_definition: Option<String>,
    /// Whether anything was changed.
    pub changed: bool,
}

/// Runs the story. Every end, good or bad, is told as an [`Event::Finished`] and recorded in the journal.
///
/// # Errors
/// Each end that is no success, by its kind.
pub async fn deploy(
    request: &Request<'_>,
    cancel: &Cancel,
    events: &Events,
    name_of: fn(Kind) -> &'static str,
) -> Result<Deployed, Failure> {
    let began = Instant::now();
    let mut told = Told::default();
    let journal = Journal::open(&request.journal).map_err(|error| {
        Failure::because(
            Kind::Unexpected,
            format!("failed to open the journal {}", request.journal.display()),
            &error,
        )
    })?;
    let target = if request.embedded {
        "embedded AWS".to_owned()
    } else {
        request.aws.region().to_owned()
    };
    events.emit(Event::Started {
        app: request.project.app.clone(),
        target: target.clone(),
        source: work::describe(request.source),
    });
    let outcome = Run {
        request,
        cancel,
        events,
        journal: &journal,
        told: &mut told,
        target,
    }
    .all()
    .await;
    let (name, summary) = match &outcome {
        Ok(deployed) if deployed.changed => ("done", "the new revision serves".to_owned()),
        Ok(_) => ("done", "nothing changed; nothing was deployed".to_owned()),
        Err(failure) => (name_of(failure.kind), failure.message.clone()),
    };
    if let Err(error) = journal.record(What::Ended {
        outcome: name.to_owned(),
        summary: summary.clone(),
    }) {
        events.warn(
            Step::Verify,
            format!(
                "failed to record the end in {}: {error}",
                request.journal.display()
            ),
        );
    }
    events.emit(Event::Finished {
        outcome: name.to_owned(),
        summary,
        image: told.image.as_ref().map(|image| image.reference.clone()),
        tag: told.image.as_ref().map(|image| image.tag.clone()),
        digest: told.image.as_ref().map(|image| image.digest.to_string()),
        task_definition: told.revision.as_ref().map(|revision| revision.arn.clone()),
        url: told.urls.last().cloned(),
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    outcome
}

/// What can be said of a run, however it ended.
#[derive(Default)]
struct Told {
    image: Option<Published>,
    revision: Option<Revision>,
    urls: Vec<String>,
}

struct Run<'a> {
    request: &'a Request<'a>,
    cancel: &'a Cancel,
    events: &'a Events,
    journal: &'a Journal,
    told: &'a mut Told,
    target: String,
}

impl Run<'_> {
    async fn all(mut self) -> Result<Deployed, Failure> {
        let request = self.request;
        let works = work::plan(request.project, request.aws.region(), &request.services)?;
        let step = self
            .events
            .start(Step::Check, "hoist.yaml and the definitions");
        let warnings = work::check(&works)?;
        for warning in &warnings {
            self.events.warn(Step::Check, warning);
        }
        if let Some(note) = &request.source.note {
            self.events.warn(Step::Check, note.as_str());
        }
        step.finish(format!(
            "{} ok",
            works
                .iter()
                .map(|work| work.key())
                .collect::<Vec<_>>()
                .join(", ")
        ));
        if request.count.is_some() && works.len() > 1 {
            return Err(Failure::new(
                Kind::Configuration,
                format!(
                    "--count would set the number of tasks of {} services",
                    works.len()
                ),
            )
            .hint("name the one that it is for: --service NAME"));
        }
        self.tell_unfinished();
        if !request.embedded {
            self.look_ahead(&works).await?;
        }

        let builder = Builder {
            project: request.project,
            workspace: request.workspace,
            options: &request.build,
            events: self.events,
            cancel: self.cancel,
        };
        let image = builder.publish(request.aws, request.source).await?;
        self.record(What::Began {
            app: request.project.app.clone(),
            tag: image.tag.clone(),
            target: self.target.clone(),
        })?;
        self.record(What::Pushed {
            image: image.reference.clone(),
        })?;
        self.told.image = Some(image.clone());

        let mut deployed = Deployed {
            image: Some(image.reference.clone()),
            ..Deployed::default()
        };
        for work in works {
            deployed.changed |= self.one(work, &image).await?;
        }
        deployed.urls.clone_from(&self.told.urls);
        deployed.task_definition = self
            .told
            .revision
            .as_ref()
            .map(|revision| revision.arn.clone());
        Ok(deployed)
    }

    /// Finds out before anything is built or pushed that a cluster or a service is missing: in the wrong region nothing is there.
    async fn look_ahead(&self, works: &[Work]) -> Result<(), Failure> {
        for work in works {
            let seen = service::describe(self.request.aws, work.cluster(), work.name());
            can_go(work, self.cancel.or(seen).await?.as_ref())?;
        }
        Ok(())
    }

    fn record(&self, what: What) -> Result<(), Failure> {
        self.journal.record(what).map_err(|error| {
            Failure::because(
                Kind::Unexpected,
                format!(
                    "failed to write the journal {}",
                    self.request.journal.display()
                ),
                &error,
            )
        })
    }

    /// Says what a run that was killed left open; its deployment is looked at like any other in flight.
    fn tell_unfinished(&self) {
        if let Ok(Some(entry)) = self.journal.unfinished()
            && let What::Deploying {
                service,
                task_definition,
                ..
            } = entry.what
        {
            let name = task_definition
                .rsplit('/')
                .next()
                .unwrap_or(&task_definition)
                .to_owned();
            self.events.warn(
                Step::Check,
                format!(
                    "a run at {} ended without a word while it deployed {name} to {service}",
                    entry.at
                ),
            );
        }
    }

    /// One service, to its end. Returns whether anything changed.
    async fn one(&mut self, mut work: Work, image: &Published) -> Result<bool, Failure> {
        let (request, events, cancel) = (self.request, self.events, self.cancel);
        let aws = request.aws;
        let live = if request.embedded {
            let seen = service::describe_if_cluster(aws, work.cluster(), work.name());
            cancel.or(seen).await?
        } else {
            let seen = service::describe(aws, work.cluster(), work.name());
            cancel.or(seen).await?
        };
        work.overlay(aws, live.as_ref(), &image.reference).await?;
        if request.embedded {
            let step = events.start(Step::Provision, format!("what {} needs", work.name()));
            let wanted = Wanted {
                app: &request.project.app,
                service: &work.service.name,
                cluster: &work.service.cluster,
                task_definition: &mut work.task_definition,
                service_definition: &mut work.service_definition,
                target_group: work.target_group.as_ref(),
            };
            let made = cancel.or(provision::provision(aws, wanted, events)).await?;
            if made == 0 {
                step.skip("everything is there")
            } else {
                step.finish(format!("{made} created"))
            }
        } else {
            cancel
                .or(resolve::resolve(aws, &mut work, live.as_ref(), events))
                .await?;
        }
        can_go(&work, live.as_ref())?;
        let running = live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str());
        let step = events.start(
            Step::Register,
            work.task_definition["family"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        let tags = work::tags(&request.project.app, request.source, &image.tag);
        let revision = cancel
            .or(register::register(
                aws,
                &work.task_definition,
                running,
                &tags,
                events,
            ))
            .await?;
        if revision.fresh {
            step.finish(revision.name().to_owned());
        } else {
            step.skip(format!("{} says the same", revision.name()));
        }
        self.told.revision = Some(revision.clone());

        let changed = self.roll_out(&work, live, &revision, image).await?;
        self.after(&work)
            .await
            .map_err(|failure| match failure.kind {
                Kind::Interrupted | Kind::Terminated => failure.hint(format!(
                    "{} serves in {} already, and nothing was rolled back",
                    revision.name(),
                    work.name()
                )),
                _ => failure,
            })?;
        Ok(changed)
    }

    /// What comes when the revision serves: auto scaling, and the URL.
    async fn after(&mut self, work: &Work) -> Result<(), Failure> {
        let (aws, cancel) = (self.request.aws, self.cancel);
        let live = cancel
            .or(service::describe(aws, work.cluster(), work.name()))
            .await?
            .ok_or_else(|| {
                Failure::new(
                    Kind::Superseded,
                    format!("the service {} was deleted meanwhile", work.name()),
                )
            })?;
        if let Some(scaling) = &work.service.scaling {
            let applied = scaling::apply(aws, work.cluster(), &live, scaling, self.events);
            cancel.or(applied).await?;
        }
        self.access(work, &live).await
    }

    async fn roll_out(
        &self,
        work: &Work,
        live: Option<Value>,
        revision: &Revision,
        image: &Published,
    ) -> Result<bool, Failure> {
        let (request, events) = (self.request, self.events);
        let aws = request.aws;
        let step = events.start(
            Step::Deploy,
            format!("{} to {}", revision.name(), work.name()),
        );
        let mut began_with = None;
        let mut answer = None;
        let asked_at = jiff::Timestamp::now();
        if live.is_some()
            && let Some(flying) = self
                .cancel
                .or(service::in_flight(aws, work.cluster(), work.name()))
                .await?
        {
            // Our own revision on its way, as a killed run leaves it, is watched to its end and not deployed a second time.
            let ours = flying.task_definition.as_deref() == Some(&revision.arn)
                && matches!(flying.status.as_str(), "PENDING" | "IN_PROGRESS");
            if !ours {
                return Err(Failure::new(
                    Kind::InFlight,
                    format!(
                        "another deployment of {} is in flight ({}, {})",
                        work.name(),
                        flying.status,
                        flying.arn
                    ),
                )
                .hint("wait for its end, or stop it, and deploy again"));
            }
            events.note(
                Step::Deploy,
                "this revision is being deployed already; watching it",
            );
            if let Some(count) = request.count.filter(|count| {
                live.as_ref()
                    .is_none_or(|live| live["desiredCount"] != *count)
            }) {
                events.warn(
                    Step::Deploy,
                    format!("--count {count} was not applied to it; deploy again for that"),
                );
            }
            began_with = Some(flying.arn);
        }
        if began_with.is_none() {
            let moved = match &live {
                None => None,
                Some(live) => {
                    let changes = service::changes(live, &work.service_definition);
                    let same = live["taskDefinition"] == *revision.arn;
                    let failed = last_failed(live);
                    let serves = same && !failed;
                    let count = request.count.filter(|count| live["desiredCount"] != *count);
                    if serves && changes.is_empty() && count.is_none() && !request.force {
                        step.skip(format!("{} serves already", revision.name()));
                        return Ok(false);
                    }
                    let wanted = service::Move {
                        task_definition: revision.arn.clone(),
                        changes,
                        count,
                        force: request.force || same && failed,
                    };
                    Some((live, wanted))
                }
            };
            self.cancel.or(async { Ok(()) }).await?;
            self.record(What::Deploying {
                cluster: work.cluster().to_owned(),
                service: work.name().to_owned(),
                task_definition: revision.arn.clone(),
            })?;
            let call = async {
                match moved {
                    Some((live, wanted)) => {
                        service::update(aws, work.cluster(), live, wanted).await
                    }
                    None => {
                        let made = service::create(
                            aws,
                            work.cluster(),
                            work.name(),
                            &work.service_definition,
                            &revision.arn,
                            request.count,
                        )
                        .await?;
                        events.note(Step::Deploy, format!("created the service {}", work.name()));
                        Ok(made)
                    }
                }
            };
            // Not cancelled in the middle: a call whose answer is not awaited is a deployment that nobody watches.
            match self.cancel.grant(watch::GRACE, call).await {
                Ok(done) => answer = Some(done?),
                Err(signal) => {
                    return Err(signal.failure().hint(
                        "ECS had been asked for the deployment and had not answered: it may go on; deploy again, which looks first",
                    ));
                }
            }
        }
        let health_path = work
            .target_group
            .as_ref()
            .and_then(|group| group["HealthCheckPath"].as_str())
            .map(str::to_owned);
        let watched = watch::Watched {
            aws,
            embedded: request.embedded,
            cluster: work.cluster(),
            service: work.name(),
            revision: &revision.arn,
            definition: &work.task_definition,
            answer: answer.as_ref(),
            asked_at,
            container: work.service.container.as_deref(),
            digest: image.digest.to_string(),
            health_path,
            known_deployment: began_with,
            previous: live
                .as_ref()
                .and_then(|live| live["taskDefinition"].as_str()),
            timeout: request.timeout,
            journal: self.journal,
        };
        let summary = watch::to_the_end(&watched, self.cancel, events).await?;
        step.finish(summary);
        Ok(true)
    }

    async fn access(&mut self, work: &Work, live: &Value) -> Result<(), Failure> {
        if live["desiredCount"] == 0 {
            let why = format!("{} wants no task, so no URL is asked", work.name());
            self.events.note(Step::Verify, why);
            return Ok(());
        }
        let Some(url) = self.cancel.or(url::find(self.request.aws, live)).await? else {
            if !hoist_aws::read::list(live, "loadBalancers")
                .as_slice()
                .is_empty()
            {
                self.events.warn(
                    Step::Verify,
                    format!(
                        "{} has a load balancer that no listener leads to, so no URL was asked",
                        work.name()
                    ),
                );
            }
            return Ok(());
        };
        url::verify(&url, &work.service.url, self.cancel, self.events).await?;
        self.told.urls.push(url);
        Ok(())
    }
}

/// Whether the newest deployment of the service failed, so that its revision is named but does not serve.
fn last_failed(live: &Value) -> bool {
    live["deployments"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|deployment| {
            deployment["status"] == "PRIMARY" && deployment["rolloutState"] == "FAILED"
        })
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
    let known = || {
        project
            .services
            .iter()
            .map(|service| service.key.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let service = match name {
        Some(name) => project.service(name).ok_or_else(|| {
            Failure::new(Kind::Configuration, format!("there is no service `{name}`"))
                .hint(format!("its services are: {}", known()))
        })?,
        None => match project.services.as_slice() {
            [one] => one,
            _ => {
                return Err(
                    Failure::new(Kind::Configuration, "the project has several services")
                        .hint(format!("name one of them: {}", known())),
                );
            }
        },
    };
    match service::describe(aws, &service.cluster, &service.name).await? {
        Some(live) => url::find(aws, &live).await,
        None => Err(Failure::new(
            Kind::Check,
            format!(
                "the service {} does not exist in the cluster {}",
                service.name, service.cluster
            ),
        )
        .hint("deploy it first")),
    }
}
/// A service that does not exist needs a definition to be created from.
fn can_go(work: &Work, live: Option<&Value>) -> Result<(), Failure> {
    if live.is_some() || work.can_create {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Check,
        format!(
            "the service {} does not exist in the cluster {}",
            work.name(),
            work.cluster()
        ),
    )
    .hint(format!(
        "give `services: {{ {}: {{ service-definition: ... }} }}`, from which it is created",
        work.key()
    )))
}
