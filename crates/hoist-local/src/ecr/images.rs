//! Images.

use hoist_oci::Digest;
use serde_json::{Value, json};

use super::scans;
use super::words::{invalid, need, page, repository_name};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::registry::{ImageRecord, Refusal, Registry};

pub fn describe(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let found = if call.list("imageIds").is_empty() {
        registry.repository(&call.region, name)?;
        registry.images(&call.region, name)?
    } else {
        let mut found: Vec<ImageRecord> = Vec::new();
        for id in ids(call)? {
            let image = find(registry, call, name, &id)?;
            if !found.contains(&image) {
                found.push(image);
            }
        }
        found
    };
    let tags = registry.tags(&call.region, name)?;
    let status = tag_status(call)?;
    let mut details = Vec::new();
    for image in found {
        let own: Vec<String> = tags
            .iter()
            .filter(|(_, of)| *of == image.digest)
            .map(|(tag, _)| tag.clone())
            .collect();
        if !status.wants(!own.is_empty()) {
            continue;
        }
        let mut detail = json!({
            "registryId": ACCOUNT,
            "repositoryName": name,
            "imageDigest": image.digest,
            "imageSizeInBytes": image.size,
            "imagePushedAt": clock::epoch_seconds(image.pushed),
            "imageManifestMediaType": image.media_type,
            "artifactMediaType": image.artifact_type,
        });
        if let Some((status, summary)) = scans::summary(registry, call, name, &image, &own)? {
            detail["imageScanStatus"] = status;
            detail["imageScanFindingsSummary"] = summary;
        }
        if !own.is_empty() {
            detail["imageTags"] = json!(own);
        }
        details.push(without_nulls(detail));
    }
    page(call, "imageDetails", details)
}

pub fn list(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    registry.repository(&call.region, name)?;
    let tags = registry.tags(&call.region, name)?;
    let status = tag_status(call)?;
    let mut all: Vec<Value> = Vec::new();
    if status.wants(true) {
        all.extend(
            tags.iter()
                .map(|(tag, digest)| json!({"imageDigest": digest, "imageTag": tag})),
        );
    }
    if status.wants(false) {
        let images = registry.images(&call.region, name)?.into_iter();
        let untagged = images.filter(|image| !tags.iter().any(|(_, of)| *of == image.digest));
        all.extend(untagged.map(|image| json!({"imageDigest": image.digest})));
    }
    page(call, "imageIds", all)
}

