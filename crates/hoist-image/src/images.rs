//! Local images: importing, listing, looking into and removing them.

use std::fs;
use std::io::Read;
use std::path::Path;

use hoist_oci::spec::{Descriptor, ImageConfig, Platform, media_type};
use hoist_oci::{Compression, Digest, Image, ImageRef, StoreError};

use crate::archive::Packing;
use crate::config;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::forms;
use crate::layer::{self, StoredLayer};
use crate::layouts;
use crate::stored::store_image;
use crate::upper;
use crate::workspace::Workspace;

/// Names that builds keep for what they pulled; they are no local images.
const PULLED: &str = "pulled/";

/// What an image can be made of.
const SOURCES: &str =
    "give a folder, or a tar archive, plain or compressed with gzip, bzip2, xz or zstd";

/// How many names an error lists.
const LISTED: usize = 12;

/// Digits of a digest from which on it stands for an image.
const DIGITS: usize = 8;

/// An image of the workspace that has a name.
#[derive(Debug, Clone)]
pub struct LocalImage {
    /// Its name, with the tag.
    pub name: String,
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// Bytes of its compressed layers and its config, as far as this machine's platform goes.
    pub size: u64,
    /// Whether it came from a registry as a base of a build.
    pub pulled: bool,
}

/// Gives a name its tag: `latest` where there is none.
fn with_tag(name: &str) -> Result<String> {
    let reference: ImageRef = name.parse().map_err(|error: hoist_oci::ReferenceError| {
        let hint = error.hint();
        BuildError::new(
            BuildErrorKind::Image,
            format!("'{name}' is no name of an image"),
        )
        .caused_by(error)
        .with_hint(hint)
    })?;
    Ok(match (&reference.tag, &reference.digest) {
        (None, None) => reference.with_tag("latest").to_string(),
        _ => reference.to_string(),
    })
}

pub(crate) fn pulled_name(reference: &ImageRef, platform: &Platform) -> String {
    format!(
        "{PULLED}{}/{}:{}@{platform}",
        reference.host(),
        reference.path(),
        reference.reference()
    )
}

/// A local image by its name.
pub(crate) fn resolve(workspace: &Workspace, name: &str) -> Result<Option<Descriptor>> {
    let Ok(full) = with_tag(name) else {
        return Ok(None);
    };
    let found = workspace.store.resolve(&full);
    found.map_err(|error| {
        failed(
            BuildErrorKind::Io,
            format!("look up the image {name}"),
            error,
        )
    })
}

/// Gives an image a local name, so that `FROM` finds it.
///
/// # Errors
/// Fails when the name is none, or the store cannot be written.
pub fn name(workspace: &Workspace, name: &str, descriptor: &Descriptor) -> Result<()> {
    let full = with_tag(name)?;
    workspace.store.tag(&full, descriptor).map_err(|error| {
        BuildError::from_source(BuildErrorKind::Io, format!("name the image {full}"), error)
    })
}

/// Makes a local image of a root file system: a folder, or a tar archive, plain or compressed with gzip, bzip2, xz or zstd.
///
/// Owners and modes are taken as they are. The same files always give the same image, apart from their times.
///
/// # Errors
/// Fails when the source cannot be read, is no archive, or the store cannot be written.
pub async fn import(workspace: &Workspace, source: &Path, name: &str) -> Result<Descriptor> {
    let (workspace, source, name) = (workspace.clone(), source.to_owned(), name.to_owned());
    crate::build::blocking(move || import_now(&workspace, &source, &name)).await
}

fn import_now(workspace: &Workspace, source: &Path, name: &str) -> Result<Descriptor> {
    let full = with_tag(name)?;
    let metadata = fs::metadata(source).map_err(|error| {
        BuildError::io(format!("read {}", source.display()), error).with_hint(SOURCES)
    })?;
    let stored = if metadata.is_dir() {
        let entries = upper::entries(source)?;
        layer::store_layer(&workspace.store, Compression::Gzip.into(), &entries)?
    } else {
        import_archive(workspace, source)?
    };
    let platform = Platform::host();
    let mut config = ImageConfig::empty(&platform);
    config::complete(&mut config);
    config.created = Some(config::rfc3339(0));
    config.rootfs.diff_ids = vec![stored.diff_id];
    config.history = vec![config::history(
        &config::rfc3339(0),
        format!(
            "IMPORT {}",
            source.file_name().unwrap_or_default().to_string_lossy()
        ),
        false,
    )];
    let (manifest, _) = store_image(workspace, &config, vec![stored.blob], &platform, &[])?;
    crate::images::name(workspace, &full, &manifest)?;
    Ok(manifest)
}

