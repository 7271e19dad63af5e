//! The build context: walked once, hashed once, and not even that where nothing changed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hoist_oci::{Digest, Hasher};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::Ignore;
use crate::stat_cache::{Kept, in_walk_order};
use crate::tree::{self, Node, NodeKind, Tree, Visit};
use crate::walk::{Entry, Walk};

/// The files that a build may copy.
#[derive(Debug)]
pub(crate) struct Context {
    pub root: PathBuf,
    pub ignore: Ignore,
    /// In the order of a walk: a folder comes before what is in it, and names are sorted. The context itself is the first.
    entries: Vec<Entry>,
    /// The digests that an earlier build knew, and the file that keeps them.
    kept: Kept,
    file: PathBuf,
    /// Whether this build read a file that was not known.
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
        let kept = Kept::read(&file);
        Ok(Context {
            entries: Walk::through(&root, &ignore, &kept)?,
            root,
            ignore,
            kept,
            file,
            changed: AtomicBool::new(false),
        })
    }

    fn place(&self, path: &Path) -> Option<usize> {
        let path = path.as_os_str().as_bytes();
        let order = |entry: &Entry| in_walk_order(entry.path.as_os_str().as_bytes(), path);
        self.entries.binary_search_by(order).ok()
    }

    fn digest_of(&self, entry: &Entry) -> Result<Digest> {
        if let Some(digest) = entry.digest.get() {
            return Ok(*digest);
        }
        let digest = tree::digest_file(&self.root.join(&entry.path))?;
        self.changed.store(true, Ordering::Relaxed);
        Ok(*entry.digest.get_or_init(|| digest))
    }

    /// The digest of everything in the context: names, kinds, modes and contents, but no times and owners.
    pub(crate) fn digest_all(&self) -> Result<Digest> {
        let mut hasher = Hasher::new();
        // Without the context itself.
        for entry in &self.entries[1..] {
            let digest = || self.digest_of(entry);
            hash_node(&mut hasher, &entry.path, &entry.node, false, &digest)?;
        }
        Ok(hasher.finish())
    }

    /// Keeps the digests for the next build. Best effort: without them it only hashes again.
    pub(crate) fn save(&self) {
        if !self.changed.load(Ordering::Relaxed) {
            return;
        }
        let files = self.entries.iter().map(|entry| {
            let path = entry.path.as_os_str().as_bytes();
            (path, &entry.stamp, entry.digest.get())
        });
        if let Err(error) = self.kept.write(&self.file, files) {
            tracing::debug!(%error, "failed to keep the digests of the context");
        }
    }
}

/// Adds a file to a digest, under a name; `content` gives the digest of what is in it.
pub(crate) fn hash_node(
    hasher: &mut Hasher,
    name: &Path,
    node: &Node,
    keeps_owners: bool,
    content: &dyn Fn() -> Result<Digest>,
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
            field(content()?.as_bytes());
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
    if keeps_owners {
        field(&node.uid.to_le_bytes());
        field(&node.gid.to_le_bytes());
    }
    Ok(())
}

impl Tree for Context {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        Ok(self.place(path).map(|place| Node {
            real: self.root.join(path),
            ..self.entries[place].node.clone()
        }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        let mut names = Vec::new();
        if let Some(place) = self.place(folder) {
            let end = place + self.entries[place].below;
            let mut next = place + 1;
            while next <= end {
                let entry = &self.entries[next];
                names.extend(entry.path.file_name().map(ToOwned::to_owned));
                next += 1 + entry.below;
            }
        }
        Ok(names)
    }

    fn digest(&self, path: &Path, node: &Node) -> Result<Digest> {
        match self.place(path) {
            Some(place) => self.digest_of(&self.entries[place]),
            None => tree::digest_file(&node.real),
        }
    }

    fn keeps_owners(&self) -> bool {
        false
    }

    fn visit_below(&self, folder: &Path, visit: &mut Visit<'_>) -> Result<bool> {
        let Some(place) = self.place(folder) else {
            return Ok(false);
        };
        let skip = match folder.as_os_str().len() {
            0 => 0,
            length => length + 1,
        };
        for entry in &self.entries[place + 1..=place + self.entries[place].below] {
            let below = std::ffi::OsStr::from_bytes(&entry.path.as_os_str().as_bytes()[skip..]);
            visit(Path::new(below), &entry.node, &|| self.digest_of(entry))?;
        }
        Ok(true)
    }
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
        let kept = || fs::read(&first.file).unwrap();
        let holds = |name: &str| kept().windows(3).any(|part| part == name.as_bytes());
        assert!(holds("old") && !holds("new"));
        // The stamp is another one now, so the file is read again.
        assert_eq!(context(dir.path(), "").digest_all().unwrap(), digest);
        // A build that does not see a file leaves what is known of it.
        let before = kept();
        let second = context(dir.path(), "old");
        second.digest_all().unwrap();
        second.save();
        assert_eq!(kept(), before);
    }

