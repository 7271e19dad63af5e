//! Task definitions.

use std::collections::BTreeMap;

use hoist_fargate::{Action, Answer};
use serde_json::{Map, Value, json};

use super::page::page;
use super::words::{client, includes, invalid, is_name, request};
use super::{definition_json, sizes};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub async fn register(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let request = request(call);
    check(&request)?;
    let request = definition_json::normalise(request, &call.key.arn);
    change(ctx, call, Action::RegisterTaskDefinition, request).await
}

pub async fn deregister(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call
        .str("taskDefinition")
        .ok_or_else(|| client("TaskDefinition can not be blank."))?;
    if !name.rsplit('/').next().unwrap_or(name).contains(':') {
        return Err(client("Unable to describe task definition."));
    }
    let mut answer = change(ctx, call, Action::DeregisterTaskDefinition, request(call)).await?;
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("tags");
    }
    Ok(answer)
}

/// Each name is deleted or refused by itself.
pub async fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let names = call.strings("taskDefinitions");
    if names.is_empty() || names.len() > 10 {
        return Err(invalid(
            "taskDefinitions must have between 1 and 10 elements.",
        ));
    }
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        if !name.rsplit('/').next().unwrap_or(name).contains(':') {
            return Err(client(
                "Task definitions must be named with their revision.",
            ));
        }
        let request = Map::from_iter([("taskDefinition".to_owned(), name.into())]);
        match change(ctx, call, Action::DeleteTaskDefinition, request).await {
            Ok(mut answer) => deleted.push(answer["taskDefinition"].take()),
            Err(error) => failures.push(json!({"arn": name, "reason": error.message})),
        }
    }
    Ok(json!({"taskDefinitions": deleted, "failures": failures}))
}

async fn change(
    ctx: &Ctx,
    call: &Call,
    action: Action,
    request: Map<String, Value>,
) -> Result<Value, ApiError> {
    let Answer::TaskDefinition(arn) = ctx.driver.call(&call.region, action, request).await? else {
        return Err(ApiError::internal(
            "the scheduler answered something that is no task definition",
        ));
    };
    ctx.driver.read(|world| {
        let definition = world
            .task_definition(&arn)
            .ok_or_else(|| ApiError::internal("the task definition is gone"))?;
        let mut answer = json!({"taskDefinition": definition_json::render(definition)});
        if definition.document.get("tags").is_some_and(Value::is_array) {
            answer["tags"] = definition_json::tags(definition);
        }
        Ok(answer)
    })
}

pub fn describe(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call
        .str("taskDefinition")
        .ok_or_else(|| client("TaskDefinition can not be blank."))?;
    ctx.driver.read(|world| {
        let definition = world
            .find_task_definition(&call.region, name)
            .ok_or_else(|| client("Unable to describe task definition."))?;
        let mut answer = json!({"taskDefinition": definition_json::render(definition), "tags": []});
        if includes(call, "TAGS") {
            answer["tags"] = definition_json::tags(definition);
        }
        Ok(answer)
    })
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let family = call.str("familyPrefix");
    let status = call.str("status").unwrap_or("ACTIVE");
    if !["ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"].contains(&status) {
        return Err(invalid(format!("Invalid status: {status}")));
    }
    let descending = match call.str("sort").unwrap_or("ASC") {
        "ASC" => false,
        "DESC" => true,
        other => return Err(invalid(format!("Invalid sort order: {other}"))),
    };
    let arns = ctx.driver.read(|world| {
        let mut found: Vec<_> = world
            .task_definitions(&call.region)
            .filter(|it| definition_json::status(it) == status)
            .filter(|it| family.is_none_or(|family| it.family == family))
            .map(|it| (it.family.clone(), it.revision, it.arn.clone()))
            .collect();
        found.sort();
        if descending {
            found.reverse();
        }
        found.into_iter().map(|(_, _, arn)| arn.into()).collect()
    });
    page(call, "taskDefinitionArns", arns, 100)
}

pub fn families(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let prefix = call.str("familyPrefix").unwrap_or_default();
    let status = call.str("status").unwrap_or("ALL");
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    ctx.driver.read(|world| {
        for definition in world
            .task_definitions(&call.region)
            .filter(|it| it.family.starts_with(prefix))
        {
            *found.entry(definition.family.clone()).or_default() |= definition.active;
        }
    });
    let wanted = |active: bool| match status {
        "ACTIVE" => active,
        "INACTIVE" => !active,
        _ => true,
    };
    let names = found
        .into_iter()
        .filter(|(_, active)| wanted(*active))
        .map(|(name, _)| name.into())
        .collect();
    page(call, "families", names, 100)
}

