//! How S3 answers: XML, and errors of its own form.

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use quick_xml::escape::escape;

use crate::ids;
use crate::state::StateError;

/// An error as S3 answers it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message} status code: {status}, request id: {request}")]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
    pub request: String,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: message.into(),
            request: ids::upper(16),
        }
    }

    /// Something broke on our side.
    fn internal(why: &str) -> Refusal {
        Refusal::new(500, "InternalError", why)
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Refusal {
        Refusal::internal(&error.to_string())
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::internal(&format!("failed to access the objects: {error}"))
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer of XML; `inner` is what stands within the root element.
pub fn xml(status: StatusCode, root: &str, inner: &str) -> Response<Body> {
    let namespace = match root {
        "Error" => "",
        _ => " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"",
    };
    let text =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{namespace}>{inner}</{root}>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// An element with a text.
pub fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// S3 has a bad moment.
pub fn unavailable() -> Response<Body> {
    let text = "Please reduce your request rate.";
    refused(&Refusal::new(503, "SlowDown", text), "/", false)
}

/// An error; `to_head` says that the answer has no body.
pub fn refused(refusal: &Refusal, resource: &str, to_head: bool) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if to_head {
        return empty(status);
    }
    let inner = [
        element("Code", &refusal.code),
        element("Message", &refusal.message),
        element("Resource", resource),
        element("RequestId", &refusal.request),
    ];
    xml(status, "Error", &inner.concat())
}
