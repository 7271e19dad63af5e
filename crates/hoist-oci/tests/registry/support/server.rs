//! A small registry in memory, with faults to order and a log of what it was asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use hoist_oci::Digest;
use http_body_util::BodyExt as _;

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Mutex<Content>>,
}

/// How it wants to be spoken to.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    Basic {
        user: String,
        password: String,
    },
    /// A token for a scope, given to this user.
    Bearer {
        user: String,
        password: String,
    },
}

#[derive(Default)]
pub struct Content {
    pub blobs: BTreeMap<String, BTreeMap<Digest, Vec<u8>>>,
    pub manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub sessions: BTreeMap<String, Vec<u8>>,
    /// Answers to give before anything is looked at, for requests with this method.
    pub faults: VecDeque<(Method, u16)>,
    /// Whether an upload whose connection broke is forgotten.
    pub forgetful: bool,
    /// Whether downloads come with a wrong byte, and manifests are said to be stored under another digest.
    pub lies: bool,
    /// Tags to a page of the list.
    pub page: usize,
    pub auth: Option<Auth>,
    /// `METHOD path[?query]`, with `[range]` where one was sent; requests for tokens and refused ones too.
    pub log: Vec<String>,
    scopes: BTreeSet<String>,
    next: u64,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::default(),
        };
        let router = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub fn content(&self) -> MutexGuard<'_, Content> {
        self.shared.lock().unwrap()
    }

    /// The log so far, which is empty afterwards.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.content().log)
    }

    fn may(&self, headers: &HeaderMap, repository: &str) -> Option<Response<Body>> {
        let content = self.content();
        let sent = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let challenge = match content.auth.as_ref()? {
            Auth::Basic { user, password } if sent == Some(&basic(user, password)) => return None,
            Auth::Basic { .. } => "Basic realm=\"test\"".to_owned(),
            Auth::Bearer { .. } => {
                let scopes = sent
                    .and_then(|sent| sent.strip_prefix("Bearer "))
                    .map(decode)
                    .unwrap_or_default();
                if scopes.contains(&format!("repository:{repository}:"))
                    && content.scopes.contains(&scopes)
                {
                    return None;
                }
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"test\",scope=\"repository:{repository}:pull\"",
                    self.address
                )
            }
        };
        Some(
            answer(401)
                .header("www-authenticate", challenge)
                .body(Body::from(error("UNAUTHORIZED")))
                .unwrap(),
        )
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
    )
}

fn decode(text: &str) -> String {
    String::from_utf8(hex::decode(text).unwrap_or_default()).unwrap_or_default()
}

