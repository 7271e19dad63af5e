//! Several services that belong together: tasks that come first, then the services wave by wave.

use std::time::Duration;

use hoist_oci::Digest;
use hoist_project::Project;
use serde_json::Value;

use crate::deploy::record;
use crate::event::{Events, ServiceOutcome, Step};
use crate::failure::{Failure, Kind};
use crate::journal::{ReleasePlan, What};
use crate::killed::TaskTrace;
use crate::one_off::{OneOff, must_succeed};
use crate::parallel::{self, Boxed};
use crate::ready::{Ready, token};
use crate::resume::Came;
use crate::rollout::Mover;
use crate::schedules::{self, Fresh, Moved};
use crate::table::tail;

/// Time between two looks at a task of the embedded AWS.
const EMBEDDED_PAUSE: Duration = Duration::from_millis(150);

/// A release under way.
struct Release<'a> {
    mover: &'a Mover<'a>,
    project: &'a Project,
    fresh: Option<&'a Fresh<'a>>,
    events: &'a Events,
    /// How many services it has.
    total: usize,
    moved: Vec<(Ready, ServiceOutcome)>,
    rescheduled: Vec<Moved>,
}

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
    if let Some(fresh) = fresh {
        let looked = schedules::check(mover.aws, &project.schedules, fresh);
        mover.cancel.or(looked).await?;
    }
    if !mover.resumes {
        plan(mover, &ready, fresh)?;
    }
    let mut release = Release {
        mover,
        project,
        fresh,
        events,
        total: ready.len(),
        moved: Vec::new(),
        rescheduled: Vec::new(),
    };
    if let Some(why) = mover
        .killed
        .filter(|_| mover.resumes)
        .and_then(|killed| killed.taking_back())
    {
        return Err(release.go_on_back(ready, why).await);
    }
    let is_begun = ready.iter().any(|service| service.came != Came::Nowhere);
    if fresh.is_some_and(|fresh| fresh.begins)
        && !is_begun
        && ready.iter().any(|service| service.changes(mover))
    {
        for key in &project.release.before {
            release.before(&ready, key).await?;
        }
    }
    let mut left = ready;
    for wave in &project.release.waves {
        let (now, later): (Vec<Ready>, Vec<Ready>) = left
            .into_iter()
            .partition(|service| wave.iter().any(|key| key == service.work.key()));
        left = later;
        let (mut failures, mut untouched) = release.wave(now, tell).await;
        if failures.is_empty() && untouched.is_empty() {
            failures.extend(release.reschedule(wave).await);
        }
        if failures.is_empty() && untouched.is_empty() {
            continue;
        }
        untouched.extend(left.iter().map(|service| service.work.name().to_owned()));
        return Err(release.failed(failures, &untouched).await);
    }
    Ok(release
        .moved
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect())
}

/// Records all that the run has in mind.
fn plan(mover: &Mover<'_>, ready: &[Ready], fresh: Option<&Fresh<'_>>) -> Result<(), Failure> {
    let plan = ReleasePlan {
        services: ready.iter().map(Ready::intended).collect(),
        image: fresh.and_then(|fresh| fresh.image).map(str::to_owned),
        tags: fresh.map_or(Vec::new(), |fresh| fresh.tags.to_vec()),
        count: mover.count,
        force: mover.force,
        whole: fresh.is_some_and(|fresh| fresh.whole),
        begins: fresh.is_some_and(|fresh| fresh.begins),
        schedules: fresh.is_some(),
    };
    // What comes next is waited for until it is on disk, and this with it.
    mover
        .journal
        .note(What::Releasing(Box::new(plan)))
        .map_err(|error| Failure::because(Kind::Unexpected, "failed to write the journal", &error))
}

