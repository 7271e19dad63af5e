//! The stage as an endpoint of AWS: its records, written as the answers of the wire.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use hoist_aws::{AwsError, Service, TransportKind};
use hoist_fargate::{DeploymentStatus, Health, Task, TaskStatus};
use hoist_local::ecs::wire;
use hoist_pipeline::Asks;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stage::{Dice, GROUP, REGION, Stage};

/// How long ago what an answer says may have been, in milliseconds: reads of ECS are only eventually consistent.
pub const STALE: u64 = 3_000;

/// An endpoint that answers from the stage.
pub struct Wire {
    inner: Mutex<Inner>,
}

pub struct Inner {
    pub stage: Stage,
    /// The deregistration delay of the target group, in seconds.
    pub drain: u64,
    pub dice: Dice,
    /// Chances in per cent that a call fails, and that its answer is an older one.
    pub fails: u64,
    pub stale: u64,
    pub calls: BTreeMap<&'static str, u64>,
    /// When each was made.
    pub log: Vec<(u64, &'static str)>,
    past: BTreeMap<(&'static str, String), VecDeque<(u64, Value)>>,
}

impl Wire {
    pub fn new(stage: Stage, seed: u64, drain: u64) -> Wire {
        Wire {
            inner: Mutex::new(Inner {
                stage,
                drain,
                dice: Dice::new(!seed),
                fails: 0,
                stale: 0,
                calls: BTreeMap::new(),
                log: Vec::new(),
                past: BTreeMap::new(),
            }),
        }
    }

    /// The stage behind the wire.
    pub fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(|it| it.into_inner()))
    }

    fn ask(
        &self,
        service: Service,
        operation: &'static str,
        body: &Value,
    ) -> Result<Value, AwsError> {
        self.with(|inner| inner.ask(service, operation, body))
    }
}

impl Asks for Wire {
    fn json(
        &self,
        service: Service,
        operation: &'static str,
        body: Value,
    ) -> impl Future<Output = Result<Value, AwsError>> + Send {
        std::future::ready(self.ask(service, operation, &body))
    }

    fn query(
        &self,
        service: Service,
        action: &'static str,
        params: Value,
    ) -> impl Future<Output = Result<Value, AwsError>> + Send {
        std::future::ready(self.ask(service, action, &params))
    }

    fn now(&self) -> Timestamp {
        self.with(|inner| moment(inner.stage.now))
    }
}

pub fn moment(millis: u64) -> Timestamp {
    Timestamp::from_millisecond(millis as i64).unwrap()
}

impl Inner {
    fn ask(
        &mut self,
        service: Service,
        operation: &'static str,
        body: &Value,
    ) -> Result<Value, AwsError> {
        *self.calls.entry(operation).or_default() += 1;
        self.log.push((self.stage.now, operation));
        if self.dice.percent(self.fails) {
            return Err(self.fault(service, operation));
        }
        let answer = self.answer(operation, body);
        if self.stale == 0 {
            return Ok(answer);
        }
        let now = self.stage.now;
        let past = self.past.entry((operation, body.to_string())).or_default();
        past.push_back((now, answer.clone()));
        while past.front().is_some_and(|(at, _)| at + STALE < now) {
            past.pop_front();
        }
        if self.dice.percent(self.stale) {
            let nth = self.dice.next() as usize % past.len();
            return Ok(past[nth].1.clone());
        }
        Ok(answer)
    }

    fn fault(&mut self, service: Service, operation: &str) -> AwsError {
        match self.dice.between((0, 2)) {
            0 => AwsError::Transport {
                service,
                operation: operation.into(),
                endpoint: "http://simulated".into(),
                kind: TransportKind::Interrupted,
                source: "connection reset".into(),
            },
            1 => refusal(service, operation, "ThrottlingException", 400),
            _ => refusal(service, operation, "ServerException", 500),
        }
    }

