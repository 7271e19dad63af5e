//! The build context: walked once, hashed once, and not even that where nothing changed.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hoist_oci::{Digest, Hasher};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::{Ignore, Verdict};
use crate::tree::{self, Node, NodeKind, Tree};

/// Files that changed so shortly before they were hashed may change again without a new time stamp.
const RACY: Duration = Duration::from_secs(2);

/// Files of a folder from which on a second thread is worth its start.
const LARGE: usize = 256;

/// The files that a build may copy.
#[derive(Debug)]
pub(crate) struct Context {
    pub root: PathBuf,
    pub ignore: Ignore,
    /// In the order of a walk: a folder comes before what is in it, and names are sorted.
    entries: Vec<Entry>,
    /// Where in `entries` a path is.
    places: HashMap<OsString, usize>,
    hashes: Hashes,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    node: Node,
    stamp: Stamp,
    /// Of a file, as soon as it is known.
    digest: OnceLock<Digest>,
    /// What is visible in a folder.
    names: Vec<OsString>,
}

/// What tells that a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
}

/// The digests that an earlier build knew, and the file that keeps them.
#[derive(Debug)]
struct Hashes {
    file: PathBuf,
    known: HashMap<OsString, (Stamp, Digest)>,
    /// Whether this build read a file that it did not know.
    changed: AtomicBool,
}