fn error(code: &str) -> String {
    format!(r#"{{"errors":[{{"code":"{code}","message":"as ordered"}}]}}"#)
}

fn answer(status: u16) -> axum::http::response::Builder {
    Response::builder().status(StatusCode::from_u16(status).unwrap())
}

fn empty(status: u16) -> Response<Body> {
    answer(status).body(Body::empty()).unwrap()
}

async fn handle(State(server): State<Server>, request: Request) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            (
                name.to_owned(),
                percent_encoding::percent_decode_str(value)
                    .decode_utf8_lossy()
                    .into_owned(),
            )
        })
        .collect();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    {
        let mut content = server.content();
        let range = header("content-range").or_else(|| header("range"));
        let range = range.map(|range| format!(" [{range}]")).unwrap_or_default();
        content
            .log
            .push(format!("{} {}{range}", parts.method, parts.uri));
        let due = content
            .faults
            .front()
            .is_some_and(|(method, _)| *method == parts.method);
        if due && let Some((_, status)) = content.faults.pop_front() {
            return empty(status);
        }
    }
    if path == "/token" {
        let mut content = server.content();
        let Some(Auth::Bearer { user, password }) = &content.auth else {
            return empty(404);
        };
        if header("authorization") != Some(basic(user, password)) {
            return empty(401);
        }
        let scopes: Vec<String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.strip_prefix("scope="))
            .map(|scope| {
                percent_encoding::percent_decode_str(scope)
                    .decode_utf8_lossy()
                    .into_owned()
            })
            .collect();
        let scopes = scopes.join(" ");
        content.scopes.insert(scopes.clone());
        return answer(200)
            .body(Body::from(format!(
                r#"{{"token":"{}"}}"#,
                hex::encode(scopes)
            )))
            .unwrap();
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return empty(404);
    };
    let split = ["/blobs/uploads/", "/blobs/", "/manifests/", "/tags/"]
        .iter()
        .find_map(|kind| {
            rest.split_once(kind)
                .map(|(repository, name)| (repository.to_owned(), *kind, name.to_owned()))
        });
    let Some((repository, kind, name)) = split else {
        return empty(404);
    };
    if let Some(refused) = server.may(&parts.headers, &repository) {
        return refused;
    }
    let mut piece = Vec::new();
    let mut broken = false;
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => piece.extend_from_slice(&data),
            Ok(Err(_)) => {}
            Err(_) => broken = true,
        }
    }
    let mut content = server.content();
    let content = &mut *content;
    match (&parts.method, kind) {
        (&Method::POST, "/blobs/uploads/") => {
            if let (Some(digest), Some(from)) = (
                query.get("mount").and_then(|digest| digest.parse().ok()),
                query.get("from"),
            ) && let Some(blob) = content
                .blobs
                .get(from)
                .and_then(|blobs| blobs.get(&digest))
                .cloned()
            {
                content
                    .blobs
                    .entry(repository)
                    .or_default()
                    .insert(digest, blob);
                return empty(201);
            }
            content.next += 1;
            let id = content.next.to_string();
            content.sessions.insert(id.clone(), Vec::new());
            answer(202)
                .header(
                    "location",
                    format!("/v2/{repository}/blobs/uploads/{id}?state=a%2Fb"),
                )
                .body(Body::empty())
                .unwrap()
        }
        (method, "/blobs/uploads/") => {
            let Some(session) = content.sessions.get_mut(&name) else {
                return answer(404)
                    .body(Body::from(error("BLOB_UPLOAD_UNKNOWN")))
                    .unwrap();
            };
            let start = header("content-range")
                .and_then(|range| range.split_once('-')?.0.parse::<usize>().ok());
            if *method == Method::PATCH && start.is_some_and(|start| start != session.len()) {
                return empty(416);
            }
            if *method == Method::PATCH || *method == Method::PUT {
                session.extend_from_slice(&piece);
            }
            if broken && content.forgetful {
                content.sessions.remove(&name);
                return empty(500);
            }
            let session = content.sessions.get(&name).cloned().unwrap_or_default();
            match *method {
                Method::DELETE => {
                    content.sessions.remove(&name);
                    empty(204)
                }
                Method::PUT if !broken => {
                    content.sessions.remove(&name);
                    let digest = Digest::of(&session);
                    if query.get("digest") != Some(&digest.to_string())
                        || query.get("state").map(String::as_str) != Some("a/b")
                    {
                        return answer(400)
                            .body(Body::from(error("DIGEST_INVALID")))
                            .unwrap();
                    }
                    content
                        .blobs
                        .entry(repository)
                        .or_default()
                        .insert(digest, session);
                    empty(201)
                }
                _ => answer(if *method == Method::GET { 204 } else { 202 })
                    .header(
                        "location",
                        format!(
                            "http://{}/v2/{repository}/blobs/uploads/{name}?state=a%2Fb",
                            header("host").unwrap()
                        ),
                    )
                    .header("range", format!("0-{}", session.len().saturating_sub(1)))
                    .body(Body::empty())
                    .unwrap(),
            }
        }
        (method, "/blobs/") => {
            let blob = name
                .parse()
                .ok()
                .and_then(|digest: Digest| content.blobs.get(&repository)?.get(&digest));
            let Some(blob) = blob else {
                return answer(404).body(Body::from(error("BLOB_UNKNOWN"))).unwrap();
            };
            let mut blob = blob.clone();
            if let Some(last) = blob.last_mut().filter(|_| content.lies) {
                *last ^= 1;
            }
            let size = blob.len();
            let start = header("range").and_then(|range| {
                range
                    .strip_prefix("bytes=")?
                    .strip_suffix('-')?
                    .parse::<usize>()
                    .ok()
            });
            let (status, part) = match start {
                Some(start) => (206, blob.split_off(start)),
                None => (200, blob),
            };
            let answer = answer(status).header("content-length", part.len());
            let answer = match start {
                Some(start) => answer.header(
                    "content-range",
                    format!("bytes {start}-{}/{size}", size - 1),
                ),
                None => answer,
            };
            answer
                .body(if *method == Method::HEAD {
                    Body::empty()
                } else {
                    Body::from(part)
                })
                .unwrap()
        }
        (&Method::PUT, "/manifests/") => {
            let kind = header("content-type").unwrap();
            let digest = Digest::of(&piece).to_string();
            content
                .manifests
                .insert((repository.clone(), name), (kind.clone(), piece.clone()));
            content
                .manifests
                .insert((repository, digest.clone()), (kind, piece));
            let said = match content.lies {
                true => Digest::of(b"something else").to_string(),
                false => digest,
            };
            answer(201)
                .header("docker-content-digest", said)
                .body(Body::empty())
                .unwrap()
        }
        (method, "/manifests/") => {
            let Some((kind, manifest)) = content.manifests.get(&(repository, name)) else {
                return answer(404)
                    .body(Body::from(error("MANIFEST_UNKNOWN")))
                    .unwrap();
            };
            let body = if *method == Method::HEAD {
                Body::empty()
            } else {
                Body::from(manifest.clone())
            };
            answer(200)
                .header("content-type", kind)
                .header("content-length", manifest.len())
                .header("docker-content-digest", Digest::of(manifest).to_string())
                .body(body)
                .unwrap()
        }
        _ => {
            let known = content
                .manifests
                .keys()
                .filter(|(of, name)| *of == repository && !name.contains(':'));
            let after = query.get("last").cloned().unwrap_or_default();
            let tags: Vec<&String> = known
                .map(|(_, name)| name)
                .filter(|name| **name > after)
                .collect();
            let size = if content.page == 0 {
                tags.len()
            } else {
                content.page.min(tags.len())
            };
            let answer = answer(200);
            let answer = match tags.get(size.wrapping_sub(1)) {
                Some(last) if size < tags.len() => answer.header(
                    "link",
                    format!("</v2/{repository}/tags/list?n={size}&last={last}>; rel=\"next\""),
                ),
                _ => answer,
            };
            let list = serde_json::json!({"name": repository, "tags": tags[..size]});
            answer.body(Body::from(list.to_string())).unwrap()
        }
    }
}
