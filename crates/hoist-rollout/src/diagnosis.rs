//! Why a rollout failed: one cause in one sentence, the evidence, and the fix.

use serde::{Deserialize, Serialize};

use crate::causes;
use crate::observation::{ContainerSeen, EventSeen, TargetSeen, TaskSeen};
use crate::progress::{why_stopped, with_names};
use crate::rollout::{ContainerFacts, Rollout};

/// An explained failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The cause's id in the catalogue, or `unknown`.
    pub id: String,
    /// The cause in one sentence.
    pub cause: String,
    /// What shows it.
    pub evidence: Evidence,
    /// What to do.
    pub fix: String,
    /// Where it is documented, such as `docs/diagnosis.md#image-not-found`.
    pub anchor: String,
}

/// What was seen of the failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Tasks of our revision that ended, the last first; at most [`TASKS_SHOWN`].
    pub tasks: Vec<TaskEvidence>,
    /// How many more ended.
    pub more_tasks: usize,
    /// Targets of our revision that are not healthy.
    pub targets: Vec<TargetEvidence>,
    /// Service events since the rollout began that tell of trouble, oldest first; the last [`EVENTS_SHOWN`].
    pub events: Vec<String>,
    /// What ECS says of the deployment.
    pub deployment: Option<String>,
}

/// How many tasks the evidence shows.
pub const TASKS_SHOWN: usize = 3;
/// How many events the evidence shows.
pub const EVENTS_SHOWN: usize = 8;
/// How many log lines of a container the evidence shows.
pub const LINES_SHOWN: usize = 10;

/// A task that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEvidence {
    /// The task's id.
    pub task: String,
    /// The stop code.
    pub stop_code: String,
    /// Stop code, reason and exit codes in words.
    pub why: String,
    /// Container name, exit code, and the last lines it printed.
    pub containers: Vec<ContainerEvidence>,
}

/// A container of a task that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvidence {
    /// The container's name.
    pub name: String,
    /// Its exit code.
    pub exit_code: Option<i64>,
    /// Why it ended, where ECS says.
    pub reason: String,
    /// The last lines that it printed, oldest first.
    pub lines: Vec<String>,
}

/// A target that is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetEvidence {
    /// Address and port.
    pub target: String,
    /// The state.
    pub state: String,
    /// Such as `Target.Timeout`.
    pub reason: String,
    /// Such as `Request timed out`.
    pub description: String,
}

/// What a cause looks at.
pub(crate) struct Facts<'a> {
    /// Tasks of our revision that ended or are ending, the last first.
    pub tasks: Vec<&'a TaskSeen>,
    /// Targets of our revision that are neither healthy nor leaving.
    pub targets: Vec<&'a TargetSeen>,
    /// Events since the rollout began, the last first.
    pub events: Vec<EventSeen>,
    /// What ECS says of our deployment.
    pub deployment: Vec<&'a str>,
    rollout: &'a Rollout,
}

impl<'a> Facts<'a> {
    pub fn of(rollout: &'a Rollout) -> Facts<'a> {
        let mut tasks: Vec<&TaskSeen> = rollout
            .our_tasks()
            .filter(|task| task.is_ending())
            .collect();
        tasks.sort_by(|a, b| {
            (b.stopped.unwrap_or(b.at), &b.arn).cmp(&(a.stopped.unwrap_or(a.at), &a.arn))
        });
        let addresses: Vec<&str> = rollout
            .our_tasks()
            .map(|task| task.address.as_str())
            .filter(|address| !address.is_empty())
            .collect();
        let targets = rollout
            .targets
            .values()
            .filter(|target| addresses.contains(&target.address.as_str()))
            .filter(|target| {
                matches!(
                    target.state.as_str(),
                    "unhealthy" | "unhealthy.draining" | "initial" | "unused" | "unavailable"
                ) || target.reason.starts_with("Target.") && target.state != "draining"
            })
            .collect();
        let events = rollout
            .events
            .iter()
            .rev()
            .map(|((at, id), message)| EventSeen {
                id: id.clone(),
                at: *at,
                message: message.clone(),
            })
            .collect();
        let mut deployment: Vec<&str> = rollout
            .our_deployment()
            .map(|deployment| deployment.reason.as_str())
            .into_iter()
            .collect();
        deployment.extend(
            rollout
                .service
                .iter()
                .flat_map(|service| &service.deployments)
                .filter(|entry| entry.task_definition == rollout.intent.task_definition)
                .map(|entry| entry.rollout_reason.as_str()),
        );
        deployment.retain(|words| !words.is_empty());
        Facts {
            tasks,
            targets,
            events,
            deployment,
            rollout,
        }
    }

    /// The first text (of stop reasons, container reasons, events, the deployment) that holds all of the words, whatever their case.
    pub fn said(&self, words: &[&str]) -> Option<&str> {
        let of_tasks = self.tasks.iter().flat_map(|task| {
            std::iter::once(task.stopped_reason.as_str()).chain(
                task.containers
                    .iter()
                    .map(|container| container.reason.as_str()),
            )
        });
        of_tasks
            .chain(self.events.iter().map(|event| event.message.as_str()))
            .chain(self.deployment.iter().copied())
            .find(|text| holds_all(text, words))
    }

    /// The first text that holds all of `words` and one of `also`.
    pub fn said_with(&self, words: &[&str], also: &[&str]) -> Option<&str> {
        also.iter().find_map(|word| {
            let mut all = words.to_vec();
            all.push(word);
            self.said(&all)
        })
    }

    /// The last task with this stop code.
    pub fn stop_code(&self, code: &str) -> Option<&'a TaskSeen> {
        self.tasks
            .iter()
            .copied()
            .find(|task| task.stop_code == code)
    }

