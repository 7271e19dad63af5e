use axum::body::Body;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::view;
use crate::api::{Call, Service};
use crate::ctx::Ctx;
use crate::ids;

const PAGE: &str = include_str!("page.html");
/// What the page's own requests carry, and no other page's can.
const OURS: HeaderName = HeaderName::from_static("x-hoist-console");

/// Whether a request is the console's to answer: a browser's look at `/`, or what the page asks for.
pub fn answers(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let browser = || {
        let accept = request
            .headers()
            .get(ACCEPT)
            .and_then(|it| it.to_str().ok());
        accept.is_some_and(|it| it.contains("text/html"))
    };
    request.method() == Method::GET
        && (path.starts_with("/_hoist/console/") || (path == "/" && browser()))
}

/// Answers it.
pub async fn handle(ctx: &Ctx, request: &http::request::Parts) -> Response<Body> {
    let host = request.headers.get(HOST).and_then(|it| it.to_str().ok());
    let port = ctx.host.rsplit(':').next().unwrap_or_default();
    let known = host == Some(&ctx.host) || host == Some(&format!("localhost:{port}"));
    if !known {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not where the console is",
        );
    }
    let path = request.uri.path();
    if path == "/" {
        return page();
    }
    if !request.headers.contains_key(OURS) {
        return plain(StatusCode::FORBIDDEN, "only the console asks for this");
    }
    match path {
        "/_hoist/console/state" => document(&view::state(ctx)),
        "/_hoist/console/logs" => logs(ctx, request.uri.query().unwrap_or_default()).await,
        _ => plain(StatusCode::NOT_FOUND, "there is no such page"),
    }
}

/// The newest lines of a log group, or what came after a time: `region`, `group`, `since` (milliseconds).
async fn logs(ctx: &Ctx, query: &str) -> Response<Body> {
    let mut call = Call {
        service: Service::Logs,
        action: "FilterLogEvents".to_owned(),
        region: String::new(),
        params: json!({"limit": 10_000}),
        key: ctx.keys.root().clone().into(),
        request_id: ids::uuid(),
    };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "region" => call.region = value.into_owned(),
            "group" => call.params["logGroupName"] = Value::from(value.into_owned()),
            "since" => call.params["startTime"] = json!(value.parse::<i64>().unwrap_or(0)),
            _ => {}
        }
    }
    match crate::logs::handle(&ctx.logs, &call).await {
        Ok(mut found) => {
            // The newest are what is looked at.
            let events = found["events"]
                .as_array_mut()
                .map(std::mem::take)
                .unwrap_or_default();
            let start = events.len().saturating_sub(500);
            document(&json!({"events": &events[start..]}))
        }
        Err(error) => document(&json!({"events": [], "error": error.to_string()})),
    }
}

fn page() -> Response<Body> {
    let mut response = Response::new(Body::from(PAGE));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        "content-security-policy",
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    );
    response
}

fn document(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, accept: &str) -> Request<Body> {
        Request::get(path)
            .header(ACCEPT, accept)
            .body(Body::empty())
            .unwrap()
    }

    #[test]
    fn a_browser_gets_the_page_and_a_probe_does_not() {
        assert!(answers(&get("/", "text/html,*/*")));
        assert!(!answers(&get("/", "*/*")));
        assert!(answers(&get("/_hoist/console/state", "*/*")));
        assert!(!answers(&get("/v2/", "text/html")));
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for foreign in ["http://", "https://", "//cdn", "@import", "innerHTML"] {
            let found = PAGE
                .match_indices(foreign)
                .any(|(at, _)| !PAGE[at..].starts_with("http://www.w3.org/2000/svg"));
            assert!(!found, "{foreign}");
        }
    }
}
