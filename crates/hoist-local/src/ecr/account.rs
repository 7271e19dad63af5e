//! What an account has set for its whole registry: here always what a new account has.

use serde_json::{Value, json};

use super::words::{arn, invalid, need};
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::registry::Registry;

/// Scanning is basic, and nothing is scanned but by the repositories' own settings.
pub fn scanning() -> Value {
    json!({"registryId": ACCOUNT, "scanningConfiguration": {"scanType": "BASIC", "rules": []}})
}

pub fn scanning_of(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in call.strings("repositoryNames") {
        match registry.repository(&call.region, name) {
            Ok(repository) => {
                let on_push = repository.scan_on_push;
                found.push(json!({
                    "repositoryArn": arn(&call.region, &format!("repository/{name}")), "repositoryName": name, "scanOnPush": on_push,
                    "scanFrequency": if on_push { "SCAN_ON_PUSH" } else { "MANUAL" }, "appliedScanFilters": [],
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

pub fn policy() -> ApiError {
    ApiError::new(
        "RegistryPolicyNotFoundException",
        format!("Registry policy does not exist in the registry with id '{ACCOUNT}'"),
    )
}

pub fn setting(call: &Call) -> Result<Value, ApiError> {
    let name = need(call, "name")?;
    let value = match name {
        "BASIC_SCAN_TYPE_VERSION" => "AWS_NATIVE",
        "REGISTRY_POLICY_SCOPE" => "V2",
        "BLOB_MOUNTING" => "ENABLED",
        _ => {
            return Err(invalid(
                "name",
                "Member must be the name of an account setting",
            ));
        }
    };
    Ok(json!({"name": name, "value": value}))
}
