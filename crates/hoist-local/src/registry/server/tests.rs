use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hoist_oci::spec::{Descriptor, Manifest, Platform, media_type};
use hoist_oci::{ImageRef, PushOptions, RegistryOptions, Silent, Store};
use http::HeaderMap;

use super::super::testing::{manifest, registry, repository};
use super::super::{Mutability, TOKEN_VALIDITY};
use super::*;

const REGION: &str = "eu-central-1";

/// Asks the registry, signed in to `REGION`.
async fn ask(
    registry: &Registry,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, HeaderMap, Bytes) {
    let password = registry.password(REGION, clock::now() + TOKEN_VALIDITY);
    let authorization = format!("Basic {}", BASE64.encode(format!("AWS:{password}")));
    let mut headers = headers.to_vec();
    headers.push(("authorization", &authorization));
    ask_as(registry, method, path, &headers, body).await
}

async fn ask_as(
    registry: &Registry,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, HeaderMap, Bytes) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let (parts, body) = serve(registry, request).await.into_parts();
    (
        parts.status.as_u16(),
        parts.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

fn code(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap();
    value["errors"][0]["code"].as_str().unwrap().to_owned()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .unwrap_or_else(|| panic!("{name} in {headers:?}"))
        .to_str()
        .unwrap()
}

#[test]
fn paths_are_told_apart_by_their_ends() {
    assert_eq!(Place::of("/v2/"), Some(Place::Base));
    assert_eq!(
        Place::of("/v2/a/b/manifests/v1"),
        Some(Place::Manifest("a/b", "v1"))
    );
    assert_eq!(
        Place::of("/v2/a/blobs/sha256:0"),
        Some(Place::Blob("a", "sha256:0"))
    );
    assert_eq!(Place::of("/v2/a/blobs/uploads/"), Some(Place::Uploads("a")));
    assert_eq!(
        Place::of("/v2/a/blobs/uploads/1"),
        Some(Place::Upload("a", "1"))
    );
    assert_eq!(
        Place::of("/v2/manifests/manifests/v1"),
        Some(Place::Manifest("manifests", "v1"))
    );
    assert_eq!(Place::of("/v2/a/tags/list"), Some(Place::Tags("a")));
    assert_eq!(Place::of("/v2x"), None);
    assert_eq!(Place::of("/v2/a/something"), None);
}

#[test]
fn byte_ranges_are_read_as_rfc_9110_has_them() {
    assert_eq!(byte_range("bytes=0-3", 10), Ok((0, 4)));
    assert_eq!(byte_range("bytes=8-99", 10), Ok((8, 10)));
    assert_eq!(byte_range("bytes=4-", 10), Ok((4, 10)));
    assert_eq!(byte_range("bytes=-3", 10), Ok((7, 10)));
    for wrong in ["bytes=10-", "bytes=5-4", "items=0-1", "bytes=a-b"] {
        assert_eq!(byte_range(wrong, 10), Err(()), "{wrong}");
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_of_the_instance() {
    let (_folder, registry) = registry();
    let (status, headers, body) = ask_as(&registry, "GET", "/v2/", &[], b"").await;
    assert_eq!(status, 401);
    assert_eq!(
        text(&headers, "www-authenticate"),
        "Basic realm=\"http://127.0.0.1:4566/\",service=\"ecr.amazonaws.com\""
    );
    assert_eq!(&body[..], b"Not Authorized\n");
    let old = registry.password(REGION, clock::now() - 1);
    let authorization = format!("Basic {}", BASE64.encode(format!("AWS:{old}")));
    let (status, _, body) = ask_as(
        &registry,
        "GET",
        "/v2/",
        &[("authorization", &authorization)],
        b"",
    )
    .await;
    assert_eq!((status, code(&body).as_str()), (403, "DENIED"));
    assert_eq!(ask(&registry, "GET", "/v2/", &[], b"").await.0, 200);
}

#[tokio::test]
async fn a_repository_must_have_been_created_in_the_region_of_the_token() {
    let (_folder, registry) = registry();
    registry
        .create_repository("us-east-1", &repository("shop"))
        .unwrap();
    for (method, path) in [
        ("GET", "/v2/shop/manifests/v1"),
        ("POST", "/v2/shop/blobs/uploads/"),
        ("GET", "/v2/shop/tags/list"),
        ("PUT", "/v2/shop/manifests/v1"),
    ] {
        let (status, _, body) = ask(&registry, method, path, &[], b"{}").await;
        assert_eq!(
            (status, code(&body).as_str()),
            (404, "NAME_UNKNOWN"),
            "{method} {path}"
        );
        assert!(body.ends_with(b"The repository with name 'shop' does not exist in the registry with id '000000000000'\"}]}"), "{body:?}");
    }
}

#[tokio::test]
async fn a_blob_comes_in_pieces_in_one_or_from_a_neighbour() {
    let (_folder, registry) = registry();
    for name in ["shop", "other"] {
        registry
            .create_repository(REGION, &repository(name))
            .unwrap();
    }
    let digest = Digest::of(b"hello world");
    let (status, headers, _) = ask(&registry, "POST", "/v2/shop/blobs/uploads/", &[], b"").await;
    assert_eq!(status, 202);
    let place = text(&headers, "location").to_owned();
    let (status, headers, _) = ask(
        &registry,
        "PATCH",
        &place,
        &[("content-range", "0-4")],
        b"hello",
    )
    .await;
    assert_eq!((status, text(&headers, "range")), (202, "0-4"));
    let (status, headers, _) = ask(
        &registry,
        "PATCH",
        &place,
        &[("content-range", "9-10")],
        b"ld",
    )
    .await;
    assert_eq!((status, text(&headers, "range")), (416, "0-4"), "a gap");
    let (status, headers, _) = ask(&registry, "GET", &place, &[], b"").await;
    assert_eq!((status, text(&headers, "range")), (204, "0-4"));
    let elsewhere = place.replace("/shop/", "/other/");
    assert_eq!(
        ask(&registry, "GET", &elsewhere, &[], b"").await.0,
        404,
        "an upload belongs to its repository"
    );
    let end = format!("{place}?digest={digest}");
    let (status, headers, _) = ask(&registry, "PUT", &end, &[], b" world").await;
    assert_eq!(
        (status, text(&headers, "docker-content-digest")),
        (201, digest.to_string().as_str())
    );
    assert_eq!(
        ask(&registry, "GET", &place, &[], b"").await.0,
        404,
        "it is finished"
    );

    let blob = format!("/v2/shop/blobs/{digest}");
    let (status, headers, body) = ask(&registry, "GET", &blob, &[("range", "bytes=6-")], b"").await;
    assert_eq!(
        (status, text(&headers, "content-range"), &body[..]),
        (206, "bytes 6-10/11", &b"world"[..])
    );
    assert_eq!(
        ask(&registry, "GET", &blob, &[("range", "bytes=11-")], b"")
            .await
            .0,
        416
    );
    assert_eq!(
        ask(&registry, "HEAD", &blob, &[], b"").await.1["content-length"],
        "11"
    );

    let there = format!("/v2/other/blobs/{digest}");
    assert_eq!(
        ask(&registry, "HEAD", &there, &[], b"").await.0,
        404,
        "blobs are not shared unasked"
    );
    let mount = format!("/v2/other/blobs/uploads/?mount={digest}&from=shop");
    assert_eq!(ask(&registry, "POST", &mount, &[], b"").await.0, 201);
    assert_eq!(ask(&registry, "HEAD", &there, &[], b"").await.0, 200);
    assert_eq!(ask(&registry, "DELETE", &there, &[], b"").await.0, 202);
    assert_eq!(ask(&registry, "HEAD", &there, &[], b"").await.0, 404);

    let wrong = format!("/v2/shop/blobs/uploads/?digest={}", Digest::of(b"x"));
    let (status, _, body) = ask(&registry, "POST", &wrong, &[], b"y").await;
    assert_eq!((status, code(&body).as_str()), (400, "DIGEST_INVALID"));
    let right = format!("/v2/shop/blobs/uploads/?digest={}", Digest::of(b"y"));
    assert_eq!(ask(&registry, "POST", &right, &[], b"y").await.0, 201);
}

#[tokio::test]
async fn a_manifest_needs_its_blobs_and_keeps_its_tag_where_tags_are_immutable() {
    let (_folder, registry) = registry();
    let fixed = super::super::Repository {
        mutability: Mutability::Immutable,
        ..repository("shop")
    };
    registry.create_repository(REGION, &fixed).unwrap();
    let kind = [("content-type", media_type::MANIFEST)];
    let missing = Descriptor::of(media_type::CONFIG, b"{}");
    let bare = serde_json::to_vec(&Manifest::new(missing, vec![])).unwrap();
    let (status, _, body) = ask(&registry, "PUT", "/v2/shop/manifests/v1", &kind, &bare).await;
    assert_eq!(
        (status, code(&body).as_str()),
        (404, "MANIFEST_BLOB_UNKNOWN")
    );
    let (status, _, body) = ask(&registry, "PUT", "/v2/shop/manifests/v1", &kind, b"{").await;
    assert_eq!((status, code(&body).as_str()), (400, "MANIFEST_INVALID"));

    let [first, second] = [b"1", b"2"].map(|layer| manifest(&registry, REGION, "shop", layer));
    for _ in 0..2 {
        assert_eq!(
            ask(&registry, "PUT", "/v2/shop/manifests/v1", &kind, &first)
                .await
                .0,
            201
        );
    }
    let (status, _, body) = ask(&registry, "PUT", "/v2/shop/manifests/v1", &kind, &second).await;
    assert_eq!((status, code(&body).as_str()), (400, "TAG_INVALID"));
    assert!(
        String::from_utf8_lossy(&body)
            .contains("cannot be overwritten because the tag is immutable")
    );
    let by_digest = format!("/v2/shop/manifests/{}", Digest::of(&second));
    assert_eq!(
        ask(&registry, "PUT", &by_digest, &kind, &second).await.0,
        201
    );
    let (status, _, body) = ask(&registry, "PUT", &by_digest, &kind, &first).await;
    assert_eq!((status, code(&body).as_str()), (400, "DIGEST_INVALID"));

    let (status, headers, body) = ask(&registry, "GET", "/v2/shop/manifests/v1", &[], b"").await;
    assert_eq!(
        (status, text(&headers, "content-type"), &body[..]),
        (200, media_type::MANIFEST, &first[..])
    );
    assert_eq!(
        text(&headers, "docker-content-digest"),
        Digest::of(&first).to_string()
    );
    let in_use = format!("/v2/shop/blobs/{}", Digest::of(b"1"));
    assert_eq!(
        ask(&registry, "DELETE", &in_use, &[], b"").await.0,
        405,
        "an image needs it"
    );
    assert_eq!(
        ask(&registry, "DELETE", "/v2/shop/manifests/v1", &[], b"")
            .await
            .0,
        202
    );
    assert_eq!(
        ask(&registry, "GET", "/v2/shop/manifests/v1", &[], b"")
            .await
            .0,
        404
    );
    assert!(
        !registry.store().has(&Digest::of(&first)) && registry.store().has(&Digest::of(&second))
    );
}

#[tokio::test]
async fn lists_come_in_pages_and_referrers_are_found() {
    let (_folder, registry) = registry();
    registry
        .create_repository(REGION, &repository("shop"))
        .unwrap();
    let content = manifest(&registry, REGION, "shop", b"1");
    let kind = [("content-type", media_type::MANIFEST)];
    for tag in ["b", "a", "c"] {
        assert_eq!(
            ask(
                &registry,
                "PUT",
                &format!("/v2/shop/manifests/{tag}"),
                &kind,
                &content
            )
            .await
            .0,
            201
        );
    }
    let (_, headers, body) = ask(&registry, "GET", "/v2/shop/tags/list?n=2", &[], b"").await;
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"name": "shop", "tags": ["a", "b"]})
    );
    assert_eq!(
        text(&headers, "link"),
        "</v2/shop/tags/list?n=2&last=b>; rel=\"next\""
    );
    let (_, headers, body) = ask(&registry, "GET", "/v2/shop/tags/list?n=2&last=b", &[], b"").await;
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap()["tags"],
        json!(["c"])
    );
    assert!(!headers.contains_key("link"));
    let (_, _, body) = ask(&registry, "GET", "/v2/_catalog", &[], b"").await;
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"repositories": ["shop"]})
    );

    let subject = Descriptor::of(media_type::MANIFEST, &content);
    let mut attached: Value = serde_json::from_slice(&content).unwrap();
    attached["subject"] = json!(subject);
    attached["artifactType"] = json!("application/x-sbom");
    let attached = attached.to_string();
    let place = format!("/v2/shop/manifests/{}", Digest::of(attached.as_bytes()));
    let (status, headers, _) = ask(&registry, "PUT", &place, &kind, attached.as_bytes()).await;
    assert_eq!(
        (status, text(&headers, "oci-subject")),
        (201, subject.digest.to_string().as_str())
    );
    let (_, _, body) = ask(
        &registry,
        "GET",
        &format!("/v2/shop/referrers/{}", subject.digest),
        &[],
        b"",
    )
    .await;
    let index: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        index["manifests"][0]["digest"],
        Digest::of(attached.as_bytes()).to_string()
    );
    assert_eq!(index["manifests"][0]["artifactType"], "application/x-sbom");
    let other = format!("/v2/shop/referrers/{}?artifactType=other", subject.digest);
    let (_, headers, body) = ask(&registry, "GET", &other, &[], b"").await;
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap()["manifests"],
        json!([])
    );
    assert_eq!(text(&headers, "oci-filters-applied"), "artifactType");
}

