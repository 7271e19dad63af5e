//! Tasks as DescribeTasks writes them.

use hoist_fargate::{Container, Task, World};
use serde_json::{Value, json};

use super::service_json::PLATFORM;
use super::words::{object, time};

/// An entry of `tasks` in an answer.
pub fn render(world: &World, task: &Task, tags: bool) -> Value {
    let kept = |name: &str| task.request.get(name).cloned().unwrap_or_default();
    let definition = world
        .task_definition(&task.task_definition)
        .map(|it| &it.document);
    let defined = |name: &str| {
        definition
            .and_then(|it| it.get(name))
            .cloned()
            .unwrap_or_default()
    };
    let overridden = |name: &str| match kept("overrides").get(name).cloned().unwrap_or_default() {
        Value::Null => defined(name),
        other => other,
    };
    let at = |time_at: Option<u64>| time_at.map(time).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().map(Value::from).unwrap_or_default();
    let storage = match overridden("ephemeralStorage") {
        Value::Null => json!({"sizeInGiB": 20}),
        other => other,
    };
    let provider = text(&task.capacity_provider);
    let launch_type = match task.capacity_provider {
        Some(_) => Value::Null,
        None => json!("FARGATE"),
    };
    let architecture = match defined("runtimePlatform")["cpuArchitecture"].as_str() {
        Some("ARM64") => "arm64",
        _ => "x86_64",
    };
    let containers: Vec<Value> = task
        .containers
        .iter()
        .map(|it| container(task, it, &defined("containerDefinitions")))
        .collect();
    let mut out = object([
        ("attachments", task.attachments.clone().into()),
        (
            "attributes",
            json!([{"name": "ecs.cpu-architecture", "value": architecture}]),
        ),
        ("availabilityZone", text(&task.availability_zone)),
        ("capacityProviderName", provider),
        ("clusterArn", task.cluster.clone().into()),
        (
            "connectivity",
            task.connectivity_at
                .map(|_| "CONNECTED".into())
                .unwrap_or_default(),
        ),
        ("connectivityAt", at(task.connectivity_at)),
        ("containers", containers.into()),
        ("cpu", overridden("cpu")),
        ("createdAt", time(task.created_at)),
        ("desiredStatus", task.desired_status.as_str().into()),
        (
            "enableExecuteCommand",
            (kept("enableExecuteCommand") == true).into(),
        ),
        ("executionStoppedAt", at(task.execution_stopped_at)),
        ("group", task.group.clone().into()),
        ("healthStatus", task.health.as_str().into()),
        ("lastStatus", task.status.as_str().into()),
        ("launchType", launch_type),
        ("memory", overridden("memory")),
        ("overrides", overrides(task)),
        ("platformVersion", json!(PLATFORM)),
        ("platformFamily", json!("Linux")),
        ("pullStartedAt", at(task.pull_started_at)),
        ("pullStoppedAt", at(task.pull_stopped_at)),
        ("startedAt", at(task.started_at)),
        ("startedBy", text(&task.started_by)),
        (
            "stopCode",
            task.stop_code
                .map(|code| code.as_str().into())
                .unwrap_or_default(),
        ),
        ("stoppedAt", at(task.stopped_at)),
        ("stoppedReason", text(&task.stopped_reason)),
        ("stoppingAt", at(task.stopping_at)),
        ("taskArn", task.arn.clone().into()),
        ("taskDefinitionArn", task.task_definition.clone().into()),
        ("version", task.version.into()),
        ("ephemeralStorage", storage.clone()),
        ("fargateEphemeralStorage", storage),
    ]);
    let given = kept("tags");
    out.insert(
        "tags".to_owned(),
        if tags && given.is_array() {
            given
        } else {
            json!([])
        },
    );
    Value::Object(out)
}

/// The overrides as they were given; a container that has none is still named.
fn overrides(task: &Task) -> Value {
    let mut out = task
        .request
        .get("overrides")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let mut containers = out
        .get("containerOverrides")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for container in &task.containers {
        if !containers
            .iter()
            .any(|it| it["name"] == container.name.as_str())
        {
            containers.push(json!({"name": container.name}));
        }
    }
    out.insert("containerOverrides".to_owned(), containers.into());
    out.entry("inferenceAcceleratorOverrides")
        .or_insert_with(|| json!([]));
    Value::Object(out)
}

fn container(task: &Task, container: &Container, definitions: &Value) -> Value {
    let definitions = definitions.as_array().map_or(&[][..], Vec::as_slice);
    let definition = definitions
        .iter()
        .find(|it| it["name"] == container.name.as_str());
    let number = |name: &str| {
        let value = definition.and_then(|it| it.get(name)?.as_u64());
        value
            .map(|value| Value::from(value.to_string()))
            .unwrap_or_default()
    };
    let text = |text: &Option<String>| text.clone().map(Value::from).unwrap_or_default();
    let cpu = match number("cpu") {
        Value::Null => json!("0"),
        other => other,
    };
    Value::Object(object([
        ("containerArn", container.arn.clone().into()),
        ("taskArn", task.arn.clone().into()),
        ("name", container.name.clone().into()),
        ("image", container.image.clone().into()),
        ("imageDigest", text(&container.image_digest)),
        ("runtimeId", text(&container.runtime_id)),
        ("lastStatus", container.status.as_str().into()),
        (
            "exitCode",
            container.exit_code.map(Value::from).unwrap_or_default(),
        ),
        ("reason", text(&container.reason)),
        ("networkBindings", json!([])),
        ("networkInterfaces", interfaces(task)),
        ("healthStatus", container.health.as_str().into()),
        ("cpu", cpu),
        ("memory", number("memory")),
        ("memoryReservation", number("memoryReservation")),
        ("managedAgents", agents(task, container)),
    ]))
}

/// The agent that ExecuteCommand goes by; it lives as long as its container.
fn agents(task: &Task, container: &Container) -> Value {
    if task.request.get("enableExecuteCommand") != Some(&Value::Bool(true)) {
        return Value::Null;
    }
    let mut agent = object([
        ("name", json!("ExecuteCommandAgent")),
        ("lastStatus", container.status.as_str().into()),
    ]);
    if let Some(at) = task.started_at {
        agent.insert("lastStartedAt".to_owned(), time(at));
    }
    json!([agent])
}

fn interfaces(task: &Task) -> Value {
    let interface = task
        .attachments
        .iter()
        .find(|it| it["type"] == "ElasticNetworkInterface");
    match (interface.and_then(|it| it["id"].as_str()), &task.ip) {
        (Some(id), Some(ip)) => json!([{"attachmentId": id, "privateIpv4Address": ip}]),
        _ => json!([]),
    }
}
