//! What became of a run that ended without a word: told truthfully by the next one, and followed to its end if asked for.

use hoist_aws::{AwsError, Client, Service, read};
use serde_json::{Value, json};

use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::journal::{Entry, Journal, What};
use crate::refusal::{has_code, refused};
use crate::rollout::Mover;
use crate::work::Work;
use crate::{service, watch};

/// What became of a deployment that nobody watched to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// ECS was never asked for it, or refused.
    NeverBegun,
    /// It goes on; its service deployment.
    GoesOn(String),
    /// It succeeded, and serves.
    Serves,
    /// It was rolled back.
    RolledBack,
    /// It ended otherwise, in the word of ECS.
    Ended(String),
    /// It succeeded, and another revision has taken its place.
    Replaced,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fate::NeverBegun => f.write_str("ECS never began that deployment"),
            Fate::GoesOn(_) => f.write_str("that deployment is still in flight"),
            Fate::Serves => f.write_str("that deployment succeeded, and its revision serves"),
            Fate::RolledBack => f.write_str("ECS has rolled that deployment back"),
            Fate::Ended(status) => write!(f, "that deployment ended as {status}"),
            Fate::Replaced => f.write_str("another deployment has replaced it since"),
        }
    }
}

/// A run that ended without a word, in the middle of a deployment.
pub struct Unfinished {
    entry: Entry,
    cluster: String,
    service: String,
    task_definition: String,
    created: bool,
}

impl Unfinished {
    /// The last one of the journal, if there is one.
    pub fn of(journal: &Journal) -> Option<Unfinished> {
        let entry = journal.unfinished().ok().flatten()?;
        let What::Deploying {
            cluster,
            service,
            task_definition,
            created,
        } = entry.what.clone()
        else {
            return None;
        };
        Some(Unfinished {
            entry,
            cluster,
            service,
            task_definition,
            created,
        })
    }

    /// Whether it made this service.
    pub fn created(&self, cluster: &str, service: &str) -> bool {
        self.created && self.cluster == cluster && self.service == service
    }

    fn name(&self) -> &str {
        let arn = self.task_definition.as_str();
        arn.rsplit('/').next().unwrap_or(arn)
    }

    /// Records the end that it did not record itself.
    fn close(&self, journal: &Journal, fate: &Fate, events: &Events) {
        let end = What::Ended {
            outcome: "killed".to_owned(),
            summary: fate.to_string(),
        };
        if let Err(error) = journal.record_of(&self.entry.run, end) {
            events.warn(
                Step::Deploy,
                format!("failed to write the journal: {error}"),
            );
        }
    }

    /// Asks ECS what became of it.
    ///
    /// # Errors
    /// AWS refused a call.
    pub async fn fate(&self, aws: &Client) -> Result<Fate, AwsError> {
        let request = json!({ "cluster": self.cluster, "service": self.service, "maxResults": 20 });
        let listed = match aws
            .json(Service::Ecs, "ListServiceDeployments", request)
            .await
        {
            Ok(listed) => listed,
            Err(error)
                if has_code(&error, "ServiceNotFoundException")
                    || has_code(&error, "ClusterNotFoundException") =>
            {
                return Ok(Fate::NeverBegun);
            }
            Err(error) => return Err(error),
        };
        let began = self.entry.at.parse::<jiff::Timestamp>().ok();
        // Clocks may differ by a little; a deployment from well before the run is another one's.
        let began = began.map(|at| at - jiff::SignedDuration::from_secs(60));
        for (nth, brief) in read::service_deployment_briefs(&listed).enumerate() {
            if brief
                .created()
                .is_some_and(|at| began.is_some_and(|began| at < began))
            {
                break;
            }
            let revisions = json!({ "serviceRevisionArns": [brief.target_revision()] });
            let answer = aws
                .json(Service::Ecs, "DescribeServiceRevisions", revisions)
                .await?;
            let is_ours = read::service_revisions(&answer)
                .any(|revision| revision.task_definition() == self.task_definition);
            if is_ours {
                return Ok(match brief.status() {
                    "SUCCESSFUL" if nth == 0 => Fate::Serves,
                    "SUCCESSFUL" => Fate::Replaced,
                    "ROLLBACK_SUCCESSFUL" => Fate::RolledBack,
                    "STOPPED" if nth > 0 => Fate::Replaced,
                    status @ ("STOPPED" | "ROLLBACK_FAILED") => Fate::Ended(status.to_owned()),
                    _ => Fate::GoesOn(brief.arn().to_owned()),
                });
            }
        }
        Ok(Fate::NeverBegun)
    }
}

