//! `$ECS_AGENT_URI/task-protection/v1/state`: a task that protects itself from being stopped to scale in.
//!
//! Paths, forms and words are those of the agent (github.com/aws/amazon-ecs-agent, `ecs-agent/tmds/handlers/taskprotection`) and of
//! "Amazon ECS task scale-in protection endpoint" in the developer guide. The calls go with the task's role, so there must be one.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use hoist_fargate::Task;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};

use super::serve::whose;
use crate::api::{ApiError, Call, Service};
use crate::clock;
use crate::driver::Crew;
use crate::ids;
use crate::keys::Key;

/// The id in the path of the endpoint.
pub fn answers(path: &str) -> Option<&str> {
    path.strip_prefix("/api/")?
        .strip_suffix("/task-protection/v1/state")
}

/// Answers GET and PUT.
pub async fn handle(crew: &Crew, peer: IpAddr, id: &str, request: Request<Body>) -> Response<Body> {
    let (status, answer) = match answer(crew, peer, id, request).await {
        Ok(answer) => (StatusCode::OK, answer),
        Err(refused) => refused,
    };
    crate::serve::json(status, &answer)
}

type Refused = (StatusCode, Value);

fn refused(status: StatusCode, arn: Option<&str>, code: &str, message: &str) -> Refused {
    let mut error = Map::new();
    if let Some(arn) = arn {
        error.insert("Arn".to_owned(), arn.into());
    }
    error.insert("Code".to_owned(), code.into());
    error.insert("Message".to_owned(), message.into());
    (status, json!({ "error": error }))
}

async fn answer(
    crew: &Crew,
    peer: IpAddr,
    id: &str,
    request: Request<Body>,
) -> Result<Value, Refused> {
    let bad = StatusCode::BAD_REQUEST;
    let method = request.method().clone();
    let wanted = match method {
        Method::GET => None,
        Method::PUT => Some(wanted(request).await.ok_or_else(|| {
            let text = "UpdateTaskProtection: failed to decode request";
            refused(bad, None, "InvalidParameterException", text)
        })?),
        _ => return Err((StatusCode::METHOD_NOT_ALLOWED, Value::Null)),
    };
    let (task, _) = whose(crew, peer, id).ok_or_else(|| {
        let text = "Failed to find a task for the request";
        refused(
            StatusCode::NOT_FOUND,
            None,
            "ResourceNotFoundException",
            text,
        )
    })?;
    if let Some((None, _)) = wanted {
        let text = "Invalid request: does not contain 'ProtectionEnabled' field";
        return Err(refused(
            bad,
            Some(&task.arn),
            "InvalidParameterException",
            text,
        ));
    }
    if crew
        .run(&task.arn)
        .and_then(|run| run.credentials())
        .is_none()
    {
        let text = "Invalid Request: no task IAM role credentials available for task";
        let code = "AccessDeniedException";
        return Err(refused(StatusCode::FORBIDDEN, Some(&task.arn), code, text));
    }
    let mut params = json!({"cluster": task.cluster, "tasks": [task.arn]});
    let action = match wanted {
        Some((enabled, minutes)) => {
            params["protectionEnabled"] = json!(enabled == Some(true));
            if let Some(minutes) = minutes.filter(|_| enabled == Some(true)) {
                params["expiresInMinutes"] = minutes.into();
            }
            "UpdateTaskProtection"
        }
        None => "GetTaskProtection",
    };
    let call = call(&task, action, params);
    match crate::ecs::handle(&crew.ctx, &call).await {
        Ok(answer) => shown(&call, &answer),
        Err(error) => Err(failed(&call, &task, &error)),
    }
}

/// What a PUT asks for: whether, and for how many minutes. `None` if it cannot be read, or has other members.
async fn wanted(request: Request<Body>) -> Option<(Option<bool>, Option<u64>)> {
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let read: Map<String, Value> = serde_json::from_slice(&body).ok()?;
    let (mut enabled, mut minutes) = (None, None);
    for (name, value) in &read {
        // As the agent's language reads names.
        match name.to_ascii_lowercase().as_str() {
            "protectionenabled" => enabled = Some(value.as_bool()?),
            "expiresinminutes" => minutes = Some(value.as_u64()?),
            _ => return None,
        }
    }
    Some((enabled, minutes))
}

fn call(task: &Task, action: &str, params: Value) -> Call {
    Call {
        service: Service::Ecs,
        action: action.to_owned(),
        region: task.region.clone(),
        params,
        key: Arc::new(Key {
            id: String::new(),
            secret: String::new(),
            session_token: None,
            arn: String::new(),
            user_id: task.id.clone(),
            expires: None,
        }),
        request_id: ids::uuid(),
    }
}

/// The one task or the one failure of an answer, with names as the agent writes them.
fn shown(call: &Call, answer: &Value) -> Result<Value, Refused> {
    if let Some(failure) = answer["failures"].get(0) {
        let mut failed = json!({"Arn": failure["arn"], "Reason": failure["reason"]});
        if failure["detail"].is_string() {
            failed["Detail"] = failure["detail"].clone();
        }
        return Ok(json!({"requestID": call.request_id, "failure": failed}));
    }
    let task = &answer["protectedTasks"][0];
    let mut protection = json!({
        "ProtectionEnabled": task["protectionEnabled"], "TaskArn": task["taskArn"],
    });
    let ends = task["expirationDate"].as_f64();
    if let Some(seconds) = ends {
        let at = (seconds * 1000.0).round() as i64;
        protection["ExpirationDate"] = clock::iso8601_seconds(at).into();
    }
    Ok(json!({ "protection": protection }))
}

fn failed(call: &Call, task: &Task, error: &ApiError) -> Refused {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (status, mut answer) = refused(status, Some(&task.arn), &error.code, &error.message);
    answer["requestID"] = call.request_id.clone().into();
    (status, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &str) -> Option<(Option<bool>, Option<u64>)> {
        wanted(Request::new(Body::from(body.to_owned()))).await
    }

    #[tokio::test]
    async fn a_request_says_whether_and_for_how_long_and_nothing_else() {
        let both = read(r#"{"ProtectionEnabled": true, "ExpiresInMinutes": 5}"#).await;
        assert_eq!(both, Some((Some(true), Some(5))));
        assert_eq!(
            read(r#"{"protectionEnabled": false}"#).await,
            Some((Some(false), None))
        );
        assert_eq!(read("{}").await, Some((None, None)));
        assert_eq!(read(r#"{"ProtectionEnabled": "yes"}"#).await, None);
        assert_eq!(read(r#"{"Protect": true}"#).await, None);
        assert_eq!(read("").await, None);
    }

    #[test]
    fn the_path_names_the_container() {
        assert_eq!(
            answers("/api/abc-1/task-protection/v1/state"),
            Some("abc-1")
        );
        assert_eq!(answers("/api/abc-1/task-protection"), None);
    }
}
