//! Several services that belong together: tasks that come first, then the services wave by wave.

use std::time::Duration;

use hoist_project::Project;
use serde_json::Value;

use crate::event::{Events, ServiceOutcome, Step};
use crate::failure::{Failure, Kind};
use crate::one_off::{OneOff, must_succeed};
use crate::parallel::{self, Boxed};
use crate::rollout::{Mover, Ready};
use crate::schedules::{self, Fresh, Moved};
use crate::table::tail;

/// Time between two looks at a task of the embedded AWS.
const EMBEDDED_PAUSE: Duration = Duration::from_millis(150);

/// Runs the tasks that come first (where there is a new image to run them with), then moves the services and schedules. `tell` hears of
/// each service that ended.
///
/// # Errors
/// The first failure; what it means for the others is in its details.
pub async fn carry_out(
    mover: &Mover<'_>,
    project: &Project,
    ready: Vec<Ready>,
    fresh: Option<&Fresh<'_>>,
    events: &Events,
    tell: &(dyn Fn(&ServiceOutcome) + Send + Sync),
) -> Result<Vec<ServiceOutcome>, Failure> {
    let release = &project.release;
    if let Some(fresh) = fresh {
        let looked = schedules::check(mover.aws, &project.schedules, fresh);
        mover.cancel.or(looked).await?;
    }
    if fresh.is_some_and(|fresh| fresh.begins) && ready.iter().any(|service| service.changes(mover))
    {
        for key in &release.before {
            before(mover, project, &ready, key, events).await?;
        }
    }
    let total = ready.len();
    let mut moved: Vec<(Ready, ServiceOutcome)> = Vec::new();
    let mut rescheduled: Vec<Moved> = Vec::new();
    let mut left = ready;
    for wave in &release.waves {
        let (now, later): (Vec<Ready>, Vec<Ready>) = left
            .into_iter()
            .partition(|service| wave.iter().any(|key| key == service.work.key()));
        left = later;
        let several = now.len() > 1;
        let moves = now
            .iter()
            .map(|service| -> Boxed<'_, _> {
                let events = if several {
                    events.of(service.work.key())
                } else {
                    events.clone()
                };
                Box::pin(async move { mover.carry(service, &events).await })
            })
            .collect();
        let mut failures: Vec<(String, Failure)> = Vec::new();
        let outcomes = parallel::all(release.parallel, moves).await;
        for (service, outcome) in now.into_iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => {
                    tell(&outcome);
                    moved.push((service, outcome));
                }
                Err(failure) => failures.push((service.work.name().to_owned(), failure)),
            }
        }
        if failures.is_empty()
            && let Some(fresh) = fresh
        {
            let schedules = project
                .schedules
                .iter()
                .filter(|schedule| wave.contains(&schedule.key));
            for schedule in schedules {
                let done = schedules::move_on(mover.aws, schedule, fresh, events);
                match mover.cancel.or(done).await {
                    Ok(done) => rescheduled.extend(done),
                    Err(mut failure) => {
                        if moved.iter().any(|(_, outcome)| outcome.changed)
                            && !matches!(failure.kind, Kind::Interrupted | Kind::Terminated)
                        {
                            failure.kind = match release.all_or_nothing {
                                true => Kind::RolledBack,
                                false => Kind::NotRolledBack,
                            };
                        }
                        failures.push((schedule.starter.to_string(), failure));
                        break;
                    }
                }
            }
        }
        if failures.is_empty() {
            continue;
        }
        let untouched: Vec<String> = left
            .iter()
            .map(|service| service.work.name().to_owned())
            .collect();
        let (_, mut first) = failures.remove(0);
        if total == 1 && moved.is_empty() && rescheduled.is_empty() {
            return Err(first);
        }
        let mut lines: Vec<String> = first.detail.take().into_iter().collect();
        lines.extend(
            failures
                .iter()
                .map(|(name, failure)| format!("{name} failed too: {failure}")),
        );
        if !untouched.is_empty() {
            lines.push(format!("not touched: {}", untouched.join(", ")));
        }
        let cancelled = matches!(first.kind, Kind::Interrupted | Kind::Terminated);
        if release.all_or_nothing && !cancelled {
            let (said, mut all) = undo(mover, moved, events).await;
            lines.extend(said);
            for schedule in rescheduled.iter().rev() {
                let (starter, before) = (&schedule.schedule.starter, tail(&schedule.before));
                match schedules::put_back(mover.aws, schedule).await {
                    Ok(()) => lines.push(format!("{starter} starts {before} again")),
                    Err(failure) => {
                        all = false;
                        lines.push(format!("{starter} was not put back to {before}: {failure}"));
                    }
                }
            }
            if !all && first.kind == Kind::RolledBack {
                first.kind = Kind::NotRolledBack;
            }
        } else {
            lines.extend(moved.iter().filter(|(_, outcome)| outcome.changed).map(
                |(service, _)| {
                    format!(
                        "{} serves {} and stays",
                        service.work.name(),
                        service.revision.name()
                    )
                },
            ));
            lines.extend(rescheduled.iter().map(|schedule| {
                format!(
                    "{} starts the new revision and stays",
                    schedule.schedule.starter
                )
            }));
        }
        return Err(first.detail(lines.join("\n")));
    }
    Ok(moved.into_iter().map(|(_, outcome)| outcome).collect())
}