    /// The last container that ended by itself with an exit code that fits.
    ///
    /// A container of a task that the scheduler or a user stopped was told to end: its code says nothing.
    pub fn exited(&self, fits: impl Fn(i64) -> bool) -> Option<(&'a TaskSeen, &'a ContainerSeen)> {
        self.tasks
            .iter()
            .filter(|task| {
                matches!(
                    task.stop_code.as_str(),
                    "EssentialContainerExited" | "TaskFailedToStart" | ""
                )
            })
            .find_map(|task| {
                Some((
                    *task,
                    task.containers
                        .iter()
                        .find(|container| container.exit_code.is_some_and(&fits))?,
                ))
            })
    }

    /// The last printed line that holds one of the words.
    pub fn printed(&self, words: &[&str]) -> Option<&'a str> {
        self.tasks.iter().find_map(|task| {
            let lines = task
                .containers
                .iter()
                .flat_map(|container| self.lines(task, &container.name))
                .rev();
            lines
                .map(String::as_str)
                .find(|line| words.iter().any(|word| holds_all(line, &[word])))
        })
    }

    /// The lines that a container printed, oldest first.
    pub fn lines(&self, task: &TaskSeen, container: &str) -> std::slice::Iter<'a, String> {
        let logs = self
            .rollout
            .logs
            .get(&(task.arn.clone(), container.to_owned()));
        logs.map_or(&[][..], |logs| logs.lines.as_slice()).iter()
    }

    /// The first target of ours with this reason.
    pub fn target(&self, reason: &str) -> Option<&'a TargetSeen> {
        self.targets
            .iter()
            .copied()
            .find(|target| target.reason == reason)
    }

    /// What is known of a container.
    pub fn container(&self, name: &str) -> Option<&'a ContainerFacts> {
        self.rollout
            .intent
            .containers
            .iter()
            .find(|container| container.name == name)
    }

    /// The container that the load balancer sends to.
    pub fn serving_container(&self) -> Option<&'a ContainerFacts> {
        self.rollout
            .intent
            .containers
            .iter()
            .find(|container| container.port.is_some())
    }

    /// Whether there was a revision before ours.
    pub fn has_previous(&self) -> bool {
        self.rollout.intent.previous_task_definition.is_some()
    }

    fn evidence(&self) -> Evidence {
        let lines = |task: &TaskSeen, container: &str| {
            let all = self.lines(task, container);
            let skip = all.len().saturating_sub(LINES_SHOWN);
            all.skip(skip).cloned().collect()
        };
        let tasks = self
            .tasks
            .iter()
            .take(TASKS_SHOWN)
            .map(|task| TaskEvidence {
                task: task.id().to_owned(),
                stop_code: task.stop_code.clone(),
                why: why_stopped(task),
                containers: task
                    .containers
                    .iter()
                    .map(|container| ContainerEvidence {
                        name: container.name.clone(),
                        exit_code: container.exit_code,
                        reason: container.reason.clone(),
                        lines: lines(task, &container.name),
                    })
                    .collect(),
            });
        let mut events: Vec<String> = self
            .events
            .iter()
            .filter(|event| tells_of_trouble(&event.message))
            .take(EVENTS_SHOWN)
            .map(|event| event.message.clone())
            .collect();
        if events.is_empty() {
            events = self
                .events
                .iter()
                .take(EVENTS_SHOWN)
                .map(|event| event.message.clone())
                .collect();
        }
        events.reverse();
        Evidence {
            tasks: tasks.collect(),
            more_tasks: self.tasks.len().saturating_sub(TASKS_SHOWN),
            targets: self
                .targets
                .iter()
                .map(|target| TargetEvidence {
                    target: format!("{}:{}", target.address, target.port),
                    state: target.state.clone(),
                    reason: target.reason.clone(),
                    description: target.description.clone(),
                })
                .collect(),
            events,
            deployment: self.deployment.first().map(|words| (*words).to_owned()),
        }
    }
}

