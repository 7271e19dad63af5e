use std::collections::BTreeSet;

use hoist_oci::spec::{Descriptor, media_type};
use hoist_oci::{Digest, is_tag};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalogue::Registry;
use super::refusal::Refusal;
use crate::clock::{self, Millis};
use crate::state::StateError;

/// An image in a repository: a manifest or an index. Its tags are in a table of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The media type of the manifest.
    pub media_type: String,
    /// The media type of the configuration, or the artifact type.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Bytes of the manifest.
    pub manifest_size: u64,
    /// Bytes of the layers: what `DescribeImages` tells.
    pub size: u64,
    /// When it came.
    pub pushed: Millis,
    /// What the manifest names: configuration and layers, or the images of an index.
    pub refers_to: Vec<Digest>,
    /// What it is attached to.
    #[serde(default)]
    pub subject: Option<Digest>,
}

impl ImageRecord {
    /// Points at the manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.manifest_size)
    }
}

/// What putting a manifest came to.
#[derive(Clone, Debug, PartialEq)]
pub struct PutOutcome {
    /// The image.
    pub image: ImageRecord,
    /// Whether nothing changed: the image was there, with the tag.
    pub existed: bool,
}

impl Registry {
    /// Stores a manifest, and gives it `tag`.
    ///
    /// # Errors
    /// What is named in [`Refusal`]: no such repository, something that the manifest refers to is missing, an immutable tag,
    /// another digest than `expected`.
    pub fn put_manifest(
        &self,
        region: &str,
        repository: &str,
        content: &[u8],
        media_type: Option<&str>,
        tag: Option<&str>,
        expected: Option<&str>,
    ) -> Result<PutOutcome, Refusal> {
        let _changing = self.changing();
        let inner = self.inner();
        let settings = self.repository(region, repository)?;
        let digest = Digest::of(content);
        if let Some(expected) = expected.filter(|expected| *expected != digest.to_string()) {
            return Err(Refusal::WrongDigest {
                expected: expected.to_owned(),
                actual: digest,
            });
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(Refusal::BadTag(tag.to_owned()));
        }
        let mut image = read_manifest(content, media_type)?;
        let missing = |has: &dyn Fn(&Digest) -> Result<bool, StateError>| {
            let mut missing = Vec::new();
            for digest in &image.refers_to {
                if !has(digest)? {
                    missing.push(*digest);
                }
            }
            Ok::<_, StateError>(missing)
        };
        if media_type::is_index(&image.media_type) {
            let missing = missing(&|digest| Ok(self.image(region, repository, digest)?.is_some()))?;
            if !missing.is_empty() {
                return Err(Refusal::ImagesMissing {
                    repository: repository.to_owned(),
                    missing,
                });
            }
        } else {
            let missing = missing(&|digest| Ok(self.blob(region, repository, digest)?.is_some()))?;
            if !missing.is_empty() {
                return Err(Refusal::LayersMissing {
                    repository: repository.to_owned(),
                    missing,
                });
            }
        }
        let before = self.image(region, repository, &digest)?;
        let tagged = match tag {
            Some(tag) => inner.tags.get(region, &format!("{repository}:{tag}"))?,
            None => None,
        };
        if let (Some(tag), Some(other)) = (tag, tagged)
            && other != digest
            && settings.holds_tag(tag)
        {
            return Err(Refusal::TagImmutable {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
            });
        }
        let existed = before.is_some() && (tag.is_none() || tagged == Some(digest));
        if let Some(before) = before {
            image.pushed = before.pushed;
        }
        inner.store.put(content)?;
        inner.state.write::<StateError>(|batch| {
            batch.put(
                &inner.images,
                region,
                &format!("{repository}@{digest}"),
                &image,
            )?;
            match tag {
                Some(tag) => {
                    batch.put(&inner.tags, region, &format!("{repository}:{tag}"), &digest)
                }
                None => Ok(()),
            }
        })?;
        Ok(PutOutcome { image, existed })
    }

    /// Takes a tag away, or an image with all its tags. Gives what was removed: the image, and the tags that are gone.
    ///
    /// As ECR does, an image whose last tag is taken away goes too.
    ///
    /// # Errors
    /// [`Refusal::NoImage`].
    pub fn delete_image(
        &self,
        region: &str,
        repository: &str,
        digest: Option<&Digest>,
        tag: Option<&str>,
    ) -> Result<(Digest, Vec<String>), Refusal> {
        let _changing = self.changing();
        let inner = self.inner();
        let image = self.find(region, repository, digest, tag)?;
        let all: Vec<String> = self
            .tags(region, repository)?
            .into_iter()
            .filter(|(_, of)| *of == image.digest)
            .map(|(tag, _)| tag)
            .collect();
        let gone: Vec<String> = match tag {
            Some(tag) if digest.is_none() => vec![tag.to_owned()],
            _ => all.clone(),
        };
        let last = gone.len() == all.len();
        inner.state.write::<StateError>(|batch| {
            for tag in &gone {
                batch.delete(&inner.tags, region, &format!("{repository}:{tag}"));
            }
            if last {
                batch.delete(
                    &inner.images,
                    region,
                    &format!("{repository}@{}", image.digest),
                );
            }
            Ok(())
        })?;
        if last {
            self.drop_content([image.digest])?;
        }
        Ok((image.digest, gone))
    }