/// What RegisterTaskDefinition refuses, in the words of the real service where they are known (facts: "Errors seen").
fn check(request: &Map<String, Value>) -> Result<(), ApiError> {
    let text = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let family = text("family").ok_or_else(|| client("Family should not be null or empty."))?;
    if !is_name(family) {
        return Err(client("Family contains invalid characters."));
    }
    let size = serde_json::to_vec(request).map_or(0, |bytes| bytes.len());
    if size > 64 * 1024 {
        return Err(client(format!(
            "Actual length: '{size}'. Max allowed length is '65536' bytes."
        )));
    }
    let containers = request
        .get("containerDefinitions")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    if containers.len() > 10 {
        return Err(client("Too many containers."));
    }
    let fargate = request
        .get("requiresCompatibilities")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|it| it == "FARGATE"));
    let mode = text("networkMode");
    if fargate {
        check_fargate(request, containers)?;
    } else if text("memory").is_none() {
        for container in containers {
            if container.get("memory").is_none() && container.get("memoryReservation").is_none() {
                return Err(client(format!(
                    "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be specified.",
                    container["name"].as_str().unwrap_or_default()
                )));
            }
        }
    }
    check_containers(containers, mode == Some("awsvpc"))
}

fn check_fargate(request: &Map<String, Value>, containers: &[Value]) -> Result<(), ApiError> {
    let text = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if text("networkMode") != Some("awsvpc") {
        return Err(client(
            "Fargate only supports network mode \u{2018}awsvpc\u{2019}.",
        ));
    }
    let cpu = text("cpu")
        .ok_or_else(|| client("Fargate requires that 'cpu' be defined at the task level."))?;
    let memory = text("memory")
        .ok_or_else(|| client("Fargate requires that 'memory' be defined at the task level."))?;
    let invalid_setting = |name: &str| {
        client(format!(
            "Invalid '{name}' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
        ))
    };
    let cpu = sizes::cpu(cpu).ok_or_else(|| invalid_setting("cpu"))?;
    let memory = sizes::memory(memory).ok_or_else(|| invalid_setting("memory"))?;
    if !sizes::exists(cpu, memory) {
        return Err(client("No Fargate configuration exists for given values."));
    }
    let role = text("executionRoleArn").is_some();
    for container in containers {
        let driver = container
            .pointer("/logConfiguration/logDriver")
            .and_then(Value::as_str);
        if driver == Some("awslogs") && !role {
            return Err(client(
                "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
            ));
        }
        if container["image"]
            .as_str()
            .is_some_and(|image| image.contains(".dkr.ecr."))
            && !role
        {
            return Err(client(
                "Fargate requires task definition to have execution role ARN to support ECR images.",
            ));
        }
        if container["privileged"] == true {
            return Err(client("Fargate does not support privileged containers."));
        }
        let total = |name: &str| {
            containers
                .iter()
                .filter_map(|it| it[name].as_u64())
                .sum::<u64>()
        };
        if total("cpu") > cpu {
            return Err(invalid_setting("cpu"));
        }
        if container["memory"].as_u64().is_some_and(|own| own > memory)
            || total("memoryReservation") > memory
        {
            return Err(client(
                "Invalid setting for container: the memory of a container can not be more than that of its task.",
            ));
        }
    }
    Ok(())
}

fn check_containers(containers: &[Value], awsvpc: bool) -> Result<(), ApiError> {
    let mut names = Vec::new();
    for container in containers {
        let text = |name: &str| {
            container
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let name =
            text("name").ok_or_else(|| client("Container.name should not be null or empty."))?;
        if !is_name(name) {
            return Err(client(format!(
                "Invalid container name '{name}'. Up to 255 letters (uppercase and lowercase), numbers, hyphens, and underscores are allowed."
            )));
        }
        if names.contains(&name) {
            return Err(client(
                "Container names must be unique within a task definition.",
            ));
        }
        names.push(name);
        text("image").ok_or_else(|| client("Container.image should not be null or empty."))?;
        check_ports(container, awsvpc)?;
        check_health(container)?;
        check_log(container)?;
        let timeout = container.get("stopTimeout").and_then(Value::as_i64);
        if timeout.is_some_and(|seconds| !(0..=120).contains(&seconds)) {
            return Err(client("Invalid stopTimeout: the maximum is 120 seconds."));
        }
    }
    if !containers.iter().any(|it| {
        it.get("essential")
            .is_none_or(|essential| essential != false)
    }) {
        return Err(client("At least one container must be essential."));
    }
    for container in containers {
        for dependency in container
            .get("dependsOn")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            check_dependency(containers, container, dependency)?;
        }
    }
    if depends_on_itself(containers) {
        return Err(client("There is a cycle in the container dependencies."));
    }
    Ok(())
}

