//! Where the images of tasks come from: the registry of this instance, or one elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hoist_oci::spec::{Descriptor, Platform};
use hoist_oci::{
    Digest, Image, ImageRef, Progress, ProgressEvent, Registry, RegistryError, RegistryOptions,
    Store, StoreError,
};
use hoist_runtime::RuntimeError;

use crate::api::ApiError;
use crate::ctx::Ctx;

/// An image that is in a store of this machine.
pub struct Found {
    pub store: Store,
    pub image: Image,
    /// What the reference stands for: the digest of the manifest or of the index.
    pub digest: Digest,
}

/// Why an image is not to be had, in the words that follow `CannotPullContainerError: `.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("invalid reference format: {0}")]
    BadReference(String),
    #[error(
        "pull image manifest has been retried 1 time(s): failed to resolve ref {0}: {0}: not found"
    )]
    NotFound(String),
    #[error(
        "pull image manifest has been retried 1 time(s): failed to resolve ref {0}: pull access denied, repository does not exist \
         or may require authorization: server message: insufficient_scope: authorization failed"
    )]
    Denied(String),
    #[error(
        "pull image manifest has been retried 1 time(s): image Manifest does not contain descriptor matching platform '{os}/{architecture}'"
    )]
    NoPlatform { os: String, architecture: String },
    #[error(
        "pull image manifest has been retried 1 time(s): failed to resolve ref {image}: failed to do request: {source}"
    )]
    Remote {
        image: String,
        source: RegistryError,
    },
    /// A fault on purpose.
    #[error(
        "ref pull has been retried 5 time(s): failed to copy: httpReadSeeker: failed open: failed to do request: connection reset by peer"
    )]
    Fault,
    #[error(
        "pull image manifest has been retried 1 time(s): failed to resolve ref {0}: failed to do request: dial tcp: i/o timeout"
    )]
    NoAnswer(String),
    #[error(
        "failed to copy: httpReadSeeker: failed open: failed to do request: context deadline exceeded"
    )]
    Stalled,
    #[error("failed to extract layer: {0}")]
    Unpack(RuntimeError),
    #[error("failed to copy: {0}")]
    Store(StoreError),
    #[error("{0}")]
    Registry(ApiError),
}

/// The region of the ECR registry that holds an image, if its host is one: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, or this
/// instance, which stands for the registry of every region.
fn ours<'a>(ctx: &Ctx, region: &'a str, image: &'a ImageRef) -> Option<&'a str> {
    if image.host() == ctx.host {
        return Some(region);
    }
    let (_, rest) = image.host().split_once(".dkr.ecr.")?;
    Some(rest.split('.').next().unwrap_or(region))
}

/// What a reference stands for now.
///
/// # Errors
/// When it stands for nothing, or its registry cannot be asked.
pub async fn resolve(
    ctx: &Ctx,
    remote_registry: &Registry,
    region: &str,
    image: &ImageRef,
) -> Result<Descriptor, PullError> {
    let name = image.to_string();
    if let Some(region) = ours(ctx, region, image) {
        let found = ctx
            .registry
            .resolve(region, image)
            .map_err(PullError::Registry)?;
        return found.ok_or(PullError::NotFound(name));
    }
    let silent = Heartbeat::default();
    match silent.watched(PATIENCE, remote_registry.head(image)).await {
        Ok(Ok(Some(descriptor))) => Ok(descriptor),
        Ok(Ok(None)) => Err(PullError::NotFound(name)),
        Ok(Err(error)) => Err(remote(name, error)),
        Err(Silence) => Err(PullError::NoAnswer(name)),
    }
}

/// How long a registry may say nothing: what the ECS agent allows by default (`ECS_IMAGE_PULL_INACTIVITY_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(60);

/// Hears a transfer's progress, so that one that stands still can be told from one that is slow.
#[derive(Default)]
struct Heartbeat(AtomicU64);

struct Silence;