/// Says what a run that was killed left open, and what became of it.
pub async fn tell(aws: &Client, journal: &Journal, events: &Events) {
    let Some(last) = Unfinished::of(journal) else {
        return;
    };
    let fate = match last.fate(aws).await {
        Ok(fate) => {
            if !matches!(fate, Fate::GoesOn(_)) {
                last.close(journal, &fate, events);
            }
            fate.to_string()
        }
        Err(error) => format!("what became of it could not be found out: {error}"),
    };
    events.warn(
        Step::Check,
        format!(
            "a run at {} ended without a word while it deployed {} to {}: {fate}",
            last.entry.at,
            last.name(),
            last.service
        ),
    );
}

/// Follows the run that was killed to its end. Returns the work item and the revision that serves; `None` where no run was killed.
///
/// # Errors
/// As of the deployment itself, each end by its kind.
pub async fn follow(
    mover: &Mover<'_>,
    works: Vec<Work>,
    events: &Events,
) -> Result<Option<(Work, String)>, Failure> {
    let (aws, journal, cancel) = (mover.aws, mover.journal, mover.cancel);
    let Some(last) = Unfinished::of(journal) else {
        events.note(
            Step::Deploy,
            "there is nothing to resume: every run recorded its end",
        );
        return Ok(None);
    };
    let step = events.start(Step::Deploy, format!("{} to {}", last.name(), last.service));
    let ended = last.fate(aws).await.map_err(|error| {
        refused(
            format!("failed to find out what became of {}", last.name()),
            &error,
        )
    });
    let fate = cancel.or(async { ended }).await?;
    let what = format!("{}: {fate}", last.service);
    let outcome = match &fate {
        Fate::GoesOn(arn) => watch_on(&last, arn, mover, &works, events).await,
        Fate::Serves => Ok(format!("{} serves", last.name())),
        Fate::NeverBegun => {
            Err(Failure::new(Kind::Unexpected, what).hint("nothing was changed; deploy again"))
        }
        Fate::RolledBack => Err(Failure::new(Kind::RolledBack, what)),
        Fate::Ended(_) => Err(Failure::new(Kind::NotRolledBack, what)),
        Fate::Replaced => Err(Failure::new(Kind::Superseded, what)),
    };
    // A signal ends the watching, not the deployment: then it stays to be resumed.
    let is_told = outcome.as_ref().map_or_else(
        |failure| !matches!(failure.kind, Kind::Interrupted | Kind::Terminated),
        |_| true,
    );
    if is_told {
        last.close(journal, &fate, events);
    }
    step.finish(outcome?);
    let work = works.into_iter().find(|work| work.name() == last.service);
    Ok(work.map(|work| (work, last.task_definition)))
}

async fn watch_on(
    last: &Unfinished,
    deployment: &str,
    mover: &Mover<'_>,
    works: &[Work],
    events: &Events,
) -> Result<String, Failure> {
    events.note(Step::Deploy, "it is still in flight; watching it");
    let ask = json!({ "taskDefinition": last.task_definition });
    let asked = mover.aws.json(Service::Ecs, "DescribeTaskDefinition", ask);
    let mut answer = mover
        .cancel
        .or(async {
            asked.await.map_err(|error| {
                refused(
                    format!("failed to describe {}", last.task_definition),
                    &error,
                )
            })
        })
        .await?;
    let definition: Value = answer["taskDefinition"].take();
    let live = mover
        .cancel
        .or(service::describe(mover.aws, &last.cluster, &last.service))
        .await?
        .unwrap_or_default();
    // What ran before is the deployment that is not ours.
    let previous = read::list(&live, "deployments")
        .map(|one| read::text(one, "taskDefinition"))
        .find(|arn| *arn != last.task_definition)
        .map(str::to_owned);
    let work = works.iter().find(|work| work.name() == last.service);
    let container = work.and_then(|work| work.service.container.as_deref());
    let digest = read::list(&definition, "containerDefinitions")
        .filter(|one| container.is_none_or(|name| one["name"] == name))
        .find_map(|one| one["image"].as_str()?.split_once('@'))
        .map(|(_, digest)| digest.to_owned());
    let watched = watch::Watched {
        aws: mover.aws,
        together: &mover.together,
        embedded: mover.embedded,
        cluster: &last.cluster,
        service: &last.service,
        revision: &last.task_definition,
        definition: &definition,
        container,
        digest: digest.unwrap_or_default(),
        health_path: None,
        known_deployment: Some(deployment.to_owned()),
        previous: previous.as_deref(),
        answer: None,
        asked_at: jiff::Timestamp::now(),
        timeout: mover.timeout,
        budget: watch::budget(work.and_then(|work| work.service.failure_budget)),
        journal: mover.journal,
        created: last.created,
    };
    watch::to_the_end(&watched, mover.cancel, events).await
}
