//! The registry client: pull and push by the OCI distribution specification.
//!
//! See <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>. Loopback registries are spoken to in plain
//! HTTP, as docker does; all others over TLS.

mod attach;
mod auth;
mod error;
mod pull;
mod push;
mod sign;
mod stream;
mod transport;
mod upload;
mod wait;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde::Deserialize;

pub use self::attach::Artifact;
pub use self::error::RegistryError;
pub use self::push::{ExistingTag, PushOptions, PushReport};
pub use self::sign::SignError;
pub(crate) use self::transport::client;
use self::transport::{Action, Endpoint, Scope};
pub use self::wait::Wait;
use crate::spec::{Descriptor, media_type};
use crate::{Digest, ImageRef};

/// Whom the client knows and how it behaves.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryOptions {
    /// User name and password for each host (with its port). They come before those of docker's configuration.
    pub credentials: BTreeMap<String, (String, String)>,
    /// Where to pull from instead: `host` or `host/prefix` of a reference, and the `http(s)://host[/prefix]` that takes its
    /// place. The longest match counts. Nothing is asked of the original; nothing is pushed to a mirror.
    pub mirrors: BTreeMap<String, String>,
    /// Hosts that speak plain HTTP. Loopback hosts always do.
    pub plain_http: Vec<String>,
    /// How often a request is tried again after a dropped connection; after a 5xx or a 429, and for what an upload lacks,
    /// twice as often, which at the default takes half a minute.
    pub retries: u32,
    /// The first pause before another try, in milliseconds; it doubles each time, up to 10 s, less up to a half by chance.
    pub pause_millis: u64,
    /// Docker's `config.json` with further credentials; see [`docker_config_path`](Self::docker_config_path).
    pub docker_config: Option<PathBuf>,
    /// How many blobs are transferred at once.
    pub parallel: usize,
    /// Upload in pieces of so many bytes; without it a blob is one request.
    pub chunk_size: Option<u64>,
    /// A registry that says and takes nothing for so long will not any more; five times as long while it stores what it received.
    pub silence: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            credentials: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            plain_http: Vec::new(),
            retries: 4,
            pause_millis: 250,
            docker_config: None,
            parallel: 6,
            chunk_size: None,
            silence: Duration::from_secs(60),
        }
    }
}

impl RegistryOptions {
    /// Where docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else `$HOME/.docker/config.json`.
    pub fn docker_config_path() -> Option<PathBuf> {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
        Some(folder.join("config.json"))
    }
}

impl std::fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("credentials", &self.credentials.keys().collect::<Vec<_>>())
            .field("mirrors", &self.mirrors)
            .field("plain_http", &self.plain_http)
            .field("retries", &self.retries)
            .field("docker_config", &self.docker_config)
            .finish_non_exhaustive()
    }
}

/// A client for any number of registries. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    options: Arc<RegistryOptions>,
    client: Arc<OnceLock<reqwest::Client>>,
    /// What to put into `Authorization`, by host and scope.
    tokens: Arc<Mutex<HashMap<(String, String), reqwest::header::HeaderValue>>>,
    waits: wait::Waits,
}

impl Registry {
    /// Makes a client. Nothing is read or connected before the first request.
    pub fn new(options: RegistryOptions) -> Self {
        Self {
            options: Arc::new(options),
            client: Arc::default(),
            tokens: Arc::default(),
            waits: wait::Waits::default(),
        }
    }

    /// The options it was made with.
    pub fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// Asks what `image` is: its media type, digest and size; `None` if it is not there.
    ///
    /// # Errors
    /// Fails when the registry cannot be asked, or refuses.
    pub async fn head(&self, image: &ImageRef) -> Result<Option<Descriptor>, RegistryError> {
        let endpoint = self.endpoint(image, Action::Pull);
        self.head_at(&endpoint, &Scope::pull(&endpoint), &image.reference())
            .await
    }

