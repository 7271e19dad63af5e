//! What a target gets of an event: all of it, a part, a fixed text, or a template filled with parts.

use serde_json::Value;

/// The input of a target for an event.
pub fn input(target: &Value, event: &Value) -> String {
    if let Some(fixed) = target["Input"].as_str() {
        return fixed.to_owned();
    }
    if let Some(path) = target["InputPath"].as_str() {
        return part(event, path).unwrap_or(&Value::Null).to_string();
    }
    let transformer = &target["InputTransformer"];
    let Some(template) = transformer["InputTemplate"].as_str() else {
        return event.to_string();
    };
    let filled = fill(template, &transformer["InputPathsMap"], event);
    // A template that is one quoted text stands for that text.
    serde_json::from_str::<String>(&filled).unwrap_or(filled)
}

/// The part that a path such as `$.detail.containers[0].name` leads to.
pub fn part<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = event;
    for step in path.strip_prefix('$')?.split('.') {
        let (name, indices) = step.split_once('[').unwrap_or((step, ""));
        if !name.is_empty() {
            found = found.get(name)?;
        }
        for index in indices.split('[').filter(|it| !it.is_empty()) {
            found = found.get(index.strip_suffix(']')?.parse::<usize>().ok()?)?;
        }
    }
    Some(found)
}

/// Puts parts in the place of `<name>`: texts within quotes as they are, elsewhere as JSON.
fn fill(template: &str, paths: &Value, event: &Value) -> String {
    let (mut out, mut rest, mut quoted) = (String::new(), template, false);
    while let Some(at) = rest.find(['<', '"']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix('"') {
            quoted = !quoted;
            out.push('"');
            rest = after;
            continue;
        }
        let named = tail.find('>').map(|end| (&tail[1..end], &tail[end + 1..]));
        let value = named.and_then(|(name, after)| {
            let value = match (name, paths[name].as_str()) {
                ("aws.events.event.json" | "aws.events.event", None) => Some(event),
                (_, path) => path.map(|path| part(event, path).unwrap_or(&Value::Null)),
            };
            Some((value?, after))
        });
        match value {
            Some((value, after)) => {
                match value {
                    Value::String(text) if quoted => {
                        let json = Value::from(text.as_str()).to_string();
                        out.push_str(&json[1..json.len() - 1]);
                    }
                    other if quoted => out.push_str(&other.to_string().replace('"', "\\\"")),
                    other => out.push_str(&other.to_string()),
                }
                rest = after;
            }
            None => {
                out.push('<');
                rest = &tail[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_gets_a_part_a_text_or_a_filled_template() {
        let event = json!({"detail": {"name": "a \"b\"", "list": [{"n": 5}]}});
        let input = |target: Value| super::input(&target, &event);
        assert_eq!(input(json!({})), event.to_string());
        assert_eq!(input(json!({"Input": "{\"x\": 1}"})), "{\"x\": 1}");
        assert_eq!(input(json!({"InputPath": "$.detail.list[0].n"})), "5");
        let template = |text: &str| {
            input(json!({"InputTransformer": {
                "InputPathsMap": {"name": "$.detail.name", "n": "$.detail.list[0].n", "none": "$.x"}, "InputTemplate": text,
            }}))
        };
        assert_eq!(
            template("{\"n\": <n>, \"who\": <name>}"),
            "{\"n\": 5, \"who\": \"a \\\"b\\\"\"}"
        );
        assert_eq!(template("\"<name> has <n>\""), "a \"b\" has 5");
        assert_eq!(template("<none> < <other>"), "null < <other>");
    }
}
