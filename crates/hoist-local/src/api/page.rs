use serde_json::{Value, json};

use super::{ApiError, Call};

/// One page of `items` under `member`, of at most `size`; its `NextToken` is the place where the next one begins. `unknown` makes the answer to a
/// token that is none.
///
/// # Errors
/// What `unknown` makes.
pub fn page(
    call: &Call,
    mut items: Vec<Value>,
    member: &str,
    size: usize,
    unknown: impl FnOnce() -> ApiError,
) -> Result<Value, ApiError> {
    let start = match call.str("NextToken") {
        None => 0,
        Some(token) => token
            .parse::<usize>()
            .ok()
            .filter(|at| *at <= items.len())
            .ok_or_else(unknown)?,
    };
    let end = start.saturating_add(size).min(items.len());
    let more = end < items.len();
    items.truncate(end);
    let mut answer = json!({member: items.split_off(start)});
    if more {
        answer["NextToken"] = end.to_string().into();
    }
    Ok(answer)
}
