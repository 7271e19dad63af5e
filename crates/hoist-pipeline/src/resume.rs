//! What became of a run that ended without a word: told truthfully by the next one, and gone on with if asked for.

use hoist_aws::{AwsError, Client, Service, read};
use serde_json::json;

use crate::back;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::journal::{Intended, Journal, What};
use crate::killed::{Killed, Trace};
use crate::parallel::{self, Boxed};
use crate::ready::Ready;
use crate::refusal::{has_code, refused};
use crate::rollout::Mover;
use crate::service;
use crate::table::tail;
use crate::work::Work;

/// Services that are looked at at the same time.
const AT_ONCE: usize = 8;

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

/// How far the run that is gone on with came with a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Came {
    /// Not at all, or there is no such run.
    #[default]
    Nowhere,
    /// ECS was asked, and this came of it.
    Asked(Fate),
    /// It serves, after all that comes with that.
    Moved { changed: bool },
    /// It was to go back to what ran before.
    GoingBack,
}

/// Asks ECS what became of the deployment that a run asked for at about `since`.
///
/// # Errors
/// AWS refused a call.
pub async fn fate(aws: &Client, wanted: &Intended, since: &str) -> Result<Fate, AwsError> {
    let request = json!({ "cluster": wanted.cluster, "service": wanted.service, "maxResults": 20 });
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
    let began = since.parse::<jiff::Timestamp>().ok();
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
            .any(|revision| revision.task_definition() == wanted.task_definition);
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

/// Says what a run that was killed left open, and what became of each service.
pub async fn tell(aws: &Client, journal: &Journal, killed: &Killed, events: &Events) {
    let looks = killed
        .plan
        .services
        .iter()
        .map(|one| -> Boxed<'_, _> {
            Box::pin(async move {
                match killed.trace(one) {
                    Trace::Untouched => Seen::Untouched,
                    Trace::Moved { .. } => Seen::Moved,
                    Trace::GoingBack => Seen::GoingBack,
                    Trace::Asked(_) if one.by_codedeploy => Seen::ByCodeDeploy,
                    Trace::Asked(since) => Seen::Asked(fate(aws, one, &since).await),
                }
            })
        })
        .collect();
    let seen = parallel::all(AT_ONCE, looks).await;
    let mut untouched = Vec::new();
    let mut is_settled =
        killed.taking_back().is_none() && put_back(aws, killed, &seen, events).await;
    let mut said = false;
    for (one, seen) in killed.plan.services.iter().zip(&seen) {
        let revision = tail(&one.task_definition);
        let what = match seen {
            Seen::Untouched => {
                untouched.push(one.service.as_str());
                continue;
            }
            Seen::Moved => format!("{revision} serves there since"),
            Seen::GoingBack => {
                is_settled = false;
                let before = one.previous.as_deref().map_or("what ran before", tail);
                format!("it was to go back to {before}")
            }
            Seen::ByCodeDeploy => {
                is_settled = false;
                "CodeDeploy was asked for it, or was about to be; --resume follows it".to_owned()
            }
            Seen::Asked(Ok(fate)) => {
                is_settled &= !matches!(fate, Fate::GoesOn(_));
                fate.to_string()
            }
            Seen::Asked(Err(error)) => {
                is_settled = false;
                format!("what became of it could not be found out: {error}")
            }
        };
        said = true;
        let text = format!(
            "a run at {} ended without a word while it deployed {revision} to {}: {what}",
            killed.at, one.service
        );
        events.warn(Step::Check, text);
    }
    if !said {
        let text = format!(
            "a run at {} ended without a word before it moved a service",
            killed.at
        );
        events.warn(Step::Check, text);
    } else if !untouched.is_empty() {
        let text = format!("that run had not begun with {}", untouched.join(", "));
        events.warn(Step::Check, text);
    }
    if !(is_settled && said && untouched.is_empty()) {
        return;
    }
    let fates: Vec<String> = killed
        .plan
        .services
        .iter()
        .zip(&seen)
        .filter_map(|(one, seen)| match seen {
            Seen::Asked(Ok(fate)) => Some(format!("{}: {fate}", one.service)),
            _ => None,
        })
        .collect();
    let end = What::Ended {
        outcome: "killed".to_owned(),
        summary: fates.join("; "),
    };
    if let Err(error) = journal.record_of(&killed.run, end) {
        events.warn(Step::Check, format!("failed to write the journal: {error}"));
    }
}

