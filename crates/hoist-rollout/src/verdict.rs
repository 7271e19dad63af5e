//! What a rollout has come to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::budget::{self, Hopeless};
use crate::observation::{ServiceSeen, TaskSeen};
use crate::progress;
use crate::rollout::Rollout;
use crate::status::DeploymentStatus;

/// What a rollout has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is decided yet.
    InProgress {
        /// What is still missing for success, in words.
        waiting_for: Vec<String>,
        /// Whether ECS is on the way back to the earlier revision.
        rolling_back: bool,
        /// Set when the failure budget is used up: waiting is in vain.
        hopeless: Option<Hopeless>,
    },
    /// Our revision serves, proven: our service deployment ended well, PRIMARY runs our revision with our digests, and its targets are healthy.
    /// Whether the URL answers is the pipeline's to find out.
    Succeeded,
    /// The earlier revision serves again.
    RolledBack {
        /// Why, in the words of ECS.
        reason: String,
    },
    /// Our deployment ended badly, and nobody rolled it back.
    Failed {
        /// Why.
        reason: String,
    },
    /// Another deployment took the place of ours.
    Superseded {
        /// What runs instead: a revision's ARN or a deployment's id.
        by: String,
    },
    /// Somebody stopped our deployment where it was.
    Stopped {
        /// Why, in the words of ECS.
        reason: String,
    },
    /// The time is up while the rollout still goes on.
    TimedOut {
        /// What was still missing for success.
        waiting_for: Vec<String>,
    },
}

impl Verdict {
    /// Whether the watch is over.
    pub fn is_final(&self) -> bool {
        !matches!(self, Verdict::InProgress { .. })
    }
}

/// Decides what a rollout has come to.
///
/// Pure: the same observations always give the same verdict, in whatever order they came. `now` is the observer's clock, used only for the timeout.
pub fn judge(rollout: &Rollout, now: Timestamp) -> Verdict {
    let waiting = |waiting_for: Vec<String>, rolling_back: bool| {
        if rollout.intent.started.duration_until(now) >= rollout.intent.timeout {
            return Verdict::TimedOut { waiting_for };
        }
        let hopeless = if rolling_back {
            None
        } else {
            budget::hopeless(rollout)
        };
        Verdict::InProgress {
            waiting_for,
            rolling_back,
            hopeless,
        }
    };
    let Some(service) = &rollout.service else {
        return match rollout.missing_at {
            Some(_) => Verdict::Failed {
                reason: format!("service {} does not exist", rollout.intent.service),
            },
            None => waiting(vec!["the service to be described".into()], false),
        };
    };
    if rollout.missing_at.is_some_and(|at| at > service.at) {
        return Verdict::Failed {
            reason: format!("service {} no longer exists", rollout.intent.service),
        };
    }
    if service.status != "ACTIVE" {
        return Verdict::Failed {
            reason: format!("service {} is {}", rollout.intent.service, service.status),
        };
    }
    let found = match (rollout.our_deployment(), rollout.no_service_deployments) {
        (Some(deployment), _) => {
            by_service_deployment(rollout, service, DeploymentStatus::of(&deployment.status))
        }
        (None, true) => by_rollout_state(rollout, service),
        // Superseding shows in the service before anything is known of our deployment.
        (None, false) => match replaced_by(rollout, service) {
            Some(by) if !looks_like_rollback(rollout, service) => {
                Found::End(Verdict::Superseded { by })
            }
            _ => Found::Waiting {
                rolling_back: false,
                also: Some("our service deployment to appear".into()),
            },
        },
    };
    match found {
        Found::End(verdict) => verdict,
        Found::Waiting { rolling_back, also } => {
            let mut missing: Vec<String> = also.into_iter().collect();
            if !rolling_back {
                missing.extend(not_serving(rollout, service));
            }
            waiting(missing, rolling_back)
        }
        Found::Completed => match wrong_digest(rollout) {
            Some(reason) => Verdict::Failed { reason },
            None => match not_serving(rollout, service) {
                missing if missing.is_empty() => Verdict::Succeeded,
                missing => waiting(missing, false),
            },
        },
    }
}

