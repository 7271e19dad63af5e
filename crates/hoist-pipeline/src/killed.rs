//! A run that was killed: what it had in mind and how far it came, read from the journal.

use std::io;

use crate::journal::{Entry, Intended, Journal, ReleasePlan, What};
use crate::target_group::Retarget;

/// What the journal says of the newest run that touched anything.
pub enum Last {
    /// It recorded its end, or there is none.
    Ended,
    /// Its process still lives; since when.
    Alive(String),
    /// It ended without a word.
    Killed(Box<Killed>),
}

/// A run that ended without a word.
#[derive(Clone, Debug)]
pub struct Killed {
    /// The run.
    pub run: String,
    /// When it began, RFC 3339.
    pub at: String,
    /// What it had in mind.
    pub plan: ReleasePlan,
    /// All that it recorded.
    entries: Vec<Entry>,
}

/// How far a run came with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Nothing was asked for it.
    Untouched,
    /// ECS was asked, or was about to be; when, RFC 3339.
    Asked(String),
    /// It serves, after all that comes with that.
    Moved { changed: bool },
    /// It was to go back to what ran before.
    GoingBack,
}

/// How far a run came with a task that comes before the services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskTrace {
    /// It was started, or was about to be: what ECS knows the call by.
    Started(String),
    /// It succeeded.
    Succeeded,
}

/// Reads the journal for the newest run of this application and target, before this one, that touched a service, task or schedule.
///
/// # Errors
/// The journal cannot be read.
pub fn last(journal: &Journal, app: &str, target: &str) -> io::Result<Last> {
    let mut entries = journal.entries()?;
    entries.retain(|entry| entry.run != journal.run());
    let is_ours = |run: &str| {
        entries.iter().any(|entry| {
            entry.run == run
                && matches!(&entry.what, What::Started { app: of, target: to, .. } if of == app && to == target)
        })
    };
    let newest = entries.iter().rev().find(|entry| {
        let touches = matches!(
            entry.what,
            What::Deploying { .. }
                | What::Running { .. }
                | What::Moved { .. }
                | What::Rescheduling { .. }
        );
        touches && is_ours(&entry.run)
    });
    let Some(run) = newest.map(|entry| entry.run.clone()) else {
        return Ok(Last::Ended);
    };
    entries.retain(|entry| entry.run == run);
    let has_ended = entries
        .iter()
        .any(|entry| matches!(entry.what, What::Ended { .. }));
    let plan = entries.iter().rev().find_map(|entry| match &entry.what {
        What::Releasing(plan) => Some((**plan).clone()),
        _ => None,
    });
    let (Some(plan), Some(first)) = (plan.filter(|_| !has_ended), entries.first()) else {
        return Ok(Last::Ended);
    };
    let at = first.at.clone();
    if journal.is_alive(&run) {
        return Ok(Last::Alive(at));
    }
    Ok(Last::Killed(Box::new(Killed {
        run,
        at,
        plan,
        entries,
    })))
}

impl Killed {
    /// How far it came with a service.
    pub fn trace(&self, of: &Intended) -> Trace {
        let is_it = |cluster: &str, service: &str| cluster == of.cluster && service == of.service;
        let mut trace = Trace::Untouched;
        for entry in &self.entries {
            match &entry.what {
                What::Deploying {
                    cluster,
                    service,
                    task_definition,
                    ..
                } if is_it(cluster, service) => {
                    trace = if *task_definition == of.task_definition {
                        Trace::Asked(entry.at.clone())
                    } else {
                        Trace::GoingBack
                    };
                }
                What::Moved {
                    cluster,
                    service,
                    changed,
                } if is_it(cluster, service) => trace = Trace::Moved { changed: *changed },
                _ => {}
            }
        }
        trace
    }

    /// Whether it made this service, or was about to.
    pub fn created(&self, cluster: &str, service: &str) -> bool {
        self.plan
            .services
            .iter()
            .filter(|one| one.cluster == cluster && one.service == service)
            .any(|one| one.previous.is_none() && self.trace(one) != Trace::Untouched)
    }

    /// What it changed of a service's target group, or was about to.
    pub fn retargeted(&self, cluster: &str, service: &str) -> Option<Retarget> {
        let of = |what: &What| match what {
            What::Retargeting {
                cluster: its_cluster,
                service: its_service,
                change,
            } if its_cluster == cluster && its_service == service => Retarget::left(change),
            _ => None,
        };
        self.entries.iter().rev().find_map(|entry| of(&entry.what))
    }

    /// How far it came with a task that was started from this revision, as hoist.yaml describes it; `None` if it was not.
    pub fn task(&self, key: &str, revision: &str, described: &str) -> Option<TaskTrace> {
        let mut trace = None;
        for entry in &self.entries {
            match &entry.what {
                What::Running {
                    task,
                    task_definition,
                    asks,
                    token,
                } if task == key && task_definition == revision && asks == described => {
                    trace = Some(TaskTrace::Started(token.clone()));
                }
                What::Ran { task } if task == key && trace.is_some() => {
                    trace = Some(TaskTrace::Succeeded);
                }
                _ => {}
            }
        }
        trace
    }

