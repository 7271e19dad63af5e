//! What hoist puts over a definition that is otherwise left as it was.

use serde_json::{Map, Value, json};

/// Members that only a describe returns and that a register refuses.
///
/// The list is the one that the GitHub action deploy-task-definition ignores (`compatibilities`, `requiresAttributes`, ...), plus
/// what newer answers add.
pub const DESCRIBE_ONLY: [&str; 9] = [
    "compatibilities",
    "taskDefinitionArn",
    "requiresAttributes",
    "revision",
    "status",
    "registeredAt",
    "deregisteredAt",
    "registeredBy",
    "deleteRequestedAt",
];

/// Members that only DescribeServices returns and that CreateService refuses.
pub const DESCRIBE_ONLY_SERVICE: [&str; 17] = [
    "serviceArn",
    "clusterArn",
    "status",
    "runningCount",
    "pendingCount",
    "platformFamily",
    "taskSets",
    "deployments",
    "roleArn",
    "events",
    "createdAt",
    "createdBy",
    "currentServiceDeployment",
    "currentServiceRevisions",
    "resourceManagementType",
    "failures",
    "taskDefinitionArn",
];

/// Why a container could not be given something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// There is nothing to put an image into.
    #[error("the task definition has no container")]
    NoContainer,
    /// The name is not among the containers.
    #[error("the task definition has no container `{wanted}`; it has {}", names(.containers))]
    NoSuchContainer {
        /// The name that was asked for.
        wanted: String,
        /// Those that there are.
        containers: Vec<String>,
    },
    /// Several containers and no name.
    #[error("the task definition has several containers, and none was named to get the image: {}", names(.containers))]
    Ambiguous {
        /// Those that there are.
        containers: Vec<String>,
    },
}

impl OverlayError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoContainer => None,
            Self::NoSuchContainer { wanted, containers } => {
                let near = crate::suggest::nearest(wanted, containers.iter().map(String::as_str));
                Some(match near {
                    Some(near) => format!(
                        "did you mean `{near}`? set `container: {near}` for the service in hoist.yaml"
                    ),
                    None => {
                        "set `container:` for the service in hoist.yaml to one of them".to_owned()
                    }
                })
            }
            Self::Ambiguous { containers } => {
                let first = containers.first()?;
                Some(format!(
                    "name it for the service in hoist.yaml, such as `container: {first}`"
                ))
            }
        }
    }
}

