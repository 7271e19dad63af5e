use serde_json::Value;

use super::parameter::Parameters;
use super::{read, write};
use crate::api::{ApiError, Call, page};

/// Answers one call of the Systems Manager API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(parameters: &Parameters, call: &Call) -> Result<Value, ApiError> {
    let _changing = parameters.changing.lock().await;
    match call.action.as_str() {
        "PutParameter" => write::put(parameters, call),
        "DeleteParameter" => write::delete(parameters, call),
        "DeleteParameters" => write::delete_many(parameters, call),
        "LabelParameterVersion" => write::label(parameters, call),
        "AddTagsToResource" => write::tag(parameters, call),
        "RemoveTagsFromResource" => write::untag(parameters, call),
        "GetParameter" => read::get(parameters, call),
        "GetParameters" => read::get_many(parameters, call),
        "GetParametersByPath" => read::by_path(parameters, call),
        "GetParameterHistory" => read::history(parameters, call),
        "DescribeParameters" => read::describe(parameters, call),
        "ListTagsForResource" => read::tags(parameters, call),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

/// `ValidationException` for a member.
pub(super) fn constraint(value: &str, member: &str, constraint: &str) -> ApiError {
    let text = format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {constraint}"
    );
    ApiError::new("ValidationException", text)
}

/// A parameter that must be there.
pub(super) fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| {
        let member = name[..1].to_lowercase() + &name[1..];
        constraint("null", &member, "Member must not be null")
    })
}

/// One page of `items` under `member`, of at most `most`.
pub(super) fn paged(
    call: &Call,
    items: Vec<Value>,
    member: &str,
    most: usize,
) -> Result<Value, ApiError> {
    let size = match call.integer("MaxResults") {
        None => most,
        Some(size) => usize::try_from(size)
            .ok()
            .filter(|size| (1..=most).contains(size))
            .ok_or_else(|| {
                let text = format!("Member must have value less than or equal to {most}");
                constraint(&format!("'{size}'"), "maxResults", &text)
            })?,
    };
    page(call, items, member, size, || {
        ApiError::new("InvalidNextToken", "The specified token isn't valid.")
    })
}
