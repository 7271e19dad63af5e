//! What the operations of the ECR API have in common: parameters, refusals, pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::registry::Refusal;

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let error = ApiError::new(refusal.exception(), refusal.to_string());
        if error.code != "ServerException" {
            return error;
        }
        tracing::error!(
            error = &refusal as &dyn std::error::Error,
            "the registry failed"
        );
        error.with_status(500)
    }
}

/// A parameter out of order.
pub fn invalid(parameter: &str, constraint: &str) -> ApiError {
    let text =
        format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'");
    ApiError::new("InvalidParameterException", text)
}

/// A string parameter that must be there.
pub fn need<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name)
        .ok_or_else(|| invalid(name, "Member must not be null"))
}

/// The ARN of a repository: `resource` is `repository/NAME`.
pub fn arn(region: &str, resource: &str) -> String {
    format!("arn:aws:ecr:{region}:{ACCOUNT}:{resource}")
}

/// The repository that a call is about; its registry must be ours.
pub fn repository_name(call: &Call) -> Result<&str, ApiError> {
    let name = need(call, "repositoryName")?;
    match call.str("registryId") {
        Some(other) if other != ACCOUNT => Err(not_in_registry(name, other)),
        _ => Ok(name),
    }
}

/// Of other accounts we know that they have no such repository.
pub fn not_in_registry(name: &str, registry: &str) -> ApiError {
    let text = format!(
        "The repository with name '{name}' does not exist in the registry with id '{registry}'"
    );
    ApiError::new("RepositoryNotFoundException", text)
}

/// The part of a list that `maxResults` and `nextToken` ask for, under the name `member`.
pub fn page(call: &Call, member: &str, all: Vec<Value>) -> Result<Value, ApiError> {
    let limit = match call.integer("maxResults") {
        Some(limit @ 1..=1000) => usize::try_from(limit).unwrap_or(1000),
        Some(_) => return Err(invalid("maxResults", "Member must be between 1 and 1000")),
        None => 100,
    };
    let start = match call.str("nextToken") {
        Some(token) => BASE64
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<usize>().ok())
            .ok_or_else(|| invalid("nextToken", "Invalid token"))?,
        None => 0,
    };
    let more = all.len() > start.saturating_add(limit);
    let part: Vec<Value> = all.into_iter().skip(start).take(limit).collect();
    let mut answer = serde_json::Map::new();
    answer.insert(member.to_owned(), Value::Array(part));
    if more {
        answer.insert(
            "nextToken".to_owned(),
            BASE64.encode((start + limit).to_string()).into(),
        );
    }
    Ok(Value::Object(answer))
}