impl Ready {
    /// Whether moving it would change anything, as far as the revision tells.
    fn changes(&self, mover: &Mover<'_>) -> bool {
        mover.force || self.previous() != Some(self.revision.arn.as_str())
    }
}

/// One task with the new revision of its service, which must succeed.
async fn before(
    mover: &Mover<'_>,
    project: &Project,
    ready: &[Ready],
    key: &str,
    events: &Events,
) -> Result<(), Failure> {
    let task = project
        .task(key)
        .ok_or_else(|| Failure::new(Kind::Configuration, format!("there is no task `{key}`")))?;
    let Some(service) = ready
        .iter()
        .find(|service| service.work.key() == task.service)
    else {
        events.note(
            Step::Run,
            format!(
                "{key} is not run: its service {} is not deployed",
                task.service
            ),
        );
        return Ok(());
    };
    let network: &Value = match &service.live {
        Some(live) => live,
        None => &service.work.service_definition,
    };
    let one = OneOff {
        aws: mover.aws,
        app: &mover.project.app,
        cluster: service.work.cluster(),
        service: network,
        revision: &service.revision.arn,
        definition: &service.work.task_definition,
        container: service.work.service.container.as_deref(),
        task,
        pause: if mover.embedded {
            EMBEDDED_PAUSE
        } else {
            mover.pause()
        },
    };
    let code = one.run(mover.cancel, events).await?;
    must_succeed(key, code).map_err(|failure| failure.hint("no service was moved"))
}

/// Takes back what moved already. Returns what became of each, and whether all went back.
async fn undo(
    mover: &Mover<'_>,
    moved: Vec<(Ready, ServiceOutcome)>,
    events: &Events,
) -> (Vec<String>, bool) {
    let (mut lines, mut all) = (Vec::new(), true);
    for (service, outcome) in moved.into_iter().rev() {
        if !outcome.changed {
            continue;
        }
        let name = service.work.name().to_owned();
        let Some(previous) = service.previous().map(str::to_owned) else {
            all = false;
            lines.push(format!("{name} was created by this run and stays"));
            continue;
        };
        events.warn(
            Step::Deploy,
            format!("all or nothing: {name} goes back to {}", tail(&previous)),
        );
        match mover.go_back(&service, &previous, events).await {
            Ok(()) => lines.push(format!("{name} went back to {}", tail(&previous))),
            Err(failure) => {
                all = false;
                lines.push(format!(
                    "{name} did not go back to {}: {failure}",
                    tail(&previous)
                ));
            }
        }
    }
    (lines, all)
}
