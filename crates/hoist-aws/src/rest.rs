//! Operations that are named by method and path, as far as hoist calls them.

use http::Method;
use serde_json::Value;

/// Where an operation is sent, and what goes there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub body: String,
}

/// The route of an operation of EventBridge Scheduler.
/// Source: botocore 1.44.5, `scheduler/2021-06-30/service-2.json`.
///
/// # Panics
/// When the operation has no route: a mistake of the programmer.
pub(crate) fn route(operation: &str, params: &Value) -> Route {
    let text = |name: &str| params[name].as_str().unwrap_or_default();
    let path = format!("/schedules/{}", encoded(text("Name")));
    match operation {
        "GetSchedule" => Route {
            method: Method::GET,
            target: match text("GroupName") {
                "" => path,
                group => format!("{path}?groupName={}", encoded(group)),
            },
            body: String::new(),
        },
        "UpdateSchedule" => {
            let mut body = params.clone();
            if let Some(members) = body.as_object_mut() {
                members.shift_remove("Name");
            }
            Route {
                method: Method::PUT,
                target: path,
                body: body.to_string(),
            }
        }
        other => panic!("the operation {other} has no route"),
    }
}

/// A part of a path or a query, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedule_is_read_and_written_at_its_path() {
        let read = route(
            "GetSchedule",
            &json!({ "Name": "night ly", "GroupName": "g" }),
        );
        assert_eq!(
            (read.method, read.target.as_str()),
            (Method::GET, "/schedules/night%20ly?groupName=g")
        );
        let write = route(
            "UpdateSchedule",
            &json!({ "Name": "n", "State": "ENABLED" }),
        );
        assert_eq!(
            (write.method, write.target.as_str(), write.body.as_str()),
            (Method::PUT, "/schedules/n", r#"{"State":"ENABLED"}"#)
        );
    }
}
