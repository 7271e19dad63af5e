//! Tasks.

use hoist_fargate::{Action, Answer, Task, TaskStatus};
use serde_json::{Value, json};

use super::page::page;
use super::words::{includes, invalid, missing, names, need, request};
use super::{service_check, task_json};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn run(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "taskDefinition", "TaskDefinition can not be blank.")?;
    let count = call.integer("count").unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(invalid("Count must be between 1 and 10."));
    }
    service_check::run_task(ctx, call).await?;
    let arns = change(ctx, call, Action::RunTask).await?;
    Ok(ctx.driver.read(|world| {
        let tasks: Vec<Value> = arns
            .iter()
            .filter_map(|arn| world.task(arn))
            .map(|task| task_json::render(world, task, true))
            .collect();
        json!({"tasks": tasks, "failures": []})
    }))
}

pub async fn stop(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "task", "Task can not be blank.")?;
    let arns = change(ctx, call, Action::StopTask).await?;
    ctx.driver.read(|world| {
        let task = arns
            .first()
            .and_then(|arn| world.task(arn))
            .ok_or_else(|| ApiError::internal("the task is gone"))?;
        Ok(json!({"task": task_json::render(world, task, true)}))
    })
}

async fn change(ctx: &Ctx, call: &Call, action: Action) -> Result<Vec<String>, ApiError> {
    match ctx.driver.call(&call.region, action, request(call)).await? {
        Answer::Tasks(arns) => Ok(arns),
        _ => Err(ApiError::internal(
            "the scheduler answered something that is no task",
        )),
    }
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let wanted = names(call, "tasks", 100)?;
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in wanted {
            match world.find_task(cluster, name) {
                Some(task) => found.push(task_json::render(world, task, includes(call, "TAGS"))),
                None if name.starts_with("arn:") => failures.push(missing(name)),
                None => {
                    let resource = format!("task/{}/{name}", cluster.name);
                    failures.push(missing(ctx.arn("ecs", &call.region, &resource)));
                }
            }
        }
        Ok(json!({"tasks": found, "failures": failures}))
    })
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let desired = match call.str("desiredStatus").unwrap_or("RUNNING") {
        "RUNNING" => TaskStatus::Running,
        "STOPPED" => TaskStatus::Stopped,
        // "Although you can filter results based on a desired status of PENDING, this doesn't return any results." (API reference)
        "PENDING" => return page(call, "taskArns", Vec::new(), 100),
        other => return Err(invalid(format!("Invalid desired status: {other}"))),
    };
    let arns = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let service = match call.str("serviceName") {
            Some(name) => {
                let found = world.find_service(cluster, name);
                Some(found.ok_or_else(|| {
                    ApiError::new("ServiceNotFoundException", "Service not found.")
                })?)
            }
            None => None,
        };
        let family = |task: &Task| {
            let name = task.task_definition.rsplit('/').next().unwrap_or_default();
            name.split(':').next().unwrap_or_default().to_owned()
        };
        let kept = |task: &&Task| {
            task.desired_status == desired
                && service
                    .is_none_or(|service| task.service.as_deref() == Some(service.arn.as_str()))
                && call
                    .str("family")
                    .is_none_or(|wanted| family(task) == wanted)
                && call
                    .str("startedBy")
                    .is_none_or(|wanted| task.started_by.as_deref() == Some(wanted))
                && call
                    .str("launchType")
                    .is_none_or(|wanted| wanted == "FARGATE")
                && call.str("containerInstance").is_none()
        };
        Ok::<_, ApiError>(
            world
                .tasks(&cluster.arn)
                .filter(kept)
                .map(|it| it.arn.clone().into())
                .collect(),
        )
    })?;
    page(call, "taskArns", arns, 100)
}
