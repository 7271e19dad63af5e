//! Layers: from a list of files to a deterministic archive, compressed and hashed as it is made.
//!
//! The same files always give the same bytes: entries are sorted, times are whole seconds, names of users are left out, and the compressed
//! form does not depend on how many threads made it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, SyncSender};

use flate2::{Compress, Crc, FlushCompress, Status};
use hoist_oci::spec::Descriptor;
use hoist_oci::{BlobWriter, Compression, Digest, Hasher, Store};
use tar::{EntryType, Header};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::tree::Time;

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

/// Archives, compresses and stores a layer.
pub(crate) fn store_layer(
    store: &Store,
    compression: Compression,
    entries: &Entries,
) -> Result<StoredLayer> {
    store_archive(store, compression, |out| write_archive(entries, out))
}

/// Compresses and stores what `produce` writes, which is a tar archive.
pub(crate) fn store_archive(
    store: &Store,
    compression: Compression,
    produce: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<StoredLayer> {
    let failed = |error| BuildError::from_source(BuildErrorKind::Io, "store a layer", error);
    let blob = store.writer().map_err(failed)?;
    let (digest, size, diff_id) = compress(blob, compression, produce)?;
    let fresh = match store
        .layer_forms(&diff_id)
        .map_err(failed)?
        .into_iter()
        .find(|(form, _)| *form == compression)
    {
        Some((_, blob)) => {
            return Ok(StoredLayer {
                diff_id,
                blob,
                fresh: false,
            });
        }
        None => true,
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

/// Bytes that one thread compresses at a time. Part of what makes blobs the same everywhere.
const PIECE: usize = 1 << 20;
/// How far gzip looks back.
const WINDOW: usize = 32 << 10;
/// Level 6 costs twice the time of 4 for 2 % of size; measured on Debian's base files.
const GZIP_LEVEL: u32 = 5;

fn compress(
    blob: BlobWriter,
    compression: Compression,
    produce: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(Digest, u64, Digest)> {
    let workers = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(8);
    std::thread::scope(|scope| {
        let (to_hash, pieces) = mpsc::sync_channel::<Arc<Vec<u8>>>(4);
        let hashing = scope.spawn(move || {
            let (mut hasher, mut crc) = (Hasher::new(), Crc::new());
            for piece in pieces {
                hasher.update(&piece);
                crc.update(&piece);
            }
            (hasher.finish(), crc)
        });
        let (to_write, jobs) = mpsc::sync_channel::<Receiver<Vec<u8>>>(workers + 2);
        let writing = scope.spawn(move || -> std::result::Result<BlobWriter, io::Error> {
            let mut blob = blob;
            if compression == Compression::Gzip {
                // No name, no time, an unknown system: nothing that differs between machines.
                blob.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
                for job in jobs {
                    blob.write_all(
                        &job.recv()
                            .map_err(|_| io::Error::other("a compressing thread ended early"))?,
                    )?;
                }
                return Ok(blob);
            }
            let mut encoder = compression.encoder(blob)?;
            for job in jobs {
                encoder.write_all(
                    &job.recv()
                        .map_err(|_| io::Error::other("the archive ended early"))?,
                )?;
            }
            encoder.finish()
        });
        let (to_workers, work) = mpsc::sync_channel::<Job>(workers);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..if compression == Compression::Gzip {
            workers
        } else {
            0
        } {
            let work = Arc::clone(&work);
            scope.spawn(move || {
                loop {
                    let job = match work.lock() {
                        Ok(work) => work.recv(),
                        Err(_) => return,
                    };
                    let Ok(job) = job else { return };
                    // A receiver that is gone has its own error.
                    let _ = job.done.send(deflate(&job.piece, &job.before, job.last));
                }
            });
        }
        drop(work);
        let mut cutter = Cutter {
            buffer: Vec::with_capacity(PIECE),
            before: Vec::new(),
            compression,
            to_hash,
            to_write,
            to_workers,
        };
        let produced = produce(&mut cutter);
        let cut = cutter.end();
        let (diff_id, crc) = hashing
            .join()
            .map_err(|_| BuildError::new(BuildErrorKind::Io, "the hashing thread panicked"))?;
        let written = writing
            .join()
            .map_err(|_| BuildError::new(BuildErrorKind::Io, "the writing thread panicked"))?;
        // What broke the pipe is the cause; the producer only saw that it broke.
        let mut blob =
            written.map_err(|error| BuildError::io("write a layer to the store", error))?;
        produced?;
        cut.map_err(|error| BuildError::io("compress a layer", error))?;
        if compression == Compression::Gzip {
            let mut trailer = crc.sum().to_le_bytes().to_vec();
            trailer.extend(crc.amount().to_le_bytes());
            blob.write_all(&trailer)
                .map_err(|error| BuildError::io("write a layer to the store", error))?;
        }
        let (digest, size) = blob
            .commit()
            .map_err(|error| BuildError::from_source(BuildErrorKind::Io, "store a layer", error))?;
        Ok((digest, size, diff_id))
    })
}

struct Job {
    piece: Arc<Vec<u8>>,
    before: Vec<u8>,
    last: bool,
    done: SyncSender<Vec<u8>>,
}

/// Cuts a stream into pieces and hands each to the threads.
struct Cutter {
    buffer: Vec<u8>,
    before: Vec<u8>,
    compression: Compression,
    to_hash: SyncSender<Arc<Vec<u8>>>,
    to_write: SyncSender<Receiver<Vec<u8>>>,
    to_workers: SyncSender<Job>,
}

impl Cutter {
    fn cut(&mut self, last: bool) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the store takes no more");
        let piece = Arc::new(std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(PIECE),
        ));
        let (done, result) = mpsc::sync_channel(1);
        self.to_write.send(result).map_err(|_| gone())?;
        self.to_hash.send(Arc::clone(&piece)).map_err(|_| gone())?;
        if self.compression == Compression::Gzip {
            let tail = piece[piece.len().saturating_sub(WINDOW)..].to_vec();
            let before = std::mem::replace(&mut self.before, tail);
            self.to_workers
                .send(Job {
                    piece,
                    before,
                    last,
                    done,
                })
                .map_err(|_| gone())
        } else {
            done.send(piece.to_vec()).map_err(|_| gone())
        }
    }

    fn end(mut self) -> io::Result<()> {
        self.cut(true)
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == PIECE {
            self.cut(false)?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses one piece so that it can follow the one before it in the same stream.
fn deflate(piece: &[u8], before: &[u8], last: bool) -> Vec<u8> {
    let mut compress = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
    if !before.is_empty() {
        compress
            .set_dictionary(before)
            .expect("a new stream takes a dictionary");
    }
    let mut out = Vec::with_capacity(piece.len() / 2 + 1024);
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    loop {
        let read = usize::try_from(compress.total_in()).expect("a piece fits in memory");
        let status = compress
            .compress_vec(&piece[read..], &mut out, flush)
            .expect("deflate does not fail in memory");
        let all_read =
            usize::try_from(compress.total_in()).expect("a piece fits in memory") == piece.len();
        // A flush is complete only when it left room in the output.
        if status == Status::StreamEnd || (!last && all_read && out.len() < out.capacity()) {
            return out;
        }
        out.reserve(piece.len() / 4 + 1024);
    }
}

/// Writes entries as a tar archive in the pax format.
pub(crate) fn write_archive(entries: &Entries, out: &mut dyn Write) -> Result<()> {
    for (path, entry) in entries {
        write_entry(path, entry, out)?;
    }
    out.write_all(&[0; 1024]).map_err(archive_failed)
}

fn archive_failed(error: io::Error) -> BuildError {
    BuildError::io("write a layer", error)
}

fn write_entry(path: &Path, entry: &Entry, out: &mut dyn Write) -> Result<()> {
    let mut name = path.as_os_str().as_bytes().to_vec();
    let mut header = Header::new_ustar();
    let mut pax = Vec::new();
    let mut link: Option<&Path> = None;
    let mut size = 0;
    let kind = match &entry.kind {
        EntryKind::Folder => {
            name.push(b'/');
            EntryType::Directory
        }
        EntryKind::File { size: bytes, .. } => {
            size = *bytes;
            EntryType::Regular
        }
        EntryKind::Symlink(target) => {
            link = Some(target);
            EntryType::Symlink
        }
        EntryKind::Hardlink(target) => {
            link = Some(target);
            EntryType::Link
        }
        EntryKind::Character(device) | EntryKind::Block(device) => {
            let (major, minor) = (
                nix::sys::stat::major(*device),
                nix::sys::stat::minor(*device),
            );
            header
                .set_device_major(u32::try_from(major).unwrap_or(0))
                .map_err(archive_failed)?;
            header
                .set_device_minor(u32::try_from(minor).unwrap_or(0))
                .map_err(archive_failed)?;
            if matches!(entry.kind, EntryKind::Character(_)) {
                EntryType::Char
            } else {
                EntryType::Block
            }
        }
        EntryKind::Fifo => EntryType::Fifo,
    };
    header.set_entry_type(kind);
    put_text(&mut header.as_old_mut().name, &name, b"path", &mut pax);
    if let Some(link) = link {
        put_text(
            &mut header.as_old_mut().linkname,
            link.as_os_str().as_bytes(),
            b"linkpath",
            &mut pax,
        );
    }
    header.set_mode(entry.mode & 0o7777);
    // What does not fit into the octal fields goes into pax records.
    let mut number = |value: u64, limit: u64, key: &[u8]| {
        if value > limit {
            put_record(&mut pax, key, value.to_string().as_bytes());
        }
        value.min(limit)
    };
    const OCTAL_7: u64 = 0o7_777_777;
    const OCTAL_11: u64 = 0o77_777_777_777;
    header.set_uid(number(entry.uid.into(), OCTAL_7, b"uid"));
    header.set_gid(number(entry.gid.into(), OCTAL_7, b"gid"));
    header.set_size(number(size, OCTAL_11, b"size"));
    header.set_mtime(number(
        u64::try_from(entry.mtime.0).unwrap_or(0),
        OCTAL_11,
        b"mtime",
    ));
    if entry.mtime.0 < 0 {
        put_record(&mut pax, b"mtime", entry.mtime.0.to_string().as_bytes());
    }
    for (key, value) in &entry.xattrs {
        put_record(&mut pax, format!("SCHILY.xattr.{key}").as_bytes(), value);
    }
    if !pax.is_empty() {
        let mut extra = Header::new_ustar();
        extra.set_entry_type(EntryType::XHeader);
        let mut name = b"PaxHeaders.0/".to_vec();
        name.extend(path.file_name().map(OsStrExt::as_bytes).unwrap_or_default());
        name.truncate(100);
        extra.as_old_mut().name[..name.len()].copy_from_slice(&name);
        extra.set_mode(0);
        extra.set_uid(0);
        extra.set_gid(0);
        extra.set_mtime(0);
        extra.set_size(pax.len() as u64);
        extra.set_cksum();
        out.write_all(extra.as_bytes()).map_err(archive_failed)?;
        out.write_all(&pax).map_err(archive_failed)?;
        pad(pax.len() as u64, out)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(archive_failed)?;
    if let EntryKind::File { content, size } = &entry.kind {
        match content {
            Content::Bytes(bytes) => out.write_all(bytes).map_err(archive_failed)?,
            Content::Path(real) => write_file(real, *size, out)?,
            Content::Part(real, offset) => write_part(real, *offset, *size, out)?,
        }
        pad(*size, out)?;
    }
    Ok(())
}

fn write_file(real: &Path, size: u64, out: &mut dyn Write) -> Result<()> {
    let failed = |error| BuildError::io(format!("read {}", real.display()), error);
    let mut file = File::open(real).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    let mut left = size;
    loop {
        let n = match file.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if n as u64 > left || (n == 0 && left > 0) {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("{} changed while it was read", real.display()),
            )
            .with_hint("let what writes it finish, and build again"));
        }
        if n == 0 {
            return Ok(());
        }
        left -= n as u64;
        out.write_all(&buffer[..n]).map_err(archive_failed)?;
    }
}

fn write_part(real: &Path, offset: u64, size: u64, out: &mut dyn Write) -> Result<()> {
    let failed = |error| BuildError::io(format!("read {}", real.display()), error);
    let mut file = File::open(real).map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    // Writing fails with its own words; what is short here is the file.
    let copied = io::copy(&mut file.take(size), out).map_err(archive_failed)?;
    if copied != size {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

fn pad(size: u64, out: &mut dyn Write) -> Result<()> {
    let rest = usize::try_from(size % 512).unwrap_or(0);
    if rest > 0 {
        out.write_all(&[0; 512][rest..]).map_err(archive_failed)?;
    }
    Ok(())
}

fn put_text(field: &mut [u8; 100], text: &[u8], key: &[u8], pax: &mut Vec<u8>) {
    if text.len() > field.len() {
        put_record(pax, key, text);
    }
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text[..fits]);
}

/// `length key=value\n`, the length counting itself.
fn put_record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend(key);
    pax.push(b'=');
    pax.extend(value);
    pax.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let layer = store_layer(&store, compression, &entries).unwrap();
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
                store_layer(&store, compression, &entries).unwrap(),
                StoredLayer {
                    fresh: false,
                    ..layer
                }
            );
        }
        let gzip = &store
            .layer_forms(&Digest::of(&plain))
            .unwrap()
            .into_iter()
            .find(|(form, _)| *form == Compression::Gzip)
            .unwrap()
            .1;
        // One member, as the lazy loaders want it: a reader of single members sees everything.
        let mut one = Vec::new();
        flate2::read::GzDecoder::new(store.open_blob(&gzip.digest).unwrap())
            .read_to_end(&mut one)
            .unwrap();
        assert_eq!(one.len(), plain.len());
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
        let error = store_layer(&store, Compression::Gzip, &gone).unwrap_err();
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
            store_layer(&store, Compression::None, &entries)
        });
        nix::mount::umount(&mount).unwrap();
        let error = result.unwrap().unwrap_err();
        assert_eq!(error.kind(), BuildErrorKind::DiskFull, "{error}");
    }
}
