//! SOCI indexes, version 2: what lets Fargate start a container before it has the whole image.
//!
//! The image becomes an OCI index of two manifests: its own, which names the other in an annotation, and one whose layers are the tables of contents
//! of its large layers. What is written is what AWS's `soci convert` writes
//! (<https://github.com/awslabs/soci-snapshotter/blob/main/docs/soci-index-manifest-v2.md>).

use hoist_oci::spec::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use hoist_oci::{Compression, EarlyUploads};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::Form;
use crate::stored::recompress;
use crate::workspace::Workspace;
use crate::ztoc;

/// What says that a manifest is a SOCI index.
const SOCI: &str = "application/vnd.amazon.soci.index.v2+json";
const INDEX_DIGEST: &str = "com.amazon.soci.index-digest";
const IMAGE_DIGEST: &str = "com.amazon.soci.image-manifest-digest";
const BUILD_TOOL: &str = "com.amazon.soci.build-tool-identifier";

/// Gives an image (or an index of images) with a SOCI index for each platform. An image without a layer of 10 MiB stays as it is. Large layers that
/// are not in our own form of gzip, such as those of a pulled base, are compressed anew; with `early`, they travel meanwhile.
pub(crate) fn indexed(
    workspace: &Workspace,
    image: &Descriptor,
    early: Option<&EarlyUploads>,
) -> Result<Descriptor> {
    let store = &workspace.store;
    let failed = |error| {
        let doing = format!("read the image {}", image.digest);
        BuildError::from_source(BuildErrorKind::Image, doing, error)
    };
    let (mut index, single) = match media_type::is_index(&image.media_type) {
        true => {
            let index: Index = store.read_json(&image.digest).map_err(failed)?;
            (index, false)
        }
        false => (Index::new(vec![image.clone()]), true),
    };
    index.media_type = Some(media_type::INDEX.to_owned());
    let mut sociable = Vec::new();
    for manifest in &mut index.manifests {
        if manifest.extra.contains_key("artifactType") {
            continue;
        }
        if let Some((changed, soci)) = of_platform(workspace, manifest, early)? {
            *manifest = changed;
            sociable.push(soci);
        }
    }
    if sociable.is_empty() {
        return Ok(image.clone());
    }
    index.manifests.retain(|manifest| {
        let kind = manifest.extra.get("artifactType");
        kind.and_then(serde_json::Value::as_str) != Some(SOCI)
    });
    index.manifests.extend(sociable);
    let mut made = put(workspace, &index, media_type::INDEX)?;
    if !single {
        made.annotations.clone_from(&image.annotations);
    }
    Ok(made)
}

/// An image's manifest that names its SOCI index, and that.
fn of_platform(
    workspace: &Workspace,
    image: &Descriptor,
    early: Option<&EarlyUploads>,
) -> Result<Option<(Descriptor, Descriptor)>> {
    let store = &workspace.store;
    let failed = |error| {
        let doing = format!("read the image {}", image.digest);
        BuildError::from_source(BuildErrorKind::Image, doing, error)
    };
    let mut manifest: Manifest = store.read_json(&image.digest).map_err(failed)?;
    let config: ImageConfig = store.read_json(&manifest.config.digest).map_err(failed)?;
    let mut tables = Vec::new();
    for (blob, diff_id) in manifest.layers.iter_mut().zip(&config.rootfs.diff_ids) {
        let Some(now) = Compression::of_media_type(&blob.media_type).filter(|_| !blob.is_foreign())
        else {
            continue;
        };
        blob.media_type = now.media_type().to_owned();
        if blob.size < ztoc::WORTH_IT {
            continue;
        }
        let mut table = ztoc::recall(store, diff_id, &blob.digest).map_err(failed)?;
        if table.is_none() {
            let form = Form {
                compression: Compression::Gzip,
                early,
                indexed: true,
            };
            let made = recompress(workspace, now, blob, form)?;
            if made.diff_id != *diff_id {
                return Err(BuildError::new(
                    BuildErrorKind::Image,
                    format!(
                        "the layer {} of the image {} is {}, and its config says {diff_id}",
                        blob.digest, image.digest, made.diff_id
                    ),
                ));
            }
            table = ztoc::recall(store, diff_id, &made.blob.digest).map_err(failed)?;
            if table.is_some() {
                *blob = made.blob;
            }
        }
        tables.extend(table);
    }
    if tables.is_empty() {
        return Ok(None);
    }
    store.put(b"{}").map_err(failed)?;
    let mut soci = Manifest::new(Descriptor::of(SOCI, b"{}"), tables);
    soci.annotations
        .insert(BUILD_TOOL.to_owned(), ztoc::TOOL.to_owned());
    let mut soci = put(workspace, &soci, media_type::MANIFEST)?;

    manifest.media_type = Some(media_type::MANIFEST.to_owned());
    manifest.config.media_type = media_type::CONFIG.to_owned();
    manifest
        .annotations
        .insert(INDEX_DIGEST.to_owned(), soci.digest.to_string());
    let mut changed = put(workspace, &manifest, media_type::MANIFEST)?;
    let platform: Platform = image.platform.clone().unwrap_or_else(|| config.platform());
    changed.platform = Some(platform.clone());
    changed.annotations = manifest.annotations;

    soci.platform = Some(platform);
    soci.annotations
        .insert(IMAGE_DIGEST.to_owned(), changed.digest.to_string());
    soci.extra
        .insert("artifactType".to_owned(), SOCI.to_owned().into());
    Ok(Some((changed, soci)))
}

fn put(workspace: &Workspace, what: &impl serde::Serialize, kind: &str) -> Result<Descriptor> {
    let json = serde_json::to_vec(what)
        .map_err(|error| BuildError::io("write the image", error.into()))?;
    workspace
        .store
        .put(&json)
        .map_err(|error| BuildError::from_source(BuildErrorKind::Io, "store the image", error))?;
    Ok(Descriptor::of(kind, &json))
}
