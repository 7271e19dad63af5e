//! Parameters of the query protocols, made into nested JSON.
//!
//! `Tags.member.1.Key=a` and (EC2) `Filter.1.Value.2=b` become objects and arrays; every leaf is a string.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

#[derive(Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

/// Parses a form body or a query string.
///
/// ```
/// let params = hoist_local::api::query::parse("Action=X&Names.member.2=b&Names.member.1=a&Filter.1.Name=n");
/// assert_eq!(params["Names"], serde_json::json!(["a", "b"]));
/// assert_eq!(params["Filter"][0]["Name"], "n");
/// ```
pub fn parse(form: &str) -> Value {
    let mut root = Node::default();
    for (name, value) in form_urlencoded::parse(form.as_bytes()) {
        let mut node = &mut root;
        // Deeper nesting than any model has is somebody's attack on the stack.
        for part in name.split('.').take(16) {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value.into_owned());
    }
    let members = root
        .children
        .into_iter()
        .map(|(name, node)| (name, convert(node)))
        .collect();
    Value::Object(members)
}

fn convert(node: Node) -> Value {
    let Node {
        value,
        mut children,
    } = node;
    if children.is_empty() {
        return Value::String(value.unwrap_or_default());
    }
    if children.len() == 1
        && let Some(list) = children
            .remove("member")
            .or_else(|| children.remove("entry"))
    {
        // `X.member=` is how an empty list is written.
        return match convert(list) {
            Value::String(_) => Value::Array(Vec::new()),
            other => other,
        };
    }
    if children
        .keys()
        .all(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let mut items: Vec<(u64, Node)> = children
            .into_iter()
            .map(|(name, node)| (name.parse().unwrap_or(u64::MAX), node))
            .collect();
        items.sort_by_key(|(index, _)| *index);
        return Value::Array(items.into_iter().map(|(_, node)| convert(node)).collect());
    }
    Value::Object(
        children
            .into_iter()
            .map(|(name, node)| (name, convert(node)))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_lists_keep_the_order_of_their_numbers() {
        let params = parse(
            "Action=CreateTargetGroup&Actions.member.1.Type=forward&Actions.member.10.Type=last&Actions.member.2.Type=fixed\
             &Matcher.HttpCode=200-299&Filter.1.Name=vpc-id&Filter.1.Value.1=a&Filter.1.Value.2=b&Empty.member=&None=",
        );
        assert_eq!(
            params,
            json!({
                "Action": "CreateTargetGroup",
                "Actions": [{"Type": "forward"}, {"Type": "fixed"}, {"Type": "last"}],
                "Empty": [],
                "Filter": [{"Name": "vpc-id", "Value": ["a", "b"]}],
                "Matcher": {"HttpCode": "200-299"},
                "None": "",
            })
        );
    }
}
