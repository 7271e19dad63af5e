//! From times that are known to the course of a deployment.

use jiff::{SignedDuration, Timestamp};

use super::{Lane, Mark, Phase, Span, Timeline};
use crate::progress::Progress;

/// A step of the run that asked for the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Its phase.
    pub phase: Phase,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// The times of a task, as DescribeTasks tells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskTimes {
    /// Its id.
    pub id: String,
    /// Its private address.
    pub address: String,
    /// `createdAt`.
    pub created: Option<Timestamp>,
    /// `pullStartedAt`.
    pub pull_started: Option<Timestamp>,
    /// `pullStoppedAt`.
    pub pull_stopped: Option<Timestamp>,
    /// `startedAt`.
    pub started: Option<Timestamp>,
    /// `stoppingAt`.
    pub stopping: Option<Timestamp>,
    /// `executionStoppedAt`.
    pub execution_stopped: Option<Timestamp>,
    /// `stoppedAt`.
    pub stopped: Option<Timestamp>,
    /// Whether a container of it had to be killed: exit code 137.
    pub killed: bool,
}

/// What is known of a deployment.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// When it was looked at.
    pub now: Timestamp,
    /// The run's steps, where its journal is at hand.
    pub steps: Vec<StepTime>,
    /// When the run asked ECS, where its journal is at hand.
    pub asked: Option<Timestamp>,
    /// `createdAt` of the service deployment.
    pub created: Option<Timestamp>,
    /// `finishedAt` of the service deployment; absent while it moves.
    pub finished: Option<Timestamp>,
    /// The service's tasks, of all revisions.
    pub tasks: Vec<TaskTimes>,
    /// What the run saw while it watched, with the time of the record.
    pub seen: Vec<(Timestamp, Progress)>,
    /// Service events: time and words.
    pub events: Vec<(Timestamp, String)>,
    /// The longest deregistration delay of the service's target groups, in seconds; `None` without a load balancer.
    pub delay: Option<u32>,
    /// Whether anything checks the tasks' health: a target group or a container's check.
    pub checked: bool,
}

/// How long ECS lets a task without any health check run before it takes it for healthy.
const SETTLE: SignedDuration = SignedDuration::from_secs(40);

/// Where the time went. `None` where not even a beginning is known.
pub fn timeline(facts: &Facts) -> Option<Timeline> {
    let asked = [facts.asked, facts.created].into_iter().flatten().min();
    let first_step = facts.steps.iter().map(|step| step.began).min();
    let began = [asked, first_step].into_iter().flatten().min()?;
    let over = facts.finished.is_some();
    let ecs_ended = facts.finished.unwrap_or(facts.now);
    let last_step = facts.steps.iter().map(|step| step.ended).max();
    let ended = [Some(ecs_ended), last_step.filter(|_| over), Some(began)]
        .into_iter()
        .flatten()
        .max()?;
    let created = asked.unwrap_or(began);
    let mut lanes: Vec<Lane> = facts
        .tasks
        .iter()
        .filter_map(|task| lane(facts, task, created, ecs_ended))
        .collect();
    lanes.sort_by_key(|lane| {
        (
            !lane.new,
            lane.spans.first().map(|span| span.began),
            lane.task.clone(),
        )
    });
    let stages = stages(facts, ecs_ended);
    let course = course(facts, began, ended, created, ecs_ended, &lanes, &stages);
    let mut marks: Vec<Mark> = facts
        .events
        .iter()
        .filter(|(at, _)| (created..=ecs_ended).contains(at))
        .map(|(at, text)| Mark {
            at: *at,
            text: crate::progress::with_names(text),
        })
        .collect();
    marks.sort_by_key(|mark| mark.at);
    Some(Timeline {
        began,
        ended,
        over,
        course,
        lanes,
        marks,
    })
}