    /// What a schedule started before the run, if it was moved or about to be.
    pub fn rescheduled(&self, key: &str) -> Option<&str> {
        self.entries.iter().find_map(|entry| match &entry.what {
            What::Rescheduling { schedule, before } if schedule == key => Some(before.as_str()),
            _ => None,
        })
    }

    /// Why what moved was to go back, if it was.
    pub fn taking_back(&self) -> Option<&str> {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.what {
                What::TakingBack { why } => Some(why.as_str()),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn started(app: &str) -> What {
        What::Started {
            app: app.to_owned(),
            target: "eu".to_owned(),
            source: String::new(),
            commit: None,
            committed: None,
            back: false,
        }
    }

    fn deploying(service: &str, revision: &str) -> What {
        What::Deploying {
            cluster: "c".into(),
            service: service.into(),
            task_definition: revision.into(),
            created: false,
        }
    }

    fn intended(service: &str, previous: Option<&str>) -> Intended {
        Intended {
            cluster: "c".into(),
            service: service.into(),
            task_definition: format!("{service}:2"),
            previous: previous.map(str::to_owned),
            ..Intended::default()
        }
    }

    fn releasing() -> What {
        What::Releasing(Box::new(ReleasePlan {
            services: vec![intended("a", Some("a:1")), intended("b", None)],
            ..ReleasePlan::default()
        }))
    }

    fn write(path: &Path, all: Vec<What>) -> Journal {
        let journal = Journal::open(path).unwrap();
        for what in all {
            journal.record(what).unwrap();
        }
        journal
    }

    fn killed(path: &Path) -> Option<Killed> {
        match last(&Journal::open(path).unwrap(), "shop", "eu").unwrap() {
            Last::Killed(killed) => Some(*killed),
            Last::Ended => None,
            Last::Alive(_) => panic!("it does not live"),
        }
    }

    #[test]
    fn a_run_that_never_ended_is_found_with_how_far_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let moved = What::Moved {
            cluster: "c".into(),
            service: "a".into(),
            changed: true,
        };
        let tasks = [
            What::Running {
                task: "m".into(),
                task_definition: "a:2".into(),
                asks: "x".into(),
                token: "t".into(),
            },
            What::Ran { task: "m".into() },
            What::Running {
                task: "n".into(),
                task_definition: "a:2".into(),
                asks: "x".into(),
                token: "u".into(),
            },
        ];
        let mut all = vec![started("shop"), releasing(), deploying("a", "a:2")];
        all.extend(tasks);
        let run = write(&path, all);
        let seen = killed(&path).unwrap();
        let [a, b] = &seen.plan.services[..] else {
            panic!("{seen:?}")
        };
        assert!(matches!(seen.trace(a), Trace::Asked(_)));
        assert_eq!(seen.trace(b), Trace::Untouched);
        assert!(!seen.created("c", "b"), "nothing was asked for it");
        assert_eq!(seen.task("m", "a:2", "x"), Some(TaskTrace::Succeeded));
        assert_eq!(
            seen.task("n", "a:2", "x"),
            Some(TaskTrace::Started("u".to_owned()))
        );
        assert_eq!(seen.task("m", "a:3", "x"), None, "another revision");
        assert_eq!(seen.task("m", "a:2", "y"), None, "another command");

        run.record(moved).unwrap();
        run.record(deploying("b", "b:2")).unwrap();
        let seen = killed(&path).unwrap();
        assert_eq!(
            seen.trace(&seen.plan.services[0]),
            Trace::Moved { changed: true }
        );
        assert!(seen.created("c", "b"));
        run.record(deploying("a", "a:1")).unwrap();
        let seen = killed(&path).unwrap();
        assert_eq!(seen.trace(&seen.plan.services[0]), Trace::GoingBack);

        run.record(What::Ended {
            outcome: "done".into(),
            summary: String::new(),
        })
        .unwrap();
        assert!(killed(&path).is_none());
    }

    #[test]
    fn runs_of_others_that_touched_nothing_or_that_still_live_are_no_killed_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        write(
            &path,
            vec![started("other"), releasing(), deploying("a", "a:2")],
        );
        assert!(killed(&path).is_none());
        write(
            &path,
            vec![started("shop"), releasing(), deploying("a", "a:2")],
        );
        write(&path, vec![started("shop"), releasing()]);
        assert!(killed(&path).is_some(), "the newest one touched nothing");

        let mut run = write(&path, vec![started("shop")]);
        run.live(None).unwrap();
        run.record(releasing()).unwrap();
        run.record(deploying("a", "a:2")).unwrap();
        let seen = last(&Journal::open(&path).unwrap(), "shop", "eu").unwrap();
        assert!(matches!(seen, Last::Alive(_)));
        drop(run);
        assert!(killed(&path).is_some());
    }
}