/// What ECS says of our deployment.
enum Found {
    End(Verdict),
    Waiting {
        rolling_back: bool,
        also: Option<String>,
    },
    /// ECS calls it done; whether it serves is still to be seen.
    Completed,
}

fn by_service_deployment(
    rollout: &Rollout,
    service: &ServiceSeen,
    status: DeploymentStatus,
) -> Found {
    let seen = rollout.our_deployment();
    let reason = || {
        seen.map(|deployment| deployment.reason.clone())
            .filter(|reason| !reason.is_empty())
    };
    let word = seen
        .map(|deployment| deployment.status.clone())
        .unwrap_or_default();
    let in_words = |otherwise: &str| reason().unwrap_or_else(|| otherwise.to_owned());
    match status {
        DeploymentStatus::Pending | DeploymentStatus::InProgress => {
            match replaced_by(rollout, service) {
                Some(by)
                    if !looks_like_rollback(rollout, service)
                        && is_after_deployment(rollout, service) =>
                {
                    Found::End(Verdict::Superseded { by })
                }
                Some(_) if looks_like_rollback(rollout, service) => Found::Waiting {
                    rolling_back: true,
                    also: Some("the rollback to end".into()),
                },
                _ => Found::Waiting {
                    rolling_back: false,
                    also: Some(paused(rollout).unwrap_or_else(|| {
                        format!("the service deployment to end (it is {word})")
                    })),
                },
            }
        }
        DeploymentStatus::StopRequested => Found::Waiting {
            rolling_back: false,
            also: Some("the service deployment to stop".into()),
        },
        DeploymentStatus::RollbackRequested | DeploymentStatus::RollbackInProgress => {
            Found::Waiting {
                rolling_back: true,
                also: Some("the rollback to end".into()),
            }
        }
        DeploymentStatus::RollbackSuccessful => Found::End(Verdict::RolledBack {
            reason: in_words("ECS rolled the deployment back"),
        }),
        DeploymentStatus::RollbackFailed => Found::End(Verdict::Failed {
            reason: in_words("the deployment failed, and so did its rollback"),
        }),
        DeploymentStatus::Stopped => match replaced_by(rollout, service) {
            Some(by) if !looks_like_rollback(rollout, service) => {
                Found::End(Verdict::Superseded { by })
            }
            _ => Found::End(Verdict::Stopped {
                reason: in_words("the service deployment was stopped"),
            }),
        },
        DeploymentStatus::Unknown => Found::End(Verdict::Failed {
            reason: format!("the service deployment has the unknown status `{word}`"),
        }),
        DeploymentStatus::Successful => match replaced_by(rollout, service) {
            None => Found::Completed,
            // A snapshot from before the end says nothing of what came after.
            Some(_) if !is_after_deployment(rollout, service) => Found::Waiting {
                rolling_back: false,
                also: Some("the service to be described".into()),
            },
            Some(by) => Found::End(Verdict::Superseded { by }),
        },
    }
}

/// Whose word our deployment waits for, and what gives it.
fn paused(rollout: &Rollout) -> Option<String> {
    let ours = rollout.our_deployment()?;
    let hook = &ours.pause.as_ref()?.hook;
    let since = rollout.paused.get(&(ours.arn.clone(), hook.clone()))?;
    let since = since.strftime("%H:%M:%S UTC");
    let stage = progress::words(&ours.stage);
    Some(format!(
        "somebody's word in the PAUSE hook {hook} ({stage}) since {since}: `hoist continue` lets it go on, `hoist continue --roll-back` takes it back"
    ))
}

