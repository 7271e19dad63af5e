use std::collections::BTreeMap;

use serde_json::Value;

use super::secret::Secrets;
use super::{read, write};
use crate::api::{ApiError, Call};

/// Answers one call of the Secrets Manager API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(secrets: &Secrets, call: &Call) -> Result<Value, ApiError> {
    let _changing = secrets.changing.lock().await;
    match call.action.as_str() {
        "CreateSecret" => write::create(secrets, call),
        "PutSecretValue" => write::put(secrets, call),
        "UpdateSecret" => write::update(secrets, call),
        "UpdateSecretVersionStage" => write::restage(secrets, call),
        "DeleteSecret" => write::delete(secrets, call),
        "RestoreSecret" => write::restore(secrets, call),
        "TagResource" => write::tag(secrets, call),
        "UntagResource" => write::untag(secrets, call),
        "GetSecretValue" => read::value(secrets, call),
        "BatchGetSecretValue" => read::values(secrets, call),
        "DescribeSecret" => read::describe(secrets, call),
        "ListSecrets" => read::list(secrets, call),
        "ListSecretVersionIds" => read::versions(secrets, call),
        "GetResourcePolicy" => read::policy(secrets, call),
        "GetRandomPassword" => read::password(call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// A parameter that must be there.
pub(super) fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| {
        let member = name[..1].to_lowercase() + &name[1..];
        let text = format!("1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null");
        ApiError::new("ValidationException", text)
    })
}

pub(super) fn tags(call: &Call) -> BTreeMap<String, String> {
    let text = |tag: &Value, name: &str| tag[name].as_str().unwrap_or_default().to_owned();
    call.list("Tags")
        .iter()
        .map(|tag| (text(tag, "Key"), text(tag, "Value")))
        .collect()
}
