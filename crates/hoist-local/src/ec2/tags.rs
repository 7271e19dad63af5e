use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::filter::{filter, paged};
use super::service::Ec2;
use crate::api::{ApiError, Call};
use crate::state::StateError;

fn pairs(tags: Option<&Value>) -> BTreeMap<String, String> {
    let text = |tag: &Value, name: &str| {
        tag.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let tags = tags.and_then(Value::as_array).into_iter().flatten();
    tags.map(|tag| (text(tag, "Key"), text(tag, "Value")))
        .collect()
}

/// The tags that a create call asks for.
pub fn requested(call: &Call, kind: &str) -> BTreeMap<String, String> {
    let all = call.list("TagSpecification").iter();
    all.filter(|spec| spec.get("ResourceType").and_then(Value::as_str) == Some(kind))
        .flat_map(|spec| pairs(spec.get("Tag")))
        .collect()
}

/// The tags of a resource, as Describe calls show them.
pub fn shown_tags(ec2: &Ec2, region: &str, id: &str) -> Result<Value, StateError> {
    Ok(shown(&ec2.tags.get(region, id)?.unwrap_or_default()))
}

/// Tags as Describe calls show them.
pub fn shown(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

fn kind_of(id: &str) -> &'static str {
    match id.split('-').next() {
        Some("vpc") => "vpc",
        Some("subnet") => "subnet",
        Some("sg") => "security-group",
        Some("eni") => "network-interface",
        Some("rtb") => "route-table",
        Some("igw") => "internet-gateway",
        _ => "unknown",
    }
}

fn known(ec2: &Ec2, region: &str, id: &str) -> Result<(), ApiError> {
    let there = match kind_of(id) {
        "vpc" => ec2.has_vpc(region, id),
        "subnet" => ec2.subnet(region, id)?.is_some(),
        "security-group" => ec2.security_group(region, id)?.is_some(),
        "network-interface" => ec2.interfaces.get(region, id)?.is_some(),
        "route-table" => ec2.stable_id("rtb", region, "main") == id,
        "internet-gateway" => ec2.stable_id("igw", region, "default") == id,
        _ => false,
    };
    if there {
        Ok(())
    } else {
        Err(ApiError::new(
            "InvalidID",
            format!("The ID '{id}' is not valid"),
        ))
    }
}

pub fn create_tags(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let added = pairs(call.params.get("Tag"));
    for id in call.strings("ResourceId") {
        known(ec2, &call.region, id)?;
        let mut tags = ec2.tags.get(&call.region, id)?.unwrap_or_default();
        tags.extend(added.clone());
        ec2.tags.put(&call.region, id, &tags)?;
    }
    Ok(json!({"return": true}))
}

pub fn delete_tags(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let named = call.list("Tag");
    for id in call.strings("ResourceId") {
        let mut tags = ec2.tags.get(&call.region, id)?.unwrap_or_default();
        tags.retain(|key, value| {
            let goes = |tag: &Value| {
                tag.get("Key").and_then(Value::as_str) == Some(key)
                    && tag
                        .get("Value")
                        .and_then(Value::as_str)
                        .is_none_or(|wanted| wanted == value)
            };
            // Without any tag named, all go.
            !named.is_empty() && !named.iter().any(goes)
        });
        ec2.tags.put(&call.region, id, &tags)?;
    }
    Ok(json!({"return": true}))
}

pub fn describe_tags(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let mut found = Vec::new();
    for (id, tags) in ec2.tags.list(&call.region)? {
        for (key, value) in tags {
            found.push(
                json!({"resourceId": id, "resourceType": kind_of(&id), "key": key, "value": value}),
            );
        }
    }
    let paths = &[
        ("resource-id", "resourceId"),
        ("resource-type", "resourceType"),
        ("key", "key"),
        ("value", "value"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "tagSet")
}