impl Context {
    /// Walks a context.
    pub(crate) fn open(root: &Path, ignore: Ignore, cache: &Path) -> Result<Context> {
        let root = fs::canonicalize(root).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BuildError::new(BuildErrorKind::Context, format!("the build context {} does not exist", root.display()))
                .with_hint("`image.context` in hoist.yaml names the folder that COPY reads, relative to hoist.yaml"),
            _ => BuildError::io(format!("open the build context {}", root.display()), error),
        })?;
        if !root.is_dir() {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("the build context {} is not a folder", root.display()),
            ));
        }
        let file = cache.join(Digest::of(root.as_os_str().as_bytes()).hex());
        let mut context = Context {
            root: root.clone(),
            ignore,
            entries: Vec::new(),
            places: HashMap::new(),
            hashes: Hashes {
                known: read_hashes(&file).unwrap_or_default(),
                file,
                changed: AtomicBool::new(false),
            },
        };
        let metadata = fs::symlink_metadata(&root)
            .map_err(|error| BuildError::io(format!("read {}", root.display()), error))?;
        context.enter(PathBuf::new(), root, &metadata)?;
        context.walk(0, &Verdict::default())?;
        let place = |(place, entry): (usize, &Entry)| (entry.path.clone().into_os_string(), place);
        context.places = context.entries.iter().enumerate().map(place).collect();
        Ok(context)
    }

    /// Adds a file at the end; false for what no image can hold.
    fn enter(&mut self, path: PathBuf, real: PathBuf, metadata: &fs::Metadata) -> Result<bool> {
        let shown = real.clone();
        let failed = |error| BuildError::io(format!("read {}", shown.display()), error);
        let Some(mut node) = Node::of(real, metadata).map_err(failed)? else {
            return Ok(false);
        };
        // Owners of the machine that builds are no business of the image.
        (node.uid, node.gid) = (0, 0);
        let stamp = Stamp::of(metadata);
        let digest = OnceLock::new();
        if let Some((known, kept)) = self.hashes.known.get(path.as_os_str())
            && *known == stamp
        {
            let _ = digest.set(*kept);
        }
        self.entries.push(Entry {
            path,
            node,
            stamp,
            digest,
            names: Vec::new(),
        });
        Ok(true)
    }

    /// Enters what is visible in the folder at that place.
    fn walk(&mut self, place: usize, verdict: &Verdict) -> Result<()> {
        let (folder, real) = (
            self.entries[place].path.clone(),
            self.entries[place].node.real.clone(),
        );
        let failed = |error: io::Error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let error = BuildError::io(format!("read the folder {}", real.display()), error);
            if denied {
                error.with_hint("make it readable, or name it in .dockerignore")
            } else {
                error
            }
        };
        let mut files = fs::read_dir(&real)
            .map_err(failed)?
            .map(|file| file.map(|file| (file.file_name(), file)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut visible = Vec::new();
        for (name, judged) in self.judged(&folder, files, verdict) {
            let (path, verdict, metadata) = match judged {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(Unseen::NotUtf8(path)) => {
                    return Err(BuildError::new(
                        BuildErrorKind::Context,
                        format!(
                            "the name of {} is not UTF-8",
                            self.root.join(&path).display()
                        ),
                    )
                    .with_hint("rename it, or name its folder in .dockerignore"));
                }
                Err(Unseen::Io(error)) => return Err(failed(error)),
            };
            let place = self.entries.len();
            let file = real.join(&name);
            if !metadata.is_dir() && verdict.hidden || !self.enter(path, file, &metadata)? {
                continue;
            }
            if metadata.is_dir() {
                self.walk(place, &verdict)?;
                if verdict.hidden && self.entries[place].names.is_empty() {
                    self.entries.truncate(place);
                    continue;
                }
            }
            visible.push(name);
        }
        self.entries[place].names = visible;
        Ok(())
    }

    /// Looks at the files of a folder, which is most of the work of a walk: those of a large one by two threads.
    fn judged(
        &self,
        folder: &Path,
        files: Vec<(OsString, fs::DirEntry)>,
        verdict: &Verdict,
    ) -> Vec<(OsString, Judged)> {
        let all = |files: Vec<(OsString, fs::DirEntry)>| -> Vec<(OsString, Judged)> {
            let judge = |(name, file): (OsString, fs::DirEntry)| {
                let judged = judge(&self.ignore, folder.join(&name), &file, verdict);
                (name, judged)
            };
            files.into_iter().map(judge).collect()
        };
        let mut first = files;
        if first.len() < LARGE {
            return all(first);
        }
        let second = first.split_off(first.len() / 2);
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| all(second));
            let mut judged = all(first);
            judged.extend(beside.join().expect("looking at files does not panic"));
            judged
        })
    }

    fn entry(&self, path: &Path) -> Option<&Entry> {
        Some(&self.entries[*self.places.get(path.as_os_str())?])
    }

    /// The digest of everything in the context: names, kinds, modes and contents, but no times and owners.
    pub(crate) fn digest_all(&self) -> Result<Digest> {
        let mut hasher = Hasher::new();
        // Without the context itself.
        for entry in &self.entries[1..] {
            hash_node(&mut hasher, self, &entry.path, &entry.path, &entry.node)?;
        }
        Ok(hasher.finish())
    }

    /// Keeps the digests for the next build. Best effort: without them it only hashes again.
    pub(crate) fn save(&self) {
        if !self.hashes.changed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.write_hashes() {
            tracing::debug!(%error, "failed to keep the digests of the context");
        }
    }

    /// What other builds of this folder see, and this one does not, is kept as it was.
    fn write_hashes(&self) -> io::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let newest = i128::try_from(now.saturating_sub(RACY).as_nanos()).unwrap_or(0);
        let file = &self.hashes.file;
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut out = Vec::from(HASHES_VERSION);
        let ours = self.entries.iter().filter_map(|entry| {
            let digest = entry.digest.get()?;
            (entry.stamp.mtime.max(entry.stamp.ctime) < newest)
                .then(|| (entry.path.as_os_str(), &entry.stamp, digest))
        });
        let others = self
            .hashes
            .known
            .iter()
            .filter_map(|(path, (stamp, digest))| {
                (!self.places.contains_key(path)).then_some((path.as_os_str(), stamp, digest))
            });
        for (path, stamp, digest) in ours.chain(others) {
            write_hash(&mut out, path, stamp, digest);
        }
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(&out)?;
        temporary.persist(file).map_err(|error| error.error)?;
        Ok(())
    }
}

/// A file that may be visible, with what the ignore file says of it; `None` if it is not, or is gone.
type Judged = std::result::Result<Option<(PathBuf, Verdict, fs::Metadata)>, Unseen>;

/// Why a file could not be looked at.
enum Unseen {
    NotUtf8(PathBuf),
    Io(io::Error),
}

