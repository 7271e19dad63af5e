//! What is new since the last look, in words.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observation::{DeploymentSeen, RolloutSeen, ServiceSeen, TargetSeen, TaskSeen};
use crate::rollout::Intent;

/// One new fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "kebab-case")]
pub enum Progress {
    /// ECS wrote a service event.
    Event {
        /// When.
        at: Timestamp,
        /// Its words.
        message: String,
    },
    /// Our service deployment has another status or stage.
    Deployment {
        /// The status.
        status: String,
        /// The stage, where the strategy has stages.
        stage: String,
        /// Why.
        reason: String,
    },
    /// Our service deployment waits in a PAUSE hook for somebody's word.
    Paused {
        /// The stage.
        stage: String,
        /// When it stops waiting.
        expires: Option<Timestamp>,
        /// CONTINUE or ROLLBACK: what comes then.
        then: String,
    },
    /// A `rolloutState` changed, on endpoints without service deployments.
    Rollout {
        /// `ecs-svc/<n>`.
        id: String,
        /// The state.
        state: String,
        /// Why.
        reason: String,
    },
    /// A task of our revision runs.
    TaskRunning {
        /// The task's id.
        task: String,
    },
    /// The container health checks of a task of our revision changed their mind.
    TaskHealth {
        /// The task's id.
        task: String,
        /// HEALTHY or UNHEALTHY.
        health: String,
        /// When it was seen.
        at: Timestamp,
    },
    /// A task of our revision ended.
    TaskStopped {
        /// The task's id.
        task: String,
        /// Stop code, reason and exit codes.
        why: String,
    },
    /// A target of our revision has another state.
    Target {
        /// Address and port.
        target: String,
        /// The state.
        state: String,
        /// Why.
        why: String,
        /// When it was seen.
        at: Timestamp,
    },
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let because = |why: &str| {
            if why.is_empty() {
                String::new()
            } else {
                format!(": {why}")
            }
        };
        match self {
            Progress::Event { message, .. } => f.write_str(&with_names(message)),
            Progress::Deployment {
                status,
                stage,
                reason,
            } => {
                let stage = if stage.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", words(stage))
                };
                write!(f, "deployment {}{stage}{}", words(status), because(reason))
            }
            Progress::Paused {
                stage,
                expires,
                then,
            } => {
                let then = match then.as_str() {
                    "CONTINUE" => "goes on",
                    _ => "is rolled back",
                };
                write!(f, "deployment waits ({})", words(stage))?;
                if let Some(expires) = expires {
                    let expires = expires.strftime("%Y-%m-%d %H:%M:%S UTC");
                    write!(f, "; at {expires} it {then} by itself")?;
                }
                f.write_str(
                    "; `hoist continue` lets it go on, `hoist continue --roll-back` takes it back",
                )
            }
            Progress::Rollout { id, state, reason } => {
                write!(f, "deployment {id} {}{}", words(state), because(reason))
            }
            Progress::TaskRunning { task } => write!(f, "task {task} is running"),
            Progress::TaskHealth { task, health, .. } => {
                write!(f, "task {task} is {}", words(health))
            }
            Progress::TaskStopped { task, why } => {
                write!(f, "task {task} stopped{}", because(&with_names(why)))
            }
            Progress::Target {
                target, state, why, ..
            } => write!(f, "target {target} is {state}{}", because(why)),
        }
    }
}

/// `ROLLBACK_IN_PROGRESS` as `rollback in progress`.
pub(crate) fn words(constant: &str) -> String {
    constant.replace('_', " ").to_lowercase()
}

/// A text with target groups by name instead of by ARN.
pub(crate) fn with_names(text: &str) -> String {
    let mut named = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("arn:") {
        let (before, from) = rest.split_at(start);
        let end = from.find([' ', ')', ',', ';']).unwrap_or(from.len());
        let (arn, after) = from.split_at(end);
        named.push_str(before);
        let name = arn
            .split_once(":targetgroup/")
            .and_then(|(_, tail)| tail.split('/').next());
        named.push_str(name.filter(|name| !name.is_empty()).unwrap_or(arn));
        rest = after;
    }
    named.push_str(rest);
    named
}

pub(crate) fn of_service(
    old: Option<&ServiceSeen>,
    new: &ServiceSeen,
    intent: &Intent,
    news: &mut Vec<Progress>,
) {
    let state_of = |service: &ServiceSeen, id: &str| -> Option<String> {
        service
            .deployments
            .iter()
            .find(|deployment| deployment.id == id)
            .map(|deployment| deployment.rollout_state.clone())
    };
    let is_news = |deployment: &&RolloutSeen| {
        deployment.task_definition == intent.task_definition
            && matches!(deployment.rollout_state.as_str(), "COMPLETED" | "FAILED")
            && old.and_then(|old| state_of(old, &deployment.id)).as_ref()
                != Some(&deployment.rollout_state)
    };
    news.extend(
        new.deployments
            .iter()
            .filter(is_news)
            .map(|deployment| Progress::Rollout {
                id: deployment.id.clone(),
                state: deployment.rollout_state.clone(),
                reason: deployment.rollout_reason.clone(),
            }),
    );
}

