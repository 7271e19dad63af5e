//! Answers of the distribution API.

use axum::body::Body;
use hoist_oci::Digest;
use http::Response;
use http::header::{CONTENT_TYPE, LINK, LOCATION, RANGE, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::catalogue::Registry;

/// The header that names the content of an answer.
pub const DIGEST: &str = "docker-content-digest";

/// Reads `bytes=first-last`, `bytes=first-` and `bytes=-count`, as begin and end (RFC 9110, section 14).
pub fn byte_range(range: &str, size: u64) -> Result<(u64, u64), ()> {
    let (first, last) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .ok_or(())?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| ());
    let (start, end) = match (first, last) {
        ("", count) => (size.saturating_sub(number(count)?), size),
        (first, "") => (number(first)?, size),
        (first, last) => (number(first)?, number(last)?.saturating_add(1).min(size)),
    };
    if start < end {
        Ok((start, end))
    } else {
        Err(())
    }
}

pub fn built(answer: http::response::Builder, body: Body) -> Response<Body> {
    answer
        .header(VERSION.0, VERSION.1)
        .body(body)
        .unwrap_or_else(|error| {
            tracing::error!(%error, "an answer of the registry has a bad header");
            let mut broken = Response::new(Body::empty());
            *broken.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            broken
        })
}

const VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

pub fn empty(status: u16) -> Response<Body> {
    built(Response::builder().status(status), Body::empty())
}

pub fn json_answer(value: &Value) -> Response<Body> {
    built(
        Response::builder().header(CONTENT_TYPE, "application/json"),
        Body::from(value.to_string()),
    )
}

pub fn linked(mut answer: Response<Body>, link: Option<String>) -> Response<Body> {
    if let Some(link) = link.and_then(|link| link.parse().ok()) {
        answer.headers_mut().insert(LINK, link);
    }
    answer
}

pub fn created(name: &str, digest: &Digest) -> Response<Body> {
    let answer = Response::builder()
        .status(201)
        .header(LOCATION, format!("/v2/{name}/blobs/{digest}"));
    built(answer.header(DIGEST, digest.to_string()), Body::empty())
}

pub fn upload_answer(status: u16, name: &str, id: &str, size: u64) -> Response<Body> {
    let answer = Response::builder()
        .status(status)
        .header(LOCATION, format!("/v2/{name}/blobs/uploads/{id}"))
        .header(RANGE, format!("0-{}", size.saturating_sub(1)))
        .header("docker-upload-uuid", id);
    built(answer, Body::empty())
}

pub fn spec_error(status: u16, code: &str, message: &str, detail: &Value) -> Response<Body> {
    let mut error = json!({"code": code, "message": message});
    if !detail.is_null() {
        error["detail"] = detail.clone();
    }
    let mut answer = json_answer(&json!({"errors": [error]}));
    *answer.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// What ECR answers to someone who is not signed in.
pub fn not_signed_in(registry: &Registry) -> Response<Body> {
    let challenge = format!(
        "Basic realm=\"http://{}/\",service=\"ecr.amazonaws.com\"",
        registry.host()
    );
    let answer = Response::builder()
        .status(401)
        .header(WWW_AUTHENTICATE, challenge);
    built(
        answer.header(CONTENT_TYPE, "text/plain; charset=utf-8"),
        Body::from("Not Authorized\n"),
    )
}