/// Puts back what a run that was killed changed of the target groups of services that do not run its revision. Returns whether all are
/// what they were.
async fn put_back(aws: &Client, killed: &Killed, seen: &[Seen], events: &Events) -> bool {
    let mut is_done = true;
    for (one, seen) in killed.plan.services.iter().zip(seen) {
        let is_lost = matches!(
            seen,
            Seen::Asked(Ok(Fate::NeverBegun | Fate::RolledBack | Fate::Ended(_)))
        );
        let left = killed.retargeted(&one.cluster, &one.service);
        if let Some(left) = left.filter(|_| is_lost) {
            is_done &= left.put_back(aws, events).await;
        }
    }
    is_done
}

/// What is seen now of a service of a run that was killed.
enum Seen {
    Untouched,
    Moved,
    GoingBack,
    ByCodeDeploy,
    Asked(Result<Fate, AwsError>),
}

/// The services of a run that was killed, each as far as it came, ready to go on.
///
/// # Errors
/// hoist.yaml has one of them no longer; AWS refused a call.
pub async fn ready(
    mover: &Mover<'_>,
    killed: &Killed,
    works: Vec<Work>,
    events: &Events,
) -> Result<Vec<Ready>, Failure> {
    let (mut pairs, mut lost) = (Vec::new(), Vec::new());
    for one in &killed.plan.services {
        let work = works
            .iter()
            .find(|work| work.cluster() == one.cluster && work.name() == one.service);
        match work {
            Some(work) => pairs.push((one, work)),
            None => lost.push(one.service.as_str()),
        }
    }
    if !lost.is_empty() {
        return Err(Failure::new(
            Kind::Configuration,
            format!(
                "the run that was killed at {} deployed {}, which hoist.yaml has no longer",
                killed.at,
                lost.join(", ")
            ),
        )
        .hint("resume it with the hoist.yaml and the environment that it had, or deploy anew"));
    }
    let looks = pairs
        .into_iter()
        .map(|(one, work)| -> Boxed<'_, _> { Box::pin(look(mover, killed, one, work)) })
        .collect();
    let all = mover
        .cancel
        .or(async { Ok(parallel::all(AT_ONCE, looks).await) })
        .await?;
    let ready = all.into_iter().collect::<Result<Vec<Ready>, Failure>>()?;
    let untouched = |one: &&Ready| one.came == Came::Nowhere;
    let left = ready.iter().filter(untouched).count();
    events.note(
        Step::Deploy,
        format!(
            "goes on with the run of {}: {} of {} services were begun",
            killed.at,
            ready.len() - left,
            ready.len()
        ),
    );
    Ok(ready)
}

async fn look(
    mover: &Mover<'_>,
    killed: &Killed,
    wanted: &Intended,
    work: &Work,
) -> Result<Ready, Failure> {
    let aws = mover.aws;
    let came = match killed.trace(wanted) {
        Trace::Untouched => Came::Nowhere,
        Trace::Moved { changed } => Came::Moved { changed },
        Trace::GoingBack => Came::GoingBack,
        // It is found by its mark.
        Trace::Asked(_) if wanted.by_codedeploy => Came::Asked(Fate::NeverBegun),
        Trace::Asked(since) => {
            let fate = fate(aws, wanted, &since).await.map_err(|error| {
                let revision = tail(&wanted.task_definition);
                refused(
                    format!("failed to find out what became of {revision}"),
                    &error,
                )
            })?;
            Came::Asked(fate)
        }
    };
    let live = service::describe(aws, &wanted.cluster, &wanted.service).await?;
    let definition = back::describe(aws, &wanted.task_definition).await?;
    let left = killed.retargeted(&wanted.cluster, &wanted.service);
    let ready = Ready::resumed(work.clone(), live, wanted, definition, came);
    Ok(ready.with_retarget(left.filter(|_| mover.embedded)))
}
