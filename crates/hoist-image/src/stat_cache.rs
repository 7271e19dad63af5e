//! What an earlier build knew of the files of a context: the digest of each, which holds as long as its stamp is the same.
//!
//! The file is read as it lies, and its records are in the order of a walk, so that a walk finds each where it stands: nothing is copied or hashed for it.

use std::cmp::Ordering;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hoist_oci::Digest;

/// How the file begins; another version is ignored.
const VERSION: &[u8] = b"hoist context 3\n";

/// Size, times, inode, digest and the length of the path, all of fixed width, before the path.
const RECORD: usize = 8 + 16 + 16 + 8 + 32 + 4;

/// Files that changed so shortly before they were hashed may change again without a new time stamp.
const RACY: Duration = Duration::from_secs(2);

/// What tells that a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    pub(crate) mtime: i128,
    pub(crate) ctime: i128,
    inode: u64,
}

impl Stamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Stamp {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Stamp {
            size: metadata.len(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// Which of two paths a walk meets first: a folder comes before what is in it, and names are sorted.
pub(crate) fn in_walk_order(one: &[u8], other: &[u8]) -> Ordering {
    // Nothing in a name is smaller than what parts it from the next.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match one.iter().zip(other).find(|(a, b)| a != b) {
        Some((a, b)) => rank(*a).cmp(&rank(*b)),
        None => one.len().cmp(&other.len()),
    }
}

/// The digests that are kept of a context.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// Where each record begins.
    records: Vec<usize>,
}

impl Kept {
    /// Reads what an earlier build kept: nothing, where not all of it can be read.
    pub(crate) fn read(file: &Path) -> Kept {
        let bytes = fs::read(file).unwrap_or_default();
        let records = records(&bytes).unwrap_or_default();
        Kept { bytes, records }
    }

    fn path(&self, record: usize) -> &[u8] {
        let start = self.records[record];
        let end = self.records.get(record + 1).copied();
        &self.bytes[start + RECORD..end.unwrap_or(self.bytes.len())]
    }

    fn stamp(&self, record: usize) -> (Stamp, Digest) {
        let at = self.records[record];
        let number = |from: usize| u64::from_le_bytes(self.field(at + from));
        let time = |from: usize| i128::from_le_bytes(self.field(at + from));
        let stamp = Stamp {
            size: number(0),
            mtime: time(8),
            ctime: time(24),
            inode: number(40),
        };
        (stamp, Digest::from_bytes(self.field(at + 48)))
    }

    fn field<const N: usize>(&self, from: usize) -> [u8; N] {
        *self.bytes[from..]
            .first_chunk()
            .expect("all records were read")
    }

    /// The digest of a file whose stamp is still the same. `next` is where the last search ended: a walk finds most files there.
    pub(crate) fn digest(&self, next: &mut usize, path: &[u8], stamp: &Stamp) -> Option<Digest> {
        let found = match *next < self.records.len() && self.path(*next) == path {
            true => *next,
            false => self.search(path).inspect_err(|at| *next = *at).ok()?,
        };
        *next = found + 1;
        let (kept, digest) = self.stamp(found);
        (kept == *stamp).then_some(digest)
    }

