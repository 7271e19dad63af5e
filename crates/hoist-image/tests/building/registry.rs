//! Base images from a registry: a small one of our own, on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hoist_image::BuildEvent;
use hoist_oci::Digest;
use hoist_oci::spec::media_type;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Bench;

/// Media type and body by path.
type Content = Arc<Mutex<HashMap<String, (String, Vec<u8>)>>>;

/// Serves what it was given, by path.
struct Registry {
    address: SocketAddr,
    content: Content,
    requests: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Registry {
    async fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let content = Content::default();
        let requests = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn({
            let (content, requests) = (content.clone(), requests.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, content.clone(), requests.clone()));
                }
            }
        });
        Registry {
            address,
            content,
            requests,
            server,
        }
    }

    fn put(&self, path: String, media_type: &str, content: Vec<u8>) {
        self.content
            .lock()
            .unwrap()
            .insert(path, (media_type.into(), content));
    }

    /// Holds the image that a Dockerfile makes, under a repository and a tag.
    async fn hold(&self, repository: &str, tag: &str, dockerfile: &str) {
        let bench = Bench::new();
        bench.write("f", "from the registry");
        let outcome = bench.build(dockerfile).await;
        let built = outcome.built();
        let image = bench.image(built);
        let read = |digest: &Digest| bench.workspace.store.read(digest).unwrap();
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            self.put(
                format!("/v2/{repository}/blobs/{}", blob.digest),
                "application/octet-stream",
                read(&blob.digest),
            );
        }
        for name in [tag.to_owned(), built.manifest.digest.to_string()] {
            self.put(
                format!("/v2/{repository}/manifests/{name}"),
                media_type::MANIFEST,
                read(&built.manifest.digest),
            );
        }
    }
}

async fn answer(stream: TcpStream, content: Content, requests: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    if stream.read_line(&mut first).await.is_err() {
        return;
    }
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line).await {
            Ok(n) if n > 2 => {}
            _ => break,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let mut words = first.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let found = content.lock().unwrap().get(path).cloned();
    let (status, kind, body) = match found {
        Some((kind, body)) => ("200 OK", kind, body),
        None if path == "/v2/" => ("200 OK", "application/json".into(), b"{}".to_vec()),
        None => (
            "404 Not Found",
            "application/json".into(),
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.to_vec(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    if method != "HEAD" {
        let _ = stream.write_all(&body).await;
    }
    let _ = stream.shutdown().await;
}

const BASE: &str = "FROM scratch\nCOPY f /base/f\nENV FROM_BASE=yes\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_base_image_is_pulled_once_and_kept() {
    let registry = Registry::start().await;
    registry.hold("team/base", "1", BASE).await;
    let bench = Bench::new();
    let text = format!(
        "FROM {}/team/base:1\nLABEL b=$FROM_BASE\n",
        registry.address
    );
    let first = bench.build(&text).await;
    assert_eq!(
        bench.files(first.built())["base/f"].content,
        "from the registry"
    );
    assert_eq!(bench.image(first.built()).config.config.labels["b"], "yes");
    assert!(
        first
            .events
            .iter()
            .any(|event| matches!(event, BuildEvent::Pulling { .. }))
    );
    let before = registry.requests.load(Ordering::SeqCst);
    let again = bench.build(&text).await;
    assert_eq!(again.built().manifest.digest, first.built().manifest.digest);
    assert!(
        registry.requests.load(Ordering::SeqCst) - before <= 2,
        "layers are not fetched again"
    );
    // What was pulled is listed as such, and its name can be taken away.
    let listed = hoist_image::list(&bench.workspace).unwrap();
    let pulled: Vec<_> = listed.iter().filter(|image| image.pulled).collect();
    assert_eq!(pulled.len(), 1);
    hoist_image::remove(&bench.workspace, &pulled[0].name).unwrap();
    let listed = hoist_image::list(&bench.workspace).unwrap();
    assert!(listed.iter().all(|image| !image.pulled), "{listed:?}");
    // A tag that moved is noticed.
    registry
        .hold("team/base", "1", "FROM scratch\nCOPY f /moved\n")
        .await;
    let moved = bench.build(&text).await;
    assert!(bench.files(moved.built()).contains_key("moved"));
    let missing = bench
        .build(&format!("FROM {}/team/base:2\n", registry.address))
        .await;
    let error = missing.error();
    assert!(
        error.message().starts_with("there is no image 127.0.0.1:"),
        "{error}"
    );
    assert_eq!((error.line(), error.column()), (Some(1), Some(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_stand_in_and_what_was_pulled_survives_their_loss() {
    let registry = Registry::start().await;
    registry.hold("hub/library/tools", "latest", BASE).await;
    let bench = Bench::new();
    let mirrors = |address: SocketAddr| {
        move |request: &mut hoist_image::BuildRequest| {
            request
                .registry
                .mirrors
                .insert("docker.io".into(), format!("http://{address}/hub"));
            request.registry.retries = 0;
        }
    };
    let text = "FROM scratch\nCOPY --from=tools /base/f /copied\n";
    let address = registry.address;
    let first = bench.build_with(text, mirrors(address)).await;
    assert_eq!(
        bench.files(first.built())["copied"].content,
        "from the registry"
    );
    drop(registry);
    // The server's task may still hold the port for a moment; whatever answers then is no registry.
    let offline = bench
        .build_with(text, mirrors("127.0.0.1:1".parse().unwrap()))
        .await;
    assert_eq!(
        offline.built().manifest.digest,
        first.built().manifest.digest
    );
    assert!(
        offline
            .warnings()
            .iter()
            .any(|warning| warning.contains("as it was pulled before")),
        "{:?}",
        offline.warnings()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_changes_the_inputs_and_one_that_cannot_be_asked_for_counts_by_its_name() {
    let registry = Registry::start().await;
    registry.hold("team/base", "1", BASE).await;
    let bench = Bench::new();
    bench.write(
        "Dockerfile",
        &format!("FROM {}/team/base:1\nENV A=b\n", registry.address),
    );
    let mut request = bench.request();
    request.registry.retries = 0;
    let digest = async || {
        hoist_image::inputs_digest(&bench.workspace, &request)
            .await
            .unwrap()
    };
    let first = digest().await;
    assert_eq!(digest().await, first);
    registry
        .hold("team/base", "1", "FROM scratch\nCOPY f /moved\n")
        .await;
    let moved = digest().await;
    assert_ne!(moved, first);
    registry.content.lock().unwrap().clear();
    let unknown = digest().await;
    assert!(unknown != first && unknown != moved);
    assert_eq!(digest().await, unknown);
}
