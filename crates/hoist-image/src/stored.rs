//! Images as they lie in the store: layers in their forms, config, manifest.

use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use hoist_oci::{Compression, Digest, Image};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::{self, Form, StoredLayer};
use crate::workspace::Workspace;

/// A layer of an image that is being built.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub diff_id: Digest,
    pub blob: Descriptor,
}

/// Docker's media types have OCI names; the blobs are the same.
pub(crate) fn oci_layer(blob: &Descriptor) -> Descriptor {
    let mut blob = blob.clone();
    if let Some(form) = Compression::of_media_type(&blob.media_type).filter(|_| !blob.is_foreign())
    {
        blob.media_type = form.media_type().into();
    }
    blob
}

/// Stores a config and its manifest.
pub(crate) fn store_image(
    workspace: &Workspace,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    platform: &Platform,
    annotations: &[(String, String)],
) -> Result<(Descriptor, Digest)> {
    let json = |error| BuildError::io("write the image", std::io::Error::from(error));
    let put = |bytes: &[u8]| {
        workspace
            .store
            .put(bytes)
            .map_err(|error| BuildError::from_source(BuildErrorKind::Io, "store the image", error))
    };
    let config = serde_json::to_vec(config).map_err(json)?;
    let config_digest = put(&config)?;
    let mut manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
    manifest.annotations.extend(annotations.iter().cloned());
    let manifest = serde_json::to_vec(&manifest).map_err(json)?;
    put(&manifest)?;
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
    descriptor.platform = Some(platform.clone());
    Ok((descriptor, config_digest))
}

/// A layer of another form than is wanted, in the wanted one.
pub(crate) fn recompress(
    workspace: &Workspace,
    form: Compression,
    blob: &Descriptor,
    wanted: Form<'_>,
) -> Result<StoredLayer> {
    let store = &workspace.store;
    layer::store_archive(store, wanted, |out| {
        let failed = |error| BuildError::io(format!("read the layer {}", blob.digest), error);
        let file = store.open_blob(&blob.digest).map_err(|error| {
            BuildError::from_source(
                BuildErrorKind::Io,
                format!("open the layer {}", blob.digest),
                error,
            )
        })?;
        let mut archive = form.decoder(file).map_err(failed)?;
        std::io::copy(&mut archive, out).map_err(failed)?;
        Ok(())
    })
}

/// The layers of an image, each blob with the digest of what it unpacks to.
pub(crate) fn layers_of(image: &Image) -> Result<Vec<Layer>> {
    let (blobs, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
    if blobs.len() != diff_ids.len() {
        return Err(BuildError::new(
            BuildErrorKind::Image,
            format!(
                "the image {} is damaged: its manifest has {} layers, its config {}",
                image.descriptor.digest,
                blobs.len(),
                diff_ids.len()
            ),
        ));
    }
    Ok(blobs
        .iter()
        .zip(diff_ids)
        .map(|(blob, diff_id)| Layer {
            diff_id: *diff_id,
            blob: blob.clone(),
        })
        .collect())
}