    fn search(&self, path: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.records.len());
        while low < high {
            let middle = low.midpoint(high);
            match in_walk_order(self.path(middle), path) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Writes what is known now, in the order of a walk: files, with their digests as far as they are known. What other builds of the folder saw, and this
    /// one did not, stays as it was.
    pub(crate) fn write<'a>(
        &self,
        file: &Path,
        files: impl Iterator<Item = (&'a [u8], &'a Stamp, Option<&'a Digest>)>,
    ) -> io::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let newest = i128::try_from(now.saturating_sub(RACY).as_nanos()).unwrap_or(0);
        let mut out = Vec::from(VERSION);
        let mut next = 0;
        for (path, stamp, digest) in files {
            while next < self.records.len() {
                match in_walk_order(self.path(next), path) {
                    Ordering::Less => out.extend(self.record(next)),
                    Ordering::Equal => {}
                    Ordering::Greater => break,
                }
                next += 1;
            }
            if let Some(digest) = digest
                && stamp.mtime.max(stamp.ctime) < newest
            {
                put(&mut out, path, stamp, digest);
            }
        }
        for record in next..self.records.len() {
            out.extend(self.record(record));
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(&out)?;
        temporary.persist(file).map_err(|error| error.error)?;
        Ok(())
    }

    fn record(&self, record: usize) -> &[u8] {
        let end = self.records.get(record + 1).copied();
        &self.bytes[self.records[record]..end.unwrap_or(self.bytes.len())]
    }
}

/// Where the records of a file begin; `None` if it ends within one.
fn records(bytes: &[u8]) -> Option<Vec<usize>> {
    bytes.strip_prefix(VERSION)?;
    let mut records = Vec::with_capacity(bytes.len() / (RECORD + 16));
    let mut at = VERSION.len();
    while at < bytes.len() {
        records.push(at);
        let length = bytes.get(at + RECORD - 4..at + RECORD)?.first_chunk()?;
        at += RECORD + u32::from_le_bytes(*length) as usize;
    }
    (at == bytes.len()).then_some(records)
}

fn put(out: &mut Vec<u8>, path: &[u8], stamp: &Stamp, digest: &Digest) {
    let Ok(length) = u32::try_from(path.len()) else {
        return;
    };
    out.extend(stamp.size.to_le_bytes());
    out.extend(stamp.mtime.to_le_bytes());
    out.extend(stamp.ctime.to_le_bytes());
    out.extend(stamp.inode.to_le_bytes());
    out.extend(digest.as_bytes());
    out.extend(length.to_le_bytes());
    out.extend(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp {
            size,
            mtime: -1,
            ctime: 1 << 70,
            inode: 7,
        }
    }

    /// A file with these paths, each with its length as the size, and its text as the digest's source.
    fn written(paths: &[&str]) -> Vec<u8> {
        let mut out = Vec::from(VERSION);
        for path in paths {
            let digest = Digest::of(path.as_bytes());
            put(
                &mut out,
                path.as_bytes(),
                &stamp(path.len() as u64),
                &digest,
            );
        }
        out
    }

    fn kept(bytes: Vec<u8>) -> Kept {
        let records = records(&bytes).unwrap();
        Kept { bytes, records }
    }

    #[test]
    fn a_folder_comes_before_what_is_in_it_and_that_before_its_neighbours() {
        let paths = ["", "a", "a/b", "a/b/c", "a/c", "a-b", "a.b", "aa", "b"];
        for (i, one) in paths.iter().enumerate() {
            for (j, other) in paths.iter().enumerate() {
                let order = in_walk_order(one.as_bytes(), other.as_bytes());
                assert_eq!(order, i.cmp(&j), "{one} {other}");
            }
        }
    }

    #[test]
    fn files_are_found_in_any_order_while_their_stamp_is_the_same() {
        let kept = kept(written(&["a", "a/b", "a-b", "c"]));
        let mut next = 0;
        for path in ["a", "a/b", "c", "a-b", "c", "a"] {
            let found = kept.digest(&mut next, path.as_bytes(), &stamp(path.len() as u64));
            assert_eq!(found, Some(Digest::of(path.as_bytes())), "{path}");
        }
        for absent in ["", "a/a", "b", "d"] {
            let found = kept.digest(&mut next, absent.as_bytes(), &stamp(1));
            assert_eq!(found, None, "{absent}");
        }
        assert_eq!(kept.digest(&mut next, b"c", &stamp(2)), None);
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let whole = written(&["a", "b"]);
        assert_eq!(records(&whole).unwrap().len(), 2);
        for end in [0, 3, VERSION.len() + 3, whole.len() - 1] {
            assert_eq!(records(&whole[..end]), None, "{end}");
        }
        assert_eq!(records(VERSION), Some(Vec::new()));
    }

    #[test]
    fn what_this_build_did_not_see_stays_and_what_it_saw_without_a_digest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/kept");
        let before = kept(written(&["a", "b", "d", "z"]));
        let (old, digest) = (
            Stamp {
                ctime: 1,
                ..stamp(5)
            },
            Digest::of(b"new"),
        );
        let racy = stamp(6);
        let files: [(&[u8], &Stamp, Option<&Digest>); 4] = [
            (b"b", &old, Some(&digest)),
            (b"c", &old, Some(&digest)),
            (b"d", &old, None),
            (b"e", &racy, Some(&digest)),
        ];
        before.write(&file, files.into_iter()).unwrap();
        let after = Kept::read(&file);
        let paths: Vec<&[u8]> = (0..after.records.len()).map(|at| after.path(at)).collect();
        assert_eq!(paths, [b"a", b"b", b"c", b"z"]);
        assert_eq!(after.digest(&mut 0, b"b", &old), Some(digest));
        let z = after.digest(&mut 0, b"z", &stamp(1));
        assert_eq!(z, Some(Digest::of(b"z")));
    }
}
