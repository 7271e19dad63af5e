//! A task that runs to its end on a service's own network: started, its lines passed on, its exit code told.

use std::time::{Duration, Instant};

use hoist_aws::read::{self, TaskView};
use hoist_aws::{AwsError, Client, Service};
use hoist_project::Task;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};
use crate::parallel::Boxed;
use crate::refusal::{has_code, refused};

/// How long lines may still come after the task has stopped: CloudWatch is a little behind.
const LATE_LINES: Duration = Duration::from_secs(5);
/// How long a cancelled run takes to ask for the stop.
const FAREWELL: Duration = Duration::from_secs(4);

/// What is run, and where.
pub struct OneOff<'a> {
    /// AWS.
    pub aws: &'a Client,
    /// Application name, for the task's tags.
    pub app: &'a str,
    /// Cluster, name or ARN.
    pub cluster: &'a str,
    /// The service whose network it is on: a DescribeServices answer, or a service definition.
    pub service: &'a Value,
    /// Task definition ARN.
    pub revision: &'a str,
    /// That task definition.
    pub definition: &'a Value,
    /// Container that runs the command, where the task does not name one.
    pub container: Option<&'a str>,
    /// The task.
    pub task: &'a Task,
    /// What ECS knows the call by: the same one sent twice starts one task.
    pub token: String,
    /// Time between two looks.
    pub pause: Duration,
}

/// How long a task that was just started may be missing from what ECS describes.
const SETTLING: Duration = Duration::from_secs(60);

impl OneOff<'_> {
    /// Runs it to its end, and returns the exit code of its container.
    ///
    /// # Errors
    /// `TaskFailed` where it never ran or took too long; AWS refused a call; cancellation, which stops it.
    pub fn run<'b>(
        &'b self,
        cancel: &'b Cancel,
        events: &'b Events,
    ) -> Boxed<'b, Result<i64, Failure>> {
        Box::pin(self.to_the_end(cancel, events))
    }

    async fn to_the_end(&self, cancel: &Cancel, events: &Events) -> Result<i64, Failure> {
        let container = self.container()?;
        let step = events.start(
            Step::Run,
            match &self.task.command {
                Some(command) => format!("{}: {}", self.task.key, command.join(" ")),
                None => self.task.key.clone(),
            },
        );
        let arn = cancel.or(self.start(&container)).await?;
        let id = arn.rsplit('/').next().unwrap_or(&arn).to_owned();
        events.note(Step::Run, format!("task {id} of {}", name(self.revision)));
        let mut lines = Lines::of(self, &container, &id);
        let began = Instant::now();
        let mut status = String::new();
        let task = loop {
            let looked = async {
                tokio::time::sleep(self.pause).await;
                let task = self.look(&arn).await?;
                lines.pass_on(events).await;
                Ok(task)
            };
            let task = match cancel.or(looked).await {
                Ok(task) => task,
                Err(failure) if matches!(failure.kind, Kind::Interrupted | Kind::Terminated) => {
                    let stopped =
                        tokio::time::timeout(FAREWELL, self.stop(&arn, "cancelled")).await;
                    return Err(failure.hint(match stopped {
                        Ok(Ok(())) => "the task was asked to stop",
                        _ => "the task could not be asked to stop: it may go on",
                    }));
                }
                Err(failure) => return Err(failure),
            };
            if task.is_null() && began.elapsed() > SETTLING {
                return Err(Failure::new(
                    Kind::TaskFailed,
                    format!(
                        "ECS does not know the task {id} of {} any longer",
                        self.task.key
                    ),
                )
                .hint(
                    "what it came to is not known; its lines are in its log group, if it has one",
                ));
            }
            let now = read::text(&task, "lastStatus");
            if now == "STOPPED" {
                break task;
            }
            if status != now {
                now.clone_into(&mut status);
                events.note(Step::Run, format!("{id} is {status}"));
            }
            if began.elapsed() > Duration::from_secs(u64::from(self.task.timeout)) {
                self.stop(&arn, "timeout")
                    .await
                    .map_err(|error| refused("failed to stop the task", &error))?;
                return Err(Failure::new(
                    Kind::TaskFailed,
                    format!(
                        "{} was stopped after {} s",
                        self.task.key, self.task.timeout
                    ),
                )
                .hint("a longer `timeout` can be set for the task in hoist.yaml"));
            }
        };
        lines.last(events, self.pause).await;
        let view = TaskView::of(&task);
        let ended = view.containers().find(|one| one.name() == container);
        match ended.as_ref().and_then(|one| one.exit_code()) {
            Some(code) => {
                let took = began.elapsed().as_secs();
                let mut said = format!("{container} exited with {code} after {took} s");
                // Such as that it ran out of memory.
                if let Some(reason) = ended.map(|it| it.reason()).filter(|it| !it.is_empty()) {
                    said = format!("{said}: {reason}");
                }
                events.note(Step::Run, said);
                if code == 0 {
                    step.finish(format!("{} succeeded", self.task.key));
                }
                Ok(code)
            }
            None => Err(Failure::new(
                Kind::TaskFailed,
                format!("{} did not run: {}", self.task.key, view.stop_code()),
            )
            .detail(why(&view))),
        }
    }

    fn container(&self) -> Result<String, Failure> {
        let names: Vec<&str> = read::list(self.definition, "containerDefinitions")
            .map(|container| read::text(container, "name"))
            .collect();
        let wanted = self.task.container.as_deref().or(self.container);
        match (wanted, names.as_slice()) {
            (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.to_owned()),
            (None, [only]) => Ok((*only).to_owned()),
            (wanted, names) => Err(Failure::new(
                Kind::Configuration,
                match wanted {
                    Some(wanted) => format!("{} has no container `{wanted}`", name(self.revision)),
                    None => format!("{} has several containers", name(self.revision)),
                },
            )
            .hint(format!("name one of {} as `container`", names.join(", ")))),
        }
    }

    async fn start(&self, container: &str) -> Result<String, Failure> {
        let task = self.task;
        let mut of_container = json!({ "name": container });
        if let Some(command) = &task.command {
            of_container["command"] = json!(command);
        }
        if !task.environment.is_empty() {
            of_container["environment"] = task
                .environment
                .iter()
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect();
        }
        let mut overrides = json!({ "containerOverrides": [of_container] });
        for (member, value) in [("cpu", task.cpu), ("memory", task.memory)] {
            if let Some(value) = value {
                overrides[member] = json!(value.to_string());
            }
        }
        let mut request = json!({
            "cluster": self.cluster,
            "taskDefinition": self.revision,
            "count": 1,
            "overrides": overrides,
            "startedBy": "hoist",
            "clientToken": self.token,
            "tags": [
                { "key": "hoist:app", "value": self.app },
                { "key": "hoist:task", "value": task.key },
            ],
        });
        for member in [
            "networkConfiguration",
            "capacityProviderStrategy",
            "platformVersion",
            "launchType",
        ] {
            let value = &self.service[member];
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            // ECS takes one of the two.
            let other = member == "launchType" && request["capacityProviderStrategy"].is_array();
            if !(empty || other) {
                request[member] = value.clone();
            }
        }
        let what = format!("failed to start the task {}", task.key);
        let answer = self
            .aws
            .json(Service::Ecs, "RunTask", request)
            .await
            .map_err(|error| refused(&what, &error))?;
        if let Some(arn) = answer["tasks"][0]["taskArn"].as_str() {
            return Ok(arn.to_owned());
        }
        let reasons: Vec<String> = read::failures(&answer)
            .map(|(arn, reason, detail)| format!("{arn} {reason} {detail}").trim().to_owned())
            .collect();
        Err(Failure::new(Kind::Rejected, what).detail(reasons.join("\n")))
    }

    async fn look(&self, arn: &str) -> Result<Value, Failure> {
        let request = json!({ "cluster": self.cluster, "tasks": [arn] });
        let mut answer = self
            .aws
            .json(Service::Ecs, "DescribeTasks", request)
            .await
            .map_err(|error| refused("failed to look at the task", &error))?;
        Ok(answer["tasks"][0].take())
    }

    async fn stop(&self, arn: &str, why: &str) -> Result<(), AwsError> {
        let request =
            json!({ "cluster": self.cluster, "task": arn, "reason": format!("hoist: {why}") });
        self.aws
            .json(Service::Ecs, "StopTask", request)
            .await
            .map(drop)
    }
}

