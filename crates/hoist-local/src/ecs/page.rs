//! Pages of a list: `maxResults` and `nextToken`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::words::invalid;
use crate::api::{ApiError, Call};

/// The page of `items` that the call asks for, as `{member: [...], nextToken}`. A page has `default` items if the call does not
/// say, and at most 100.
///
/// # Errors
/// `InvalidParameterException` for a size out of range or a token that is not ours.
pub fn page(
    call: &Call,
    member: &str,
    items: Vec<Value>,
    default: usize,
) -> Result<Value, ApiError> {
    let size = match call
        .params
        .get("maxResults")
        .filter(|value| !value.is_null())
    {
        None => default,
        Some(value) => value
            .as_u64()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| (1..=100).contains(size))
            .ok_or_else(|| invalid("maxResults must be between 1 and 100."))?,
    };
    let start = match call.str("nextToken") {
        None => 0,
        Some(token) => read_token(token).ok_or_else(|| invalid("Invalid token."))?,
    };
    let more = items.len() > start.saturating_add(size);
    let chosen: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let mut answer = json!({ member: chosen });
    if more {
        answer["nextToken"] = BASE64.encode(format!("page:{}", start + size)).into();
    }
    Ok(answer)
}

fn read_token(token: &str) -> Option<usize> {
    let bytes = BASE64.decode(token).ok()?;
    std::str::from_utf8(&bytes)
        .ok()?
        .strip_prefix("page:")?
        .parse()
        .ok()
}
