//! Archives that `ADD` unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use hoist_oci::Compression;
use tar::EntryType;

use crate::bunzip::Bunzip;
use crate::device;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::{Content, Entry, EntryKind};

/// How an archive may be compressed: as layers are, or in one of the older ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Oci(Compression),
    Bzip2,
    Xz,
}

impl Packing {
    /// The packing of a file, by its first six bytes.
    pub(crate) fn of_magic(start: &[u8]) -> Packing {
        match start {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Packing::Bzip2,
            start => Packing::Oci(Compression::of_magic(start)),
        }
    }

    pub(crate) fn decoder<'a, R: Read + Send + 'a>(
        self,
        file: R,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Packing::Oci(compression) => compression.decoder(file)?,
            Packing::Bzip2 => Box::new(Bunzip::new(file)),
            Packing::Xz => Box::new(lzma_rust2::XzReader::new(io::BufReader::new(file), true)),
        })
    }
}

/// No archive of files is packed better than this, beyond [`PLAUSIBLE`] bytes.
const RATIO: u64 = 200;
/// Up to here, nobody asks.
const PLAUSIBLE: u64 = 256 << 20;

/// What an archive holds.
pub(crate) struct Unpacked {
    /// In the archive's order: a later entry replaces an earlier one of the same name.
    pub entries: Vec<(PathBuf, Entry)>,
    /// The decompressed archive, to which the entries refer.
    pub spool: Option<tempfile::TempPath>,
}

/// Reads an archive; `None` if the file is something else, whatever its name says.
pub(crate) fn open(file: &Path, spool: &Path) -> Result<Option<Unpacked>> {
    let failed = |error| BuildError::io(format!("read the archive {}", file.display()), error);
    let mut start = [0; 8];
    let mut source = File::open(file).map_err(failed)?;
    let read = read_up_to(&mut source, &mut start).map_err(failed)?;
    source.seek(SeekFrom::Start(0)).map_err(failed)?;
    let start = &start[..read];
    let packing = Packing::of_magic(start);
    let (path, held) = if packing == Packing::Oci(Compression::None) {
        if !looks_like_tar(&mut source).map_err(failed)? {
            return Ok(None);
        }
        (file.to_owned(), None)
    } else {
        {
            // A compressed file that is no archive is added as it is, damaged ones too.
            let mut decoder = packing.decoder(&source).map_err(failed)?;
            match looks_like_tar(&mut decoder) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ok(None),
            }
        }
        source.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut plain = crate::spool::file(spool, "archive").map_err(failed)?;
        let mut decoder = packing.decoder(&source).map_err(failed)?;
        let packed = source.metadata().map_err(failed)?.len();
        let limit = PLAUSIBLE.max(packed.saturating_mul(RATIO));
        let copied =
            io::copy(&mut decoder.by_ref().take(limit + 1), plain.as_file_mut()).map_err(failed)?;
        if copied > limit {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!(
                    "the archive {} unpacks to more than {RATIO} times its size, as only bombs do",
                    file.display()
                ),
            )
            .with_hint(
                "unpack it yourself and copy the files, or add it as it is with ADD --unpack=false",
            ));
        }
        let path = plain.into_temp_path();
        (path.to_path_buf(), Some(path))
    };
    let mut archive = tar::Archive::new(File::open(&path).map_err(failed)?);
    let mut entries = Vec::new();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if let Some(found) = read_entry(&mut entry, &path, file)? {
            entries.push(found);
        }
    }
    Ok(Some(Unpacked {
        entries,
        spool: held,
    }))
}

fn read_entry<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    plain: &Path,
    file: &Path,
) -> Result<Option<(PathBuf, Entry)>> {
    let failed = |error| BuildError::io(format!("read the archive {}", file.display()), error);
    let written = entry.path().map_err(failed)?.into_owned();
    let path = inside(&written, file)?;
    let mut xattrs = Vec::new();
    let mut mtime = None;
    let mut owners = [None, None];
    if let Some(records) = entry.pax_extensions().map_err(failed)? {
        for record in records {
            // A record that the reader cannot split (a value with a line end) is left out: times and owners never are such.
            let Ok(record) = record else { continue };
            let key = record.key().unwrap_or_default().to_owned();
            let text = record.value().unwrap_or_default();
            match key.as_str() {
                "mtime" => mtime = text.split('.').next().and_then(|text| text.parse().ok()),
                "uid" => owners[0] = text.parse().ok(),
                "gid" => owners[1] = text.parse().ok(),
                _ => {
                    if let Some(name) = key
                        .strip_prefix("SCHILY.xattr.")
                        .filter(|name| name.starts_with("user.") || *name == "security.capability")
                    {
                        xattrs.push((name.to_owned(), record.value_bytes().to_vec()));
                    }
                }
            }
        }
    }
    xattrs.sort();
    let header = entry.header();
    let id = |value: u64| u32::try_from(value).unwrap_or(0);
    let device = || -> io::Result<u64> {
        let (major, minor) = (
            header.device_major()?.unwrap_or(0),
            header.device_minor()?.unwrap_or(0),
        );
        Ok(device::number(major, minor))
    };
    let link = || -> Result<PathBuf> {
        Ok(entry
            .link_name()
            .map_err(failed)?
            .unwrap_or_default()
            .into_owned())
    };
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => EntryKind::File {
            content: Content::Part(plain.into(), entry.raw_file_position()),
            size: entry.size(),
        },
        EntryType::Directory => EntryKind::Folder,
        EntryType::Symlink => EntryKind::Symlink(link()?),
        EntryType::Link => EntryKind::Hardlink(inside(&link()?, file)?),
        EntryType::Char => EntryKind::Character(device().map_err(failed)?),
        EntryType::Block => EntryKind::Block(device().map_err(failed)?),
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::XGlobalHeader => return Ok(None),
        other => {
            return Err(BuildError::new(
                BuildErrorKind::Unsupported,
                format!(
                    "{} in the archive {} is of a kind ({other:?}) that cannot be unpacked",
                    written.display(),
                    file.display()
                ),
            )
            .with_hint("make the archive without --sparse"));
        }
    };
    // Some tools leave numbers empty; that is 0.
    let found = Entry {
        kind,
        mode: header.mode().map_err(failed)? & 0o7777,
        uid: owners[0].unwrap_or(id(header.uid().unwrap_or(0))),
        gid: owners[1].unwrap_or(id(header.gid().unwrap_or(0))),
        mtime: (
            mtime.unwrap_or(i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0)),
            0,
        ),
        xattrs,
    };
    Ok(Some((path, found)))
}

