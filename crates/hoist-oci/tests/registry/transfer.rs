//! The registry client against a small registry, over good and bad connections.

use super::support::proxy::{Cut, Proxy};
use super::support::server::{Auth, Server};
use super::support::{Heard, client, client_with, image, noise, push, store};
use axum::http::Method;
use hoist_oci::signing::SigningKey;
use hoist_oci::spec::{Descriptor, Index, media_type};
use hoist_oci::{
    Digest, EarlyUploads, ExistingTag, How, ImageRef, PushOptions, RegistryError, Silent,
    StoreError,
};

const HOST: &str = "linux/amd64";

fn reference(server: impl std::fmt::Display, rest: &str) -> ImageRef {
    format!("{server}/{rest}").parse().unwrap()
}

#[tokio::test]
async fn what_is_pushed_is_pulled_and_a_second_push_is_one_request() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let layer = noise(1, 300_000);
    let pushed = image(&ours, HOST, &[&layer, b"second", &layer]);
    let to = reference(server.address, "shop/web:v1");
    let heard = Heard::default();
    let report = client()
        .push(&ours, &pushed, &to, &PushOptions::default(), &heard)
        .await
        .unwrap();
    assert!(!report.existed);
    assert_eq!((report.sent, report.mounted, report.present), (3, 0, 0));
    assert_eq!(
        report.image.to_string(),
        format!("{}/shop/web@{}", server.address, pushed.digest)
    );
    assert_eq!(heard.how(&Digest::of(&layer)), Some(How::Sent));
    assert_eq!(heard.furthest(&Digest::of(&layer)), 300_000);

    server.take_log();
    let report = push(&client(), &ours, &pushed, &to).await.unwrap();
    assert!(report.existed);
    assert_eq!(server.take_log(), ["HEAD /v2/shop/web/manifests/v1"]);

    let (_folder, theirs) = store();
    let heard = Heard::default();
    let pulled = client()
        .pull(&to, &HOST.parse().unwrap(), &theirs, &heard)
        .await
        .unwrap();
    assert_eq!(pulled.descriptor.digest, pushed.digest);
    assert_eq!(theirs.read(&Digest::of(&layer)).unwrap(), layer);
    assert_eq!(heard.how(&Digest::of(b"second")), Some(How::Received));

    server.take_log();
    let again = client()
        .pull(
            &to.with_digest(pushed.digest),
            &HOST.parse().unwrap(),
            &theirs,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!(again, pulled);
    assert!(server.take_log().is_empty(), "everything was here");
}