/// Whether a text holds all of the words, whatever their case.
pub(crate) fn holds_all(text: &str, words: &[&str]) -> bool {
    words.iter().all(|word| {
        word.is_empty()
            || text
                .as_bytes()
                .windows(word.len())
                .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    })
}

fn tells_of_trouble(message: &str) -> bool {
    [
        "unhealthy",
        "fail",
        "unable",
        "rolling back",
        "Reason:",
        "error",
    ]
    .iter()
    .any(|word| holds_all(message, &[word]))
}

/// Explains a failed rollout.
///
/// Matches what was seen against the catalogue of causes, the most telling first. What matches none is said to be unknown, with all the
/// evidence.
pub fn diagnose(rollout: &Rollout) -> Diagnosis {
    let facts = Facts::of(rollout);
    let evidence = facts.evidence();
    for cause in causes::catalogue() {
        if let Some(finding) = (cause.finds)(&facts) {
            return Diagnosis {
                id: cause.id.to_owned(),
                cause: finding.sentence,
                evidence,
                fix: finding.fix,
                anchor: format!("docs/diagnosis.md#{}", cause.id),
            };
        }
    }
    Diagnosis {
        id: "unknown".to_owned(),
        cause: "the cause is unknown: nothing that was seen matches a known one".to_owned(),
        evidence,
        fix: "look at the evidence, the container's log and the service's events; please report it, so that it becomes known".to_owned(),
        anchor: "docs/diagnosis.md#unknown".to_owned(),
    }
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "cause: {}", self.cause)?;
        write!(f, "{}", self.evidence)?;
        writeln!(f, "  = help: {}", self.fix)?;
        write!(f, "  = docs: {}", self.anchor)
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for task in &self.tasks {
            writeln!(f, "  task {}: {}", task.task, with_names(&task.why))?;
            for container in &task.containers {
                for line in &container.lines {
                    writeln!(f, "    {} | {line}", container.name)?;
                }
            }
        }
        if self.more_tasks > 0 {
            writeln!(f, "  and {} more", self.more_tasks)?;
        }
        for target in &self.targets {
            let words = [target.reason.as_str(), target.description.as_str()]
                .into_iter()
                .filter(|words| !words.is_empty())
                .collect::<Vec<_>>()
                .join(", ");
            writeln!(f, "  target {} is {}: {words}", target.target, target.state)?;
        }
        for event in &self.events {
            writeln!(f, "  event: {}", with_names(event))?;
        }
        if let Some(words) = &self.deployment {
            writeln!(f, "  deployment: {words}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod case;
#[cfg(test)]
mod tests {
    use super::case::Case;
    use super::*;

    #[test]
    fn what_matches_nothing_shows_all_the_evidence_and_says_so() {
        let found = Case::new()
            .stopped("SomethingNew", "A reason that nobody has seen", None, "")
            .printed(&["hello", "goodbye"])
            .event("(service web) has done something new.")
            .diagnose();
        assert_eq!(found.id, "unknown");
        let told = found.to_string();
        for part in [
            "the cause is unknown",
            "A reason that nobody has seen (SomethingNew)",
            "web | goodbye",
            "event: (service web) has done something new.",
            "docs/diagnosis.md#unknown",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn only_the_last_lines_and_tasks_are_shown() {
        let lines: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = Case::new().exited(1).printed(&lines).diagnose();
        let shown = &found.evidence.tasks[0].containers[0].lines;
        assert_eq!(
            (shown.len(), shown[0].as_str(), shown[9].as_str()),
            (LINES_SHOWN, "line 40", "line 49")
        );
    }
}