pub(crate) fn of_deployment(
    old: Option<&DeploymentSeen>,
    new: &DeploymentSeen,
    news: &mut Vec<Progress>,
) {
    if old.is_none_or(|old| (&old.status, &old.stage) != (&new.status, &new.stage)) {
        news.push(Progress::Deployment {
            status: new.status.clone(),
            stage: new.stage.clone(),
            reason: new.reason.clone(),
        });
    }
    let hook_of = |seen: &DeploymentSeen| seen.pause.as_ref().map(|pause| pause.hook.clone());
    if let Some(pause) = &new.pause
        && old.and_then(hook_of).as_ref() != Some(&pause.hook)
    {
        news.push(Progress::Paused {
            stage: new.stage.clone(),
            expires: pause.expires,
            then: pause.then.clone(),
        });
    }
}

pub(crate) fn of_task(
    old: Option<&TaskSeen>,
    new: &TaskSeen,
    ours: bool,
    news: &mut Vec<Progress>,
) {
    if !ours {
        return;
    }
    let task = new.id().to_owned();
    let ran_before = old.is_some_and(|old| {
        old.started.is_some() || old.last_status == "RUNNING" || old.is_ending()
    });
    if new.is_running() && !ran_before {
        news.push(Progress::TaskRunning { task: task.clone() });
    }
    let known_health = |health: &str| matches!(health, "HEALTHY" | "UNHEALTHY");
    if known_health(&new.health) && old.is_none_or(|old| old.health != new.health) {
        news.push(Progress::TaskHealth {
            task: task.clone(),
            health: new.health.clone(),
            at: new.at,
        });
    }
    if new.is_stopped() && !old.is_some_and(TaskSeen::is_stopped) {
        news.push(Progress::TaskStopped {
            task,
            why: why_stopped(new),
        });
    }
}

pub(crate) fn of_target(old: Option<&TargetSeen>, new: &TargetSeen, news: &mut Vec<Progress>) {
    if old.is_none_or(|old| {
        (&old.state, &old.reason, &old.description) != (&new.state, &new.reason, &new.description)
    }) {
        news.push(Progress::Target {
            target: format!("{}:{}", new.address, new.port),
            state: new.state.clone(),
            why: if new.state == "healthy" {
                String::new()
            } else {
                new.description.clone()
            },
            at: new.at,
        });
    }
}

/// Stop code, reason, and how each container ended.
pub(crate) fn why_stopped(task: &TaskSeen) -> String {
    let mut parts = Vec::new();
    match (task.stopped_reason.is_empty(), task.stop_code.is_empty()) {
        (false, false) => parts.push(format!("{} ({})", task.stopped_reason, task.stop_code)),
        (false, true) => parts.push(task.stopped_reason.clone()),
        (true, false) => parts.push(task.stop_code.clone()),
        (true, true) => {}
    }
    for container in &task.containers {
        let code = container
            .exit_code
            .map(|code| format!("container {} exited with {code}", container.name));
        match (code, container.reason.is_empty()) {
            (Some(code), true) => parts.push(code),
            (Some(code), false) => parts.push(format!("{code}, {}", container.reason)),
            (None, false) if !task.stopped_reason.contains(&container.reason) => parts.push(
                format!("container {}: {}", container.name, container.reason),
            ),
            (None, _) => {}
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::ContainerSeen;

    #[test]
    fn a_stop_is_told_with_code_reason_and_exit_codes() {
        let task = TaskSeen {
            arn: "arn:aws:ecs:eu-central-1:1:task/default/abc".into(),
            stop_code: "EssentialContainerExited".into(),
            stopped_reason: "Essential container in task exited".into(),
            containers: vec![ContainerSeen {
                name: "web".into(),
                exit_code: Some(137),
                reason: "OutOfMemoryError: Container killed due to memory usage".into(),
                ..Default::default()
            }],
            ..TaskSeen::default()
        };
        let told = Progress::TaskStopped {
            task: "abc".into(),
            why: why_stopped(&task),
        }
        .to_string();
        assert_eq!(
            told,
            "task abc stopped: Essential container in task exited (EssentialContainerExited); container web exited with 137, OutOfMemoryError: Container killed due to memory usage"
        );
    }

    #[test]
    fn target_groups_are_told_by_name() {
        let event = "(service web) registered 1 targets in (target-group arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/690dfd617fcab5d8)";
        assert_eq!(
            with_names(event),
            "(service web) registered 1 targets in (target-group web)"
        );
        assert_eq!(
            with_names("role arn:aws:iam::1:role/x, and arn:"),
            "role arn:aws:iam::1:role/x, and arn:"
        );
    }

    #[test]
    fn a_pause_is_told_once_with_what_ends_it() {
        let mut seen = DeploymentSeen {
            status: "IN_PROGRESS".into(),
            stage: "POST_TEST_TRAFFIC_SHIFT".into(),
            ..DeploymentSeen::default()
        };
        let before = seen.clone();
        seen.pause = Some(crate::observation::PauseSeen {
            hook: "h".into(),
            expires: "2026-11-23T10:00:00Z".parse().ok(),
            then: "ROLLBACK".into(),
        });
        let mut news = Vec::new();
        of_deployment(Some(&before), &seen, &mut news);
        of_deployment(Some(&seen), &seen, &mut news);
        assert_eq!(
            news.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "deployment waits (post test traffic shift); at 2026-11-23 10:00:00 UTC it is rolled back by itself; `hoist continue` lets it go on, `hoist continue --roll-back` takes it back"
            ]
        );
    }

    #[test]
    fn statuses_are_told_in_words() {
        let told = Progress::Deployment {
            status: "ROLLBACK_IN_PROGRESS".into(),
            stage: String::new(),
            reason: "the breaker acted".into(),
        };
        assert_eq!(
            told.to_string(),
            "deployment rollback in progress: the breaker acted"
        );
    }
}
