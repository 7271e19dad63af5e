//! Whether a registered task definition is the one that would be registered.

use serde_json::{Map, Value, json};

use crate::overlay::strip_describe_only;
use crate::size;

/// Whether what runs (`live`, as DescribeTaskDefinition returns it) means the same as what would be registered (`ours`).
///
/// What AWS adds on reading back counts nothing: empty lists, null members, defaults; nor does the order of named things.
/// Tags are not part of the comparison: they are not part of what runs.
pub fn same_task_definition(live: &Value, ours: &Value) -> bool {
    normalise_task_definition(live) == normalise_task_definition(ours)
}

/// The task definition in the one form that all its spellings have in common: what only a describe returns, tags, defaults, and
/// empty members are gone; named things are in the order of their names.
pub fn normalise_task_definition(definition: &Value) -> Value {
    let mut plain = strip_describe_only(definition);
    if let Value::Object(object) = &mut plain {
        object.shift_remove("tags");
        for (key, read) in [
            ("cpu", size::cpu_units as fn(&str) -> Option<u32>),
            ("memory", size::memory_mib),
        ] {
            if let Some(value) = object.get_mut(key) {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                *value = json!(read(&text).map_or(text, |number| number.to_string()));
            }
        }
        for key in ["executionRoleArn", "taskRoleArn"] {
            if let Some(Value::String(role)) = object.get_mut(key)
                && let Some((_, path)) = role.split_once(":role/")
            {
                *role = path.rsplit('/').next().unwrap_or(path).to_owned();
            }
        }
        default(object, "enableFaultInjection", &json!(false));
        if let Some(Value::Array(list)) = object.get_mut("requiresCompatibilities") {
            list.sort_by_key(ToString::to_string);
        }
        if let Some(Value::Object(platform)) = object.get_mut("runtimePlatform") {
            default(platform, "cpuArchitecture", &json!("X86_64"));
            default(platform, "operatingSystemFamily", &json!("LINUX"));
        }
        for volume in objects(object.get_mut("volumes")) {
            if let Some(Value::Object(efs)) = volume.get_mut("efsVolumeConfiguration") {
                default(efs, "rootDirectory", &json!("/"));
                default(efs, "transitEncryption", &json!("DISABLED"));
            }
            default(volume, "configuredAtLaunch", &json!(false));
        }
        sort_by(object, "volumes", &["name"]);
        for container in objects(object.get_mut("containerDefinitions")) {
            normalise_container(container);
        }
    }
    prune(&mut plain);
    plain
}

fn normalise_container(container: &mut Map<String, Value>) {
    default(container, "cpu", &json!(0));
    default(container, "essential", &json!(true));
    default(container, "versionConsistency", &json!("enabled"));
    for key in [
        "privileged",
        "readonlyRootFilesystem",
        "interactive",
        "pseudoTerminal",
        "disableNetworking",
    ] {
        default(container, key, &json!(false));
    }
    for port in objects(container.get_mut("portMappings")) {
        default(port, "protocol", &json!("tcp"));
        // Under awsvpc the host port can only be the container's own; 0 and nothing read back as that.
        let same = port
            .get("hostPort")
            .is_none_or(|host| *host == json!(0) || port.get("containerPort") == Some(host));
        if same {
            port.shift_remove("hostPort");
        }
    }
    if let Some(Value::Object(health)) = container.get_mut("healthCheck") {
        for (key, value) in [
            ("interval", 30),
            ("timeout", 5),
            ("retries", 3),
            ("startPeriod", 0),
        ] {
            default(health, key, &json!(value));
        }
    }
    for list in ["mountPoints", "volumesFrom"] {
        for mount in objects(container.get_mut(list)) {
            default(mount, "readOnly", &json!(false));
        }
    }
    if let Some(Value::Object(linux)) = container.get_mut("linuxParameters") {
        default(linux, "initProcessEnabled", &json!(false));
    }
    for (list, keys) in [
        ("environment", &["name", "value"][..]),
        ("secrets", &["name"]),
        (
            "portMappings",
            &["containerPort", "containerPortRange", "protocol"],
        ),
        ("mountPoints", &["containerPath"]),
        ("ulimits", &["name"]),
        ("dependsOn", &["containerName"]),
        ("systemControls", &["namespace"]),
        ("extraHosts", &["hostname", "ipAddress"]),
    ] {
        sort_by(container, list, keys);
    }
    if let Some(Value::Object(log)) = container.get_mut("logConfiguration") {
        sort_by(log, "secretOptions", &["name"]);
    }
}