    /// The image with this digest, or with this tag; with both, the tag must be the image's.
    ///
    /// # Errors
    /// [`Refusal::NoImage`].
    pub fn find(
        &self,
        region: &str,
        repository: &str,
        digest: Option<&Digest>,
        tag: Option<&str>,
    ) -> Result<ImageRecord, Refusal> {
        let found = match (digest, tag) {
            (Some(digest), None) => self.image(region, repository, digest)?,
            (_, Some(tag)) => self
                .tagged(region, repository, tag)?
                .filter(|image| digest.is_none_or(|digest| *digest == image.digest)),
            (None, None) => None,
        };
        found.ok_or_else(|| Refusal::NoImage {
            repository: repository.to_owned(),
            digest: digest.map_or_else(|| "null".to_owned(), Digest::to_string),
            tag: tag.unwrap_or("null").to_owned(),
        })
    }

    /// Removes content of the store that no repository refers to any more. The caller holds the lock.
    pub(super) fn drop_content(
        &self,
        content: impl IntoIterator<Item = Digest>,
    ) -> Result<(), Refusal> {
        let inner = self.inner();
        let mut used = BTreeSet::new();
        for (_, _, image) in inner.images.all()? {
            used.insert(image.digest);
            used.extend(image.refers_to);
        }
        for (_, key, _) in inner.blobs.all()? {
            used.extend(
                key.split_once('@')
                    .and_then(|(_, digest)| digest.parse::<Digest>().ok()),
            );
        }
        for digest in content {
            if !used.contains(&digest) {
                inner.store.remove(&digest)?;
            }
        }
        Ok(())
    }
}

/// Reads what the registry wants to know of a manifest.
fn read_manifest(content: &[u8], declared: Option<&str>) -> Result<ImageRecord, Refusal> {
    let bad = |what: &str| Refusal::BadManifest(what.to_owned());
    let value: Value = serde_json::from_slice(content).map_err(|error| bad(&error.to_string()))?;
    if value["schemaVersion"] != 2 {
        return Err(bad("schemaVersion must be 2"));
    }
    let own = value["mediaType"].as_str();
    if let (Some(own), Some(declared)) = (own, declared)
        && own != declared
    {
        return Err(bad(&format!(
            "its mediaType is {own}, but it was sent as {declared}"
        )));
    }
    let guessed = if value["manifests"].is_array() {
        media_type::INDEX
    } else {
        media_type::MANIFEST
    };
    let kind = declared.or(own).unwrap_or(guessed).to_owned();
    let descriptors = |of: &Value| -> Result<Vec<Descriptor>, Refusal> {
        serde_json::from_value(of.clone()).map_err(|error| bad(&error.to_string()))
    };
    let (refers_to, size, config_type) = if media_type::is_index(&kind) {
        (descriptors(&value["manifests"])?, 0, None)
    } else if media_type::is_manifest(&kind) {
        let config: Descriptor = serde_json::from_value(value["config"].clone())
            .map_err(|error| bad(&error.to_string()))?;
        let layers = descriptors(&value["layers"])?;
        let size = layers.iter().map(|layer| layer.size).sum();
        let config_type = config.media_type.clone();
        let all =
            std::iter::once(config).chain(layers.into_iter().filter(|layer| !layer.is_foreign()));
        (all.collect(), size, Some(config_type))
    } else {
        return Err(bad(&format!("{kind} is not supported")));
    };
    let mut seen = BTreeSet::new();
    Ok(ImageRecord {
        digest: Digest::of(content),
        media_type: kind,
        artifact_type: value["artifactType"]
            .as_str()
            .map(str::to_owned)
            .or(config_type),
        manifest_size: content.len() as u64,
        size,
        pushed: clock::now(),
        refers_to: refers_to
            .iter()
            .map(|one| one.digest)
            .filter(|digest| seen.insert(*digest))
            .collect(),
        subject: value["subject"]["digest"]
            .as_str()
            .and_then(|digest| digest.parse().ok()),
    })
}