#[tokio::test]
async fn a_new_tag_on_a_known_image_sends_no_blob() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    let registry = client();
    push(
        &registry,
        &ours,
        &pushed,
        &reference(server.address, "a:v1"),
    )
    .await
    .unwrap();
    server.take_log();
    let options = PushOptions {
        tags: vec!["v2".to_owned(), "v3".to_owned()],
        ..PushOptions::default()
    };
    registry
        .push(
            &ours,
            &pushed,
            &reference(server.address, "a"),
            &options,
            &Silent,
        )
        .await
        .unwrap();
    let log = server.take_log();
    let sent = ["PUT ", "PATCH "];
    assert!(
        log.iter()
            .filter(|line| sent.iter().any(|method| line.starts_with(method)))
            .all(|line| line.contains("/manifests/")),
        "{log:?}"
    );
    assert!(server.content().sessions.is_empty(), "{log:?}");

    let same = registry
        .put_tag(
            &reference(server.address, "a:v3"),
            "v4",
            ExistingTag::Refuse,
        )
        .await
        .unwrap();
    assert_eq!(same.digest, pushed.digest);
    server.content().page = 3;
    assert_eq!(
        registry
            .tags(&reference(server.address, "a"))
            .await
            .unwrap(),
        ["v1", "v2", "v3", "v4"]
    );
    assert_eq!(
        registry
            .head(&reference(server.address, "a:v4"))
            .await
            .unwrap()
            .unwrap()
            .digest,
        pushed.digest
    );
    assert_eq!(
        registry
            .head(&reference(server.address, "a:v5"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_tag_with_another_digest_ends_the_push_with_both_digests_unless_it_may_move() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let [first, second] = [b"1", b"2"].map(|layer| image(&ours, HOST, &[layer]));
    let to = reference(server.address, "a:v1");
    push(&client(), &ours, &first, &to).await.unwrap();
    server.take_log();
    let error = push(&client(), &ours, &second, &to).await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(&first.digest.to_string()) && said.contains(&second.digest.to_string()),
        "{said}"
    );
    assert!(
        matches!(error, RegistryError::TagExists { theirs, ours, .. } if theirs == first.digest && ours == second.digest)
    );
    assert_eq!(server.take_log().len(), 1, "nothing was sent");

    // A tag that is asked for beside the blobs ends it just as well.
    let options = PushOptions {
        tags: vec!["v0".to_owned()],
        ..PushOptions::default()
    };
    let pushed = client().push(&ours, &second, &to, &options, &Silent).await;
    assert!(
        matches!(&pushed, Err(RegistryError::TagExists { tag, .. }) if tag == "v1"),
        "{pushed:?}"
    );
    let log = server.take_log();
    assert!(
        log.iter().all(|line| !line.starts_with("PUT ")),
        "nothing was sent: {log:?}"
    );
    assert!(server.content().sessions.is_empty(), "{log:?}");

    let options = PushOptions {
        existing_tag: ExistingTag::Move,
        ..PushOptions::default()
    };
    client()
        .push(&ours, &second, &to, &options, &Silent)
        .await
        .unwrap();
    assert_eq!(
        client().head(&to).await.unwrap().unwrap().digest,
        second.digest
    );
}

#[tokio::test]
async fn layers_of_a_neighbour_are_mounted() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let layer = noise(2, 100_000);
    let base = image(&ours, HOST, &[&layer]);
    let app = image(&ours, HOST, &[&layer, b"app"]);
    push(
        &client(),
        &ours,
        &base,
        &reference(server.address, "team/base:v1"),
    )
    .await
    .unwrap();
    let options = PushOptions {
        mount_from: vec!["team/none".to_owned(), "team/base".to_owned()],
        ..PushOptions::default()
    };
    let heard = Heard::default();
    let report = client()
        .push(
            &ours,
            &app,
            &reference(server.address, "app:v1"),
            &options,
            &heard,
        )
        .await
        .unwrap();
    assert_eq!((report.mounted, report.sent), (1, 2));
    assert_eq!(heard.how(&Digest::of(&layer)), Some(How::Mounted));
    // What a mount that failed opened is what an upload begins with, or is closed.
    let log = server.take_log();
    let begun = log.iter().filter(|line| line.ends_with("/blobs/uploads/"));
    assert_eq!(begun.count(), 2, "those of the base: {log:?}");
    assert!(server.content().sessions.is_empty(), "{log:?}");
}

#[tokio::test]
async fn an_upload_whose_connection_drops_goes_on_where_it_was() {
    let server = Server::start().await;
    let layer = noise(3, 4_000_000);
    let proxy = Proxy::start(server.address, Cut::Upload, 1_000_000, 3).await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    let to = reference(proxy.address, "a:v1");
    // Two retries for three cuts: each attempt gets further, so none is counted.
    let registry = client_with(|options| options.retries = 2);
    push(&registry, &ours, &pushed, &to).await.unwrap();
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(server.content().blobs["a"][&Digest::of(&layer)], layer);
    let log = server.take_log();
    let resumed: Vec<&String> = log
        .iter()
        .filter(|line| line.starts_with("PATCH "))
        .collect();
    assert!(
        !resumed.is_empty() && resumed.iter().all(|line| !line.contains("[0-")),
        "{log:?}"
    );
    assert!(
        proxy.uploaded() < 5_500_000,
        "{} bytes for 4000000",
        proxy.uploaded()
    );
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_starts_anew() {
    let server = Server::start().await;
    server.content().forgetful = true;
    let layer = noise(4, 2_000_000);
    let proxy = Proxy::start(server.address, Cut::Upload, 500_000, 2).await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    push(&client(), &ours, &pushed, &reference(proxy.address, "a:v1"))
        .await
        .unwrap();
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(server.content().blobs["a"][&Digest::of(&layer)], layer);
}

#[tokio::test]
async fn a_connection_that_always_drops_ends_the_push_and_says_so() {
    let server = Server::start().await;
    server.content().forgetful = true;
    let proxy = Proxy::start(server.address, Cut::Upload, 100_000, usize::MAX).await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&noise(5, 1_000_000)]);
    let to = reference(proxy.address, "a:v1");
    let error = push(&client(), &ours, &pushed, &to).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { host, .. } if *host == proxy.address.to_string()),
        "{error}"
    );
    assert!(error.hint().is_some());
    assert_eq!(
        client()
            .head(&reference(server.address, "a:v1"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_blob_goes_up_in_pieces_when_asked() {
    let server = Server::start().await;
    let layer = noise(6, 1_000_000);
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    let registry = client_with(|options| options.chunk_size = Some(400_000));
    push(
        &registry,
        &ours,
        &pushed,
        &reference(server.address, "a:v1"),
    )
    .await
    .unwrap();
    let ranges: Vec<String> = server
        .take_log()
        .iter()
        .filter(|line| line.starts_with("PATCH"))
        .map(|line| {
            line.split_once(' ')
                .unwrap()
                .1
                .split_once(" [")
                .unwrap()
                .1
                .to_owned()
        })
        .collect();
    assert_eq!(ranges, ["0-399999]", "400000-799999]", "800000-999999]"]);
    assert_eq!(server.content().blobs["a"][&Digest::of(&layer)], layer);
}

#[tokio::test]
async fn a_registry_that_is_busy_or_stumbles_is_asked_again() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    server.content().faults = [
        (Method::HEAD, 503),
        (Method::HEAD, 429),
        (Method::POST, 500),
    ]
    .into();
    // More than dropped connections would be forgiven, for each of them.
    let stumbles = [502, 429, 503, 500, 429, 503, 502, 429];
    let stumbles = stumbles.map(|status| (Method::PUT, status));
    server.content().faults.extend(stumbles);
    let to = reference(server.address, "a:v1");
    push(&client(), &ours, &pushed, &to).await.unwrap();
    assert!(server.content().faults.is_empty());
    assert!(client().head(&to).await.unwrap().is_some());

    server.content().faults = (0..12).map(|_| (Method::HEAD, 503)).collect();
    let error = client().head(&to).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Answer { status: 503, .. }),
        "{error}"
    );
    assert_eq!(
        server.content().faults.len(),
        3,
        "one attempt and eight retries"
    );
}