/// Removes a member that has its default value.
fn default(object: &mut Map<String, Value>, key: &str, value: &Value) {
    if object.get(key) == Some(value) {
        object.shift_remove(key);
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn sort_by(object: &mut Map<String, Value>, list: &str, keys: &[&str]) {
    if let Some(Value::Array(items)) = object.get_mut(list) {
        items.sort_by_cached_key(|item| {
            keys.iter()
                .map(|key| item[*key].to_string())
                .collect::<Vec<_>>()
        });
    }
}

/// Removes null members, empty lists and empty objects, from the inside out.
fn prune(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for member in object.values_mut() {
                prune(member);
            }
            object.retain(|_, member| match member {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) => !members.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        json!({
            "family": "web", "cpu": "0.25 vCPU", "memory": "0.5 GB", "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"], "executionRoleArn": "shop-execution",
            "containerDefinitions": [{
                "name": "web", "image": "repo@sha256:1",
                "portMappings": [{ "containerPort": 8080 }],
                "environment": [{ "name": "B", "value": "2" }, { "name": "A", "value": "" }],
                "healthCheck": { "command": ["CMD", "true"], "interval": 30 },
            }],
        })
    }

    fn live() -> Value {
        json!({
            "taskDefinitionArn": "arn:aws:ecs:eu-central-1:000000000000:task-definition/web:7",
            "containerDefinitions": [{
                "name": "web", "image": "repo@sha256:1", "cpu": 0, "essential": true,
                "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" }],
                "environment": [{ "name": "A", "value": "" }, { "name": "B", "value": "2" }],
                "environmentFiles": [], "mountPoints": [], "volumesFrom": [], "systemControls": [], "user": null,
                "healthCheck": { "command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3 },
            }],
            "family": "web", "revision": 7, "volumes": [], "status": "ACTIVE", "placementConstraints": [],
            "requiresAttributes": [{ "name": "x" }], "compatibilities": ["EC2", "FARGATE"],
            "executionRoleArn": "arn:aws:iam::000000000000:role/path/shop-execution",
            "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "registeredAt": 1_790_000_000.5, "registeredBy": "arn:aws:iam::000000000000:user/ci",
        })
    }

    #[test]
    fn a_definition_equals_its_own_read_back() {
        assert!(same_task_definition(&live(), &ours()));
        assert!(same_task_definition(
            &json!({ "taskDefinition": live(), "tags": [] }),
            &ours()
        ));
    }

    #[test]
    fn every_change_that_matters_is_seen() {
        let changes: [(&str, Value); 9] = [
            ("/containerDefinitions/0/image", json!("repo@sha256:2")),
            ("/containerDefinitions/0/environment/0/value", json!("3")),
            (
                "/containerDefinitions/0/portMappings/0/containerPort",
                json!(9090),
            ),
            ("/containerDefinitions/0/healthCheck/interval", json!(10)),
            ("/memory", json!("1 GB")),
            ("/cpu", json!("512")),
            ("/family", json!("web2")),
            ("/executionRoleArn", json!("other")),
            ("/requiresCompatibilities", json!(["FARGATE", "EC2"])),
        ];
        for (pointer, value) in changes {
            let mut changed = ours();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(!same_task_definition(&live(), &changed), "{pointer}");
        }
        let mut changed = ours();
        changed["containerDefinitions"][0]["essential"] = json!(false);
        assert!(!same_task_definition(&live(), &changed));
        let mut changed = ours();
        changed["aFieldOfTomorrow"] = json!({ "on": true });
        assert!(!same_task_definition(&live(), &changed));
    }

    #[test]
    fn normalising_twice_changes_nothing_more() {
        let once = normalise_task_definition(&live());
        assert_eq!(normalise_task_definition(&once), once);
    }
}