/// For endpoints without service deployments: the entries of `deployments`, never their mere number.
fn by_rollout_state(rollout: &Rollout, service: &ServiceSeen) -> Found {
    let ours = service
        .deployments
        .iter()
        .find(|deployment| match &rollout.intent.deployment_id {
            Some(id) => deployment.id == *id,
            None => deployment.task_definition == rollout.intent.task_definition,
        });
    let back = looks_like_rollback(rollout, service);
    match (ours, replaced_by(rollout, service)) {
        (Some(ours), None) => match ours.rollout_state.as_str() {
            "COMPLETED" if ours.task_definition == rollout.intent.task_definition => {
                Found::Completed
            }
            "COMPLETED" => Found::End(Verdict::Superseded {
                by: ours.task_definition.clone(),
            }),
            "FAILED" => Found::End(Verdict::Failed {
                reason: or(&ours.rollout_reason, "the deployment failed"),
            }),
            "IN_PROGRESS" | "" => Found::Waiting {
                rolling_back: false,
                also: Some("the deployment to complete".into()),
            },
            unknown => Found::End(Verdict::Failed {
                reason: format!("the deployment has the unknown rollout state `{unknown}`"),
            }),
        },
        (ours, Some(by)) if back || ours.is_some_and(|ours| ours.rollout_state == "FAILED") => {
            let reason = ours
                .map(|ours| ours.rollout_reason.as_str())
                .unwrap_or_default();
            match service
                .primary()
                .map(|primary| primary.rollout_state.as_str())
            {
                Some("COMPLETED") if is_previous(rollout, service) || back => {
                    Found::End(Verdict::RolledBack {
                        reason: or(reason, "ECS rolled the deployment back"),
                    })
                }
                Some("COMPLETED") => Found::End(Verdict::Superseded { by }),
                Some("FAILED") => Found::End(Verdict::Failed {
                    reason: or(reason, "the deployment failed, and so did its rollback"),
                }),
                _ => Found::Waiting {
                    rolling_back: true,
                    also: Some("the rollback to end".into()),
                },
            }
        }
        (_, Some(by)) => Found::End(Verdict::Superseded { by }),
        (None, None) => Found::Waiting {
            rolling_back: false,
            also: Some("our deployment to appear in the service".into()),
        },
    }
}

fn or(words: &str, otherwise: &str) -> String {
    if words.is_empty() {
        otherwise.to_owned()
    } else {
        words.to_owned()
    }
}

/// What PRIMARY is, when it is not ours.
fn replaced_by(rollout: &Rollout, service: &ServiceSeen) -> Option<String> {
    let primary = service.primary()?;
    if primary.task_definition != rollout.intent.task_definition {
        return Some(primary.task_definition.clone());
    }
    match &rollout.intent.deployment_id {
        Some(id) if !primary.id.is_empty() && primary.id != *id => Some(primary.id.clone()),
        _ => None,
    }
}

fn is_previous(rollout: &Rollout, service: &ServiceSeen) -> bool {
    let primary = service
        .primary()
        .map(|primary| primary.task_definition.as_str());
    primary.is_some() && primary == rollout.intent.previous_task_definition.as_deref()
}

/// Whether PRIMARY is the earlier revision because ECS went back to it.
fn looks_like_rollback(rollout: &Rollout, service: &ServiceSeen) -> bool {
    let Some(primary) = service.primary() else {
        return false;
    };
    if primary.task_definition == rollout.intent.task_definition {
        return false;
    }
    let told = || {
        let mut words = service
            .deployments
            .iter()
            .map(|deployment| deployment.rollout_reason.as_str())
            .chain(rollout.events.values().map(String::as_str));
        words.any(|words| words.contains("rolling back"))
    };
    is_previous(rollout, service) || told()
}

/// Whether the snapshot of the service is not older than that of our deployment.
fn is_after_deployment(rollout: &Rollout, service: &ServiceSeen) -> bool {
    rollout
        .our_deployment()
        .is_none_or(|deployment| service.at >= deployment.at)
}