/// Serves the registry on a port of its own.
async fn listen(registry: &Registry) -> (String, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let registry = registry.clone();
    let app = axum::Router::new().fallback(move |request| {
        let registry = registry.clone();
        async move { serve(&registry, request).await }
    });
    (
        host,
        tokio::spawn(async move { axum::serve(listener, app).await }),
    )
}

#[tokio::test]
async fn whoever_is_still_sending_when_refused_gets_the_answer_and_keeps_the_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (_folder, registry) = registry();
    let (host, server) = listen(&registry).await;
    let mut client = tokio::net::TcpStream::connect(&host).await.unwrap();
    for _ in 0..2 {
        let head =
            "PUT /v2/shop/manifests/v1 HTTP/1.1\r\nhost: r\r\ncontent-length: 200000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"Not Authorized\n") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 401 "));
        client.write_all(&vec![7; 200_000]).await.unwrap();
    }
    server.abort();
}

#[tokio::test]
async fn our_own_client_pushes_pulls_and_mounts() {
    let (_folder, registry) = registry();
    for name in ["base", "shop/web"] {
        registry
            .create_repository(REGION, &repository(name))
            .unwrap();
    }
    let (host, server) = listen(&registry).await;
    let password = registry.password(REGION, clock::now() + TOKEN_VALIDITY);
    let client = hoist_oci::Registry::new(RegistryOptions {
        credentials: [(host.clone(), ("AWS".to_owned(), password))].into(),
        chunk_size: Some(100_000),
        ..RegistryOptions::default()
    });

    let folder = tempfile::tempdir().unwrap();
    let ours = Store::open(folder.path()).unwrap();
    let layer = vec![7; 250_000];
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}});
    let config = config.to_string().into_bytes();
    let layers = vec![Descriptor::of(media_type::LAYER, &layer)];
    let content = serde_json::to_vec(&Manifest::new(
        Descriptor::of(media_type::CONFIG, &config),
        layers,
    ))
    .unwrap();
    for blob in [&layer, &config, &content] {
        ours.put(blob).unwrap();
    }
    let image = Descriptor::of(media_type::MANIFEST, &content);
    let base: ImageRef = format!("{host}/base:v1").parse().unwrap();
    let report = client
        .push(&ours, &image, &base, &PushOptions::default(), &Silent)
        .await
        .unwrap();
    assert_eq!(report.sent, 2);
    let web: ImageRef = format!("{host}/shop/web:v1").parse().unwrap();
    let options = PushOptions {
        mount_from: vec!["base".to_owned()],
        ..PushOptions::default()
    };
    let report = client
        .push(&ours, &image, &web, &options, &Silent)
        .await
        .unwrap();
    assert_eq!((report.mounted, report.sent), (2, 0));

    let folder = tempfile::tempdir().unwrap();
    let theirs = Store::open(folder.path()).unwrap();
    let pulled = client
        .pull(&web, &Platform::new("linux", "amd64"), &theirs, &Silent)
        .await
        .unwrap();
    assert_eq!(pulled.descriptor.digest, image.digest);
    let found = registry.resolve(REGION, &web).unwrap().unwrap();
    assert_eq!((found.digest, found.size), (image.digest, image.size));
    assert_eq!(registry.resolve("us-east-1", &web).unwrap(), None);
    let unknown: ImageRef = format!("{host}/nowhere:v1").parse().unwrap();
    let error = client
        .push(&ours, &image, &unknown, &PushOptions::default(), &Silent)
        .await
        .unwrap_err();
    assert!(error.is_not_found() && error.hint().is_some(), "{error}");
    server.abort();
}

