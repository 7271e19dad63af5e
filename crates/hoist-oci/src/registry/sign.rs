//! Signing an image in a registry, so that `cosign verify --key` finds the signature: an image under the tag `sha256-<digest>.sig`, with a layer for each
//! signature.

use serde_json::json;

use super::{ExistingTag, PushOptions, Registry, RegistryError};
use crate::signing::{SigningError, SigningKey, payload};
use crate::spec::{Descriptor, Manifest, media_type};
use crate::{Digest, ImageRef, Silent, Store};

/// What was signed.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a layer that holds its signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Why an image was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key.
    #[error(transparent)]
    Key(#[from] SigningError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Registry {
    /// Signs the image `digest` in the repository of `to`, beside signatures by other keys. One that this key made is not made again: then it gives `false`.
    ///
    /// # Errors
    /// Fails when the registry cannot be asked or refuses.
    pub async fn sign(
        &self,
        store: &Store,
        to: &ImageRef,
        digest: &Digest,
        key: &SigningKey,
    ) -> Result<bool, SignError> {
        let repository = to.bare();
        let tag = repository.with_tag(format!("sha256-{}.sig", digest.hex()));
        let content = payload(&repository.to_string(), digest);
        let mut layers: Vec<Descriptor> = match self.manifest(&tag).await {
            Ok((_, manifest)) => serde_json::from_slice::<Manifest>(&manifest)
                .map(|manifest| manifest.layers)
                .unwrap_or_default(),
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut layer = Descriptor::of(PAYLOAD, &content);
        let ours = |known: &Descriptor| {
            known.digest == layer.digest
                && known
                    .annotations
                    .get(SIGNATURE)
                    .is_some_and(|signature| key.made(signature, &content))
        };
        if layers.iter().any(ours) {
            return Ok(false);
        }
        layer
            .annotations
            .insert(SIGNATURE.to_owned(), key.sign(&content)?);
        let stored = |content: &[u8]| store.put(content).map_err(RegistryError::from);
        stored(&content)?;
        for known in &layers {
            self.fetch_blob(&repository, store, known, &Silent).await?;
        }
        layers.push(layer);
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let config = json!({
            "architecture": "", "created": "0001-01-01T00:00:00Z", "os": "", "config": {},
            "history": vec![json!({"created": "0001-01-01T00:00:00Z"}); layers.len()],
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string();
        stored(config.as_bytes())?;
        let config = Descriptor::of(media_type::CONFIG, config.as_bytes());
        let manifest =
            serde_json::to_vec(&Manifest::new(config, layers)).expect("a manifest is JSON");
        stored(&manifest)?;
        let image = Descriptor::of(media_type::MANIFEST, &manifest);
        let options = PushOptions {
            existing_tag: ExistingTag::Move,
            ..PushOptions::default()
        };
        self.push(store, &image, &tag, &options, &Silent).await?;
        Ok(true)
    }
}