impl Release<'_> {
    /// Moves the services of a wave. Returns those that failed, and the names of those that a signal left untouched.
    async fn wave(
        &mut self,
        now: Vec<Ready>,
        tell: &(dyn Fn(&ServiceOutcome) + Send + Sync),
    ) -> (Vec<(String, Failure)>, Vec<String>) {
        let (mover, several) = (self.mover, now.len() > 1);
        let moves = now
            .iter()
            .map(|service| -> Boxed<'_, Result<ServiceOutcome, Failure>> {
                let events = if several {
                    self.events.of(service.work.key())
                } else {
                    self.events.clone()
                };
                Box::pin(async move {
                    let outcome = mover.carry(service, &events).await?;
                    let moved = What::Moved {
                        cluster: service.work.cluster().to_owned(),
                        service: service.work.name().to_owned(),
                        changed: outcome.changed,
                    };
                    // It serves all the same.
                    if let Err(failure) = record(mover.journal, moved) {
                        events.warn(Step::Deploy, failure.to_string());
                    }
                    Ok(outcome)
                })
            })
            .collect();
        let outcomes = parallel::all(self.project.release.parallel, moves).await;
        let (mut failures, mut untouched) = (Vec::new(), Vec::new());
        for (service, outcome) in now.into_iter().zip(outcomes) {
            let name = service.work.name().to_owned();
            match outcome {
                Ok(outcome) => {
                    tell(&outcome);
                    self.moved.push((service, outcome));
                }
                Err(failure) if failure.is_cancelled() && !service.is_touched() => {
                    untouched.push(name);
                }
                Err(failure) => failures.push((name, failure)),
            }
        }
        (failures, untouched)
    }

    /// Moves the schedules of a wave whose services serve. Returns the one that failed.
    async fn reschedule(&mut self, wave: &[String]) -> Option<(String, Failure)> {
        let (mover, fresh) = (self.mover, self.fresh?);
        let schedules = self
            .project
            .schedules
            .iter()
            .filter(|schedule| wave.contains(&schedule.key));
        for schedule in schedules {
            let about = |before: &str| {
                let what = What::Rescheduling {
                    schedule: schedule.key.clone(),
                    before: before.to_owned(),
                };
                record(mover.journal, what)
            };
            let done = schedules::move_on(mover.aws, schedule, fresh, self.events, &about);
            let killed = mover.killed.filter(|_| mover.resumes);
            let before = killed.and_then(|killed| killed.rescheduled(&schedule.key));
            match mover.cancel.or(done).await {
                Ok(Some(done)) => self.rescheduled.push(done),
                // The run that was killed had come that far.
                Ok(None) => self.rescheduled.extend(before.map(|before| Moved {
                    schedule: schedule.clone(),
                    before: before.to_owned(),
                })),
                Err(mut failure) => {
                    let has_changed = self.moved.iter().any(|(_, outcome)| outcome.changed);
                    if has_changed && !failure.is_cancelled() {
                        failure.kind = match self.project.release.all_or_nothing {
                            true => Kind::RolledBack,
                            false => Kind::NotRolledBack,
                        };
                    }
                    return Some((schedule.starter.to_string(), failure));
                }
            }
        }
        None
    }

    /// The failure that those of a wave make together: what became of each service, and of those that moved before.
    async fn failed(
        mut self,
        mut failures: Vec<(String, Failure)>,
        untouched: &[String],
    ) -> Failure {
        // A signal ends the run, whatever else failed.
        let cancelled = failures
            .iter()
            .position(|(_, failure)| failure.is_cancelled());
        let signal = self.mover.cancel.signal();
        let (name, mut first) = match (cancelled, signal) {
            (Some(nth), _) => failures.remove(nth),
            (None, Some(signal)) => (String::new(), signal.failure()),
            (None, None) if failures.is_empty() => (
                String::new(),
                Failure::new(Kind::Unexpected, "a wave ended without a word"),
            ),
            (None, None) => failures.remove(0),
        };
        let is_cancelled = first.is_cancelled();
        if self.total == 1 && self.moved.is_empty() && self.rescheduled.is_empty() {
            return first;
        }
        let mut lines: Vec<String> = first.detail.take().into_iter().collect();
        if is_cancelled && !name.is_empty() {
            lines.extend(first.hint.take().map(|hint| format!("{name}: {hint}")));
        }
        for (name, failure) in &failures {
            let hint = failure.hint.as_deref();
            let said = failure.to_string();
            let said = said.strip_prefix(&format!("{name}: ")).unwrap_or(&said);
            lines.push(match (failure.is_cancelled(), hint) {
                (true, Some(hint)) => format!("{name}: {hint}"),
                (_, None) => format!("{name} failed too: {said}"),
                (_, Some(hint)) => format!("{name} failed too: {said}; {hint}"),
            });
        }
        if !untouched.is_empty() {
            lines.push(format!("not touched: {}", untouched.join(", ")));
        }
        if self.project.release.all_or_nothing && !is_cancelled {
            let (said, all) = self.take_back(&first).await;
            lines.extend(said);
            if !all && first.kind == Kind::RolledBack {
                first.kind = Kind::NotRolledBack;
            }
        } else {
            lines.extend(
                self.moved
                    .iter()
                    .filter(|(_, outcome)| outcome.changed)
                    .map(|(service, _)| {
                        format!(
                            "{} serves {} and stays",
                            service.work.name(),
                            service.revision.name()
                        )
                    }),
            );
            lines.extend(self.rescheduled.iter().map(|schedule| {
                format!(
                    "{} starts the new revision and stays",
                    schedule.schedule.starter
                )
            }));
        }
        first.detail(lines.join("\n"))
    }

    /// Takes back what moved already. Returns what became of each, and whether all went back.
    async fn take_back(&mut self, why: &Failure) -> (Vec<String>, bool) {
        let changed = self.moved.iter().any(|(_, outcome)| outcome.changed);
        if changed || !self.rescheduled.is_empty() {
            let what = What::TakingBack {
                why: why.to_string(),
            };
            // It goes back all the same.
            if let Err(failure) = record(self.mover.journal, what) {
                self.events.warn(Step::Deploy, failure.to_string());
            }
        }
        let moved = std::mem::take(&mut self.moved);
        let (mut lines, mut all) = undo(self.mover, moved, self.events).await;
        for schedule in self.rescheduled.iter().rev() {
            let (starter, before) = (&schedule.schedule.starter, tail(&schedule.before));
            match schedules::put_back(self.mover.aws, schedule).await {
                Ok(()) => lines.push(format!("{starter} starts {before} again")),
                Err(failure) => {
                    all = false;
                    lines.push(format!("{starter} was not put back to {before}: {failure}"));
                }
            }
        }
        (lines, all)
    }

    /// Goes on taking back what a run that was killed in the middle of that had moved.
    async fn go_on_back(mut self, ready: Vec<Ready>, why: &str) -> Failure {
        let mut lines = Vec::new();
        for service in ready {
            let name = service.work.name();
            match &service.came {
                Came::Moved { changed: true } | Came::GoingBack => {
                    let mut outcome = service.outcome();
                    outcome.changed = true;
                    self.moved.push((service, outcome));
                }
                Came::Moved { changed: false } => {}
                Came::Asked(fate) => lines.push(format!("{name}: {fate}")),
                Came::Nowhere => lines.push(format!("not touched: {name}")),
            }
        }
        let schedules = self.project.schedules.iter().filter_map(|schedule| {
            let before = self.mover.killed?.rescheduled(&schedule.key)?;
            Some(Moved {
                schedule: schedule.clone(),
                before: before.to_owned(),
            })
        });
        self.rescheduled = schedules.collect();
        let mut failure = Failure::new(Kind::RolledBack, format!("the release had failed: {why}"));
        let (said, all) = self.take_back(&failure).await;
        if !all {
            failure.kind = Kind::NotRolledBack;
        }
        lines.extend(said);
        failure.detail(lines.join("\n"))
    }

    /// One task with the new revision of its service, which must succeed.
    async fn before(&self, ready: &[Ready], key: &str) -> Result<(), Failure> {
        let (mover, events) = (self.mover, self.events);
        let task = self.project.task(key).ok_or_else(|| {
            Failure::new(Kind::Configuration, format!("there is no task `{key}`"))
        })?;
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
        let revision = &service.revision.arn;
        // One intent is one task, also where the run that began it was killed.
        let asks = Digest::of(format!("{task:?}").as_bytes()).hex().to_owned();
        let killed = mover
            .killed
            .and_then(|killed| killed.task(key, revision, &asks));
        let token = match killed {
            Some(TaskTrace::Succeeded) => {
                events.note(
                    Step::Run,
                    format!("{key} succeeded already, in the run that was killed"),
                );
                return self.ran(key);
            }
            Some(TaskTrace::Started(token)) => {
                events.note(
                    Step::Run,
                    format!(
                        "{key}: where the run that was killed started it, it is not started twice"
                    ),
                );
                token
            }
            None => token(),
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
            revision,
            definition: &service.work.task_definition,
            container: service.work.service.container.as_deref(),
            task,
            token,
            pause: if mover.embedded {
                EMBEDDED_PAUSE
            } else {
                mover.pause()
            },
        };
        let running = What::Running {
            task: key.to_owned(),
            task_definition: revision.clone(),
            asks,
            token: one.token.clone(),
        };
        record(mover.journal, running)?;
        let code = one.run(mover.cancel, events).await?;
        must_succeed(key, code).map_err(|failure| failure.hint("no service was moved"))?;
        self.ran(key)
    }

    fn ran(&self, key: &str) -> Result<(), Failure> {
        let what = What::Ran {
            task: key.to_owned(),
        };
        record(self.mover.journal, what)
    }
}

impl Ready {
    /// Whether moving it would change anything, as far as the revision tells.
    fn changes(&self, mover: &Mover<'_>) -> bool {
        mover.force || self.previous() != Some(self.revision.arn.as_str())
    }
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
