//! Attaching artifacts to an image: attestations, signatures.
//!
//! An artifact names its image as `subject`; the registry lists it among the image's referrers. A registry that does not know subjects
//! (it answers without `OCI-Subject`) gets an index under the tag `sha256-<digest of the image>` instead, as
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema> says.

use super::transport::{Action, Scope};
use super::{ExistingTag, PushOptions, Registry, RegistryError};
use crate::spec::{Descriptor, Index, Manifest, media_type};
use crate::{ImageRef, Silent, Store};

/// The media type of a configuration that says nothing.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Something to attach to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What it is, as a media type.
    pub kind: String,
    /// The media type of its content.
    pub media_type: String,
    /// The content.
    pub content: Vec<u8>,
    /// Remarks about the content.
    pub annotations: Vec<(String, String)>,
}

impl Artifact {
    /// Puts the artifact for an image into a store, and gives its manifest. The same artifact always has the same digest.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn store(&self, store: &Store, subject: &Descriptor) -> Result<Descriptor, RegistryError> {
        let mut layer = Descriptor::of(&self.media_type, &self.content);
        layer.annotations.extend(self.annotations.iter().cloned());
        store.put(&self.content)?;
        store.put(b"{}")?;
        let mut manifest = Manifest::new(Descriptor::of(EMPTY, b"{}"), vec![layer]);
        let subject = serde_json::json!({
            "mediaType": subject.media_type, "digest": subject.digest, "size": subject.size,
        });
        manifest
            .extra
            .insert("artifactType".to_owned(), self.kind.clone().into());
        manifest.extra.insert("subject".to_owned(), subject);
        manifest
            .annotations
            .extend(self.annotations.iter().cloned());
        let json = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        store.put(&json)?;
        let mut descriptor = Descriptor::of(media_type::MANIFEST, &json);
        descriptor
            .extra
            .insert("artifactType".to_owned(), self.kind.clone().into());
        descriptor.annotations = manifest.annotations;
        Ok(descriptor)
    }
}

impl Registry {
    /// Pushes `artifact`, made by [`Artifact::store`] for the image `subject`, to the repository of `to`.
    ///
    /// # Errors
    /// Fails when the registry cannot be asked or refuses.
    pub async fn attach(
        &self,
        store: &Store,
        subject: &Descriptor,
        artifact: &Descriptor,
        to: &ImageRef,
    ) -> Result<(), RegistryError> {
        let bare = ImageRef {
            tag: None,
            digest: None,
            ..to.clone()
        };
        let place = bare.with_digest(artifact.digest);
        self.push(store, artifact, &place, &PushOptions::default(), &Silent)
            .await?;
        if self.referrers(&bare, subject).await?.is_some() {
            // The registry lists referrers, and knows this one as soon as it has looked at it.
            return Ok(());
        }
        let tag = bare.with_tag(subject.digest.to_string().replace(':', "-"));
        let mut index = match self.manifest(&tag).await {
            Ok((_, json)) => {
                serde_json::from_slice(&json).unwrap_or_else(|_| Index::new(Vec::new()))
            }
            Err(error) if error.is_not_found() => Index::new(Vec::new()),
            Err(error) => return Err(error),
        };
        if index
            .manifests
            .iter()
            .any(|known| known.digest == artifact.digest)
        {
            return Ok(());
        }
        index.manifests.push(artifact.clone());
        let json = serde_json::to_vec(&index).expect("an index is JSON");
        store.put(&json)?;
        let index = Descriptor::of(media_type::INDEX, &json);
        let endpoint = self.endpoint(&tag, Action::Push);
        let scope = Scope::push(&endpoint, &[]);
        self.put_manifest(&endpoint, &scope, &tag, &index, &json, ExistingTag::Move)
            .await
    }

    /// What refers to an image; `None` where the registry does not list referrers.
    ///
    /// # Errors
    /// Fails when the registry cannot be asked.
    pub async fn referrers(
        &self,
        image: &ImageRef,
        subject: &Descriptor,
    ) -> Result<Option<Index>, RegistryError> {
        let endpoint = self.endpoint(image, Action::Pull);
        let scope = Scope::pull(&endpoint);
        let url = endpoint.url(&format!("referrers/{}", subject.digest));
        let doing = format!("list the referrers of {}", subject.digest);
        let response = self
            .send(&endpoint, &scope, &doing, |client| client.get(&url))
            .await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let body = response.bytes().await.unwrap_or_default();
        Ok(serde_json::from_slice(&body).ok())
    }
}