fn judge(ignore: &Ignore, path: PathBuf, file: &fs::DirEntry, folder: &Verdict) -> Judged {
    let Some(text) = path.to_str() else {
        return Err(Unseen::NotUtf8(path));
    };
    let verdict = ignore.verdict(text, folder);
    let is_folder = file.file_type().map_err(Unseen::Io)?.is_dir();
    if verdict.hidden && !(is_folder && ignore.may_show_inside(text)) {
        return Ok(None);
    }
    match file.metadata() {
        Ok(metadata) => Ok(Some((path, verdict, metadata))),
        // It vanished since the folder was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unseen::Io(error)),
    }
}

/// Adds a file to a digest, under a name.
pub(crate) fn hash_node(
    hasher: &mut Hasher,
    tree: &dyn Tree,
    name: &Path,
    path: &Path,
    node: &Node,
) -> Result<()> {
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(name.as_os_str().as_bytes());
    match &node.kind {
        NodeKind::Folder => field(b"folder"),
        NodeKind::File => {
            field(b"file");
            field(tree.digest(path, node)?.as_bytes());
        }
        NodeKind::Symlink(target) => {
            field(b"link");
            field(target.as_os_str().as_bytes());
        }
        NodeKind::Character(device) => field(format!("c{device}").as_bytes()),
        NodeKind::Block(device) => field(format!("b{device}").as_bytes()),
        NodeKind::Fifo => field(b"fifo"),
    }
    // A link's own mode means nothing and differs between systems.
    let mode = if matches!(node.kind, NodeKind::Symlink(_)) {
        0
    } else {
        node.mode
    };
    field(&mode.to_le_bytes());
    if tree.keeps_owners() {
        field(&node.uid.to_le_bytes());
        field(&node.gid.to_le_bytes());
    }
    Ok(())
}