fn names(containers: &[String]) -> String {
    containers
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Names of the containers, in order; one without a name counts as an empty name.
pub fn container_names(task_definition: &Value) -> Vec<String> {
    let containers = task_definition["containerDefinitions"].as_array();
    containers
        .into_iter()
        .flatten()
        .map(|container| container["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Index of the container that gets the image: the named one or, without a name, the only one.
///
/// # Errors
/// There is no such container, or several and none was named.
pub fn container_index(
    task_definition: &Value,
    container: Option<&str>,
) -> Result<usize, OverlayError> {
    let containers = container_names(task_definition);
    match container {
        _ if containers.is_empty() => Err(OverlayError::NoContainer),
        Some(wanted) => containers
            .iter()
            .position(|name| name == wanted)
            .ok_or_else(|| OverlayError::NoSuchContainer {
                wanted: wanted.to_owned(),
                containers,
            }),
        None if containers.len() == 1 => Ok(0),
        None => Err(OverlayError::Ambiguous { containers }),
    }
}

/// The task definition with `image` in one container; everything else stays, in its order.
///
/// # Errors
/// There is no such container, or several and none was named.
pub fn with_image(
    task_definition: &Value,
    container: Option<&str>,
    image: &str,
) -> Result<Value, OverlayError> {
    let index = container_index(task_definition, container)?;
    let mut changed = task_definition.clone();
    changed["containerDefinitions"][index]["image"] = Value::from(image);
    Ok(changed)
}

/// The task definition with environment variables and secrets added to one container. A name that is there already gets the
/// new value in its place; a name that moves between `environment` and `secrets` is removed from the other.
///
/// # Errors
/// There is no such container, or several and none was named.
pub fn with_environment(
    task_definition: &Value,
    container: Option<&str>,
    environment: &[(String, String)],
    secrets: &[(String, String)],
) -> Result<Value, OverlayError> {
    let mut changed = task_definition.clone();
    if environment.is_empty() && secrets.is_empty() {
        return Ok(changed);
    }
    let index = container_index(task_definition, container)?;
    let container = &mut changed["containerDefinitions"][index];
    for (list, other, member, pairs) in [
        ("environment", "secrets", "value", environment),
        ("secrets", "environment", "valueFrom", secrets),
    ] {
        for (name, value) in pairs {
            if let Some(items) = container[other].as_array_mut() {
                items.retain(|item| item["name"] != name.as_str());
            }
            let item = json!({ "name": name, member: value });
            if !container[list].is_array() {
                container[list] = Value::Array(Vec::new());
            }
            let items = container[list]
                .as_array_mut()
                .expect("made a list just above");
            match items.iter_mut().find(|item| item["name"] == name.as_str()) {
                Some(found) => *found = item,
                None => items.push(item),
            }
        }
    }
    Ok(changed)
}

/// The task definition with tags added; a key that is there already gets the new value.
pub fn with_tags(definition: &Value, tags: &[(String, String)]) -> Value {
    let mut changed = definition.clone();
    if tags.is_empty() {
        return changed;
    }
    if !changed["tags"].is_array() {
        changed["tags"] = Value::Array(Vec::new());
    }
    let list = changed["tags"]
        .as_array_mut()
        .expect("made a list just above");
    for (key, value) in tags {
        let tag = json!({ "key": key, "value": value });
        match list.iter_mut().find(|item| item["key"] == key.as_str()) {
            Some(found) => *found = tag,
            None => list.push(tag),
        }
    }
    changed
}

/// The task definition without what only a describe returns. Takes a whole DescribeTaskDefinition answer too: its `tags` are kept.
pub fn strip_describe_only(definition: &Value) -> Value {
    let mut plain = match definition.get("taskDefinition") {
        Some(inner @ Value::Object(_)) => {
            let mut inner = inner.clone();
            if let Some(tags) = definition
                .get("tags")
                .filter(|tags| tags.as_array().is_some_and(|tags| !tags.is_empty()))
            {
                inner["tags"] = tags.clone();
            }
            inner
        }
        _ => definition.clone(),
    };
    remove(&mut plain, &DESCRIBE_ONLY);
    plain
}

/// The service definition without what only a describe returns, as CreateService takes it.
pub fn strip_describe_only_service(definition: &Value) -> Value {
    let mut plain = definition.clone();
    remove(&mut plain, &DESCRIBE_ONLY_SERVICE);
    plain
}

fn remove(definition: &mut Value, members: &[&str]) {
    if let Value::Object(object) = definition {
        let kept: Map<String, Value> = std::mem::take(object)
            .into_iter()
            .filter(|(key, _)| !members.contains(&key.as_str()))
            .collect();
        *object = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Value {
        json!({ "family": "web", "zzz": 1, "containerDefinitions": [
            { "name": "proxy", "image": "envoy" },
            { "name": "web", "image": "old", "environment": [{ "name": "A", "value": "1" }], "future": { "b": 1, "a": 2 } },
        ]})
    }

    #[test]
    fn the_image_goes_into_the_named_container_and_nothing_else_changes() {
        let changed = with_image(&two(), Some("web"), "repo@sha256:1").unwrap();
        let expected = two().to_string().replace("\"old\"", "\"repo@sha256:1\"");
        assert_eq!(changed.to_string(), expected);
    }

    #[test]
    fn a_single_container_needs_no_name() {
        let one = json!({ "containerDefinitions": [{ "name": "web" }] });
        assert_eq!(
            with_image(&one, None, "i").unwrap()["containerDefinitions"][0]["image"],
            "i"
        );
    }

    #[test]
    fn errors_list_the_containers_and_say_what_to_write() {
        let error = with_image(&two(), None, "i").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the task definition has several containers, and none was named to get the image: `proxy`, `web`"
        );
        assert_eq!(
            error.hint().unwrap(),
            "name it for the service in hoist.yaml, such as `container: proxy`"
        );
        let error = with_image(&two(), Some("wbe"), "i").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the task definition has no container `wbe`; it has `proxy`, `web`"
        );
        assert_eq!(
            error.hint().unwrap(),
            "did you mean `web`? set `container: web` for the service in hoist.yaml"
        );
        assert_eq!(
            with_image(&json!({}), None, "i").unwrap_err(),
            OverlayError::NoContainer
        );
    }

    #[test]
    fn environment_is_replaced_by_name_and_moves_to_secrets() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let changed =
            with_environment(&two(), Some("web"), &[pair("A", "2"), pair("B", "3")], &[]).unwrap();
        assert_eq!(
            changed["containerDefinitions"][1]["environment"],
            json!([{ "name": "A", "value": "2" }, { "name": "B", "value": "3" }])
        );
        let changed = with_environment(&two(), Some("web"), &[], &[pair("A", "arn:x")]).unwrap();
        assert_eq!(changed["containerDefinitions"][1]["environment"], json!([]));
        assert_eq!(
            changed["containerDefinitions"][1]["secrets"],
            json!([{ "name": "A", "valueFrom": "arn:x" }])
        );
    }

    #[test]
    fn describe_only_members_go_and_unknown_ones_stay() {
        let answer = json!({
            "taskDefinition": { "taskDefinitionArn": "arn", "family": "web", "revision": 3, "status": "ACTIVE",
                "requiresAttributes": [], "compatibilities": ["FARGATE"], "registeredAt": 1.5, "registeredBy": "me", "new": true },
            "tags": [{ "key": "a", "value": "b" }],
        });
        assert_eq!(
            strip_describe_only(&answer).to_string(),
            r#"{"family":"web","new":true,"tags":[{"key":"a","value":"b"}]}"#
        );
    }

    #[test]
    fn tags_are_replaced_by_key() {
        let tagged = with_tags(
            &json!({ "tags": [{ "key": "a", "value": "1" }] }),
            &[("a".into(), "2".into()), ("b".into(), "3".into())],
        );
        assert_eq!(
            tagged["tags"],
            json!([{ "key": "a", "value": "2" }, { "key": "b", "value": "3" }])
        );
    }
}
