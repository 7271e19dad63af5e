//! What changes between two definitions, in words: environment and ports by name, secrets never shown.

use serde::Serialize;
use serde_json::Value;

/// Whether something came, went or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only in the new one.
    Added,
    /// In both, with different values.
    Changed,
    /// Only in the old one.
    Removed,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Added, changed or removed.
    pub kind: Kind,
    /// Where, from the outside in: `["web", "environment", "LOG_LEVEL"]`.
    pub path: Vec<String>,
    /// The old value as it is shown, or `(hidden)`.
    pub before: Option<String>,
    /// The new value as it is shown, or `(hidden)`.
    pub after: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.join(" > ");
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {path}: {after}"),
            (Some(before), None) => write!(f, "- {path}: {before}"),
            (Some(before), Some(after)) if before == after => write!(f, "~ {path}: {after}"),
            (before, after) => {
                let shown = |value: &Option<String>| value.clone().unwrap_or_default();
                write!(f, "~ {path}: {} -> {}", shown(before), shown(after))
            }
        }
    }
}

/// What `after` changes against `before`. For task definitions normalise both first
/// ([`crate::normalise_task_definition`]), so that defaults do not show.
///
/// Lists of named things are compared by name; other lists as a whole. Values of environment variables whose name or content
/// looks like a secret are shown as `(hidden)`.
pub fn diff(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(&mut Vec::new(), Some(before), Some(after), &mut changes);
    changes
}

/// Lists whose items have a name, and where that is found.
fn name_of(list: &str, item: &Value) -> Option<String> {
    let text = |key: &str| match &item[key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match list {
        "containerDefinitions"
        | "environment"
        | "secrets"
        | "volumes"
        | "ulimits"
        | "secretOptions" => text("name"),
        "portMappings" => {
            let port = text("containerPort").or_else(|| text("containerPortRange"))?;
            Some(format!(
                "{port}/{}",
                text("protocol").unwrap_or_else(|| "tcp".to_owned())
            ))
        }
        "tags" => text("key"),
        "mountPoints" => text("containerPath"),
        "dependsOn" => text("containerName"),
        "loadBalancers" => Some(format!(
            "{}:{}",
            text("containerName")?,
            text("containerPort")?
        )),
        "systemControls" => text("namespace"),
        "capacityProviderStrategy" => text("capacityProvider"),
        _ => None,
    }
}

fn compare(
    path: &mut Vec<String>,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    let present = |value: Option<&'_ Value>| value.is_some_and(|value| !value.is_null());
    if !present(before) && !present(after) || before == after {
        return;
    }
    let list = path
        .last()
        .map(String::as_str)
        .unwrap_or_default()
        .to_owned();
    let members = |value: Option<&Value>| -> Option<Vec<(String, Value)>> {
        match value {
            Some(Value::Object(object)) => Some(
                object
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| name_of(&list, item).map(|name| (name, without_name(&list, item))))
                .collect::<Option<Vec<_>>>()
                .filter(|named| !named.is_empty() || before.or(after).is_some_and(Value::is_array)),
            Some(Value::Null) | None => Some(Vec::new()),
            _ => None,
        }
    };
    // Values stand on one line each; only what has parts is opened up.
    let opens = |value: Option<&Value>| matches!(value, Some(Value::Object(_) | Value::Array(_)));
    if let (true, Some(old), Some(new)) = (
        opens(before) || opens(after),
        members(before),
        members(after),
    ) {
        let names = new.iter().chain(&old).map(|(name, _)| name.clone());
        let mut seen: Vec<String> = Vec::new();
        for name in names {
            if seen.contains(&name) {
                continue;
            }
            let find = |members: &[(String, Value)]| {
                members
                    .iter()
                    .find(|(member, _)| *member == name)
                    .map(|(_, value)| value.clone())
            };
            path.push(name.clone());
            compare(path, find(&old).as_ref(), find(&new).as_ref(), changes);
            path.pop();
            seen.push(name);
        }
        return;
    }
    let hidden = is_secret(path, before) || is_secret(path, after);
    let shown = |value: Option<&Value>| {
        value
            .filter(|value| !value.is_null())
            .map(|value| match value {
                _ if hidden => "(hidden)".to_owned(),
                Value::String(text) if !text.is_empty() && !text.contains(['\n', ' ']) => {
                    text.clone()
                }
                other => other.to_string(),
            })
    };
    let kind = match (present(before), present(after)) {
        (false, _) => Kind::Added,
        (_, false) => Kind::Removed,
        _ => Kind::Changed,
    };
    let path = path
        .iter()
        .filter(|part| *part != "containerDefinitions")
        .cloned()
        .collect();
    changes.push(Change {
        kind,
        path,
        before: shown(before),
        after: shown(after),
    });
}

/// The item without what names it; one that has a single value besides is that value.
fn without_name(list: &str, item: &Value) -> Value {
    let single = match list {
        "environment" | "tags" => Some("value"),
        "secrets" | "secretOptions" => Some("valueFrom"),
        "dependsOn" => Some("condition"),
        _ => None,
    };
    match (single, item) {
        (Some(key), Value::Object(object)) if object.len() <= 2 => {
            object.get(key).cloned().unwrap_or(Value::Null)
        }
        (_, Value::Object(object)) => {
            let mut object = object.clone();
            if !matches!(list, "portMappings" | "mountPoints" | "loadBalancers") {
                object.shift_remove("name");
            }
            Value::Object(object)
        }
        _ => item.clone(),
    }
}

/// Whether a value must not be shown: an environment variable (or a label, or a log option) that looks like a secret.
fn is_secret(path: &[String], value: Option<&Value>) -> bool {
    let Some(Value::String(text)) = value else {
        return false;
    };
    let named = |list: &str| path.iter().any(|part| part == list);
    if named("secrets") || named("secretOptions") {
        return !(text.starts_with("arn:") || is_parameter_name(text));
    }
    if !(named("environment")
        || named("dockerLabels")
        || named("options")
        || named("command")
        || named("tags"))
    {
        return false;
    }
    let name = path
        .last()
        .map(|name| name.to_ascii_uppercase().replace('-', "_"))
        .unwrap_or_default();
    let secret_name = [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "CREDENTIAL",
        "PRIVATE",
        "APIKEY",
        "API_KEY",
    ]
    .iter()
    .any(|word| name.contains(word))
        || name.ends_with("_KEY")
        || name.ends_with("_PWD")
        || name.ends_with("_DSN");
    let has_password = text.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?'])
            .next()
            .and_then(|host| host.rsplit_once('@'))
            .is_some_and(|(user, _)| user.contains(':'))
    });
    let known_prefix = [
        "AKIA",
        "ASIA",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "xoxb-",
        "xoxp-",
        "sk_live_",
        "-----BEGIN",
        "eyJ",
    ]
    .iter()
    .any(|prefix| text.starts_with(prefix));
    secret_name || has_password || known_prefix
}