fn check_ports(container: &Value, awsvpc: bool) -> Result<(), ApiError> {
    for port in container
        .get("portMappings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let number = |name: &str| port.get(name).and_then(Value::as_i64);
        let Some(inside) = number("containerPort") else {
            continue;
        };
        if !(1..=65535).contains(&inside) {
            return Err(client(format!(
                "Invalid container port: {inside}. The port must be between 1 and 65535."
            )));
        }
        if awsvpc && number("hostPort").is_some_and(|host| host != inside && host != 0) {
            return Err(client(
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
            ));
        }
    }
    Ok(())
}

fn check_health(container: &Value) -> Result<(), ApiError> {
    let Some(check) = container
        .get("healthCheck")
        .filter(|check| check.is_object())
    else {
        return Ok(());
    };
    let command = check
        .get("command")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if command == 0 {
        return Err(client("Health check command should not be null or empty."));
    }
    let first = check
        .pointer("/command/0")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !["CMD", "CMD-SHELL", "NONE"].contains(&first) {
        return Err(client(
            "Health check command must start with CMD or CMD-SHELL.",
        ));
    }
    for (name, low, high) in [
        ("interval", 5, 300),
        ("timeout", 2, 60),
        ("retries", 1, 10),
        ("startPeriod", 0, 300),
    ] {
        if check
            .get(name)
            .and_then(Value::as_i64)
            .is_some_and(|value| !(low..=high).contains(&value))
        {
            return Err(client(format!(
                "Invalid health check {name}: it must be between {low} and {high}."
            )));
        }
    }
    Ok(())
}

fn check_log(container: &Value) -> Result<(), ApiError> {
    let Some(log) = container
        .get("logConfiguration")
        .filter(|log| log.is_object())
    else {
        return Ok(());
    };
    if log.get("logDriver").and_then(Value::as_str) != Some("awslogs") {
        return Ok(());
    }
    for name in ["awslogs-group", "awslogs-region", "awslogs-stream-prefix"] {
        if log
            .pointer(&format!("/options/{name}"))
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            return Err(client(format!(
                "Log driver awslogs requires options: {name}"
            )));
        }
    }
    Ok(())
}

fn check_dependency(
    containers: &[Value],
    container: &Value,
    dependency: &Value,
) -> Result<(), ApiError> {
    let other = dependency["containerName"].as_str().unwrap_or_default();
    let found = containers.iter().find(|it| it["name"] == other);
    let Some(target) = found else {
        return Err(client(format!(
            "Container dependency '{other}' does not exist in the task definition."
        )));
    };
    let essential = target
        .get("essential")
        .is_none_or(|essential| essential != false);
    match dependency["condition"].as_str().unwrap_or_default() {
        "START" => Ok(()),
        "HEALTHY" if target.get("healthCheck").is_some() => Ok(()),
        "HEALTHY" => Err(client(format!(
            "Container '{other}' must have a health check for the condition HEALTHY."
        ))),
        condition @ ("COMPLETE" | "SUCCESS") if essential => Err(client(format!(
            "A container with the condition {condition} can not be essential: '{other}', which '{}' depends on.",
            container["name"].as_str().unwrap_or_default()
        ))),
        "COMPLETE" | "SUCCESS" => Ok(()),
        other => Err(client(format!(
            "Invalid container dependency condition: {other}"
        ))),
    }
}

/// Whether following `dependsOn` comes back to where it began: containers whose dependencies are all placed are placed, until
/// nothing moves.
fn depends_on_itself(containers: &[Value]) -> bool {
    let mut placed: Vec<&str> = Vec::new();
    loop {
        let ready = containers.iter().find(|container| {
            let name = container["name"].as_str().unwrap_or_default();
            let needs = container.get("dependsOn").and_then(Value::as_array);
            !placed.contains(&name)
                && needs
                    .into_iter()
                    .flatten()
                    .all(|it| placed.contains(&it["containerName"].as_str().unwrap_or_default()))
        });
        match ready {
            Some(container) => placed.push(container["name"].as_str().unwrap_or_default()),
            None => return placed.len() < containers.len(),
        }
    }
}
