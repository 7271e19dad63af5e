//! What is in an image: its layers with the steps that made them, its files, and how two images differ.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use hoist_oci::{Compression, Digest, Image, Store};
use tar::EntryType;

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::images;
use crate::workspace::Workspace;

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The step that made it, as the image says.
    pub created_by: String,
    /// Its layer; none for steps that changed only the configuration.
    pub layer: Option<Digest>,
    /// Bytes of the layer as it is stored, compressed.
    pub size: u64,
}

/// How a file of one image differs from that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, with another content, kind, mode or owner.
    Changed,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path, from the root.
    pub path: PathBuf,
    /// How it differs.
    pub change: Change,
    /// Bytes that the second image has more there, or fewer.
    pub bytes: i64,
}

/// A file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub kind: EntryType,
    pub size: u64,
    pub mode: u32,
    pub owner: (u64, u64),
    /// The content's digest, or the target of a link.
    pub content: String,
}

/// A layer's archive, read once.
pub(crate) struct LayerFiles {
    pub created_by: String,
    /// Bytes of the blob.
    pub size: u64,
    pub files: Vec<(PathBuf, Item)>,
}

/// The history of a local image, oldest first.
///
/// # Errors
/// Fails when there is no such image, or it cannot be read.
pub fn history(workspace: &Workspace, name: &str) -> Result<Vec<HistoryLine>> {
    let image = images::inspect(workspace, name)?;
    let mut layers = image.manifest.layers.iter();
    let mut lines: Vec<HistoryLine> = image
        .config
        .history
        .iter()
        .map(|step| {
            let layer = if step.empty_layer {
                None
            } else {
                layers.next()
            };
            HistoryLine {
                created_by: step.created_by.clone().unwrap_or_default(),
                layer: layer.map(|layer| layer.digest),
                size: layer.map_or(0, |layer| layer.size),
            }
        })
        .collect();
    // Some tools write no history, or less of it than there are layers.
    lines.extend(layers.map(|layer| HistoryLine {
        created_by: String::new(),
        layer: Some(layer.digest),
        size: layer.size,
    }));
    Ok(lines)
}

/// How the files of two local images differ, sorted by path.
///
/// # Errors
/// Fails when one of them is not there or cannot be read.
pub fn diff(workspace: &Workspace, before: &str, after: &str) -> Result<Vec<Difference>> {
    let files = |name: &str| -> Result<BTreeMap<PathBuf, Item>> {
        let image = images::inspect(workspace, name)?;
        let mut all = BTreeMap::new();
        for layer in layers(&workspace.store, &image, true)? {
            apply(&mut all, layer.files, |_, _| {});
        }
        Ok(all)
    };
    let (before, mut after) = (files(before)?, files(after)?);
    let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for (path, old) in before {
        let (change, bytes) = match after.remove(&path) {
            None => (Change::Removed, -signed(old.size)),
            Some(new) if new == old => continue,
            Some(new) => (Change::Changed, signed(new.size) - signed(old.size)),
        };
        found.push(Difference {
            path,
            change,
            bytes,
        });
    }
    found.extend(after.into_iter().map(|(path, new)| Difference {
        path,
        change: Change::Added,
        bytes: signed(new.size),
    }));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Reads the layers of an image; contents are hashed only if asked.
pub(crate) fn layers(store: &Store, image: &Image, hashed: bool) -> Result<Vec<LayerFiles>> {
    let mut steps = image.config.history.iter().filter(|step| !step.empty_layer);
    let mut all = Vec::new();
    for blob in &image.manifest.layers {
        let failed =
            |error: io::Error| BuildError::io(format!("read the layer {}", blob.digest), error);
        let file = store.open_blob(&blob.digest).map_err(|error| {
            BuildError::from_source(
                BuildErrorKind::Image,
                format!("open the layer {}", blob.digest),
                error,
            )
        })?;
        let form = Compression::of_media_type(&blob.media_type).unwrap_or(Compression::None);
        let mut archive = tar::Archive::new(form.decoder(file).map_err(failed)?);
        let mut files = Vec::new();
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let path = crate::tree::relative(&entry.path().map_err(failed)?.to_string_lossy());
            let header = entry.header();
            let (kind, mode) = (header.entry_type(), header.mode().unwrap_or(0) & 0o7777);
            let owner = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
            let size = if kind.is_file() { entry.size() } else { 0 };
            let content = match entry.link_name().map_err(failed)? {
                Some(target) => target.to_string_lossy().into_owned(),
                None if hashed && kind.is_file() => {
                    let mut hasher = hoist_oci::Hasher::new();
                    let mut buffer = vec![0; 1 << 16];
                    loop {
                        let n = io::Read::read(&mut entry, &mut buffer).map_err(failed)?;
                        if n == 0 {
                            break;
                        }
                        hasher.update(&buffer[..n]);
                    }
                    hasher.finish().hex()
                }
                None => String::new(),
            };
            files.push((
                path,
                Item {
                    kind,
                    size,
                    mode,
                    owner,
                    content,
                },
            ));
        }
        all.push(LayerFiles {
            created_by: steps
                .next()
                .and_then(|step| step.created_by.clone())
                .unwrap_or_default(),
            size: blob.size,
            files,
        });
    }
    Ok(all)
}

