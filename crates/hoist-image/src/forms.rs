//! The same image with its layers compressed in another way: what it is does not change, only how it travels.

use hoist_oci::spec::{Descriptor, Index, Manifest, media_type};
use hoist_oci::{Compression, EarlyUploads};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::Form;
use crate::stored::recompress;
use crate::workspace::Workspace;

/// Gives an image (or an index of images) with all its layers in one form. A layer that was compressed that way before is not compressed
/// again; with `early`, others travel to a repository meanwhile.
///
/// # Errors
/// Fails when the image cannot be read, or the store cannot be written.
pub async fn compressed(
    workspace: &Workspace,
    image: &Descriptor,
    form: Compression,
    early: Option<&EarlyUploads>,
) -> Result<Descriptor> {
    let (workspace, image, early) = (workspace.clone(), image.clone(), early.cloned());
    crate::build::blocking(move || converted(&workspace, &image, form, early.as_ref())).await
}

pub(crate) fn converted(
    workspace: &Workspace,
    image: &Descriptor,
    form: Compression,
    early: Option<&EarlyUploads>,
) -> Result<Descriptor> {
    let store = &workspace.store;
    let failed = |error| {
        let doing = format!("read the image {}", image.digest);
        BuildError::from_source(BuildErrorKind::Image, doing, error)
    };
    let stored = |json: Vec<u8>, kind: &str| {
        store.put(&json).map_err(failed)?;
        let mut changed = Descriptor::of(kind, &json);
        changed.platform.clone_from(&image.platform);
        changed.annotations.clone_from(&image.annotations);
        Ok(changed)
    };
    let json = |error: serde_json::Error| BuildError::io("write the image", error.into());
    if media_type::is_index(&image.media_type) {
        let mut index: Index = store.read_json(&image.digest).map_err(failed)?;
        let mut changed = false;
        for manifest in &mut index.manifests {
            let other = converted(workspace, manifest, form, early)?;
            changed |= other.digest != manifest.digest;
            *manifest = other;
        }
        return match changed {
            false => Ok(image.clone()),
            true => stored(serde_json::to_vec(&index).map_err(json)?, &image.media_type),
        };
    }
    let mut manifest: Manifest = store.read_json(&image.digest).map_err(failed)?;
    if manifest.config.media_type != media_type::CONFIG
        && manifest.config.media_type != media_type::DOCKER_CONFIG
    {
        // No image but something about one: its layers are what they are.
        return Ok(image.clone());
    }
    let config: hoist_oci::spec::ImageConfig =
        store.read_json(&manifest.config.digest).map_err(failed)?;
    let mut changed = false;
    for (blob, diff_id) in manifest.layers.iter_mut().zip(&config.rootfs.diff_ids) {
        let Some(now) = Compression::of_media_type(&blob.media_type)
            .filter(|now| *now != form && !blob.is_foreign())
        else {
            continue;
        };
        let known = store.layer_forms(diff_id).map_err(failed)?;
        *blob = match known.into_iter().find(|(known, _)| *known == form) {
            Some((_, blob)) => blob,
            None => {
                let wanted = Form {
                    early,
                    ..form.into()
                };
                let stored = recompress(workspace, now, blob, wanted)?;
                if stored.diff_id != *diff_id {
                    return Err(BuildError::new(
                        BuildErrorKind::Image,
                        format!(
                            "the layer {} of the image {} is {}, and its config says {diff_id}",
                            blob.digest, image.digest, stored.diff_id
                        ),
                    ));
                }
                stored.blob
            }
        };
        changed = true;
    }
    if !changed {
        return Ok(image.clone());
    }
    manifest.media_type = Some(media_type::MANIFEST.to_owned());
    manifest.config.media_type = media_type::CONFIG.to_owned();
    for blob in &mut manifest.layers {
        if let Some(form) =
            Compression::of_media_type(&blob.media_type).filter(|_| !blob.is_foreign())
        {
            blob.media_type = form.media_type().to_owned();
        }
    }
    stored(
        serde_json::to_vec(&manifest).map_err(json)?,
        media_type::MANIFEST,
    )
}
