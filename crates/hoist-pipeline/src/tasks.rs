//! The tasks of the services: those that run, and those that stopped within the last hour, with why.

use std::fmt;

use hoist_aws::{Client, Service as Aws, read};
use hoist_project::Service;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::refusal::refused;
use crate::select;
use crate::table::{span, table, tail};

/// Tasks that one DescribeTasks call takes.
const TASKS_A_CALL: usize = 100;

/// Tasks, the newest first.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Tasks {
    /// The tasks.
    pub tasks: Vec<TaskStatus>,
    #[serde(skip)]
    now: Timestamp,
}

/// One task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// ARN.
    pub arn: String,
    /// Task definition `family:revision`.
    pub revision: String,
    /// Where it is in its life.
    pub status: String,
    /// `HEALTHY`, `UNHEALTHY` or `UNKNOWN`.
    pub health: String,
    /// Address within the network.
    pub address: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
    /// Exit codes, container by container, where there are any.
    pub exit_codes: Vec<(String, i64)>,
}

/// The tasks of `services`; stopped ones only if asked for.
///
/// # Errors
/// A service does not exist, or AWS refused a call.
pub async fn tasks(aws: &Client, services: &[&Service], stopped: bool) -> Result<Tasks, Failure> {
    let mut tasks = Vec::new();
    for service in services {
        select::live(aws, service).await?;
        let mut arns = arns(aws, service, "RUNNING").await?;
        if stopped {
            arns.extend(self::arns(aws, service, "STOPPED").await?);
        }
        for some in arns.chunks(TASKS_A_CALL) {
            let answer = aws
                .json(
                    Aws::Ecs,
                    "DescribeTasks",
                    json!({ "cluster": service.cluster, "tasks": some }),
                )
                .await
                .map_err(|error| refused("failed to describe the tasks", &error))?;
            tasks.extend(read::tasks(&answer).map(|task| of(&service.key, &task)));
        }
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.created));
    Ok(Tasks {
        tasks,
        now: Timestamp::now(),
    })
}

/// ARNs of a service's tasks.
///
/// # Errors
/// AWS refused a call.
pub async fn arns(aws: &Client, service: &Service, desired: &str) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut request = json!({ "cluster": service.cluster, "serviceName": service.name, "desiredStatus": desired });
        if next.is_string() {
            request["nextToken"] = next;
        }
        let mut answer = aws
            .json(Aws::Ecs, "ListTasks", request)
            .await
            .map_err(|error| refused("failed to list the tasks", &error))?;
        arns.extend(
            read::list(&answer, "taskArns")
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        next = answer["nextToken"].take();
        if !next.is_string() {
            return Ok(arns);
        }
    }
}

fn of(service: &str, task: &read::TaskView<'_>) -> TaskStatus {
    let reason = [task.stop_code(), task.stopped_reason()]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    TaskStatus {
        service: service.to_owned(),
        arn: task.arn().to_owned(),
        revision: tail(task.task_definition()).to_owned(),
        status: task.last_status().to_owned(),
        health: task.health().to_owned(),
        address: task.private_ip().to_owned(),
        created: task.created(),
        stopped: Some(reason).filter(|reason| !reason.is_empty()),
        exit_codes: task
            .containers()
            .filter_map(|container| Some((container.name().to_owned(), container.exit_code()?)))
            .collect(),
    }
}

impl fmt::Display for Tasks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tasks.is_empty() {
            return writeln!(out, "no tasks");
        }
        let rows: Vec<[String; 7]> = self
            .tasks
            .iter()
            .map(|task| {
                let age = task
                    .created
                    .map(|at| span(self.now.as_second() - at.as_second()))
                    .unwrap_or_default();
                let mut why: Vec<String> = task
                    .exit_codes
                    .iter()
                    .map(|(container, code)| format!("{container} exited with {code}"))
                    .collect();
                why.extend(task.stopped.clone());
                [
                    tail(&task.arn).to_owned(),
                    task.service.clone(),
                    task.revision.clone(),
                    task.status.clone(),
                    task.health.clone(),
                    age,
                    match why.is_empty() {
                        true => task.address.clone(),
                        false => why.join("; "),
                    },
                ]
            })
            .collect();
        let heading = [
            "TASK",
            "SERVICE",
            "REVISION",
            "STATUS",
            "HEALTH",
            "AGE",
            "ADDRESS OR END",
        ];
        out.write_str(&table(heading, &rows))
    }
}
