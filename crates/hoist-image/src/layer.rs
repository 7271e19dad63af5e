//! Layers: from a list of files to a deterministic archive, compressed and hashed as it is made.
//!
//! The same files always give the same bytes: entries are sorted, times are whole seconds, names of users are left out, and the compressed
//! form does not depend on how many threads made it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use hoist_oci::spec::Descriptor;
use hoist_oci::{Compression, Digest, EarlyUploads, Store};

use crate::compress::{Compressed, compress};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::tarball::write_archive;
use crate::tree::Time;
use crate::ztoc;

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub kind: EntryKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Folder,
    File {
        content: Content,
        size: u64,
    },
    Symlink(PathBuf),
    /// The same file as another path of the layer.
    Hardlink(PathBuf),
    Character(u64),
    Block(u64),
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Path(PathBuf),
    /// Part of a file, from an offset on.
    Part(PathBuf, u64),
    Bytes(Vec<u8>),
}

impl Entry {
    pub(crate) fn folder(mode: u32, uid: u32, gid: u32, mtime: Time) -> Entry {
        Entry {
            kind: EntryKind::Folder,
            mode,
            uid,
            gid,
            mtime,
            xattrs: Vec::new(),
        }
    }

    /// An empty file, as whiteouts are written.
    pub(crate) fn whiteout() -> Entry {
        Entry {
            kind: EntryKind::File {
                content: Content::Bytes(Vec::new()),
                size: 0,
            },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

/// The files of a layer by their path without a leading slash; a folder sorts before what is in it.
pub(crate) type Entries = BTreeMap<PathBuf, Entry>;

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredLayer {
    pub diff_id: Digest,
    pub blob: Descriptor,
    /// It was not there before.
    pub fresh: bool,
}

/// How a layer is to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form<'a> {
    pub compression: Compression,
    /// Takes it to a repository while it is compressed.
    pub early: Option<&'a EarlyUploads>,
    /// With a table of contents for lazy loading, where that is worth it.
    pub indexed: bool,
}

impl From<Compression> for Form<'_> {
    fn from(compression: Compression) -> Self {
        Form {
            compression,
            early: None,
            indexed: false,
        }
    }
}

/// Archives, compresses and stores a layer.
pub(crate) fn store_layer(store: &Store, form: Form<'_>, entries: &Entries) -> Result<StoredLayer> {
    store_archive(store, form, |out| write_archive(entries, out))
}

/// Compresses and stores what `produce` writes, which is a tar archive.
pub(crate) fn store_archive(
    store: &Store,
    form: Form<'_>,
    produce: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<StoredLayer> {
    let compression = form.compression;
    let failed = |error| BuildError::from_source(BuildErrorKind::Io, "store a layer", error);
    let mut blob = store.writer().map_err(failed)?;
    if let Some(early) = form.early {
        early.begin(&mut blob);
    }
    let Compressed {
        digest,
        size,
        diff_id,
        contents,
    } = compress(blob, compression, form.indexed, produce)?;
    if let Some(contents) = contents {
        ztoc::remember(store, &diff_id, &digest, &contents).map_err(failed)?;
    }
    let fresh = match store
        .layer_forms(&diff_id)
        .map_err(failed)?
        .into_iter()
        .find(|(form, _)| *form == compression)
    {
        // A table of contents is one of our own blob, not of another's with the same content.
        Some((_, blob)) if !form.indexed || blob.digest == digest => {
            return Ok(StoredLayer {
                diff_id,
                blob,
                fresh: false,
            });
        }
        _ => true,
    };
    let blob = Descriptor::new(compression.media_type(), digest, size);
    store
        .add_layer(&diff_id, compression, &blob)
        .map_err(failed)?;
    Ok(StoredLayer {
        diff_id,
        blob,
        fresh,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compress::PIECE;

    fn entries(size: usize) -> Entries {
        // Text that repeats only far away, so that the window over pieces matters.
        let body: Vec<u8> = (0..size as u32)
            .flat_map(|n| (n / 3 % 70_000).to_be_bytes())
            .take(size)
            .collect();
        let file = |content: &[u8]| EntryKind::File {
            content: Content::Bytes(content.to_vec()),
            size: content.len() as u64,
        };
        let entry = |kind| Entry {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (1_000_000_000, 5),
            xattrs: Vec::new(),
        };
        Entries::from([
            ("d".into(), Entry::folder(0o1777, 3_000_000, 7, (-5, 0))),
            (
                PathBuf::from("d").join("x".repeat(120)),
                entry(file(b"long")),
            ),
            ("d/big".into(), entry(file(&body))),
            (
                "d-e".into(),
                entry(EntryKind::Symlink("y".repeat(150).into())),
            ),
            ("hard".into(), entry(EntryKind::Hardlink("d/big".into()))),
            (
                "x".into(),
                Entry {
                    xattrs: vec![("user.a".into(), b"b\0c".to_vec())],
                    ..entry(file(b""))
                },
            ),
        ])
    }

    #[test]
    fn an_archive_says_what_its_entries_say() {
        let mut out = Vec::new();
        write_archive(&entries(10), &mut out).unwrap();
        assert_eq!(out.len() % 512, 0);
        let mut archive = tar::Archive::new(&out[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let link = entry
                .link_name()
                .unwrap()
                .map(|link| link.display().to_string());
            let pax: Vec<(String, Vec<u8>)> = match entry.pax_extensions().unwrap() {
                Some(records) => records
                    .map(|r| r.unwrap())
                    .map(|r| (r.key().unwrap().into(), r.value_bytes().into()))
                    .collect(),
                None => Vec::new(),
            };
            seen.push((path, link, entry.header().mode().unwrap(), pax));
        }
        assert_eq!(seen[0].0, "d/");
        assert_eq!(seen[0].2, 0o1777);
        assert_eq!(
            seen[0].3,
            [
                ("uid".to_string(), b"3000000".to_vec()),
                ("mtime".to_string(), b"-5".to_vec())
            ]
        );
        assert_eq!(seen[1].0, "d/big");
        assert_eq!(seen[2].0, format!("d/{}", "x".repeat(120)));
        assert_eq!(seen[3].1, Some("y".repeat(150)));
        assert_eq!(seen[4].1.as_deref(), Some("d/big"));
        assert!(
            seen[5]
                .3
                .contains(&("SCHILY.xattr.user.a".into(), b"b\0c".to_vec()))
        );
    }

    #[test]
    fn every_compression_stores_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let entries = entries(3 * PIECE + 17);
        let mut plain = Vec::new();
        write_archive(&entries, &mut plain).unwrap();
        for compression in Compression::ALL {
            let layer = store_layer(&store, compression.into(), &entries).unwrap();
            assert_eq!(layer.diff_id, Digest::of(&plain));
            assert!(layer.fresh);
            let mut back = Vec::new();
            compression
                .decoder(store.open_blob(&layer.blob.digest).unwrap())
                .unwrap()
                .read_to_end(&mut back)
                .unwrap();
            assert!(back == plain, "{compression}");
            assert_eq!(
                store_layer(&store, compression.into(), &entries).unwrap(),
                StoredLayer {
                    fresh: false,
                    ..layer
                }
            );
        }
    }

    #[test]
    fn a_gzip_blob_has_a_member_for_each_piece_and_one_for_lazy_loaders() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let entries = entries(3 * PIECE + 17);
        let mut form = Form::from(Compression::Gzip);
        for (indexed, size) in [(false, PIECE), (true, 3 * PIECE + 17)] {
            form.indexed = indexed;
            let blob = store_layer(&store, form, &entries).unwrap().blob;
            let mut first = Vec::new();
            flate2::read::GzDecoder::new(store.open_blob(&blob.digest).unwrap())
                .read_to_end(&mut first)
                .unwrap();
            assert!(first.len() >= size && (indexed || first.len() == size));
            let again = store_layer(&store, form, &entries).unwrap();
            assert_eq!((again.blob, again.fresh), (blob, false));
        }
        // What lazy loaders cannot read serves everybody else.
        form.indexed = false;
        assert!(!store_layer(&store, form, &entries).unwrap().fresh);
    }

    #[test]
    fn a_failure_leaves_nothing_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let gone = Entries::from([(
            "x".into(),
            Entry {
                kind: EntryKind::File {
                    content: Content::Path("/nowhere".into()),
                    size: 5,
                },
                ..Entry::whiteout()
            },
        )]);
        let error = store_layer(&store, Compression::Gzip.into(), &gone).unwrap_err();
        assert_eq!(error.message(), "failed to read /nowhere");
        let blobs: Vec<_> = walkdir::WalkDir::new(dir.path())
            .into_iter()
            .filter_map(|e| e.ok())
            .filter(|e| e.path().to_string_lossy().contains("sha256/"))
            .collect();
        assert!(blobs.is_empty(), "{blobs:?}");
    }

    #[test]
    fn a_full_disk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        std::fs::create_dir(&mount).unwrap();
        nix::mount::mount(
            Some("none"),
            &mount,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=256k"),
        )
        .unwrap();
        let result = Store::open(&mount).map(|store| {
            let noise: Vec<u8> = (0..2_000_000u64)
                .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
                .collect();
            let size = noise.len() as u64;
            let entries = Entries::from([(
                "x".into(),
                Entry {
                    kind: EntryKind::File {
                        content: Content::Bytes(noise),
                        size,
                    },
                    ..Entry::whiteout()
                },
            )]);
            store_layer(&store, Compression::None.into(), &entries)
        });
        nix::mount::umount(&mount).unwrap();
        let error = result.unwrap().unwrap_err();
        assert_eq!(error.kind(), BuildErrorKind::DiskFull, "{error}");
    }
}