    /// Fetches the manifest or index that `image` names, verified.
    ///
    /// # Errors
    /// [`RegistryError::is_not_found`] if it is not there; fails when the registry cannot be asked, refuses, or sends something
    /// else than the digest asked for.
    pub async fn manifest(&self, image: &ImageRef) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let endpoint = self.endpoint(image, Action::Pull);
        self.manifest_at(&endpoint, &Scope::pull(&endpoint), image)
            .await
    }

    /// Fetches a small blob of the repository of `image`, for example a configuration, verified.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub async fn blob(&self, image: &ImageRef, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let endpoint = self.endpoint(image, Action::Pull);
        let doing = format!("fetch the blob {digest} from {}", image.bare());
        let url = endpoint.url(&format!("blobs/{digest}"));
        let content = self
            .send_and_read(&endpoint, &Scope::pull(&endpoint), &doing, |client| {
                client.get(&url)
            })
            .await?
            .1;
        verify(&content, digest)?;
        Ok(content)
    }

    /// Gives the image that `image` names another tag in the same repository, by putting the same manifest.
    ///
    /// # Errors
    /// [`RegistryError::TagExists`] when another image has the tag and `existing` says to refuse.
    pub async fn put_tag(
        &self,
        image: &ImageRef,
        tag: &str,
        existing: ExistingTag,
    ) -> Result<Descriptor, RegistryError> {
        let (descriptor, content) = self.manifest(image).await?;
        let endpoint = self.endpoint(image, Action::Push);
        let scope = Scope::push(&endpoint, &[]);
        let target = image.with_tag(tag);
        if !self
            .tag_is_ours(&endpoint, &scope, &target, &descriptor, existing)
            .await?
        {
            self.put_manifest(&endpoint, &scope, &target, &descriptor, &content, existing)
                .await?;
        }
        Ok(descriptor)
    }

    /// All tags of the repository of `image`; none if there is no such repository.
    ///
    /// # Errors
    /// Fails when the registry cannot be asked, or refuses.
    pub async fn tags(&self, image: &ImageRef) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let endpoint = self.endpoint(image, Action::Pull);
        let scope = Scope::pull(&endpoint);
        let doing = format!("list the tags of {}", image.bare());
        let mut url = endpoint.url("tags/list?n=1000");
        let mut tags = Vec::new();
        loop {
            let (head, body) = match self
                .send_and_read(&endpoint, &scope, &doing, |client| client.get(&url))
                .await
            {
                Err(error) if error.is_not_found() => return Ok(tags),
                other => other?,
            };
            let list: List =
                serde_json::from_slice(&body).map_err(|error| RegistryError::Protocol {
                    doing: doing.clone(),
                    what: format!("the answer is no list of tags: {error}"),
                })?;
            tags.extend(list.tags.unwrap_or_default());
            match head.next_page() {
                Some(next) => url = next,
                None => return Ok(tags),
            }
        }
    }

    async fn head_at(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        reference: &str,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let doing = format!("ask {} for {reference}", endpoint.name());
        let url = endpoint.url(&format!("manifests/{reference}"));
        let response = self
            .send(endpoint, scope, &doing, |client| {
                client.head(&url).header("accept", ACCEPT_MANIFESTS)
            })
            .await?;
        if response.status() == 404 {
            return Ok(None);
        }
        let response = error::accept(response, &doing, endpoint).await?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let digest =
            header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        let size = header("content-length").and_then(|size| size.parse().ok());
        if let (Some(digest), Some(size), Some(kind)) = (digest, size, header("content-type")) {
            return Ok(Some(Descriptor::new(
                without_parameters(kind),
                digest,
                size,
            )));
        }
        // Headers that the specification merely recommends are missing: read the thing itself.
        let mut image = endpoint.image.bare();
        match reference.parse() {
            Ok(digest) => image.digest = Some(digest),
            Err(_) => image.tag = Some(reference.to_owned()),
        }
        Ok(Some(self.manifest_at(endpoint, scope, &image).await?.0))
    }

    async fn manifest_at(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        image: &ImageRef,
    ) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let reference = image.reference();
        let doing = format!("fetch the manifest of {image}");
        let url = endpoint.url(&format!("manifests/{reference}"));
        let (head, content) = self
            .send_and_read(endpoint, scope, &doing, |client| {
                client.get(&url).header("accept", ACCEPT_MANIFESTS)
            })
            .await?;
        let promised = match &image.digest {
            Some(digest) => Some(*digest),
            None => head
                .header("docker-content-digest")
                .and_then(|digest| digest.parse().ok()),
        };
        if let Some(promised) = promised {
            verify(&content, &promised)?;
        }
        let kind = match head.header("content-type").map(without_parameters) {
            Some(kind) if media_type::is_index(kind) || media_type::is_manifest(kind) => {
                kind.to_owned()
            }
            _ => media_type_of(&content),
        };
        Ok((Descriptor::of(kind, &content), content))
    }
}

const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What a manifest says of itself, or what its form tells, for registries with a careless `Content-Type`.
fn media_type_of(content: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    match value.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(kind) => kind.to_owned(),
        None if value.get("manifests").is_some() => media_type::INDEX.to_owned(),
        None => media_type::MANIFEST.to_owned(),
    }
}

fn without_parameters(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn verify(content: &[u8], expected: &Digest) -> Result<(), RegistryError> {
    let actual = Digest::of(content);
    if actual != *expected {
        return Err(crate::StoreError::WrongDigest {
            expected: *expected,
            actual,
            size: content.len() as u64,
        }
        .into());
    }
    Ok(())
}