    #[test]
    fn digests_that_were_kept_are_used_while_the_stamp_is_the_same_and_damage_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("a", "1"), ("d/b", "2")]);
        let first = context(dir.path(), "");
        let digest = first.digest_all().unwrap();
        // A wrong digest for `a`: what is kept must be what is used.
        let other = Digest::of(b"other");
        let stamp = first.entries[first.place(Path::new("a")).unwrap()].stamp;
        let mut old = stamp;
        (old.mtime, old.ctime) = (1, 1);
        let files = [(b"a".as_slice(), &old, Some(&other))];
        let none = Kept::default();
        none.write(&first.file, files.into_iter()).unwrap();
        assert_eq!(context(dir.path(), "").digest_all().unwrap(), digest);
        // The file's true stamp in place of the old one.
        let mut out = fs::read(&first.file).unwrap();
        let times = out.len() - 1 - 4 - 32 - 8 - 32;
        out[times..times + 16].copy_from_slice(&stamp.mtime.to_le_bytes());
        out[times + 16..times + 32].copy_from_slice(&stamp.ctime.to_le_bytes());
        fs::write(&first.file, &out).unwrap();
        assert_ne!(context(dir.path(), "").digest_all().unwrap(), digest);
        for damaged in [&out[..out.len() - 1], &out[..20], b"hoist context 1\0"] {
            fs::write(&first.file, damaged).unwrap();
            assert_eq!(context(dir.path(), "").digest_all().unwrap(), digest);
        }
    }

    #[test]
    fn threads_see_the_same_in_the_same_order() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..40)
            .flat_map(|folder| {
                (0..20).map(move |file| format!("d{folder}/e{}/{file}.log", file % 3))
            })
            .chain((0..600).map(|file| format!("many/{file}")))
            .collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        files(dir.path(), &all);
        let context = context(dir.path(), "**/1*.log\nd7\n!d7/e1/1.log");
        let seen = paths(&context);
        let mut sorted = seen.clone();
        sorted.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        assert_eq!(seen, sorted);
        let root: Vec<_> = context.list(Path::new("")).unwrap();
        assert_eq!(root.len(), 41);
        let hidden = |name: &String| {
            let log = name.rsplit('/').next().unwrap();
            let ignored = log.starts_with('1') && log.ends_with(".log") || name.starts_with("d7/");
            ignored && name != "d7/e1/1.log"
        };
        for name in &names {
            let found = context.lookup(Path::new(name)).unwrap();
            assert_eq!(found.is_none(), hidden(name), "{name}");
            if let Some(node) = found {
                assert_eq!(node.real, context.root.join(name));
            }
        }
        assert_eq!(context.list(Path::new("d7/e1")).unwrap(), ["1.log"]);
        assert!(context.list(Path::new("many/3")).unwrap().is_empty());
        let mut below = Vec::new();
        let visited = context.visit_below(Path::new("d7"), &mut |path, _, _| {
            below.push(path.display().to_string());
            Ok(())
        });
        assert!(visited.unwrap());
        assert_eq!(below, ["e1", "e1/1.log"]);
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
