//! Task scale-in protection
//! (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection.html>).

use hoist_fargate::{Action, Answer, Task, TaskStatus, World};
use serde_json::{Value, json};

use super::words::{invalid, names, need, object, request, time};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn update(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let wanted = wanted(ctx, call)?;
    if !call.params["protectionEnabled"].is_boolean() {
        return Err(invalid("Protection enabled can not be blank."));
    }
    let answer = ctx
        .driver
        .call(&call.region, Action::UpdateTaskProtection, request(call))
        .await?;
    let Answer::Tasks(protected) = answer else {
        return Err(ApiError::internal(
            "the scheduler answered something that is no task",
        ));
    };
    Ok(ctx.driver.read(|world| {
        let kept = |task: &Task| protected.contains(&task.arn);
        answered(ctx, call, world, &wanted, kept)
    }))
}

pub fn get(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    need(call, "cluster", "Cluster can not be blank.")?;
    let all = call.strings("tasks").is_empty();
    let wanted = if all { Vec::new() } else { wanted(ctx, call)? };
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let own = |task: &Task| task.service.is_some() && task.status != TaskStatus::Stopped;
        if all {
            // "A list of up to 100 task IDs"; without one, all tasks of services.
            let shown = world
                .tasks(&cluster.arn)
                .filter(|it| own(it))
                .map(protection);
            return Ok(json!({"protectedTasks": shown.collect::<Vec<_>>(), "failures": []}));
        }
        Ok(answered(ctx, call, world, &wanted, own))
    })
}

/// The tasks that a call names, and the name of its cluster.
fn wanted(ctx: &Ctx, call: &Call) -> Result<Vec<String>, ApiError> {
    need(call, "cluster", "Cluster can not be blank.")?;
    let most = if call.action == "GetTaskProtection" {
        100
    } else {
        10
    };
    let names = names(call, "tasks", most)?;
    ctx.driver.read(|world| {
        world
            .find_cluster(&call.region, call.str("cluster"))
            .map(drop)
    })?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Each task with its protection, or why it has none
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>).
fn answered(
    ctx: &Ctx,
    call: &Call,
    world: &World,
    wanted: &[String],
    shown: impl Fn(&Task) -> bool,
) -> Value {
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    let Ok(cluster) = world.find_cluster(&call.region, call.str("cluster")) else {
        return json!({"protectedTasks": tasks, "failures": failures});
    };
    for name in wanted {
        let task = world.find_task(cluster, name);
        let running = task.filter(|it| it.status != TaskStatus::Stopped);
        let arn = match task {
            Some(task) => task.arn.clone(),
            None if name.starts_with("arn:") => name.clone(),
            None => ctx.arn(
                "ecs",
                &call.region,
                &format!("task/{}/{name}", cluster.name),
            ),
        };
        let (reason, detail) = match running {
            Some(task) if shown(task) => {
                tasks.push(protection(task));
                continue;
            }
            None => ("MISSING", Value::Null),
            Some(task) if task.service.is_none() => (
                "TASK_NOT_VALID",
                json!("The specified task is not part of an Amazon ECS service."),
            ),
            Some(_) => (
                "DEPLOYMENT_BLOCKED",
                json!(
                    "Task protection can't be set because one or more protected tasks are preventing the service deployment from \
                     reaching steady state."
                ),
            ),
        };
        let failure = object([
            ("arn", arn.into()),
            ("reason", reason.into()),
            ("detail", detail),
        ]);
        failures.push(Value::Object(failure));
    }
    json!({"protectedTasks": tasks, "failures": failures})
}

fn protection(task: &Task) -> Value {
    Value::Object(object([
        ("taskArn", task.arn.clone().into()),
        ("protectionEnabled", task.protected_until.is_some().into()),
        (
            "expirationDate",
            task.protected_until.map(time).unwrap_or_default(),
        ),
    ]))
}