impl Progress for Heartbeat {
    fn event(&self, _: ProgressEvent) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Heartbeat {
    /// Waits for `work` as long as something is heard at least every `patience`.
    async fn watched<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Silence> {
        let mut work = std::pin::pin!(work);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            match tokio::time::timeout(patience, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if self.0.load(Ordering::Relaxed) == before => return Err(Silence),
                Err(_) => {}
            }
        }
    }
}

/// The registries elsewhere, as somebody with user and password sees the one of `image`.
fn signed_in(image: &ImageRef, credentials: (String, String)) -> Registry {
    Registry::new(RegistryOptions {
        retries: 1,
        credentials: [(image.host().to_owned(), credentials)].into(),
        ..RegistryOptions::default()
    })
}

/// Brings an image into a store of this machine; `private` is user and password for its registry.
///
/// # Errors
/// When it is not to be had.
pub async fn fetch(
    ctx: &Ctx,
    region: &str,
    image: &ImageRef,
    platform: &Platform,
    private: Option<(String, String)>,
) -> Result<Found, PullError> {
    if ctx.faults.pull() {
        return Err(PullError::Fault);
    }
    let own = private.map(|credentials| signed_in(image, credentials));
    let remote_registry = own.as_ref().unwrap_or(&ctx.remote);
    let descriptor = resolve(ctx, remote_registry, region, image).await?;
    let digest = descriptor.digest;
    if ours(ctx, region, image).is_some() {
        let store = ctx.registry.store().clone();
        let image =
            tokio::task::block_in_place(|| store.image(&descriptor, platform)).map_err(stored)?;
        return Ok(Found {
            store,
            image,
            digest,
        });
    }
    let store = Store::open_cache(&ctx.home.file("pulled")).map_err(PullError::Store)?;
    let name = image.to_string();
    let (heartbeat, exact) = (Heartbeat::default(), image.with_digest(digest));
    let pull = remote_registry.pull(&exact, platform, &store, &heartbeat);
    match heartbeat.watched(PATIENCE, pull).await {
        Ok(Ok(image)) => Ok(Found {
            store,
            image,
            digest,
        }),
        Ok(Err(RegistryError::Store(error))) => Err(stored(error)),
        Ok(Err(error)) => Err(remote(name, error)),
        Err(Silence) => Err(PullError::Stalled),
    }
}

fn stored(error: StoreError) -> PullError {
    match error {
        StoreError::NoSuchPlatform { .. } => {
            let host = Platform::host();
            PullError::NoPlatform {
                os: host.os,
                architecture: host.architecture,
            }
        }
        other => PullError::Store(other),
    }
}

fn remote(image: String, error: RegistryError) -> PullError {
    if error.is_not_found() {
        PullError::NotFound(image)
    } else if error.is_denied() {
        PullError::Denied(image)
    } else {
        PullError::Remote {
            image,
            source: error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_registry_that_takes_connections_and_says_nothing_ends_a_pull() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let image = format!("{}/app:1", listener.local_addr().unwrap());
        let image: ImageRef = image.parse().unwrap();
        let registry = Registry::new(RegistryOptions::default());
        let heartbeat = Heartbeat::default();
        let asked = heartbeat.watched(Duration::from_millis(20), registry.head(&image));
        assert!(asked.await.is_err());
    }

    #[tokio::test]
    async fn a_slow_transfer_is_not_a_still_one() {
        let heartbeat = Heartbeat::default();
        let patience = Duration::from_millis(20);
        let slow = async {
            // Longer than the patience in all, but something is heard all the time.
            let begun = tokio::time::Instant::now();
            while begun.elapsed() < patience * 4 {
                heartbeat.event(ProgressEvent::Finished {
                    digest: Digest::of(b""),
                    how: hoist_oci::How::Received,
                });
                tokio::task::yield_now().await;
            }
        };
        assert!(heartbeat.watched(patience, slow).await.is_ok());
    }
}