/// The phases of one task; `None` for one that has nothing to do with the deployment.
fn lane(facts: &Facts, task: &TaskTimes, begun: Timestamp, end: Timestamp) -> Option<Lane> {
    let created = task.created?;
    let new = created >= begun;
    let mut spans = Vec::new();
    let mut add = |phase, began: Option<Timestamp>, ended: Option<Timestamp>| {
        // What has not ended goes on until its task stops, or until now.
        let ended = ended.or(task.stopping).unwrap_or(end).min(end);
        if let Some(began) = began.filter(|began| *began < ended) {
            spans.push(Span {
                phase,
                began: began.max(begun),
                ended,
            });
        }
    };
    if new {
        if created > end {
            return None;
        }
        add(Phase::Placement, Some(created), task.pull_started);
        add(Phase::Pull, task.pull_started, task.pull_stopped);
        add(Phase::Start, task.pull_stopped, task.started);
        add(Phase::Health, task.started, healthy(facts, task, end));
    }
    if let Some(stopping) = task.stopping {
        if stopping > end || task.stopped.is_some_and(|stopped| stopped < begun) {
            return (new && !spans.is_empty()).then(|| Lane {
                task: task.id.clone(),
                new,
                killed: false,
                spans,
            });
        }
        let gone = task.execution_stopped.or(task.stopped).unwrap_or(end);
        // ECS takes its time from the decision to the deregistration, and says when that begins.
        let deregistered = facts
            .events
            .iter()
            .filter(|(at, text)| text.contains("begun draining") && (stopping..=gone).contains(at))
            .map(|(at, _)| *at)
            .min()
            .unwrap_or(stopping);
        let drained = match facts.delay {
            Some(delay) if !new => {
                (deregistered + SignedDuration::from_secs(i64::from(delay))).min(gone)
            }
            _ => stopping,
        };
        add(Phase::Drain, Some(deregistered), Some(drained));
        add(
            Phase::Stop,
            Some(drained),
            Some(task.stopped.unwrap_or(end)),
        );
    }
    (!spans.is_empty()).then(|| Lane {
        task: task.id.clone(),
        new,
        killed: task.killed,
        spans,
    })
}

/// When a running task was healthy: as it was seen, else by what ECS did next.
fn healthy(facts: &Facts, task: &TaskTimes, end: Timestamp) -> Option<Timestamp> {
    let started = task.started?;
    let seen = facts.seen.iter().filter_map(|(_, seen)| match seen {
        Progress::Target {
            target, state, at, ..
        } if state == "healthy"
            && !task.address.is_empty()
            && target
                .strip_prefix(&task.address)
                .is_some_and(|rest| rest.starts_with(':')) =>
        {
            Some(*at)
        }
        Progress::TaskHealth {
            task: id,
            health,
            at,
        } if health == "HEALTHY" && *id == task.id => Some(*at),
        _ => None,
    });
    // All checks must pass: the last one decides.
    if let Some(last) = seen.filter(|at| *at >= started).max() {
        return Some(last);
    }
    if !facts.checked && task.stopping.is_none() {
        return Some((started + SETTLE).min(end));
    }
    let tasks = facts
        .tasks
        .iter()
        .flat_map(|other| match other.id == task.id {
            true => [None, None],
            false => [other.stopping, other.created],
        });
    let events = facts
        .events
        .iter()
        .filter(|(_, text)| {
            ["begun draining", "steady state", "deployment completed"]
                .iter()
                .any(|words| text.contains(words))
        })
        .map(|(at, _)| Some(*at));
    let next = tasks
        .chain(events)
        .flatten()
        .filter(|at| *at > started)
        .min();
    next.or(facts.finished)
}

/// What the lifecycle stages that were seen come to.
fn stages(facts: &Facts, end: Timestamp) -> Vec<Span> {
    let changes: Vec<(Timestamp, &str)> = facts
        .seen
        .iter()
        .filter_map(|(at, seen)| match seen {
            Progress::Deployment { stage, .. } => Some((*at, stage.as_str())),
            _ => None,
        })
        .collect();
    changes
        .iter()
        .enumerate()
        .filter_map(|(index, (began, stage))| {
            let phase = match *stage {
                "TEST_TRAFFIC_SHIFT" | "PRODUCTION_TRAFFIC_SHIFT" => Phase::Shift,
                "BAKE_TIME" => Phase::Bake,
                "PRE_SCALE_UP"
                | "POST_SCALE_UP"
                | "POST_TEST_TRAFFIC_SHIFT"
                | "PRE_PRODUCTION_TRAFFIC_SHIFT"
                | "POST_PRODUCTION_TRAFFIC_SHIFT" => Phase::Hook,
                _ => return None,
            };
            let ended = changes.get(index + 1).map_or(end, |(at, _)| *at).min(end);
            (*began < ended).then_some(Span {
                phase,
                began: *began,
                ended,
            })
        })
        .collect()
}