/// A step as one writes it in a Dockerfile, without what builders put around it: the default shell, the arguments, remarks.
pub fn readable(created_by: &str) -> String {
    let text = created_by.trim().trim_end_matches("# buildkit").trim_end();
    // `RUN |1 NAME=value /bin/sh -c command`
    let (keyword, mut rest) = match text.strip_prefix("RUN ") {
        Some(rest) => ("RUN ", rest),
        None => ("", text),
    };
    if keyword == "RUN "
        && rest.starts_with('|')
        && let Some(at) = rest.find("/bin/sh -c ")
    {
        rest = &rest[at..];
    }
    let Some(command) = rest.strip_prefix("/bin/sh -c ") else {
        return format!("{keyword}{rest}");
    };
    match command.strip_prefix("#(nop) ") {
        Some(other) => other.trim().to_owned(),
        None => format!("RUN {}", command.trim_start()),
    }
}

/// Lays the files of a layer over those below. `lost` hears of each file that is covered or deleted by that.
pub(crate) fn apply(
    all: &mut BTreeMap<PathBuf, Item>,
    layer: Vec<(PathBuf, Item)>,
    mut lost: impl FnMut(&PathBuf, &Item),
) {
    for (path, _) in &layer {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        let gone = if name == ".wh..wh..opq" {
            folder.clone()
        } else if let Some(name) = name.strip_prefix(".wh.") {
            folder.join(name)
        } else {
            continue;
        };
        let opaque = gone == folder;
        all.retain(|other, item| {
            let hit = other.starts_with(&gone) && !(opaque && *other == gone);
            if hit {
                lost(other, item);
            }
            !hit
        });
    }
    for (path, item) in layer {
        let marker = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(".wh."));
        if marker || path.as_os_str().is_empty() {
            continue;
        }
        if let Some(old) = all.insert(path.clone(), item) {
            lost(&path, &old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_they_are_written_whoever_built_them() {
        for (written, read) in [
            ("RUN /bin/sh -c rm -rf /x", "RUN rm -rf /x"),
            ("RUN |1 WORD=a b /bin/sh -c make # buildkit", "RUN make"),
            ("RUN make", "RUN make"),
            ("COPY . . # buildkit", "COPY . ."),
            ("/bin/sh -c apt-get update", "RUN apt-get update"),
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", "CMD [\"sh\"]"),
            ("RUN /bin/bash -c x", "RUN /bin/bash -c x"),
            ("", ""),
        ] {
            assert_eq!(readable(written), read);
        }
    }
}
