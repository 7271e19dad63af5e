use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

use super::call::Call;
use super::check::check;
use super::error::ApiError;
use super::ready::Question;
use super::services::{Protocol, Service, dispatch};
use super::{query, xml};
use crate::ctx::Ctx;
use crate::dials;
use crate::faults::Fault;
use crate::ids;
use crate::keys::Key;
use crate::s3;
use crate::sigv4::{self, Signed};

/// No request of any of the services may be larger; `UploadLayerPart` of ECR comes nearest, with 10 MiB in base64 and its envelope.
const BODY_LIMIT: usize = 15 << 20;

/// What a request asks for, before its signature is known to be good.
struct Asked {
    service: Service,
    action: String,
    params: Value,
}

/// Answers one request of an AWS API.
pub async fn handle(ctx: &Ctx, request: Request<Body>) -> Response<Body> {
    let request_id = ids::uuid();
    let (parts, body) = request.into_parts();
    let target = parts.headers.contains_key("x-amz-target");
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let error = ApiError::new(
                "RequestEntityTooLargeException",
                "Request size is too large",
            )
            .with_status(413);
            return failed(None, target, &request_id, &error);
        }
    };
    if s3::answers(&parts) {
        return match ctx.faults.call("s3") {
            Some(Fault::ResetBefore) => dials::reset(),
            Some(Fault::Throttled | Fault::Error) => s3::unavailable(),
            Some(Fault::ResetAfter) => {
                drop(s3::handle(ctx, &parts, &body));
                dials::reset()
            }
            None => s3::handle(ctx, &parts, &body),
        };
    }
    let question = Question::of(&parts, &body);
    let generation = ctx.driver.generation();
    if let Some(question) = &question
        && let Some(answer) = ready(ctx, &parts, &body, generation, question, &request_id)
    {
        return answer;
    }
    let asked = match read(&parts, &body) {
        Ok(asked) => asked,
        Err(error) => return failed(None, target, &request_id, &error),
    };
    let service = asked.service;
    let fault = ctx.faults.call(service.signing_name());
    if fault == Some(Fault::ResetBefore) {
        return dials::reset();
    }
    let result = call(ctx, &parts, &body, asked, fault, &request_id).await;
    if fault == Some(Fault::ResetAfter) {
        return dials::reset();
    }
    match result {
        Ok((action, began)) if service == Service::Logs && action == "StartLiveTail" => {
            let region = sigv4::scope(&parts).map_or_else(String::new, |(region, _)| region);
            crate::logs::session(&ctx.logs, &region, began, ctx.stopping.clone())
        }
        Ok((action, value)) => match question {
            Some(question) => {
                let bytes = Bytes::from(value.to_string());
                ctx.ready.put(generation, question, bytes.clone());
                respond(StatusCode::OK, JSON, &request_id, bytes)
            }
            None => answered(service, &action, &request_id, &value),
        },
        Err(error) => failed(Some(service), target, &request_id, &error),
    }
}

/// The answer to a question that was asked before, if nothing has changed since. Whatever is wrong with the request is found out on
/// the long way.
fn ready(
    ctx: &Ctx,
    parts: &Parts,
    body: &[u8],
    generation: u64,
    question: &Question,
    request_id: &str,
) -> Option<Response<Body>> {
    let answer = ctx.ready.get(generation, question)?;
    let service = Service::Ecs;
    if ctx.faults.any() {
        return None;
    }
    let now = ctx.now();
    let signed = sigv4::verify(&ctx.keys, parts, body, now).ok()?;
    if signed.service != service.signing_name() || signed.region != question.region() {
        return None;
    }
    if !ctx
        .limits
        .admits(service, question.action(), &signed.region, now)
    {
        let error = ApiError::throttled(service);
        return Some(failed(Some(service), true, request_id, &error));
    }
    Some(respond(StatusCode::OK, JSON, request_id, answer))
}

async fn call(
    ctx: &Ctx,
    parts: &Parts,
    body: &[u8],
    asked: Asked,
    fault: Option<Fault>,
    request_id: &str,
) -> Result<(String, Value), ApiError> {
    let Asked {
        service,
        action,
        params,
    } = asked;
    let signed = if crate::sts::is_anonymous(service, &action) {
        Signed {
            key: anonymous().into(),
            region: "us-east-1".to_owned(),
            service: service.signing_name().to_owned(),
        }
    } else {
        sigv4::verify(&ctx.keys, parts, body, ctx.now())
            .map_err(|error| ApiError::signature(&error, service.protocol()))?
    };
    if signed.service != service.signing_name() {
        let text = format!(
            "Credential should be scoped to correct service: '{}'.",
            service.signing_name()
        );
        return Err(ApiError::signature(
            &sigv4::SignatureError::Mismatch(text),
            service.protocol(),
        ));
    }
    if fault == Some(Fault::Throttled)
        || !ctx
            .limits
            .admits(service, &action, &signed.region, ctx.now())
    {
        return Err(ApiError::throttled(service));
    }
    if fault == Some(Fault::Error) {
        return Err(ApiError::unavailable(service));
    }
    let call = Call {
        service,
        action,
        region: signed.region,
        params,
        key: signed.key,
        request_id: request_id.to_owned(),
    };
    let result = match check(service, &call.action, &call.params) {
        Ok(()) => dispatch(ctx, &call).await,
        Err(error) => Err(error),
    };
    match &result {
        Ok(_) => tracing::debug!(
            service = service.signing_name(),
            action = call.action,
            region = call.region,
            "answered"
        ),
        Err(error) => tracing::info!(
            service = service.signing_name(),
            action = call.action,
            region = call.region,
            code = error.code,
            message = error.message,
            "refused"
        ),
    }
    result.map(|value| (call.action, value))
}