impl Tree for Context {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        Ok(self.entry(path).map(|entry| entry.node.clone()))
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        Ok(self
            .entry(folder)
            .map(|entry| entry.names.clone())
            .unwrap_or_default())
    }

    fn digest(&self, path: &Path, node: &Node) -> Result<Digest> {
        let Some(entry) = self.entry(path) else {
            return tree::digest_file(&node.real);
        };
        if let Some(digest) = entry.digest.get() {
            return Ok(*digest);
        }
        let digest = tree::digest_file(&node.real)?;
        self.hashes.changed.store(true, Ordering::Relaxed);
        Ok(*entry.digest.get_or_init(|| digest))
    }

    fn keeps_owners(&self) -> bool {
        false
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
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

/// How the file begins; another version is ignored.
const HASHES_VERSION: &[u8] = b"hoist context 2\n";

/// Size, times, inode, digest and the length of the path, all of fixed width, before the path.
const RECORD: usize = 8 + 16 + 16 + 8 + 32 + 4;

/// What an earlier build kept; `None` where nothing is kept, or not all of it can be read.
fn read_hashes(file: &Path) -> Option<HashMap<OsString, (Stamp, Digest)>> {
    let bytes = fs::read(file).ok()?;
    let mut rest = bytes.strip_prefix(HASHES_VERSION)?;
    let mut known = HashMap::with_capacity(rest.len() / (RECORD + 32));
    while !rest.is_empty() {
        let stamp = Stamp {
            size: u64::from_le_bytes(take(&mut rest)?),
            mtime: i128::from_le_bytes(take(&mut rest)?),
            ctime: i128::from_le_bytes(take(&mut rest)?),
            inode: u64::from_le_bytes(take(&mut rest)?),
        };
        let digest = Digest::from_bytes(take(&mut rest)?);
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (path, after) = rest.split_at_checked(length)?;
        known.insert(OsStr::from_bytes(path).to_owned(), (stamp, digest));
        rest = after;
    }
    Some(known)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

fn write_hash(out: &mut Vec<u8>, path: &OsStr, stamp: &Stamp, digest: &Digest) {
    let Ok(length) = u32::try_from(path.len()) else {
        return;
    };
    out.extend(stamp.size.to_le_bytes());
    out.extend(stamp.mtime.to_le_bytes());
    out.extend(stamp.ctime.to_le_bytes());
    out.extend(stamp.inode.to_le_bytes());
    out.extend(digest.as_bytes());
    out.extend(length.to_le_bytes());
    out.extend(path.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(dir: &Path, rules: &str) -> Context {
        Context::open(
            &dir.join("context"),
            Ignore::parse(None, rules).unwrap(),
            &dir.join("cache"),
        )
        .unwrap()
    }

    fn files(dir: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = dir.join("context").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn paths(context: &Context) -> Vec<String> {
        let shown = context.entries[1..].iter();
        shown
            .map(|entry| entry.path.display().to_string())
            .collect()
    }

    #[test]
    fn hidden_files_are_not_there_and_shown_ones_bring_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        files(
            dir.path(),
            &[
                ("a", ""),
                ("keep/b", ""),
                ("keep/c", ""),
                ("logs/x.log", ""),
                ("empty/only.log", ""),
            ],
        );
        assert_eq!(
            paths(&context(dir.path(), "*\n!keep/b")),
            ["keep", "keep/b"]
        );
        assert_eq!(
            paths(&context(dir.path(), "**/*.log")),
            ["a", "empty", "keep", "keep/b", "keep/c", "logs"]
        );
    }

    #[test]
    fn the_digest_depends_on_content_names_and_modes_but_not_on_place_and_time() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&one, &two] {
            files(dir.path(), &[("a", "1"), ("d/b", "2")]);
        }
        filetime::set_file_mtime(
            one.path().join("context/a"),
            filetime::FileTime::from_unix_time(1, 0),
        )
        .unwrap();
        let digest = |dir: &tempfile::TempDir| context(dir.path(), "").digest_all().unwrap();
        let same = digest(&one);
        assert_eq!(same, digest(&two));
        fs::write(two.path().join("context/a"), "3").unwrap();
        assert_ne!(same, digest(&two));
        fs::set_permissions(
            one.path().join("context/a"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        assert_ne!(same, digest(&one));
    }

    #[test]
    fn only_files_that_are_old_enough_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("old", "1"), ("new", "2")]);
        let mut first = context(dir.path(), "");
        let digest = first.digest_all().unwrap();
        // Change times cannot be set: pretend that the walk saw an old one.
        for entry in first
            .entries
            .iter_mut()
            .filter(|it| it.path.ends_with("old"))
        {
            (entry.stamp.mtime, entry.stamp.ctime) = (1, 1);
        }
        first.save();
        let kept = || {
            let known = read_hashes(&first.hashes.file).unwrap();
            let mut paths: Vec<_> = known.into_keys().collect();
            paths.sort();
            paths
        };
        assert_eq!(kept(), ["old"]);
        // The stamp is another one now, so the file is read again.
        assert_eq!(context(dir.path(), "").digest_all().unwrap(), digest);
        // A build that does not see a file leaves what is known of it.
        let second = context(dir.path(), "old");
        second.digest_all().unwrap();
        second.save();
        assert_eq!(kept(), ["old"]);
    }

    #[test]
    fn digests_that_were_kept_are_used_while_the_stamp_is_the_same_and_damage_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("a", "1"), ("d/b", "2")]);
        let mut first = context(dir.path(), "");
        let digest = first.digest_all().unwrap();
        let file = first.hashes.file.clone();
        // A wrong digest for `a`, and its true stamp: what is kept must be what is used.
        let mut out = Vec::from(HASHES_VERSION);
        let a = first
            .entries
            .iter_mut()
            .find(|it| it.path == Path::new("a"));
        let stamp = a.unwrap().stamp;
        write_hash(&mut out, OsStr::new("a"), &stamp, &Digest::of(b"other"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &out).unwrap();
        assert_ne!(context(dir.path(), "").digest_all().unwrap(), digest);
        for damaged in [
            &out[..out.len() - 1],
            &out[..HASHES_VERSION.len() + 3],
            b"hoist context 1\0",
        ] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(context(dir.path(), "").digest_all().unwrap(), digest);
        }
    }

    #[test]
    fn a_missing_context_is_named() {
        let error = Context::open(
            Path::new("/nowhere/at/all"),
            Ignore::default(),
            Path::new("/tmp"),
        )
        .unwrap_err();
        assert_eq!(
            error.message(),
            "the build context /nowhere/at/all does not exist"
        );
        assert_eq!(error.kind(), BuildErrorKind::Context);
    }
}