#[tokio::test]
async fn a_token_is_fetched_for_the_scope_and_a_wrong_password_is_told() {
    let server = Server::start().await;
    server.content().auth = Some(Auth::Bearer {
        user: "u".to_owned(),
        password: "p".to_owned(),
    });
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"one", b"two"]);
    let to = reference(server.address, "team/app:v1");
    let known = |password: &str| {
        let credentials = ("u".to_owned(), password.to_owned());
        client_with(|options| {
            drop(
                options
                    .credentials
                    .insert(server.address.to_string(), credentials),
            )
        })
    };
    let options = PushOptions {
        mount_from: vec!["team/base".to_owned()],
        ..PushOptions::default()
    };
    known("p")
        .push(&ours, &pushed, &to, &options, &Silent)
        .await
        .unwrap();
    let tokens: Vec<String> = server
        .take_log()
        .into_iter()
        .filter(|line| line.contains("/token"))
        .collect();
    assert_eq!(
        tokens.len(),
        1,
        "one token serves the whole push: {tokens:?}"
    );
    assert!(
        tokens[0].contains("team%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull"),
        "{tokens:?}"
    );

    for (registry, sent) in [(known("wrong"), true), (client(), false)] {
        let error = registry.head(&to).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Denied { with_credentials, .. } if with_credentials == sent),
            "{error:?}"
        );
        assert!(error.is_denied() && error.hint().is_some());
    }
}