/// The lines of the task's container so far.
struct Lines<'a> {
    aws: &'a Client,
    group: Option<String>,
    stream: String,
    token: Option<String>,
}

impl<'a> Lines<'a> {
    fn of(one: &OneOff<'a>, container: &str, id: &str) -> Lines<'a> {
        let definition = read::list(one.definition, "containerDefinitions")
            .find(|definition| definition["name"] == container);
        let logging = definition.map(|definition| &definition["logConfiguration"]);
        let option = |name: &str| {
            logging
                .filter(|logging| logging["logDriver"] == "awslogs")
                .and_then(|logging| logging["options"][name].as_str())
        };
        let prefix = option("awslogs-stream-prefix").unwrap_or_default();
        Lines {
            aws: one.aws,
            group: option("awslogs-group").map(str::to_owned),
            stream: format!("{prefix}/{container}/{id}"),
            token: None,
        }
    }

    /// Passes on what came since the last look. Returns how many lines; those that cannot be had are not worth a failure.
    async fn pass_on(&mut self, events: &Events) -> usize {
        let mut passed = 0;
        while let Some(group) = &self.group {
            let mut request = json!({ "logGroupName": group, "logStreamName": self.stream, "startFromHead": true });
            if let Some(token) = &self.token {
                request["nextToken"] = json!(token);
            }
            let answer = match self.aws.json(Service::Logs, "GetLogEvents", request).await {
                Ok(answer) => answer,
                Err(error) if has_code(&error, "ResourceNotFoundException") => break,
                Err(error) => {
                    tracing::debug!(%error, "the task's lines cannot be read");
                    break;
                }
            };
            let lines = read::list(&answer, "events");
            let count = lines.len();
            for line in lines {
                events.emit(Event::Output {
                    step: Step::Run,
                    line: read::text(line, "message").trim_end().to_owned(),
                });
            }
            passed += count;
            let token = answer["nextForwardToken"].as_str().map(str::to_owned);
            let more = count > 0 && token != self.token;
            self.token = token.or(self.token.take());
            if !more {
                break;
            }
        }
        passed
    }

    /// The lines that come late.
    async fn last(&mut self, events: &Events, pause: Duration) {
        let began = Instant::now();
        let late = LATE_LINES.min(pause * 4);
        while self.group.is_some() && began.elapsed() < late {
            self.pass_on(events).await;
            tokio::time::sleep(pause).await;
        }
    }
}

fn name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn why(task: &TaskView<'_>) -> String {
    let mut lines = vec![task.stopped_reason().to_owned()];
    lines.extend(
        task.containers()
            .filter(|container| !container.reason().is_empty())
            .map(|container| format!("{}: {}", container.name(), container.reason())),
    );
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// The failure that an exit code other than 0 is where success is needed.
pub fn must_succeed(task: &str, code: i64) -> Result<(), Failure> {
    if code == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Kind::TaskFailed,
        format!("the task {task} exited with {code}"),
    ))
}