fn import_archive(workspace: &Workspace, source: &Path) -> Result<StoredLayer> {
    let failed = |error| BuildError::io(format!("read {}", source.display()), error);
    let open = || fs::File::open(source).map_err(failed);
    let mut start = [0; 8];
    let read = open()?.read(&mut start).map_err(failed)?;
    let form = Packing::of_magic(&start[..read]);
    let no_archive = || {
        BuildError::new(
            BuildErrorKind::Image,
            format!("{} is no tar archive", source.display()),
        )
        .with_hint(SOURCES)
    };
    let mut archive = tar::Archive::new(form.decoder(open()?).map_err(failed)?);
    // A pass over all of it: half an archive must not become an image.
    let mut count = 0_u64;
    for entry in archive.entries().map_err(|_| no_archive())? {
        let entry = entry.map_err(|error| match count {
            // What a file that is no archive has in the place of a header helps nobody.
            0 => no_archive(),
            _ => no_archive().caused_by(error),
        })?;
        let path = entry.path().map_err(failed)?;
        if path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
        {
            return Err(BuildError::new(
                BuildErrorKind::Image,
                format!(
                    "{} in {} leads out of the archive",
                    path.display(),
                    source.display()
                ),
            ));
        }
        count += 1;
    }
    if count == 0 {
        return Err(no_archive());
    }
    layer::store_archive(&workspace.store, Compression::Gzip.into(), |out| {
        let mut plain = form.decoder(open()?).map_err(failed)?;
        std::io::copy(&mut plain, out).map_err(failed)?;
        Ok(())
    })
}

