use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use hoist_fargate::Task;
use http::{Method, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::{credentials, describe, protection, statistics};
use crate::api;
use crate::driver::Crew;
use crate::engine::ROUTER;

/// The host part of `ECS_CONTAINER_METADATA_URI_V4`, which SDKs have built in for credentials.
pub const ADDRESS: &str = "169.254.170.2";

/// Begins to answer the tasks of this instance: at the address that they know from Fargate, where the runtime's network has it, else at
/// a port of their router. Where there is neither, tasks do without.
pub async fn open(crew: &Crew) {
    let fixed = SocketAddr::from(([169, 254, 170, 2], 80));
    let mut opened = crew.ctx.runtime.listen(fixed).await;
    let is_fixed = opened.is_ok();
    if !is_fixed {
        opened = crew.ctx.runtime.listen((ROUTER, 0).into()).await;
    }
    let host = match &opened {
        Ok(_) if is_fixed => Ok(ADDRESS.to_owned()),
        Ok(listener) => listener.local_addr().map(|address| address.to_string()),
        Err(_) => Ok(String::new()),
    };
    match (opened, host) {
        (Ok(listener), Ok(host)) => {
            crew.open_metadata(host);
            tokio::spawn(serve(crew.clone(), listener));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::info!(%error, "tasks have no metadata endpoint");
        }
    }
}

async fn serve(crew: Crew, listener: TcpListener) {
    let stopping = crew.ctx.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => drop(tokio::spawn(converse(crew.clone(), stream, peer.ip()))),
            Err(error) => {
                tracing::warn!(%error, "failed to accept a task's connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(crew: Crew, stream: TcpStream, peer: IpAddr) {
    let stopping = crew.ctx.stopping.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let crew = crew.clone();
        async move { Ok::<_, Infallible>(answer(&crew, peer, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection of a task ended");
        },
        () = stopping.cancelled() => {}
    }
}

async fn answer(crew: &Crew, peer: IpAddr, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    if request.method() == Method::GET {
        let mut parts = path.trim_matches('/').split('/');
        match (parts.next(), parts.next()) {
            (Some("v4"), Some(id)) => {
                let rest: Vec<&str> = parts.collect();
                return json(metadata(crew, peer, id, &rest).await);
            }
            (Some("v2"), Some("credentials")) => {
                return json(credentials::answer(
                    crew,
                    peer,
                    parts.next().unwrap_or_default(),
                ));
            }
            _ => {}
        }
    }
    if let Some(id) = protection::answers(path) {
        let id = id.to_owned();
        return protection::handle(crew, peer, &id, request).await;
    }
    api::handle(&crew.ctx, request).await
}

/// The task at an address, and its container with that id.
pub(super) fn whose(crew: &Crew, peer: IpAddr, id: &str) -> Option<(Task, String)> {
    let task = crew.task_at(peer)?;
    let mut containers = task.containers.iter();
    let own = |name: &str| crew.runtime_id(&task.arn, name).as_deref() == Some(id);
    let name = containers.find(|it| own(&it.name))?.name.clone();
    Some((task, name))
}

async fn metadata(
    crew: &Crew,
    peer: IpAddr,
    id: &str,
    rest: &[&str],
) -> Result<Value, (StatusCode, String)> {
    let missing = || {
        let text = format!("V4 metadata handler: unable to get container from v4 request: {id}");
        (StatusCode::NOT_FOUND, text)
    };
    let (task, container) = whose(crew, peer, id).ok_or_else(missing)?;
    match rest {
        [] => describe::container(crew, &task, &container).ok_or_else(missing),
        ["task"] => Ok(describe::task(crew, &task, false)),
        ["taskWithTags"] => Ok(describe::task(crew, &task, true)),
        ["stats"] => Ok(statistics::container(crew, &task, &container).await),
        ["task", "stats"] => Ok(statistics::task(crew, &task).await),
        _ => Err((StatusCode::NOT_FOUND, "404 page not found".to_owned())),
    }
}

fn json(answer: Result<Value, (StatusCode, String)>) -> Response<Body> {
    let (status, body) = match answer {
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err((status, text)) => (status, Value::from(text).to_string()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
