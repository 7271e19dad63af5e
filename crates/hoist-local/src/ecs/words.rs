//! The errors that several operations share, and how requests are read.

use serde_json::{Map, Value};

use crate::api::{ApiError, Call};
use crate::clock::{self, Millis};

/// `InvalidParameterException` with that message.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// `ClientException` with that message.
pub fn client(message: impl Into<String>) -> ApiError {
    ApiError::new("ClientException", message)
}

/// A whole request.
pub fn request(call: &Call) -> Map<String, Value> {
    call.params.as_object().cloned().unwrap_or_default()
}

/// A string member that must be there.
pub fn need<'a>(call: &'a Call, name: &str, message: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| invalid(message))
}

/// The names in a Describe request: at least one, at most `most`.
pub fn names<'a>(call: &'a Call, member: &str, most: usize) -> Result<Vec<&'a str>, ApiError> {
    let names = call.strings(member);
    let title = format!("{}{}", member[..1].to_uppercase(), &member[1..]);
    if names.is_empty() {
        return Err(invalid(format!("{title} cannot be empty.")));
    }
    if names.len() > most {
        return Err(invalid(format!(
            "{title} cannot have more than {most} elements."
        )));
    }
    Ok(names)
}

/// Whether `include` names this.
pub fn includes(call: &Call, what: &str) -> bool {
    call.strings("include").contains(&what)
}

/// A name of up to 255 letters, digits, hyphens and underscores.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A timestamp of the scheduler as ECS writes it.
pub fn time(at: u64) -> Value {
    clock::epoch_seconds(Millis::try_from(at).unwrap_or(Millis::MAX))
}

/// An object of those members that have a value; null ones are left out.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The entry of a Describe answer's `failures` for something that is not there.
pub fn missing(arn: impl Into<String>) -> Value {
    serde_json::json!({"arn": arn.into(), "reason": "MISSING"})
}