/// `skopeo` must be installed (Debian package skopeo).
#[tokio::test]
async fn skopeo_pushes_pulls_and_is_told_why_not() {
    let (_folder, registry) = registry();
    registry
        .create_repository(REGION, &repository("shop/web"))
        .unwrap();
    let content = manifest(&registry, REGION, "shop/web", b"layer");
    let kind = Some(media_type::MANIFEST);
    registry
        .put_manifest(REGION, "shop/web", &content, kind, Some("v1"), None)
        .unwrap();
    let (host, server) = listen(&registry).await;
    let folder = tempfile::tempdir().unwrap();
    let password = registry.password(REGION, clock::now() + TOKEN_VALIDITY);
    let auth = json!({"auths": {&host: {"auth": BASE64.encode(format!("AWS:{password}"))}}});
    std::fs::write(folder.path().join("auth.json"), auth.to_string()).unwrap();
    let skopeo = async |from: &str, to: &str| {
        let mut command = tokio::process::Command::new("skopeo");
        command.current_dir(folder.path()).args([
            "copy",
            "--authfile=auth.json",
            "--preserve-digests",
        ]);
        command.args([
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            from,
            to,
        ]);
        let output = command
            .output()
            .await
            .expect("skopeo is installed (Debian package skopeo)");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let out = skopeo(&format!("docker://{host}/shop/web:v1"), "oci:out:v1").await;
    assert!(out.0, "{}", out.1);
    let back = skopeo("oci:out:v1", &format!("docker://{host}/shop/web:v2")).await;
    assert!(back.0, "{}", back.1);
    let found = registry.tagged(REGION, "shop/web", "v2").unwrap().unwrap();
    assert_eq!(found.digest, Digest::of(&content));
    let refused = skopeo("oci:out:v1", &format!("docker://{host}/nowhere:v1")).await;
    assert!(!refused.0);
    assert!(refused.1.contains("The repository with name 'nowhere' does not exist in the registry with id '000000000000'"), "{}", refused.1);
    server.abort();
}

#[tokio::test]
async fn what_came_before_a_connection_broke_is_kept() {
    use tokio::io::AsyncWriteExt as _;
    let (_folder, registry) = registry();
    registry
        .create_repository(REGION, &repository("shop"))
        .unwrap();
    let (host, server) = listen(&registry).await;
    let id = registry.begin_upload(REGION, "shop").unwrap();
    let password = registry.password(REGION, clock::now() + TOKEN_VALIDITY);
    let authorization = BASE64.encode(format!("AWS:{password}"));
    let mut connection = tokio::net::TcpStream::connect(&host).await.unwrap();
    let head = format!(
        "PATCH /v2/shop/blobs/uploads/{id} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {authorization}\r\ncontent-length: 100\r\n\r\nhello"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    // The request has the upload as long as it runs.
    while registry.upload_waits(&id) {
        tokio::task::yield_now().await;
    }
    drop(connection);
    while !registry.upload_waits(&id) {
        tokio::task::yield_now().await;
    }
    let kept = registry.take_upload(REGION, "shop", &id).unwrap();
    assert_eq!(kept.size(), 5);
    let digest = registry
        .finish_upload(kept, &Digest::of(b"hello").to_string())
        .unwrap();
    assert!(registry.blob(REGION, "shop", &digest).unwrap().is_some());
    server.abort();
}