fn course(
    facts: &Facts,
    began: Timestamp,
    ended: Timestamp,
    asked: Timestamp,
    ecs_ended: Timestamp,
    lanes: &[Lane],
    stages: &[Span],
) -> Vec<Span> {
    let steps: Vec<Span> = facts
        .steps
        .iter()
        .map(|step| Span {
            phase: step.phase,
            began: step.began,
            ended: step.ended,
        })
        .collect();
    let spans = |new: bool| {
        lanes
            .iter()
            .filter(move |lane| lane.new == new)
            .flat_map(|lane| &lane.spans)
    };
    let first_task = spans(true).map(|span| span.began).min();
    let mut edges: Vec<Timestamp> = steps
        .iter()
        .chain(stages)
        .chain(spans(true))
        .chain(spans(false))
        .flat_map(|span| [span.began, span.ended])
        .chain([began, ended, asked, ecs_ended])
        .chain(first_task)
        .map(|at| at.clamp(began, ended))
        .collect();
    edges.sort();
    edges.dedup();
    let mut course: Vec<Span> = Vec::new();
    for edge in edges.windows(2) {
        let [from, to] = [edge[0], edge[1]];
        let covers = |span: &&Span| span.began <= from && span.ended >= to;
        let step = || steps.iter().find(covers).map(|span| span.phase);
        let phase = if from < asked {
            step().unwrap_or(Phase::Register)
        } else if from >= ecs_ended {
            step().unwrap_or(Phase::Verify)
        } else {
            // Of tasks that come up, the one that is least far is waited for.
            let rising = spans(true)
                .filter(covers)
                .map(|span| span.phase)
                .filter(|phase| *phase < Phase::Drain)
                .min();
            let falling = || spans(false).filter(covers).map(|span| span.phase).min();
            let failing = || spans(true).filter(covers).map(|span| span.phase).min();
            let queue = || first_task.is_none_or(|first| from < first);
            rising
                .or_else(|| stages.iter().find(covers).map(|span| span.phase))
                .or_else(falling)
                .or_else(failing)
                .unwrap_or_else(|| match queue() {
                    // Without any task, once it is over, nothing is known but that ECS was at it.
                    true if !lanes.is_empty() || facts.finished.is_none() => Phase::Queue,
                    _ => Phase::Ecs,
                })
        };
        match course.last_mut() {
            Some(last) if last.phase == phase => last.ended = to,
            _ => course.push(Span {
                phase,
                began: from,
                ended: to,
            }),
        }
    }
    course
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn task(id: &str, times: [i64; 4]) -> TaskTimes {
        let [created, pull, pulled, started] = times.map(|time| Some(at(time)));
        TaskTimes {
            id: id.to_owned(),
            address: format!("10.0.0.{}", id.len()),
            created,
            pull_started: pull,
            pull_stopped: pulled,
            started,
            ..TaskTimes::default()
        }
    }

    /// The rolling deployment of the facts: behind a load balancer, one task, default settings but a delay of 10 s.
    fn rolling() -> Facts {
        let mut old = task("old", [-5000, -4990, -4980, -4970]);
        old.stopping = Some(at(110));
        old.execution_stopped = Some(at(122));
        old.stopped = Some(at(145));
        Facts {
            now: at(1000),
            steps: vec![
                StepTime {
                    phase: Phase::Build,
                    began: at(-60),
                    ended: at(-10),
                },
                StepTime {
                    phase: Phase::Push,
                    began: at(-10),
                    ended: at(-2),
                },
                StepTime {
                    phase: Phase::Verify,
                    began: at(161),
                    ended: at(162),
                },
            ],
            asked: Some(at(0)),
            created: Some(at(0)),
            finished: Some(at(160)),
            tasks: vec![old, task("new", [20, 38, 58, 70])],
            seen: vec![(
                at(86),
                Progress::Target {
                    target: "10.0.0.3:8080".into(),
                    state: "healthy".into(),
                    why: String::new(),
                    at: at(85),
                },
            )],
            events: vec![(at(112), "(service web) has begun draining".into())],
            delay: Some(10),
            checked: true,
        }
    }

    fn said(timeline: &Timeline) -> Vec<(&'static str, i64)> {
        timeline
            .course
            .iter()
            .map(|span| (span.phase.name(), span.millis() / 1000))
            .collect()
    }

    #[test]
    fn every_second_of_a_rolling_deployment_has_its_phase() {
        let timeline = timeline(&rolling()).unwrap();
        assert_eq!(
            said(&timeline),
            [
                ("build", 50),
                ("push", 8),
                ("register", 2),
                ("queue", 20),
                ("placement", 18),
                ("pull", 20),
                ("start", 12),
                ("health checks", 15),
                ("ECS completes", 27),
                ("draining", 10),
                ("stopping", 23),
                ("ECS completes", 15),
                ("verify", 2),
            ]
        );
        assert_eq!(timeline.millis(), 222_000);
        let all: i64 = timeline.totals().iter().map(|(_, millis)| millis).sum();
        assert_eq!(all, timeline.millis());
        assert!(timeline.over && timeline.marks.len() == 1);
        assert_eq!(
            timeline
                .lanes
                .iter()
                .map(|lane| (lane.task.as_str(), lane.new))
                .collect::<Vec<_>>(),
            [("new", true), ("old", false)]
        );
    }

    #[test]
    fn without_a_journal_health_is_told_by_what_ecs_did_next() {
        let mut facts = rolling();
        facts.steps.clear();
        facts.seen.clear();
        facts.asked = None;
        let timeline = timeline(&facts).unwrap();
        assert_eq!(timeline.began, at(0));
        assert_eq!(timeline.millis_of(Phase::Health), 40_000);
        assert_eq!(timeline.millis_of(Phase::Build), 0);
    }

    #[test]
    fn a_deployment_that_still_moves_ends_now_and_the_slowest_task_is_waited_for() {
        let mut facts = rolling();
        facts.finished = None;
        facts.now = at(60);
        let mut slow = task("slow", [20, 30, 31, 32]);
        slow.pull_stopped = None;
        slow.started = None;
        facts.tasks.push(slow);
        let timeline = timeline(&facts).unwrap();
        assert!(!timeline.over);
        assert_eq!(timeline.ended, at(60));
        // `slow` still pulls while `new` starts.
        assert_eq!(
            said(&timeline).last(),
            Some(&("pull", 22)),
            "{:?}",
            said(&timeline)
        );
    }

    #[test]
    fn stages_that_were_seen_are_shifting_baking_and_hooks() {
        let mut facts = rolling();
        let stage = |time: i64, stage: &str| {
            (
                at(time),
                Progress::Deployment {
                    status: "IN_PROGRESS".into(),
                    stage: stage.into(),
                    reason: String::new(),
                },
            )
        };
        facts.seen.extend([
            stage(86, "POST_SCALE_UP"),
            stage(90, "PRODUCTION_TRAFFIC_SHIFT"),
            stage(100, "BAKE_TIME"),
            stage(110, "CLEAN_UP"),
        ]);
        let timeline = timeline(&facts).unwrap();
        let of = |phase| timeline.millis_of(phase) / 1000;
        assert_eq!(
            [of(Phase::Hook), of(Phase::Shift), of(Phase::Bake)],
            [4, 10, 10]
        );
    }

    #[test]
    fn a_deployment_of_which_only_its_own_times_are_left_is_told_as_such() {
        let facts = Facts {
            now: at(9),
            created: Some(at(0)),
            finished: Some(at(5)),
            ..Facts::default()
        };
        assert_eq!(said(&timeline(&facts).unwrap()), [("ECS completes", 5)]);
        assert_eq!(timeline(&Facts::default()), None);
    }
}
