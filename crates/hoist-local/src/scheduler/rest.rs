//! REST and JSON: the operation is in method and path, its members in path, query and body.

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::api::ApiError;

/// The operation and the parameters of a request, or why they cannot be read.
///
/// # Errors
/// As the service answers them.
pub(crate) fn read(parts: &Parts, body: &[u8]) -> Result<(String, Value), ApiError> {
    let path = parts.uri.path().trim_matches('/');
    let (kind, rest) = path.split_once('/').unwrap_or((path, ""));
    let (action, member) = match (&parts.method, kind, rest.is_empty()) {
        (&Method::POST, "schedules", false) => ("CreateSchedule", "Name"),
        (&Method::GET, "schedules", false) => ("GetSchedule", "Name"),
        (&Method::PUT, "schedules", false) => ("UpdateSchedule", "Name"),
        (&Method::DELETE, "schedules", false) => ("DeleteSchedule", "Name"),
        (&Method::GET, "schedules", true) => ("ListSchedules", ""),
        (&Method::POST, "schedule-groups", false) => ("CreateScheduleGroup", "Name"),
        (&Method::GET, "schedule-groups", false) => ("GetScheduleGroup", "Name"),
        (&Method::DELETE, "schedule-groups", false) => ("DeleteScheduleGroup", "Name"),
        (&Method::GET, "schedule-groups", true) => ("ListScheduleGroups", ""),
        (&Method::POST, "tags", false) => ("TagResource", "ResourceArn"),
        (&Method::DELETE, "tags", false) => ("UntagResource", "ResourceArn"),
        (&Method::GET, "tags", false) => ("ListTagsForResource", "ResourceArn"),
        _ => {
            return Err(ApiError::new("UnknownOperationException", "").with_status(404));
        }
    };
    let mut params = if body.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice::<Map<String, Value>>(body)
            .map_err(|error| ApiError::serialization(error.to_string()))?
    };
    if !member.is_empty() {
        let text = percent_decode_str(rest).decode_utf8_lossy().into_owned();
        params.insert(member.to_owned(), text.into());
    }
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "ScheduleGroup" | "groupName" => params.insert("GroupName".to_owned(), value.into()),
            "clientToken" => params.insert("ClientToken".to_owned(), value.into()),
            "TagKeys" => {
                let keys = params
                    .entry("TagKeys")
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(keys) = keys {
                    keys.push(value.into());
                }
                None
            }
            "MaxResults" => {
                let number = value.parse::<i64>().map_or(Value::from(value), Value::from);
                params.insert("MaxResults".to_owned(), number)
            }
            other => params.insert(other.to_owned(), value.into()),
        };
    }
    Ok((action.to_owned(), Value::Object(params)))
}

/// The body of an error and its HTTP status.
pub(crate) fn answer(error: &ApiError) -> (u16, Value) {
    let status = match error.code.as_str() {
        "ConflictException" => 409,
        "ResourceNotFoundException" => 404,
        "ThrottlingException" => 429,
        "ServiceQuotaExceededException" => 402,
        _ => error.status,
    };
    (status, serde_json::json!({"Message": error.message}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(method: &str, uri: &str, body: &str) -> (String, Value) {
        let request = http::Request::builder().method(method).uri(uri);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        read(&parts, body.as_bytes()).unwrap()
    }

    #[test]
    fn members_come_from_path_query_and_body() {
        assert_eq!(
            asked("POST", "/schedules/nightly", r#"{"State": "ENABLED"}"#),
            (
                "CreateSchedule".into(),
                json!({"State": "ENABLED", "Name": "nightly"})
            )
        );
        assert_eq!(
            asked("GET", "/schedules?ScheduleGroup=g&MaxResults=5", ""),
            (
                "ListSchedules".into(),
                json!({"GroupName": "g", "MaxResults": 5})
            )
        );
        assert_eq!(
            asked("DELETE", "/tags/arn%3Aaws%3Ax?TagKeys=a&TagKeys=b", ""),
            (
                "UntagResource".into(),
                json!({"TagKeys": ["a", "b"], "ResourceArn": "arn:aws:x"})
            )
        );
    }
}
