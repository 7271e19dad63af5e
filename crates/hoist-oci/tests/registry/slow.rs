//! Registries in a bad way: slow, silent, full, or liars.

use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::proxy::{Cut, Proxy};
use super::support::server::Server;
use super::support::{client, client_with, image, noise, push, store};
use axum::http::Method;
use hoist_oci::{Digest, ImageRef, PushOptions, RegistryError, Silent};

const HOST: &str = "linux/amd64";

fn reference(server: impl std::fmt::Display) -> ImageRef {
    format!("{server}/a:v1").parse().unwrap()
}

#[tokio::test]
async fn an_upload_that_is_held_up_is_given_up_and_begun_again() {
    let server = Server::start().await;
    // More than the buffers between the two take.
    let layer = noise(41, 16_000_000);
    let proxy = Proxy::holding(server.address, Cut::Upload, 1_000_000, 2).await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    let registry = client_with(|options| options.silence = Duration::from_millis(500));
    push(&registry, &ours, &pushed, &reference(proxy.address))
        .await
        .unwrap();
    // The registry still waits for the rest on the connections that hang.
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(server.content().blobs["a"][&Digest::of(&layer)], layer);
}

#[tokio::test]
async fn a_download_that_is_held_up_goes_on_where_it_was() {
    let server = Server::start().await;
    let layer = noise(42, 3_000_000);
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    let options = PushOptions::default();
    client()
        .push(
            &ours,
            &pushed,
            &reference(server.address),
            &options,
            &Silent,
        )
        .await
        .unwrap();
    server.take_log();
    let proxy = Proxy::holding(server.address, Cut::Download, 1_000_000, 2).await;
    let (_folder, theirs) = store();
    let registry = client_with(|options| options.silence = Duration::from_millis(500));
    registry
        .pull(
            &reference(proxy.address),
            &HOST.parse().unwrap(),
            &theirs,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(theirs.read(&Digest::of(&layer)).unwrap(), layer);
    let log = server.take_log();
    assert!(log.iter().any(|line| line.contains("[bytes=")), "{log:?}");
}

#[tokio::test]
async fn a_registry_that_never_answers_is_given_up_and_it_is_said_how_long_it_was_silent() {
    // Connections wait in its queue; nobody takes them.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = reference(listener.local_addr().unwrap());
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    let registry = client_with(|options| {
        options.retries = 1;
        options.silence = Duration::from_millis(200);
    });
    let error = push(&registry, &ours, &pushed, &to).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { attempts: 2, .. }),
        "{error}"
    );
    assert_eq!(
        error.source().unwrap().to_string(),
        "the registry was silent for 200 ms"
    );
    let (_folder, theirs) = store();
    let error = registry
        .pull(&to, &HOST.parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap_err();
    assert!(
        error.source().unwrap().to_string().contains("was silent"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_registry_that_trickles_is_waited_for_as_long_as_something_comes() {
    let server = Server::start().await;
    let layer = noise(43, 160_000);
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&layer]);
    let proxy = Proxy::trickling(server.address, 4000, Duration::from_millis(30)).await;
    let to = reference(proxy.address);
    let silence = Duration::from_secs(2);
    let patient = client_with(|options| {
        options.retries = 0;
        options.silence = silence;
    });
    let began = Instant::now();
    patient
        .push(&ours, &pushed, &to, &PushOptions::default(), &Silent)
        .await
        .unwrap();
    let (_folder, theirs) = store();
    patient
        .pull(&to, &HOST.parse().unwrap(), &theirs, &Silent)
        .await
        .unwrap();
    assert_eq!(theirs.read(&Digest::of(&layer)).unwrap(), layer);
    assert!(began.elapsed() > silence, "both took longer than a silence");
}

#[tokio::test]
async fn who_waits_for_a_registry_hears_why_and_not_each_time() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    server.content().faults = [503, 503, 429, 503, 429]
        .map(|status| (Method::HEAD, status))
        .into();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let registry = client().telling(move |wait| ears.lock().unwrap().push(wait.to_string()));
    let to = reference(server.address);
    push(&registry, &ours, &pushed, &to).await.unwrap();
    let says = |status: &str| format!("{} answers {status}; trying again", server.address);
    assert_eq!(
        *heard.lock().unwrap(),
        [
            says("503 Service Unavailable"),
            says("429 Too Many Requests")
        ]
    );
}

#[tokio::test]
async fn a_registry_that_is_out_of_space_ends_the_push_at_once_and_says_so() {
    let server = Server::start().await;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[&noise(31, 100_000)]);
    for status in [507, 500] {
        server.content().faults = vec![(Method::PUT, status); 20].into();
        let registry = client_with(|options| options.retries = 2);
        let error = push(&registry, &ours, &pushed, &reference(server.address))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, RegistryError::Answer { status: answered, .. } if *answered == status),
            "{error}"
        );
        // A full one stays full; what else goes wrong in a server may pass.
        let tried = 20 - server.content().faults.len();
        match status {
            507 => {
                assert!(tried <= 2, "{tried} requests: one for each blob");
                assert!(error.hint().unwrap().contains("out of space"));
            }
            _ => assert!(tried >= 3, "{tried} requests"),
        }
        assert!(server.content().manifests.is_empty());
    }
}

#[tokio::test]
async fn a_registry_that_stores_another_manifest_than_it_was_given_is_found_out() {
    let server = Server::start().await;
    server.content().lies = true;
    let (_folder, ours) = store();
    let pushed = image(&ours, HOST, &[b"layer"]);
    let error = push(&client(), &ours, &pushed, &reference(server.address))
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, RegistryError::Protocol { .. }), "{said}");
    assert!(
        said.ends_with(&format!("instead of {}", pushed.digest)),
        "{said}"
    );
}
