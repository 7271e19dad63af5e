//! The documents of the task metadata endpoint version 4, as the Fargate page of the developer guide shows them.

use hoist_fargate::Task;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::driver::Crew;

fn time(at: Option<u64>) -> Value {
    at.and_then(|at| i64::try_from(at).ok())
        .map(|at| clock::iso8601(at).into())
        .unwrap_or_default()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
        ),
        other => other,
    }
}

/// The document of a task definition.
fn document(crew: &Crew, task: &Task) -> Map<String, Value> {
    crew.ctx
        .driver
        .read(|world| {
            world
                .task_definition(&task.task_definition)
                .map(|it| it.document.clone())
        })
        .unwrap_or_default()
}

/// Family and revision.
fn family(task: &Task) -> (&str, &str) {
    let name = task.task_definition.rsplit('/').next().unwrap_or_default();
    name.split_once(':').unwrap_or((name, ""))
}

fn network(crew: &Crew, task: &Task) -> Value {
    let interface = task
        .attachments
        .iter()
        .find(|it| it["type"] == "ElasticNetworkInterface");
    let detail = |name: &str| {
        let details = interface.and_then(|it| it["details"].as_array());
        details
            .into_iter()
            .flatten()
            .find(|it| it["name"] == name)
            .and_then(|it| it["value"].as_str())
            .unwrap_or_default()
    };
    let made = crew
        .ctx
        .ec2
        .enis()
        .get(&task.region, detail("networkInterfaceId"));
    let made = made.ok().flatten();
    let subnet = made.as_ref().map(|it| {
        let mask = u32::MAX.checked_shl(32 - u32::from(it.prefix)).unwrap_or(0);
        let network = std::net::Ipv4Addr::from(u32::from(it.private_ip) & mask);
        (
            format!("{network}/{}", it.prefix),
            format!("{}/{}", it.gateway, it.prefix),
        )
    });
    without_nulls(json!({
        "NetworkMode": "awsvpc",
        "IPv4Addresses": [task.ip],
        "AttachmentIndex": 0,
        "MACAddress": detail("macAddress"),
        "IPv4SubnetCIDRBlock": subnet.as_ref().map(|(block, _)| block),
        "PrivateDNSName": detail("privateDnsName"),
        "SubnetGatewayIpv4Address": subnet.as_ref().map(|(_, gateway)| gateway),
    }))
}

/// One container; `None` if the task has none of that name.
pub fn container(crew: &Crew, task: &Task, name: &str) -> Option<Value> {
    let container = task.container(name)?;
    let document = document(crew, task);
    let defined = document
        .get("containerDefinitions")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find(|it| it["name"] == name))
        .cloned()
        .unwrap_or_default();
    let (family, revision) = family(task);
    let log = &defined["logConfiguration"];
    let mut limits = Map::new();
    limits.insert(
        "CPU".to_owned(),
        json!(defined["cpu"].as_u64().unwrap_or(0)),
    );
    if let Some(memory) = defined["memory"].as_u64() {
        limits.insert("Memory".to_owned(), json!(memory));
    }
    let health = match container.health {
        hoist_fargate::Health::Unknown => Value::Null,
        known => json!({"status": known.as_str()}),
    };
    // Those of the definition, with the agent's own over them.
    let mut labels = defined["dockerLabels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (part, value) in [
        ("cluster", task.cluster.as_str()),
        ("container-name", name),
        ("task-arn", &task.arn),
        ("task-definition-family", family),
        ("task-definition-version", revision),
    ] {
        labels.insert(format!("com.amazonaws.ecs.{part}"), value.into());
    }
    Some(without_nulls(json!({
        "DockerId": crew.runtime_id(&task.arn, name),
        "Name": name,
        "DockerName": name,
        "Image": container.image,
        "ImageID": container.image_digest,
        "Labels": labels,
        "DesiredStatus": task.desired_status.as_str(),
        "KnownStatus": container.status.as_str(),
        "ExitCode": container.exit_code,
        "Limits": limits,
        "CreatedAt": time(task.pull_stopped_at.or(Some(task.created_at))),
        "StartedAt": time(container.started_at),
        "FinishedAt": time(container.stopped_at),
        "Type": "NORMAL",
        "LogDriver": log["logDriver"],
        "LogOptions": log["options"],
        "ContainerARN": container.arn,
        "Networks": [network(crew, task)],
        "Health": health,
        "Snapshotter": "overlayfs",
    })))
}

/// The whole task.
pub fn task(crew: &Crew, task: &Task, tags: bool) -> Value {
    let document = document(crew, task);
    let limits = crate::driver::task_limits(&document, task);
    let (family, revision) = family(task);
    let containers: Vec<Value> = task
        .containers
        .iter()
        .filter_map(|it| container(crew, task, &it.name))
        .collect();
    let now = clock::iso8601(clock::now());
    let mut shown = without_nulls(json!({
        "Cluster": task.cluster,
        "TaskARN": task.arn,
        "Family": family,
        "Revision": revision,
        "ServiceName": task.service.as_deref().and_then(|arn| arn.rsplit('/').next()),
        "DesiredStatus": task.desired_status.as_str(),
        "KnownStatus": task.status.as_str(),
        "Limits": {
            "CPU": limits.cpu_units.map(|units| units as f64 / 1024.0),
            "Memory": limits.memory_bytes.map(|bytes| bytes >> 20),
        },
        "PullStartedAt": time(task.pull_started_at),
        "PullStoppedAt": time(task.pull_stopped_at),
        "AvailabilityZone": task.availability_zone,
        "LaunchType": "FARGATE",
        "Containers": containers,
        "ClockDrift": {
            "ClockErrorBound": 0.5,
            "ReferenceTimestamp": now,
            "ClockSynchronizationStatus": "SYNCHRONIZED",
        },
        "FaultInjectionEnabled": false,
    }));
    if tags {
        let given = task.request.get("tags").and_then(Value::as_array);
        let pairs = given
            .into_iter()
            .flatten()
            .filter_map(|tag| Some((tag["key"].as_str()?.to_owned(), tag["value"].clone())));
        shown["TaskTags"] = Value::Object(pairs.collect());
    }
    shown
}
