//! The build context: walked once, hashed once, and not even that where nothing changed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hoist_oci::{Digest, Hasher};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::{Ignore, Verdict};
use crate::tree::{self, Node, NodeKind, Tree};

/// Files that changed so shortly before they were hashed may change again without a new time stamp.
const RACY: Duration = Duration::from_secs(2);

/// The files that a build may copy.
#[derive(Debug)]
pub(crate) struct Context {
    pub root: PathBuf,
    pub ignore: Ignore,
    nodes: HashMap<PathBuf, (Node, Stamp)>,
    folders: HashMap<PathBuf, Vec<OsString>>,
    hashes: Mutex<Hashes>,
}

/// What tells that a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
}

#[derive(Debug)]
struct Hashes {
    file: PathBuf,
    known: HashMap<PathBuf, (Stamp, Digest)>,
    changed: bool,
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
        let hashes = Hashes {
            known: read_hashes(&file),
            file,
            changed: false,
        };
        let mut context = Context {
            root: root.clone(),
            ignore,
            nodes: HashMap::new(),
            folders: HashMap::new(),
            hashes: Mutex::new(hashes),
        };
        let metadata = fs::symlink_metadata(&root)
            .map_err(|error| BuildError::io(format!("read {}", root.display()), error))?;
        context.enter(Path::new(""), &root, &metadata)?;
        context.walk(Path::new(""), &Verdict::default())?;
        Ok(context)
    }

    fn enter(
        &mut self,
        path: &Path,
        real: &Path,
        metadata: &fs::Metadata,
    ) -> Result<Option<NodeKind>> {
        let failed = |error| BuildError::io(format!("read {}", real.display()), error);
        let Some(mut node) = Node::of(real.into(), metadata).map_err(failed)? else {
            return Ok(None);
        };
        // Owners of the machine that builds are no business of the image.
        (node.uid, node.gid) = (0, 0);
        let kind = node.kind.clone();
        self.nodes.insert(path.into(), (node, Stamp::of(metadata)));
        Ok(Some(kind))
    }

    /// Whether anything in the folder is visible.
    fn walk(&mut self, folder: &Path, verdict: &Verdict) -> Result<bool> {
        let real = self.root.join(folder);
        let failed = |error: io::Error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let error = BuildError::io(format!("read the folder {}", real.display()), error);
            if denied {
                error.with_hint("make it readable, or name it in .dockerignore")
            } else {
                error
            }
        };
        let mut entries = fs::read_dir(&real)
            .map_err(failed)?
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut visible = Vec::new();
        for entry in entries {
            let name = entry.file_name();
            let path = folder.join(&name);
            let Some(text) = path.to_str() else {
                return Err(BuildError::new(
                    BuildErrorKind::Context,
                    format!(
                        "the name of {} is not UTF-8",
                        self.root.join(&path).display()
                    ),
                )
                .with_hint("rename it, or name its folder in .dockerignore"));
            };
            let verdict = self.ignore.verdict(text, verdict);
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            if verdict.hidden && !(is_folder && self.ignore.may_show_inside(text)) {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It vanished since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            let show = if metadata.is_dir() {
                let something = self.walk(&path, &verdict)?;
                !verdict.hidden || something
            } else {
                !verdict.hidden
            };
            if show && self.enter(&path, &entry.path(), &metadata)?.is_some() {
                visible.push(name);
            }
        }
        let any = !visible.is_empty();
        self.folders.insert(folder.into(), visible);
        Ok(any)
    }

    fn hashes(&self) -> MutexGuard<'_, Hashes> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of everything in the context: names, kinds, modes and contents, but no times and owners.
    pub(crate) fn digest_all(&self) -> Result<Digest> {
        let mut hasher = Hasher::new();
        let mut paths: Vec<&PathBuf> = self.nodes.keys().collect();
        paths.sort();
        for path in paths {
            if path.as_os_str().is_empty() {
                continue;
            }
            let (node, _) = &self.nodes[path];
            hash_node(&mut hasher, self, path, path, node)?;
        }
        Ok(hasher.finish())
    }

    /// Keeps the digests for the next build. Best effort: without them it only hashes again.
    pub(crate) fn save(&self) {
        let hashes = self.hashes();
        if !hashes.changed {
            return;
        }
        if let Err(error) = write_hashes(&hashes) {
            tracing::debug!(%error, "failed to keep the digests of the context");
        }
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
        Ok(self.nodes.get(path).map(|(node, _)| node.clone()))
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        Ok(self.folders.get(folder).cloned().unwrap_or_default())
    }

    fn digest(&self, path: &Path, node: &Node) -> Result<Digest> {
        let Some((_, stamp)) = self.nodes.get(path) else {
            return tree::digest_file(&node.real);
        };
        if let Some((known, digest)) = self.hashes().known.get(path)
            && known == stamp
        {
            return Ok(*digest);
        }
        let digest = tree::digest_file(&node.real)?;
        let mut hashes = self.hashes();
        hashes.known.insert(path.into(), (*stamp, digest));
        hashes.changed = true;
        Ok(digest)
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

/// The first line of the file; another version is ignored.
const HASHES_VERSION: &[u8] = b"hoist context 1";

/// One file a record: numbers, the digest, the path, and a zero byte.
fn read_hashes(file: &Path) -> HashMap<PathBuf, (Stamp, Digest)> {
    let Ok(bytes) = fs::read(file) else {
        return HashMap::new();
    };
    let mut records = bytes.split(|byte| *byte == 0);
    if records.next() != Some(HASHES_VERSION) {
        return HashMap::new();
    }
    records.filter_map(read_hash).collect()
}

fn read_hash(record: &[u8]) -> Option<(PathBuf, (Stamp, Digest))> {
    let mut fields = record.splitn(6, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let stamp = Stamp {
        size: text()?.parse().ok()?,
        mtime: text()?.parse().ok()?,
        ctime: text()?.parse().ok()?,
        inode: text()?.parse().ok()?,
    };
    let digest = text()?.parse().ok()?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(fields.next()?));
    Some((path, (stamp, digest)))
}

fn write_hashes(hashes: &Hashes) -> io::Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let newest = i128::try_from(now.saturating_sub(RACY).as_nanos()).unwrap_or(0);
    let folder = hashes.file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut out = Vec::from(HASHES_VERSION);
    for (path, (stamp, digest)) in &hashes.known {
        if stamp.mtime.max(stamp.ctime) >= newest {
            continue;
        }
        out.push(0);
        write!(
            out,
            "{} {} {} {} {digest} ",
            stamp.size, stamp.mtime, stamp.ctime, stamp.inode
        )?;
        out.extend(path.as_os_str().as_bytes());
    }
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(&out)?;
    temporary
        .persist(&hashes.file)
        .map_err(|error| error.error)?;
    Ok(())
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
        let mut paths: Vec<String> = context
            .nodes
            .keys()
            .map(|path| path.display().to_string())
            .filter(|path| !path.is_empty())
            .collect();
        paths.sort();
        paths
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
        let first = context(dir.path(), "");
        let digest = first.digest_all().unwrap();
        // Change times cannot be set: pretend that the walk saw an old one.
        for (_, (stamp, _)) in first
            .hashes()
            .known
            .iter_mut()
            .filter(|(path, _)| path.ends_with("old"))
        {
            (stamp.mtime, stamp.ctime) = (1, 1);
        }
        first.save();
        let file = first.hashes().file.clone();
        let kept = read_hashes(&file);
        assert_eq!(kept.keys().collect::<Vec<_>>(), [Path::new("old")]);
        assert_eq!(context(dir.path(), "").digest_all().unwrap(), digest);
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
