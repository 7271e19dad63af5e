//! Images in OCI layouts on disk: taken into the store, and written out of it.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>

use std::io;
use std::path::Path;

use hoist_oci::spec::{Descriptor, Index, Manifest, media_type};
use hoist_oci::{Digest, Image, Store};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::request::{BuildRequest, NamedContext};
use crate::workspace::Workspace;

/// Takes the image of a named context into the store.
pub(crate) fn load(workspace: &Workspace, request: &BuildRequest, key: &str) -> Result<Descriptor> {
    let (folder, tag) = request
        .contexts
        .iter()
        .rev()
        .find_map(|(name, context)| match context {
            NamedContext::Layout(folder, tag) if name == key => Some((folder, tag)),
            _ => None,
        })
        .expect("the plan found it there");
    let failed = |error| {
        BuildError::from_source(
            BuildErrorKind::Image,
            format!("read the OCI layout {}", folder.display()),
            error,
        )
    };
    if !folder.join("oci-layout").exists() {
        return Err(BuildError::new(
            BuildErrorKind::Image,
            format!("{} is no OCI layout: it has no file oci-layout", folder.display()),
        )
        .with_hint("`skopeo copy docker-archive:FILE oci:FOLDER:TAG` and `hoist image export NAME FOLDER` write one"));
    }
    let layout = Store::open(folder).map_err(failed)?;
    let tags = layout.tags().map_err(failed)?;
    let found = match tag {
        Some(tag) => tags.iter().find(|(name, _)| name == tag),
        None if tags.len() == 1 => tags.first(),
        None => None,
    };
    let Some((_, image)) = found else {
        let names: Vec<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
        return Err(BuildError::new(
            BuildErrorKind::Image,
            format!(
                "the OCI layout {} does not say which image is meant",
                folder.display()
            ),
        )
        .with_hint(format!(
            "write oci-layout://{}:TAG; the tags are {}",
            folder.display(),
            names.join(", ")
        )));
    };
    copy(&layout, &workspace.store, image)?;
    Ok(image.clone())
}

/// Copies an image, or an index of images, with all that it refers to.
pub(crate) fn copy(from: &Store, to: &Store, image: &Descriptor) -> Result<()> {
    let failed = |error| {
        BuildError::from_source(
            BuildErrorKind::Image,
            format!("copy the image {}", image.digest),
            error,
        )
    };
    if media_type::is_index(&image.media_type) {
        let index: Index = from.read_json(&image.digest).map_err(failed)?;
        for manifest in &index.manifests {
            // An index may name platforms that nobody fetched.
            if from.has(&manifest.digest) {
                copy(from, to, manifest)?;
            }
        }
    } else {
        let manifest: Manifest = from.read_json(&image.digest).map_err(failed)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            copy_blob(from, to, &blob.digest)?;
        }
    }
    copy_blob(from, to, &image.digest)
}

fn copy_blob(from: &Store, to: &Store, digest: &Digest) -> Result<()> {
    if to.has(digest) {
        return Ok(());
    }
    let failed = |error| {
        BuildError::from_source(BuildErrorKind::Io, format!("copy the blob {digest}"), error)
    };
    let mut source = from.open_blob(digest).map_err(failed)?;
    let mut writer = to.writer().map_err(failed)?;
    io::copy(&mut source, &mut writer)
        .map_err(|error| BuildError::io(format!("copy the blob {digest}"), error))?;
    let (written, _) = writer.commit().map_err(failed)?;
    if written != *digest {
        return Err(BuildError::new(
            BuildErrorKind::Image,
            format!(
                "the blob {digest} of {} is damaged: it has the digest {written}",
                from.root().display()
            ),
        ));
    }
    Ok(())
}

/// Writes an image into an OCI layout in a folder, which is made if it is not there.
pub(crate) fn export(
    workspace: &Workspace,
    image: &Descriptor,
    folder: &Path,
    tag: &str,
) -> Result<()> {
    let failed = |error| {
        BuildError::from_source(
            BuildErrorKind::Io,
            format!("write the OCI layout {}", folder.display()),
            error,
        )
    };
    let layout = Store::open(folder).map_err(failed)?;
    copy(&workspace.store, &layout, image)?;
    layout.tag(tag, image).map_err(failed)?;
    // A layout for others needs none of what a store keeps beside it.
    let _ = std::fs::remove_file(folder.join("tmp/index.lock"));
    for extra in ["tmp", "layers"] {
        let _ = std::fs::remove_dir(folder.join(extra));
    }
    Ok(())
}

/// Writes an image as an archive that `docker load` reads, whatever its age: an OCI layout with a `manifest.json` beside it.
pub(crate) fn export_archive(
    workspace: &Workspace,
    image: &Image,
    file: &Path,
    tag: &str,
) -> Result<()> {
    let failed = |error| BuildError::io(format!("write {}", file.display()), error);
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let mut named = image.descriptor.clone();
    named
        .annotations
        .insert("org.opencontainers.image.ref.name".into(), tag.into());
    let layers: Vec<String> = image
        .manifest
        .layers
        .iter()
        .map(|layer| blob(&layer.digest))
        .collect();
    let texts = [
        (
            "oci-layout",
            json(serde_json::json!({"imageLayoutVersion": "1.0.0"})),
        ),
        (
            "index.json",
            json(
                serde_json::to_value(Index::new(vec![named]))
                    .map_err(|error| failed(error.into()))?,
            ),
        ),
        (
            "manifest.json",
            json(
                serde_json::json!([{"Config": blob(&image.config_digest), "RepoTags": [tag], "Layers": layers}]),
            ),
        ),
    ];
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let out = tempfile::NamedTempFile::new_in(folder).map_err(|error| match error.kind() {
        // Without the name of a file that nobody asked for.
        io::ErrorKind::NotFound => {
            failed(error.kind().into()).with_hint(format!("make the folder {}", folder.display()))
        }
        _ => failed(error),
    })?;
    let mut archive = tar::Builder::new(io::BufWriter::new(out));
    let header = |size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header
    };
    for (name, content) in texts {
        archive
            .append_data(&mut header(content.len() as u64), name, content.as_slice())
            .map_err(failed)?;
    }
    let mut written = std::collections::BTreeSet::new();
    let blobs = image.manifest.layers.iter().map(|layer| &layer.digest);
    for digest in blobs.chain([&image.config_digest, &image.descriptor.digest]) {
        if !written.insert(*digest) {
            continue;
        }
        let whole = workspace.store.verify(digest);
        let source = whole.and_then(|()| workspace.store.open_blob(digest));
        let source = source.map_err(|error| {
            let doing = format!("read the blob {digest}");
            BuildError::from_source(BuildErrorKind::Image, doing, error)
                .with_hint("the image is not whole any more: build or import it again")
        })?;
        let size = source.metadata().map_err(failed)?.len();
        archive
            .append_data(&mut header(size), blob(digest), source)
            .map_err(failed)?;
    }
    let out = archive
        .into_inner()
        .and_then(|out| out.into_inner().map_err(|error| error.into_error()))
        .map_err(failed)?;
    out.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}