/// The images that have a name, sorted by it.
///
/// # Errors
/// Fails when the store cannot be read.
pub fn list(workspace: &Workspace) -> Result<Vec<LocalImage>> {
    let tags = workspace
        .store
        .tags()
        .map_err(|error| failed(BuildErrorKind::Io, "read their names".to_owned(), error))?;
    let mut images: Vec<LocalImage> = tags
        .into_iter()
        .map(|(name, descriptor)| {
            let size = workspace
                .store
                .image(&descriptor, &Platform::host())
                .map_or(0, |image| {
                    image.manifest.config.size
                        + image
                            .manifest
                            .layers
                            .iter()
                            .map(|layer| layer.size)
                            .sum::<u64>()
                });
            match name.strip_prefix(PULLED) {
                Some(pulled) => LocalImage {
                    name: pulled.into(),
                    descriptor,
                    size,
                    pulled: true,
                },
                None => LocalImage {
                    name,
                    descriptor,
                    size,
                    pulled: false,
                },
            }
        })
        .collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// Finds a local image: its manifest or index. It is named, or meant by its digest: that of any image of the store, or the first digits of that of one with
/// a name.
///
/// # Errors
/// Fails when there is no such image, or the store cannot be read.
pub fn find(workspace: &Workspace, name: &str) -> Result<Descriptor> {
    if let Some(found) = by_digest(workspace, name)? {
        return Ok(found);
    }
    with_tag(name)?;
    resolve(workspace, name)?.ok_or_else(|| unknown(workspace, name))
}

fn by_digest(workspace: &Workspace, text: &str) -> Result<Option<Descriptor>> {
    let store = &workspace.store;
    if let Ok(digest) = text.parse::<Digest>() {
        let Ok(json) = store.read(&digest) else {
            return Ok(None);
        };
        // Whatever else the store holds is no image.
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        let kind = value["mediaType"].as_str().unwrap_or_default();
        let image = media_type::is_index(kind) || media_type::is_manifest(kind);
        return Ok(image.then(|| Descriptor::of(kind, &json)));
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() < DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    // What has such a name is meant by it.
    if resolve(workspace, text)?.is_some() {
        return Ok(None);
    }
    let mut found: Vec<Descriptor> = list(workspace)?
        .into_iter()
        .map(|image| image.descriptor)
        .filter(|image| image.digest.hex().starts_with(digits))
        .collect();
    found.sort_by_key(|image| image.digest);
    found.dedup_by_key(|image| image.digest);
    Ok(match found.len() {
        1 => found.pop(),
        _ => None,
    })
}

/// Reads a local image, as [`find`] finds it: manifest and config.
///
/// # Errors
/// Fails when there is no such image, or it cannot be read.
pub fn inspect(workspace: &Workspace, name: &str) -> Result<Image> {
    read(workspace, name, &find(workspace, name)?)
}

fn read(workspace: &Workspace, name: &str, descriptor: &Descriptor) -> Result<Image> {
    let image = workspace.store.image(descriptor, &Platform::host());
    image.map_err(|error| {
        failed(
            BuildErrorKind::Image,
            format!("read the image {name}"),
            error,
        )
    })
}

/// A failure of the store, with what to do about it.
fn failed(kind: BuildErrorKind, doing: String, error: StoreError) -> BuildError {
    let hint = match &error {
        StoreError::WrongDigest { .. } | StoreError::Missing { .. } => {
            Some("it is not whole any more: build or import it again")
        }
        other => other.hint(),
    };
    let error = BuildError::from_source(kind, doing, error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Writes a local image to `target`: an archive for `docker load` if that ends with `.tar`, else an OCI layout in a folder.
///
/// # Errors
/// Fails when there is none of that name, or it cannot be read or written.
pub fn export(workspace: &Workspace, name: &str, target: &Path) -> Result<()> {
    let image = inspect(workspace, name)?;
    // An image without a name gets one that every reader takes.
    let full = match by_digest(workspace, name)? {
        Some(found) => format!("hoist.local/image:{}", &found.digest.hex()[..12]),
        None => with_tag(name)?,
    };
    let packed = ["gz", "tgz", "zst", "xz", "bz2", "zip"];
    let ending = target.extension().and_then(|ending| ending.to_str());
    if let Some(ending) = ending.filter(|ending| packed.contains(ending)) {
        let what = format!(
            "{} would be a folder: archives that end with .{ending} are not written",
            target.display()
        );
        return Err(BuildError::new(BuildErrorKind::Image, what)
            .with_hint("name one that ends with .tar; the layers in it are compressed"));
    }
    if target
        .extension()
        .is_some_and(|extension| extension == "tar")
    {
        // `docker load` does not recognise zstd before version 23.0, and has no use for how a layer travelled.
        let zstd = |layer: &Descriptor| {
            Compression::of_media_type(&layer.media_type) == Some(Compression::Zstd)
        };
        if image.manifest.layers.iter().any(zstd) {
            let gzip = forms::converted(workspace, &image.descriptor, Compression::Gzip, None)?;
            let image = read(workspace, name, &gzip)?;
            return layouts::export_archive(workspace, &image, target, &full);
        }
        layouts::export_archive(workspace, &image, target, &full)
    } else {
        let tag = full.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        layouts::export(workspace, &image.descriptor, target, tag)
    }
}

/// Takes an image's name away; that of a pulled base is written as [`list`] gives it. Its layers stay for other images and builds.
///
/// # Errors
/// Fails when there is none of that name, or the store cannot be written.
pub fn remove(workspace: &Workspace, name: &str) -> Result<()> {
    let pulled = format!("{PULLED}{name}");
    let is_pulled = workspace.store.resolve(&pulled).map_err(|error| {
        BuildError::from_source(
            BuildErrorKind::Io,
            format!("look up the image {name}"),
            error,
        )
    })?;
    let full = match is_pulled {
        Some(_) => pulled,
        None => {
            find(workspace, name)?;
            with_tag(name)?
        }
    };
    workspace.store.untag(&full).map_err(|error| {
        BuildError::from_source(
            BuildErrorKind::Io,
            format!("remove the image {full}"),
            error,
        )
    })
}

fn unknown(workspace: &Workspace, name: &str) -> BuildError {
    let error = BuildError::new(
        BuildErrorKind::Image,
        format!("there is no local image {name}"),
    );
    const MAKE_ONE: &str =
        "make one with `hoist build --tag NAME`, or with `hoist image import FOLDER|TAR NAME`";
    let names: Vec<String> = list(workspace)
        .unwrap_or_default()
        .into_iter()
        .filter(|image| !image.pulled)
        .map(|image| image.name)
        .collect();
    if names.is_empty() {
        return error.with_hint(MAKE_ONE);
    }
    let whole = names.iter().map(String::as_str);
    // A name is as good without the tag that it has anyway, and the tag may be all that is wrong.
    let bare = names.iter().filter_map(|name| name.strip_suffix(":latest"));
    if let Some(near) = crate::error::did_you_mean(name, bare.chain(whole)) {
        return error.with_hint(format!("did you mean {near}?"));
    }
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more (`hoist image ls`)"),
    };
    let shown = &names[..names.len().min(LISTED)];
    error.with_hint(format!("the local images are {}{more}", shown.join(", ")))
}
