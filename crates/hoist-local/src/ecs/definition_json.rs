//! Task definitions: what a request becomes when it is read back, and how a record is written.

use hoist_fargate::TaskDefinition;
use serde_json::{Map, Value, json};

use super::sizes;
use super::words::{object, time};

/// Fills in what ECS adds to a request: defaults of the containers, units of the size, attributes, who registered it.
pub fn normalise(mut request: Map<String, Value>, registered_by: &str) -> Map<String, Value> {
    for name in ["volumes", "placementConstraints"] {
        request.entry(name).or_insert_with(|| json!([]));
    }
    let size = |request: &Map<String, Value>, name: &str, read: fn(&str) -> Option<u64>| {
        request
            .get(name)
            .and_then(Value::as_str)
            .and_then(read)
            .map(|units| Value::from(units.to_string()))
    };
    if let Some(cpu) = size(&request, "cpu", sizes::cpu) {
        request.insert("cpu".to_owned(), cpu);
    }
    if let Some(memory) = size(&request, "memory", sizes::memory) {
        request.insert("memory".to_owned(), memory);
    }
    let awsvpc = request.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    if let Some(Value::Array(containers)) = request.get_mut("containerDefinitions") {
        containers
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|container| fill(container, awsvpc));
    }
    let attributes = attributes(&request);
    let compatibilities = if awsvpc {
        json!(["EC2", "FARGATE"])
    } else {
        json!(["EC2"])
    };
    request.insert("compatibilities".to_owned(), compatibilities);
    request.insert("requiresAttributes".to_owned(), attributes);
    request.insert("registeredBy".to_owned(), registered_by.into());
    request
}

fn fill(container: &mut Map<String, Value>, awsvpc: bool) {
    container.entry("cpu").or_insert_with(|| json!(0));
    container.entry("essential").or_insert_with(|| json!(true));
    for name in [
        "portMappings",
        "environment",
        "mountPoints",
        "volumesFrom",
        "systemControls",
    ] {
        container.entry(name).or_insert_with(|| json!([]));
    }
    if let Some(Value::Array(ports)) = container.get_mut("portMappings") {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(number) = port.get("containerPort").cloned() {
                let host = if awsvpc { number } else { json!(0) };
                port.entry("hostPort").or_insert(host);
            }
            port.entry("protocol").or_insert_with(|| json!("tcp"));
        }
    }
    if let Some(Value::Object(check)) = container.get_mut("healthCheck") {
        for (name, default) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
            check.entry(name).or_insert_with(|| json!(default));
        }
    }
}

/// `requiresAttributes`: what an EC2 instance would have to offer. Fargate offers all of it.
fn attributes(request: &Map<String, Value>) -> Value {
    let containers = request
        .get("containerDefinitions")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let any = |test: &dyn Fn(&Value) -> bool| containers.iter().any(test);
    let driver = |container: &Value| {
        container
            .pointer("/logConfiguration/logDriver")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let mut names: Vec<String> = containers
        .iter()
        .filter_map(driver)
        .map(|driver| format!("com.amazonaws.ecs.capability.logging-driver.{driver}"))
        .collect();
    let mut when = |yes: bool, name: &str| {
        if yes {
            names.push(name.to_owned());
        }
    };
    let role = request.contains_key("executionRoleArn");
    when(
        role && any(&|it| driver(it).as_deref() == Some("awslogs")),
        "ecs.capability.execution-role-awslogs",
    );
    when(
        any(&|it| {
            it["image"]
                .as_str()
                .is_some_and(|image| image.contains(".dkr.ecr."))
        }),
        "com.amazonaws.ecs.capability.ecr-auth",
    );
    when(
        role && any(&|it| {
            it["image"]
                .as_str()
                .is_some_and(|image| image.contains(".dkr.ecr."))
        }),
        "ecs.capability.execution-role-ecr-pull",
    );
    when(
        any(&|it| it.get("healthCheck").is_some()),
        "ecs.capability.container-health-check",
    );
    when(
        any(&|it| it.get("dependsOn").is_some()),
        "ecs.capability.container-ordering",
    );
    when(
        any(&|it| it.get("secrets").is_some()),
        "ecs.capability.secrets.ssm.environment-variables",
    );
    when(
        request.contains_key("taskRoleArn"),
        "com.amazonaws.ecs.capability.task-iam-role",
    );
    when(
        request.get("networkMode").and_then(Value::as_str) == Some("awsvpc"),
        "ecs.capability.task-eni",
    );
    when(true, "com.amazonaws.ecs.capability.docker-remote-api.1.18");
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| json!({ "name": name }))
        .collect()
}

/// The `taskDefinition` of an answer.
pub fn render(definition: &TaskDefinition) -> Value {
    let mut out = object([
        ("taskDefinitionArn", definition.arn.clone().into()),
        ("family", definition.family.clone().into()),
        ("revision", definition.revision.into()),
        ("status", status(definition).into()),
        (
            "deleteRequestedAt",
            definition.deleted_at.map(time).unwrap_or_default(),
        ),
        ("registeredAt", time(definition.registered_at)),
        (
            "deregisteredAt",
            definition.deregistered_at.map(time).unwrap_or_default(),
        ),
    ]);
    for (name, value) in &definition.document {
        if name != "tags" && name != "family" && !value.is_null() {
            out.insert(name.clone(), value.clone());
        }
    }
    Value::Object(out)
}

/// `ACTIVE`, `INACTIVE` or `DELETE_IN_PROGRESS`.
pub fn status(definition: &TaskDefinition) -> &'static str {
    match (definition.active, definition.deleted_at) {
        (true, _) => "ACTIVE",
        (false, None) => "INACTIVE",
        (false, Some(_)) => "DELETE_IN_PROGRESS",
    }
}

/// The tags of a task definition.
pub fn tags(definition: &TaskDefinition) -> Value {
    definition
        .document
        .get("tags")
        .cloned()
        .filter(|tags| !tags.is_null())
        .unwrap_or_else(|| json!([]))
}