fn is_parameter_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        diff(before, after)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn environment_and_ports_are_compared_by_name() {
        let before = json!({ "cpu": "256", "containerDefinitions": [{ "name": "web", "image": "a:1",
            "environment": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
            "portMappings": [{ "containerPort": 80, "protocol": "tcp" }] }] });
        let after = json!({ "cpu": "512", "containerDefinitions": [{ "name": "web", "image": "a:2",
            "environment": [{ "name": "B", "value": "2" }, { "name": "C", "value": "x y" }],
            "portMappings": [{ "containerPort": 80, "protocol": "tcp", "name": "http" }, { "containerPort": 9090 }] }] });
        assert_eq!(
            lines(&before, &after),
            [
                "~ cpu: 256 -> 512",
                "~ web > image: a:1 -> a:2",
                "+ web > environment > C: \"x y\"",
                "- web > environment > A: 1",
                "+ web > portMappings > 80/tcp > name: http",
                "+ web > portMappings > 9090/tcp > containerPort: 9090",
            ]
        );
        assert!(diff(&after, &after).is_empty());
    }

    #[test]
    fn secrets_are_never_shown() {
        let container = |environment: Value| json!({ "containerDefinitions": [{ "name": "web", "environment": environment }] });
        let before = container(
            json!([{ "name": "DB_PASSWORD", "value": "hunter2" }, { "name": "URL", "value": "postgres://u:pw1@db/x" }]),
        );
        let after = container(
            json!([{ "name": "DB_PASSWORD", "value": "hunter3" }, { "name": "URL", "value": "postgres://u:pw2@db/x" }]),
        );
        assert_eq!(
            lines(&before, &after),
            [
                "~ web > environment > DB_PASSWORD: (hidden)",
                "~ web > environment > URL: (hidden)"
            ]
        );
        let all =
            format!("{:?}", diff(&before, &after)) + &format!("{:?}", diff(&json!({}), &after));
        assert!(!all.contains("hunter") && !all.contains("pw2"), "{all}");
    }

    #[test]
    fn a_secret_shows_where_it_comes_from_but_nothing_that_looks_like_its_value() {
        let secret = |from: &str| json!({ "containerDefinitions": [{ "name": "web", "secrets": [{ "name": "TOKEN", "valueFrom": from }] }] });
        assert_eq!(
            lines(
                &secret("arn:aws:ssm:eu-central-1:1:parameter/a"),
                &secret("/shop/token")
            ),
            ["~ web > secrets > TOKEN: arn:aws:ssm:eu-central-1:1:parameter/a -> /shop/token"]
        );
        assert_eq!(
            lines(&json!({}), &secret("pass word!")),
            ["+ web > secrets > TOKEN: (hidden)"]
        );
    }

    #[test]
    fn a_list_without_names_is_one_value() {
        assert_eq!(
            lines(
                &json!({ "command": ["a"] }),
                &json!({ "command": ["a", "b"] })
            ),
            ["~ command: [\"a\"] -> [\"a\",\"b\"]"]
        );
    }
}
