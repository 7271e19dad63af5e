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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Service;
    use crate::keys::Key;

    fn call(params: Value) -> Call {
        let key = Key {
            id: String::new(),
            secret: String::new(),
            session_token: None,
            arn: String::new(),
            user_id: String::new(),
            expires: None,
        };
        Call {
            service: Service::Ecs,
            action: "ListClusters".to_owned(),
            region: "us-east-1".to_owned(),
            params,
            key: key.into(),
            request_id: String::new(),
        }
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let items = || (0..5).map(Value::from).collect::<Vec<_>>();
        let (mut params, mut seen, mut pages) = (json!({"maxResults": 2}), Vec::new(), 0);
        loop {
            let answer = page(&call(params.clone()), "items", items(), 100).unwrap();
            seen.extend(answer["items"].as_array().unwrap().clone());
            pages += 1;
            match answer.get("nextToken") {
                Some(token) => params["nextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!((seen, pages), (items(), 3));
    }

    #[test]
    fn a_size_out_of_range_and_a_token_of_another_make_are_refused() {
        for params in [
            json!({"maxResults": 0}),
            json!({"maxResults": 101}),
            json!({"maxResults": "2"}),
            json!({"nextToken": "x"}),
        ] {
            let error = page(&call(params.clone()), "items", Vec::new(), 100).unwrap_err();
            assert_eq!(error.code, "InvalidParameterException", "{params}");
        }
    }
}