/// A container of a running task of ours that runs something else than what was pushed.
fn wrong_digest(rollout: &Rollout) -> Option<String> {
    rollout
        .our_tasks()
        .filter(|task| task.is_running())
        .find_map(|task| {
            task.containers.iter().find_map(|container| {
                let wanted = rollout.intent.digests.get(&container.name)?;
                let runs = digest(container)?;
                (!wanted.iter().any(|digest| digest == runs)).then(|| {
                    format!(
                        "container {} of task {} runs {runs}, not {}",
                        container.name,
                        task.id(),
                        wanted.join(" or ")
                    )
                })
            })
        })
}

/// The digest that a container runs: what ECS reports, else what the image is pinned to.
fn digest(container: &crate::observation::ContainerSeen) -> Option<&str> {
    if container.digest.is_empty() {
        container.image.split_once('@').map(|(_, digest)| digest)
    } else {
        Some(&container.digest)
    }
}

/// DescribeTasks takes this many; of more tasks, this many are enough to be shown to run.
const TASKS_TO_SEE: i64 = 100;

/// What is missing before our revision serves, in words; nothing when it does.
fn not_serving(rollout: &Rollout, service: &ServiceSeen) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(primary) = service.primary() else {
        return vec!["a PRIMARY deployment".into()];
    };
    if replaced_by(rollout, service).is_some() {
        return vec!["our revision to be PRIMARY".into()];
    }
    if primary.rollout_state == "FAILED" {
        missing.push("the PRIMARY deployment not to be FAILED".into());
    }
    if primary.running < service.desired {
        missing.push(format!(
            "{} of {} tasks to run",
            service.desired - primary.running,
            service.desired
        ));
    }
    let running: Vec<&TaskSeen> = rollout
        .our_tasks()
        .filter(|task| task.is_running() && task.at >= oldest_useful(service))
        .collect();
    let wanted = service.desired.clamp(0, TASKS_TO_SEE);
    if (running.len() as i64) < wanted {
        missing.push(format!(
            "{} of {wanted} running tasks to be seen",
            wanted - running.len() as i64
        ));
    }
    for task in &running {
        if task.health == "UNHEALTHY" {
            missing.push(format!("task {} to be healthy", task.id()));
        }
        for (name, _) in rollout.intent.digests.iter() {
            if !task
                .containers
                .iter()
                .any(|container| container.name == *name && digest(container).is_some())
            {
                missing.push(format!(
                    "the digest of container {name} of task {}",
                    task.id()
                ));
            }
        }
        missing.extend(
            service
                .target_groups
                .iter()
                .filter_map(|groups| unhealthy_target(rollout, groups, task)),
        );
    }
    missing
}

/// A task's view is of use until it is this much older than the service's.
const VIEW_LASTS: jiff::SignedDuration = jiff::SignedDuration::from_secs(120);

fn oldest_useful(service: &ServiceSeen) -> Timestamp {
    service.at.checked_sub(VIEW_LASTS).unwrap_or(Timestamp::MIN)
}

/// What is missing for a task to have a healthy target in a target group or its alternate.
fn unhealthy_target(
    rollout: &Rollout,
    groups: &crate::observation::TargetGroups,
    task: &TaskSeen,
) -> Option<String> {
    let mut of_task = rollout
        .targets
        .values()
        .filter(|target| {
            target.group == groups.arn || groups.alternate.as_ref() == Some(&target.group)
        })
        .filter(|target| target.address == task.address && !task.address.is_empty())
        .peekable();
    if of_task.peek().is_none() {
        // An emulator may register no targets at all; then the URL alone can tell.
        if rollout.no_service_deployments
            && rollout.our_deployment().is_none()
            && rollout.targets.is_empty()
        {
            return None;
        }
        return Some(format!("task {} to be registered as a target", task.id()));
    }
    let states: Vec<String> = of_task
        .clone()
        .map(|target| format!("{}:{} is {}", target.address, target.port, target.state))
        .collect();
    if of_task.any(|target| target.state == "healthy") {
        None
    } else {
        Some(format!("the target to be healthy ({})", states.join(", ")))
    }
}

#[cfg(test)]
mod tests;