/// Whom an operation is called by that needs no signature: nobody.
fn anonymous() -> Key {
    Key {
        id: String::new(),
        secret: String::new(),
        session_token: None,
        arn: String::new(),
        user_id: "anonymous".to_owned(),
        expires: None,
    }
}

/// Finds out which operation of which service is meant, and reads its parameters.
fn read(parts: &Parts, body: &Bytes) -> Result<Asked, ApiError> {
    if sigv4::is_for(parts, "scheduler") {
        let (action, params) = crate::scheduler::read(parts, body)?;
        return Ok(Asked {
            service: Service::Scheduler,
            action,
            params,
        });
    }
    if let Some(target) = parts.headers.get("x-amz-target") {
        let unknown = || ApiError::new("UnknownOperationException", "");
        let (prefix, action) = target
            .to_str()
            .ok()
            .and_then(|text| text.split_once('.'))
            .ok_or_else(unknown)?;
        let service = Service::by_target(prefix).ok_or_else(unknown)?;
        let params = if body.is_empty() {
            Value::Object(serde_json::Map::new())
        } else {
            serde_json::from_slice(body)
                .map_err(|error| ApiError::serialization(error.to_string()))?
        };
        if !params.is_object() {
            return Err(ApiError::serialization(
                "Start of structure or map found where not expected.",
            ));
        }
        return Ok(Asked {
            service,
            action: action.to_owned(),
            params,
        });
    }
    let form = match parts.method {
        Method::POST if !body.is_empty() => std::str::from_utf8(body)
            .map_err(|_| ApiError::new("MalformedInput", "The body is not a form"))?
            .to_owned(),
        _ => parts.uri.query().unwrap_or_default().to_owned(),
    };
    let params = query::parse(&form);
    let text = |name: &str| params.get(name).and_then(Value::as_str).map(str::to_owned);
    let missing = || ApiError::new("MissingAction", "Request is missing Action").with_status(404);
    let action = text("Action").ok_or_else(missing)?;
    let signing = sigv4::scope(parts).map(|(_, service)| service);
    let service = Service::by_version(&text("Version").unwrap_or_default(), signing.as_deref())
        .ok_or_else(|| {
            ApiError::new(
                "InvalidAction",
                format!("The action {action} is not valid for this endpoint."),
            )
        })?;
    Ok(Asked {
        service,
        action,
        params,
    })
}

fn answered(service: Service, action: &str, request_id: &str, value: &Value) -> Response<Body> {
    match service.protocol() {
        // An operation without an answer still answers an empty object in AWS JSON.
        Protocol::Json if value.is_null() => {
            respond(StatusCode::OK, JSON, request_id, "{}".to_owned())
        }
        Protocol::Json => respond(StatusCode::OK, JSON, request_id, value.to_string()),
        Protocol::Query | Protocol::Ec2 => respond(
            StatusCode::OK,
            XML,
            request_id,
            xml::answer(service, action, request_id, value),
        ),
    }
}

fn failed(
    service: Option<Service>,
    target: bool,
    request_id: &str,
    error: &ApiError,
) -> Response<Body> {
    if service == Some(Service::Scheduler) {
        let (status, body) = crate::scheduler::answer(error);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = respond(status, JSON, request_id, body.to_string());
        if let Ok(code) = HeaderValue::from_str(&error.code) {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        return response;
    }
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = service.map_or(target, |service| service.protocol() == Protocol::Json);
    if !json {
        return respond(
            status,
            XML,
            request_id,
            xml::error(service, request_id, error),
        );
    }
    let mut body = serde_json::Map::new();
    body.insert("__type".to_owned(), error.code.clone().into());
    if !error.message.is_empty() {
        body.insert("message".to_owned(), error.message.clone().into());
    }
    body.extend(*error.members.clone());
    respond(status, JSON, request_id, Value::Object(body).to_string())
}

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const XML: HeaderValue = HeaderValue::from_static("text/xml;charset=utf-8");

fn respond(
    status: StatusCode,
    kind: HeaderValue,
    request_id: &str,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