#[tokio::test]
async fn basic_credentials_come_from_dockers_configuration() {
    let server = Server::start().await;
    server.content().auth = Some(Auth::Basic {
        user: "AWS".to_owned(),
        password: "secret".to_owned(),
    });
    let (folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"one"]);
    let config = folder.path().join("config.json");
    let auths = serde_json::json!({"auths": {server.address.to_string(): {"username": "AWS", "password": "secret"}}});
    std::fs::write(&config, auths.to_string()).unwrap();
    let registry = client_with(|options| options.docker_config = Some(config));
    let to = reference(server.address, "a:v1");
    push(&registry, &ours, &pushed, &to).await.unwrap();

    server.content().auth = Some(Auth::Basic {
        user: "AWS".to_owned(),
        password: "new".to_owned(),
    });
    let error = registry.head(&to).await.unwrap_err();
    assert!(
        matches!(
            error,
            RegistryError::Denied {
                with_credentials: true,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_not_stored() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    let to = reference(server.address, "a:v1");
    push(&client(), &ours, &pushed, &to).await.unwrap();
    server.content().lies = true;
    let (_folder, theirs) = store();
    let error = client()
        .pull(&to, &HOST.parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Store(StoreError::WrongDigest { .. })),
        "{error}"
    );
    assert!(!theirs.has(&Digest::of(b"layer")));

    // A manifest under the wrong digest is caught as well.
    let other = server.content().manifests[&("a".to_owned(), "v1".to_owned())].clone();
    let wrong = Digest::of(b"something else");
    server
        .content()
        .manifests
        .insert(("a".to_owned(), wrong.to_string()), other);
    let error = client()
        .pull(
            &to.with_digest(wrong),
            &HOST.parse().unwrap(),
            &theirs,
            &Silent,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Store(StoreError::WrongDigest { expected, .. }) if expected == wrong),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_file_of_our_own_is_named_as_such() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    let to = reference(server.address, "a:v1");
    for damaged in [b"LAYER".as_slice(), b"lay", b"layers"] {
        std::fs::write(ours.blob_path(&Digest::of(b"layer")), damaged).unwrap();
        let error = push(&client(), &ours, &pushed, &to).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Store(StoreError::WrongDigest { .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_download_whose_connection_drops_goes_on_where_it_was() {
    let server = Server::start().await;
    let layer = noise(7, 3_000_000);
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    push(
        &client(),
        &ours,
        &pushed,
        &reference(server.address, "a:v1"),
    )
    .await
    .unwrap();
    server.take_log();
    let proxy = Proxy::start(server.address, Cut::Download, 1_000_000, 2).await;
    let (_folder, theirs) = store();
    let from = reference(proxy.address, "a:v1");
    client()
        .pull(&from, &HOST.parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap();
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(theirs.read(&Digest::of(&layer)).unwrap(), layer);
    let log = server.take_log();
    assert!(log.iter().any(|line| line.contains("[bytes=")), "{log:?}");
}

#[tokio::test]
async fn an_index_goes_up_whole_and_comes_down_for_one_platform() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let manifests = vec![
        image(&ours, "linux/amd64", &[b"amd"]),
        image(&ours, "linux/arm64", &[b"arm"]),
    ];
    let arm = manifests[1].digest;
    let content = serde_json::to_vec(&Index::new(manifests)).unwrap();
    ours.put(&content).unwrap();
    let index = Descriptor::of(media_type::INDEX, &content);
    let to = reference(server.address, "a:v1");
    let report = push(&client(), &ours, &index, &to).await.unwrap();
    assert_eq!((report.sent, report.digest), (4, index.digest));
    assert_eq!(
        client().head(&to).await.unwrap().unwrap().media_type,
        media_type::INDEX
    );

    let (_folder, theirs) = store();
    let pulled = client()
        .pull(&to, &"linux/arm64".parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap();
    assert_eq!(pulled.descriptor.digest, arm);
    assert!(theirs.has(&Digest::of(b"arm")) && !theirs.has(&Digest::of(b"amd")));
    let error = client()
        .pull(&to, &"linux/s390x".parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("linux/amd64, linux/arm64"),
        "{error}"
    );
}

#[tokio::test]
async fn a_mirror_serves_what_another_registry_is_asked_for() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"busybox"]);
    push(
        &client(),
        &ours,
        &pushed,
        &reference(server.address, "hub/library/busybox:latest"),
    )
    .await
    .unwrap();
    let mirror = (
        "docker.io".to_owned(),
        format!("http://{}/hub", server.address),
    );
    let registry = client_with(|options| options.mirrors.extend([mirror]));
    let (_folder, theirs) = store();
    let pulled = registry
        .pull(
            &"busybox".parse().unwrap(),
            &HOST.parse().unwrap(),
            &theirs,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!(pulled.descriptor.digest, pushed.digest);
    let error = registry
        .pull(
            &"alpine".parse().unwrap(),
            &HOST.parse().unwrap(),
            &theirs,
            &Silent,
        )
        .await
        .unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn a_host_that_nobody_listens_at_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = client().head(&reference(free, "a:v1")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("no answer from {free} after 5 attempts")),
        "{error}"
    );
}

/// What a blob's writer does while its upload waits for more.
fn write(writer: &mut hoist_oci::BlobWriter, content: &[u8]) {
    std::io::Write::write_all(writer, content).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_travels_while_it_is_written() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let layer = noise(21, 4_000_000);
    let to = reference(server.address, "a:v1");
    let early = EarlyUploads::new(client(), ours.clone(), to.clone());
    let mut writer = ours.writer().unwrap();
    early.begin(&mut writer);
    write(&mut writer, &layer[..2_000_000]);
    // The upload begins before the blob ends.
    while !server
        .content()
        .log
        .iter()
        .any(|line| line.starts_with("PATCH "))
    {
        tokio::task::yield_now().await;
    }
    write(&mut writer, &layer[2_000_000..]);
    writer.commit().unwrap();
    let sent = early.ended().await;
    assert!(sent.contains(&Digest::of(&layer)));
    assert_eq!(server.content().blobs["a"][&Digest::of(&layer)], layer);

    server.take_log();
    let pushed = image(&ours, HOST, &[&layer]);
    let options = PushOptions {
        sent_early: sent,
        ..PushOptions::default()
    };
    let report = client()
        .push(&ours, &pushed, &to, &options, &Silent)
        .await
        .unwrap();
    assert_eq!((report.sent, report.present), (2, 0));
    let log = server.take_log();
    let digest = Digest::of(&layer).to_string();
    assert!(!log.iter().any(|line| line.contains(&digest)), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_blob_whose_connection_drops_goes_on_where_it_was() {
    let server = Server::start().await;
    let layer = noise(22, 4_000_000);
    let proxy = Proxy::start(server.address, Cut::Upload, 1_500_000, 2).await;
    let (_folder, ours) = store();
    let to = reference(proxy.address, "a:v1");
    // The registry says how far it got only when it has noticed that the connection is gone.
    let registry = client_with(|options| options.pause_millis = 100);
    let early = EarlyUploads::new(registry, ours.clone(), to);
    let mut writer = ours.writer().unwrap();
    early.begin(&mut writer);
    for piece in layer.chunks(100_000) {
        write(&mut writer, piece);
    }
    writer.commit().unwrap();
    assert!(early.ended().await.contains(&Digest::of(&layer)));
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(server.content().blobs["a"][&Digest::of(&layer)], layer);
    assert!(
        proxy.uploaded() < 6_500_000,
        "{} bytes for 4000000",
        proxy.uploaded()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_waits_for_the_push_and_one_that_is_given_up_leaves_nothing() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let early = EarlyUploads::new(client(), ours.clone(), reference(server.address, "a"));
    let mut small = ours.writer().unwrap();
    early.begin(&mut small);
    write(&mut small, &noise(23, 1000));
    small.commit().unwrap();
    assert!(early.ended().await.is_empty());
    assert!(server.take_log().is_empty());

    let mut failed = ours.writer().unwrap();
    early.begin(&mut failed);
    write(&mut failed, &noise(24, 2_000_000));
    while !server
        .content()
        .log
        .iter()
        .any(|line| line.starts_with("PATCH "))
    {
        tokio::task::yield_now().await;
    }
    drop(failed);
    assert!(early.ended().await.is_empty());
    let log = server.take_log();
    assert!(
        log.iter().any(|line| line.starts_with("DELETE ")),
        "{log:?}"
    );
    assert!(server.content().blobs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_signed_as_cosign_reads_it_and_once_by_each_key() {
    let server = Server::start().await;
    let (folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    let to = reference(server.address, "shop/web:v1");
    let registry = client();
    push(&registry, &ours, &pushed, &to).await.unwrap();
    let openssl = |line: &str| {
        let done = std::process::Command::new("openssl")
            .args(line.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("the tests need openssl");
        assert!(done.status.success(), "openssl {line}");
        String::from_utf8(done.stdout).unwrap()
    };
    let mut keys = Vec::new();
    for name in ["a", "b"] {
        openssl(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"
        ));
        openssl(&format!("pkey -in {name}.key -pubout -out {name}.pub"));
        keys.push(SigningKey::read(&folder.path().join(format!("{name}.key"))).unwrap());
    }
    for (key, made) in [(&keys[0], true), (&keys[0], false), (&keys[1], true)] {
        let signed = registry.sign(&ours, &to, &pushed.digest, key).await;
        assert_eq!(signed.unwrap(), made);
    }
    let tag = format!("sha256-{}.sig", pushed.digest.hex());
    let (_, manifest) = server.content().manifests[&("shop/web".to_owned(), tag)].clone();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for (layer, name) in layers.iter().zip(["a", "b"]) {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.dev.cosign.simplesigning.v1+json"
        );
        let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
        let payload = server.content().blobs["shop/web"][&digest].clone();
        let said: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            said["critical"]["image"]["docker-manifest-digest"],
            pushed.digest.to_string()
        );
        assert_eq!(
            said["critical"]["identity"]["docker-reference"],
            format!("{}/shop/web", server.address)
        );
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
            .as_str()
            .unwrap();
        let signature =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, signature).unwrap();
        std::fs::write(folder.path().join("payload"), payload).unwrap();
        std::fs::write(folder.path().join("signature"), signature).unwrap();
        let verified = openssl(&format!(
            "dgst -sha256 -verify {name}.pub -signature signature payload"
        ));
        assert_eq!(verified.trim(), "Verified OK");
    }
}