/// A path of an archive, which must not lead out of it.
fn inside(path: &Path, file: &Path) -> Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir if !out.pop() => {
                return Err(BuildError::new(
                    BuildErrorKind::Context,
                    format!(
                        "{} in the archive {} leads out of it",
                        path.display(),
                        file.display()
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(out)
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether the first block is a tar header with the right sum, or the end of an empty archive.
fn looks_like_tar(reader: &mut impl Read) -> io::Result<bool> {
    let mut block = [0; 512];
    if read_up_to(reader, &mut block)? < block.len() {
        return Ok(false);
    }
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    let header = tar::Header::from_byte_slice(&block);
    Ok(header.cksum().is_ok_and(|said| said == sum))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::layer::Entries;
    use crate::tarball::write_archive;

    fn archive() -> Vec<u8> {
        let file = |bytes: &[u8]| Entry {
            kind: EntryKind::File {
                content: Content::Bytes(bytes.to_vec()),
                size: bytes.len() as u64,
            },
            mode: 0o640,
            ..Entry::whiteout()
        };
        let mut out = Vec::new();
        let entries = Entries::from([
            ("d".into(), Entry::folder(0o750, 5, 6, (7, 0))),
            ("d/f".into(), file(b"hello")),
            (
                "l".into(),
                Entry {
                    kind: EntryKind::Symlink("d/f".into()),
                    ..Entry::whiteout()
                },
            ),
        ]);
        write_archive(&entries, &mut out).unwrap();
        out
    }

    #[test]
    fn archives_are_known_by_their_content() {
        let dir = tempfile::tempdir().unwrap();
        for compression in Compression::ALL {
            let path = dir.path().join("no-suffix");
            let mut encoder = compression.encoder(File::create(&path).unwrap()).unwrap();
            encoder.write_all(&archive()).unwrap();
            encoder.finish().unwrap();
            let unpacked = open(&path, dir.path()).unwrap().unwrap();
            let names: Vec<_> = unpacked
                .entries
                .iter()
                .map(|(path, _)| path.to_str().unwrap())
                .collect();
            assert_eq!(names, ["d", "d/f", "l"]);
            assert_eq!(
                (unpacked.entries[0].1.uid, unpacked.entries[0].1.mode),
                (5, 0o750)
            );
            let EntryKind::File {
                content: Content::Part(plain, offset),
                size: 5,
            } = &unpacked.entries[1].1.kind
            else {
                panic!()
            };
            let bytes = std::fs::read(plain).unwrap();
            assert_eq!(&bytes[*offset as usize..][..5], b"hello");
        }
    }

    #[test]
    fn archives_of_xz_and_bzip2_are_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("a.tar");
        for program in ["xz", "bzip2"] {
            std::fs::write(&plain, archive()).unwrap();
            let done = std::process::Command::new(program).arg(&plain).status();
            assert!(done.expect("the tests need xz-utils and bzip2").success());
            let packed = dir.path().join(if program == "xz" {
                "a.tar.xz"
            } else {
                "a.tar.bz2"
            });
            let unpacked = open(&packed, dir.path()).unwrap().unwrap();
            assert_eq!(unpacked.entries.len(), 3, "{program}");
        }
    }

    #[test]
    fn other_files_are_no_archives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.gz");
        for content in [
            &b""[..],
            b"hello",
            &[7; 2000],
            &[0x1f, 0x8b, 1, 2, 3],
            b"\xfd7zXZ\0rest",
            b"BZh9rest",
        ] {
            std::fs::write(&path, content).unwrap();
            assert!(open(&path, dir.path()).unwrap().is_none());
        }
    }

    #[test]
    fn entries_cannot_lead_out() {
        assert!(inside(Path::new("a/../../x"), Path::new("f")).is_err());
        assert_eq!(
            inside(Path::new("/a/../b"), Path::new("f")).unwrap(),
            Path::new("b")
        );
    }
}