    fn answer(&self, operation: &str, body: &Value) -> Value {
        let world = &self.stage.world;
        let cluster = world.find_cluster(REGION, None).unwrap();
        let service = world.find_service(cluster, "web");
        let names = |member: &str| -> Vec<String> {
            let list = body[member].as_array().cloned().unwrap_or_default();
            list.iter()
                .filter_map(|it| it.as_str().map(str::to_owned))
                .collect()
        };
        match operation {
            "DescribeServices" => match service {
                Some(service) => {
                    json!({ "services": [wire::service(world, service, true)], "failures": [] })
                }
                None => {
                    json!({ "services": [], "failures": [{ "arn": "web", "reason": "MISSING" }] })
                }
            },
            "ListServiceDeployments" => {
                let mut found: Vec<_> = service
                    .into_iter()
                    .flat_map(|service| world.service_deployments(&service.arn))
                    .collect();
                found.sort_by_key(|it| std::cmp::Reverse(it.created_at));
                let most = body["maxResults"].as_u64().unwrap_or(20) as usize;
                let briefs: Vec<Value> = found
                    .into_iter()
                    .take(most)
                    .map(wire::service_deployment_brief)
                    .collect();
                json!({ "serviceDeployments": briefs })
            }
            "DescribeServiceDeployments" => {
                let found: Vec<Value> = names("serviceDeploymentArns")
                    .iter()
                    .filter_map(|arn| world.service_deployment(arn))
                    .map(wire::service_deployment)
                    .collect();
                json!({ "serviceDeployments": found })
            }
            "DescribeServiceRevisions" => {
                let found: Vec<Value> = names("serviceRevisionArns")
                    .iter()
                    .filter_map(|arn| world.service_revision(arn))
                    .map(|it| wire::service_revision(world, it))
                    .collect();
                json!({ "serviceRevisions": found })
            }
            "ListTasks" => {
                let wanted = body["desiredStatus"].as_str().unwrap_or("RUNNING");
                let arns: Vec<&str> = self
                    .tasks()
                    .filter(|it| it.desired_status.as_str() == wanted)
                    .map(|it| it.arn.as_str())
                    .collect();
                json!({ "taskArns": arns })
            }
            "DescribeTasks" => {
                let found: Vec<Value> = names("tasks")
                    .iter()
                    .filter_map(|arn| world.task(arn))
                    .map(|it| self.task(it))
                    .collect();
                json!({ "tasks": found })
            }
            "DescribeTargetHealth" => {
                let found: Vec<Value> = self
                    .tasks()
                    .filter(|it| it.status < TaskStatus::Stopped)
                    .flat_map(|task| task.targets.iter().map(move |target| (task, target)))
                    .filter(|(_, target)| target.registered_at.is_some() && !target.drained)
                    .map(|(task, target)| {
                        let state = serde_json::to_value(target.state).unwrap_or_default();
                        json!({
                            "Target": { "Id": task.ip, "Port": target.port.to_string() },
                            "TargetHealth": {
                                "State": if target.deregistered_at.is_some() { json!("draining") } else { state },
                                "Reason": target.reason, "Description": target.description,
                            },
                        })
                    })
                    .collect();
                json!({ "TargetHealthDescriptions": found })
            }
            "DescribeTargetGroupAttributes" => json!({ "Attributes": [
                { "Key": "deregistration_delay.timeout_seconds", "Value": self.drain.to_string() }
            ]}),
            "DescribeTargetGroups" => json!({ "TargetGroups": [
                { "TargetGroupArn": GROUP, "HealthCheckPath": "/healthz" }
            ]}),
            other => panic!("{other} is not part of watching"),
        }
    }

    fn tasks(&self) -> impl Iterator<Item = &Task> {
        let world = &self.stage.world;
        let cluster = world.find_cluster(REGION, None).unwrap();
        world
            .find_service(cluster, "web")
            .into_iter()
            .flat_map(|service| world.tasks_of(&service.arn))
    }

    /// A task with the interface that the stage's driver does not make.
    fn task(&self, task: &Task) -> Value {
        let mut written = wire::task(&self.stage.world, task, false);
        if let Some(ip) = &task.ip {
            written["attachments"] = json!([{
                "id": task.id, "type": "ElasticNetworkInterface", "status": "ATTACHED",
                "details": [{ "name": "privateIPv4Address", "value": ip }],
            }]);
        }
        written
    }

    /// Whether this revision alone serves, by the records themselves.
    pub fn serves(&self, definition: &str) -> Result<(), String> {
        let service = self.stage.service();
        let primary = service.primary().ok_or("there is no PRIMARY")?;
        if primary.status != DeploymentStatus::Primary || primary.task_definition != definition {
            return Err(format!("PRIMARY is {}", primary.task_definition));
        }
        let ours = || {
            self.tasks()
                .filter(|it| it.task_definition == definition && it.is_wanted())
                .filter(|it| it.status == TaskStatus::Running)
        };
        if let Some(sick) = ours().find(|it| it.health == Health::Unhealthy) {
            return Err(format!("{} is unhealthy", sick.arn));
        }
        let good = ours()
            .filter(|it| {
                let state = |it: &hoist_fargate::Target| serde_json::to_value(it.state);
                it.targets
                    .iter()
                    .all(|it| state(it).is_ok_and(|it| it == "healthy"))
            })
            .count();
        if good < service.desired_count as usize {
            return Err(format!("{good} of {} tasks serve", service.desired_count));
        }
        Ok(())
    }
}

fn refusal(service: Service, operation: &str, code: &str, status: u16) -> AwsError {
    AwsError::Service {
        service,
        operation: operation.into(),
        code: code.into(),
        message: "simulated".into(),
        status,
        request_id: None,
    }
}