pub fn batch_get(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    registry.repository(&call.region, name)?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in ids(call)? {
        match find(registry, call, name, &id) {
            Ok(image) => {
                let content = registry
                    .store()
                    .read(&image.digest)
                    .map_err(Refusal::from)?;
                images.push(render(name, &image, id.tag.as_deref(), &content));
            }
            Err(Refusal::NoImage { .. }) => {
                failures.push(failure(&id, "ImageNotFound", "Requested image not found"))
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(json!({"images": images, "failures": failures}))
}

pub fn batch_delete(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    registry.repository(&call.region, name)?;
    let (mut gone, mut failures) = (Vec::new(), Vec::new());
    for id in ids(call)? {
        if let Some(digest) = id.digest.filter(|_| id.tag.is_none()) {
            let images = registry.images(&call.region, name)?;
            let is_index =
                |image: &&ImageRecord| hoist_oci::spec::media_type::is_index(&image.media_type);
            let lists: Vec<String> = images
                .iter()
                .filter(is_index)
                .filter(|image| image.refers_to.contains(&digest))
                .map(|image| image.digest.to_string())
                .collect();
            if !lists.is_empty() {
                let reason = format!(
                    "Requested image referenced by manifest list: [{}]",
                    lists.join(", ")
                );
                failures.push(failure(&id, "ImageReferencedByManifestList", &reason));
                continue;
            }
        }
        // With both, ECR takes away the tag if it is the image's.
        let result = match &id.tag {
            Some(tag) if id.digest.is_some() => find(registry, call, name, &id)
                .and_then(|_| registry.delete_image(&call.region, name, None, Some(tag))),
            tag => registry.delete_image(&call.region, name, id.digest.as_ref(), tag.as_deref()),
        };
        match result {
            Ok((digest, tags)) if tags.is_empty() => gone.push(json!({"imageDigest": digest})),
            Ok((digest, tags)) => gone.extend(
                tags.iter()
                    .map(|tag| json!({"imageDigest": digest, "imageTag": tag})),
            ),
            Err(Refusal::NoImage { .. }) => {
                failures.push(failure(&id, "ImageNotFound", "Requested image not found"))
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(json!({"imageIds": gone, "failures": failures}))
}

pub fn put(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let manifest = need(call, "imageManifest")?;
    let (tag, digest) = (call.str("imageTag"), call.str("imageDigest"));
    let kind = call.str("imageManifestMediaType");
    let outcome =
        registry.put_manifest(&call.region, name, manifest.as_bytes(), kind, tag, digest)?;
    if outcome.existed {
        let digest = outcome.image.digest;
        let tag = tag.unwrap_or("null").to_owned();
        return Err(Refusal::ImageExists {
            repository: name.to_owned(),
            digest,
            tag,
        }
        .into());
    }
    Ok(json!({"image": render(name, &outcome.image, tag, manifest.as_bytes())}))
}

/// An `ImageIdentifier`.
pub(super) struct Id {
    digest: Option<Digest>,
    pub(super) tag: Option<String>,
}

impl Id {
    /// With the digest of the image that was found.
    pub(super) fn render_with(&self, image: &ImageRecord) -> Value {
        without_nulls(json!({"imageDigest": image.digest, "imageTag": self.tag}))
    }

    fn render(&self) -> Value {
        without_nulls(json!({"imageDigest": self.digest, "imageTag": self.tag}))
    }
}

pub(super) fn ids(call: &Call) -> Result<Vec<Id>, ApiError> {
    let given = call.list("imageIds");
    if given.is_empty() || given.len() > 100 {
        return Err(invalid(
            "imageIds",
            "Member must have length between 1 and 100",
        ));
    }
    given
        .iter()
        .map(|id| {
            let text = |name: &str| id[name].as_str().filter(|text| !text.is_empty());
            let digest = text("imageDigest").map(str::parse).transpose();
            let digest = digest.map_err(|_| {
                invalid(
                    "imageDigest",
                    "must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
                )
            })?;
            let tag = text("imageTag").map(str::to_owned);
            if digest.is_none() && tag.is_none() {
                return Err(invalid(
                    "imageIds",
                    "Either imageDigest or imageTag must be specified",
                ));
            }
            Ok(Id { digest, tag })
        })
        .collect()
}

pub(super) fn find(
    registry: &Registry,
    call: &Call,
    name: &str,
    id: &Id,
) -> Result<ImageRecord, Refusal> {
    registry.repository(&call.region, name)?;
    registry.find(&call.region, name, id.digest.as_ref(), id.tag.as_deref())
}

fn failure(id: &Id, code: &str, reason: &str) -> Value {
    json!({"imageId": id.render(), "failureCode": code, "failureReason": reason})
}

fn render(name: &str, image: &ImageRecord, tag: Option<&str>, manifest: &[u8]) -> Value {
    json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "imageId": without_nulls(json!({"imageDigest": image.digest, "imageTag": tag})),
        "imageManifest": String::from_utf8_lossy(manifest),
        "imageManifestMediaType": image.media_type,
    })
}

/// The filter `tagStatus`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TagStatus {
    Any,
    Tagged,
    Untagged,
}

impl TagStatus {
    fn wants(self, tagged: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Tagged => tagged,
            Self::Untagged => !tagged,
        }
    }
}

fn tag_status(call: &Call) -> Result<TagStatus, ApiError> {
    match call
        .params
        .pointer("/filter/tagStatus")
        .and_then(Value::as_str)
    {
        None | Some("ANY") => Ok(TagStatus::Any),
        Some("TAGGED") => Ok(TagStatus::Tagged),
        Some("UNTAGGED") => Ok(TagStatus::Untagged),
        Some(_) => Err(invalid(
            "filter.tagStatus",
            "Member must satisfy enum value set: [ANY, TAGGED, UNTAGGED]",
        )),
    }
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}
