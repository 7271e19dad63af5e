//! What an account has set for its whole registry: kept and told as it was given.

use serde_json::{Map, Value, json};

use super::images::{find, ids};
use super::words::{arn, invalid, need, repository_name};
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::registry::{Registry, rule_meets};

fn kept(registry: &Registry, call: &Call, name: &str) -> Result<Option<Value>, ApiError> {
    Ok(registry.account().get(&call.region, name)?)
}

/// What is scanned without being asked: unless it was set, nothing but by the repositories' own settings.
fn configuration(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let kept = kept(registry, call, "scanning")?;
    Ok(kept.unwrap_or_else(|| json!({"scanType": "BASIC", "rules": []})))
}

pub fn scanning(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"registryId": ACCOUNT, "scanningConfiguration": configuration(registry, call)?}))
}

/// Enhanced scanning is Amazon Inspector's, which is not here.
pub fn set_scanning(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let kind = call.str("scanType").unwrap_or("BASIC");
    let rules = call.list("rules");
    if kind == "ENHANCED" {
        return Err(invalid(
            "scanType",
            "the embedded AWS has no enhanced scanning",
        ));
    }
    if rules
        .iter()
        .any(|rule| rule["scanFrequency"] == "CONTINUOUS_SCAN")
    {
        return Err(invalid(
            "rules",
            "CONTINUOUS_SCAN is not supported for the scan type BASIC",
        ));
    }
    let configuration = json!({"scanType": kind, "rules": rules});
    let table = registry.account();
    table.put(&call.region, "scanning", &configuration)?;
    Ok(json!({"registryScanningConfiguration": configuration}))
}

pub fn scanning_of(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let configuration = configuration(registry, call)?;
    let rules = configuration["rules"].as_array().cloned();
    let rules = rules.unwrap_or_default();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in call.strings("repositoryNames") {
        match registry.scans_on_push(&call.region, name) {
            Ok(on_push) => {
                let filters: Vec<&Value> = rules
                    .iter()
                    .filter(|rule| rule_meets(rule, name))
                    .filter_map(|rule| rule["repositoryFilters"].as_array())
                    .flatten()
                    .collect();
                found.push(json!({
                    "repositoryArn": arn(&call.region, &format!("repository/{name}")), "repositoryName": name, "scanOnPush": on_push,
                    "scanFrequency": if on_push { "SCAN_ON_PUSH" } else { "MANUAL" }, "appliedScanFilters": filters,
                }));
            }
            Err(_) => failures.push(json!({
                "repositoryName": name, "failureCode": "REPOSITORY_NOT_FOUND",
                "failureReason": format!("The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'"),
            })),
        }
    }
    Ok(json!({"scanningConfigurations": found, "failures": failures}))
}

fn no_policy() -> ApiError {
    ApiError::new(
        "RegistryPolicyNotFoundException",
        format!("Registry policy does not exist in the registry with id '{ACCOUNT}'"),
    )
}

pub fn policy(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let text = kept(registry, call, "policy")?.ok_or_else(no_policy)?;
    Ok(json!({"registryId": ACCOUNT, "policyText": text}))
}

/// A policy of a registry is kept, and of no consequence: there is one account.
pub fn set_policy(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let text = need(call, "policyText")?;
    let read: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let is_policy = read.is_some_and(|policy| policy.contains_key("Statement"));
    if !is_policy {
        return Err(invalid("PolicyText", "Invalid registry policy provided"));
    }
    let table = registry.account();
    table.put(&call.region, "policy", &Value::from(text))?;
    Ok(json!({"registryId": ACCOUNT, "policyText": text}))
}

pub fn delete_policy(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let answer = policy(registry, call)?;
    registry.account().delete(&call.region, "policy")?;
    Ok(answer)
}

/// Only that nothing is replicated can be said.
pub fn set_replication(call: &Call) -> Result<Value, ApiError> {
    let configuration = &call.params["replicationConfiguration"];
    let rules = configuration["rules"].as_array().into_iter().flatten();
    let mut destinations = rules
        .filter_map(|rule| rule["destinations"].as_array())
        .flatten();
    if let Some(destination) = destinations.next() {
        let why = if destination["region"] == call.region.as_str()
            && destination["registryId"] == ACCOUNT
        {
            "Replication destination cannot be the same as the source registry"
        } else {
            "the embedded AWS does not replicate images"
        };
        return Err(invalid("replicationConfiguration", why));
    }
    Ok(json!({"replicationConfiguration": configuration}))
}

/// Where an image has been replicated to: nowhere.
pub fn replication_of(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    registry.repository(&call.region, name)?;
    let mut one = call.clone();
    one.params["imageIds"] = json!([call.params["imageId"]]);
    let id = ids(&one)?.remove(0);
    let image = find(registry, call, name, &id)?;
    Ok(
        json!({"repositoryName": name, "imageId": id.render_with(&image), "replicationStatuses": []}),
    )
}

/// The settings, with the values that they may have; the first one is that of a new account.
const SETTINGS: [(&str, &[&str]); 3] = [
    ("BASIC_SCAN_TYPE_VERSION", &["AWS_NATIVE", "CLAIR"]),
    ("REGISTRY_POLICY_SCOPE", &["V2", "V1"]),
    ("BLOB_MOUNTING", &["ENABLED", "DISABLED"]),
];

fn values(call: &Call) -> Result<(&str, &'static [&'static str]), ApiError> {
    let name = need(call, "name")?;
    let known = SETTINGS.iter().find(|(known, _)| *known == name);
    let (_, values) =
        known.ok_or_else(|| invalid("name", "Member must be the name of an account setting"))?;
    Ok((name, values))
}

pub fn setting(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (name, values) = values(call)?;
    let kept = kept(registry, call, name)?;
    Ok(json!({"name": name, "value": kept.unwrap_or_else(|| values[0].into())}))
}

pub fn set_setting(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (name, values) = values(call)?;
    let value = need(call, "value")?;
    if !values.contains(&value) {
        let text = format!(
            "Member must satisfy enum value set: [{}]",
            values.join(", ")
        );
        return Err(invalid("value", &text));
    }
    let table = registry.account();
    table.put(&call.region, name, &Value::from(value))?;
    Ok(json!({"name": name, "value": value}))
}
