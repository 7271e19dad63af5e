//! The events of ECS, from the records that its scheduler writes: see "Amazon ECS events" in the developer guide.

use std::collections::HashMap;

use hoist_fargate::{Kind, RolloutState, Service, Task};
use serde_json::{Map, Value, json};

use super::model::{BUS, Written};
use super::send::publish;
use crate::clock::{self, Millis};
use crate::ctx::{ACCOUNT, Ctx};
use crate::ecs::shown_task;
use crate::ids;

/// Remembers of what it has told.
pub struct Teller {
    ctx: Ctx,
    /// The version of each task.
    tasks: HashMap<String, u64>,
    services: HashMap<String, Seen>,
}

/// What has been told of a service.
#[derive(Clone, Default)]
struct Seen {
    /// The id of its newest event.
    event: Option<String>,
    /// Deployments and their states.
    rollouts: Vec<(String, RolloutState)>,
}

impl Seen {
    fn of(service: &Service) -> Seen {
        Seen {
            event: service.events.front().map(|it| it.id.clone()),
            rollouts: service
                .deployments
                .iter()
                .map(|it| (it.id.clone(), it.rollout_state))
                .collect(),
        }
    }
}

impl Teller {
    /// A teller that has told of nothing.
    pub fn new(ctx: Ctx) -> Teller {
        Teller {
            ctx,
            tasks: HashMap::new(),
            services: HashMap::new(),
        }
    }

    /// Tells of what is new in a record.
    pub async fn tell(&mut self, written: Written) {
        match written.kind {
            Kind::Task => {
                if let Ok(task) = serde_json::from_slice::<Task>(&written.record) {
                    self.task(task).await;
                }
            }
            Kind::Service => {
                if let Ok(service) = serde_json::from_slice::<Service>(&written.record) {
                    self.service(service).await;
                }
            }
            _ => {}
        }
    }

    async fn task(&mut self, task: Task) {
        // The first record is the task as it was asked for.
        if self.tasks.get(&task.arn) == Some(&task.version) {
            return;
        }
        if task.status == hoist_fargate::TaskStatus::Stopped {
            self.tasks.remove(&task.arn);
        } else {
            self.tasks.insert(task.arn.clone(), task.version);
        }
        let shown = self
            .ctx
            .driver
            .read(|world| shown_task(world, &task, false));
        let detail = task_detail(shown);
        self.send("ECS Task State Change", &task.region, &task.arn, detail)
            .await;
    }

    async fn service(&mut self, service: Service) {
        let seen = self.services.get(&service.arn).cloned().unwrap_or_default();
        // What happened before anybody listened is not told.
        let since = u64::try_from(self.ctx.events.since()).unwrap_or(0);
        let now = Seen::of(&service);
        for deployment in service.deployments.iter().rev() {
            let known = (deployment.id.clone(), deployment.rollout_state);
            if seen.rollouts.contains(&known) || deployment.updated_at < since {
                continue;
            }
            let kind = match deployment.rollout_state {
                RolloutState::Failed => "ERROR",
                RolloutState::InProgress | RolloutState::Completed => "INFO",
            };
            let detail = json!({
                "eventType": kind,
                "eventName": format!("SERVICE_DEPLOYMENT_{}", deployment.rollout_state.as_str()),
                "deploymentId": deployment.id,
                "updatedAt": time(deployment.updated_at),
                "reason": deployment.rollout_state_reason,
            });
            self.send(
                "ECS Deployment State Change",
                &service.region,
                &service.arn,
                detail,
            )
            .await;
        }
        let new = service
            .events
            .iter()
            .take_while(|it| Some(&it.id) != seen.event.as_ref() && it.created_at >= since);
        let new: Vec<_> = new.cloned().collect();
        for event in new.into_iter().rev() {
            let Some((kind, name, reason)) = action(&event.message) else {
                continue;
            };
            let mut detail = json!({
                "eventType": kind, "eventName": name, "clusterArn": service.cluster, "createdAt": time(event.created_at),
            });
            if let Some(reason) = reason {
                detail["reason"] = reason.into();
            }
            self.send("ECS Service Action", &service.region, &service.arn, detail)
                .await;
        }
        self.services.insert(service.arn, now);
    }

    async fn send(&self, kind: &str, region: &str, resource: &str, detail: Value) {
        let event = json!({
            "version": "0",
            "id": ids::uuid(),
            "detail-type": kind,
            "source": "aws.ecs",
            "account": ACCOUNT,
            "time": clock::iso8601_seconds(clock::now()),
            "region": region,
            "resources": [resource],
            "detail": detail,
        });
        publish(&self.ctx, region, BUS, &event).await;
    }
}

fn time(at: u64) -> String {
    clock::iso8601(Millis::try_from(at).unwrap_or(Millis::MAX))
}

/// The service action that a service event stands for: type, name, reason.
fn action(message: &str) -> Option<(&'static str, &'static str, Option<&'static str>)> {
    if message.ends_with("has reached a steady state.") {
        Some(("INFO", "SERVICE_STEADY_STATE", None))
    } else if message.contains("is unable to consistently start tasks successfully") {
        Some(("WARN", "SERVICE_TASK_START_IMPAIRED", None))
    } else if message.contains("was unable to place a task.") {
        let reason = Some("RESOURCE:FARGATE");
        Some(("ERROR", "SERVICE_TASK_PLACEMENT_FAILURE", reason))
    } else {
        None
    }
}

/// A task as events have it: times as text, when it changed, and nothing of what DescribeTasks alone has.
fn task_detail(shown: Value) -> Value {
    let Value::Object(shown) = shown else {
        return shown;
    };
    let mut detail: Map<String, Value> = shown
        .into_iter()
        .filter(|(name, value)| {
            let own = [
                "tags",
                "healthStatus",
                "platformFamily",
                "fargateEphemeralStorage",
            ];
            !value.is_null() && !own.contains(&name.as_str())
        })
        .map(|(name, value)| {
            let is_time = name.ends_with("At");
            match value.as_f64().filter(|_| is_time) {
                Some(seconds) => (
                    name,
                    clock::iso8601((seconds * 1000.0).round() as i64).into(),
                ),
                None => (name, value),
            }
        })
        .collect();
    detail.insert("updatedAt".to_owned(), clock::iso8601(clock::now()).into());
    detail.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_events_that_are_actions_are_named() {
        let name = |message: &str| action(message).map(|it| it.1);
        assert_eq!(
            name("(service web) has reached a steady state."),
            Some("SERVICE_STEADY_STATE")
        );
        assert_eq!(name("(service web) has started 1 tasks: (task 1)."), None);
    }

    #[test]
    fn times_of_a_task_are_texts_in_its_event() {
        let detail =
            task_detail(json!({"createdAt": 1.5, "version": 3, "tags": [], "stoppedAt": null}));
        assert_eq!(detail["createdAt"], "1970-01-01T00:00:01.500Z");
        assert_eq!(detail["version"], 3);
        assert!(detail.get("tags").is_none() && detail.get("stoppedAt").is_none());
    }
}
