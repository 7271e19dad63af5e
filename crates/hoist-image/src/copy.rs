//! `COPY` and `ADD`: which files are meant, and where each comes to lie.
//!
//! Where the Dockerfile reference leaves room, BuildKit's behaviour decides: a destination with a slash at its end is a folder, a folder's
//! contents are copied and not the folder itself, links of the destination are followed inside the image, links of the source are copied
//! unless they are named themselves.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hoist_oci::Digest;

use crate::archive;
use crate::chmod::Chmod;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::{Ignore, Verdict};
use crate::layer::{Content, Entries, Entry, EntryKind};
use crate::listed::node_of;
use crate::select::{Selected, judge};
use crate::tree::{self, Node, NodeKind, Time, Tree};

/// How files are copied: the flags of the instruction, resolved.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Absolute; a slash at its end makes it a folder.
    pub dest: String,
    pub owner: Option<(u32, u32)>,
    pub chmod: Option<Chmod>,
    pub parents: bool,
    pub exclude: Ignore,
    /// Archives are unpacked.
    pub unpack: bool,
    /// Archives from addresses too.
    pub unpack_fetched: bool,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Option<i64>,
}

/// The entries of a layer over a root file system, and the temporary files that they refer to.
pub(crate) struct Plan {
    pub entries: Entries,
    /// Unpacked archives; they must outlive the entries.
    _spools: Vec<tempfile::TempPath>,
}

/// Decides where everything comes to lie.
pub(crate) fn plan(
    groups: &[(&dyn Tree, Vec<Selected>)],
    rootfs: &dyn Tree,
    options: &Options,
    spool: &Path,
) -> Result<Plan> {
    let mut planner = Planner {
        source: rootfs,
        rootfs,
        options,
        entries: Entries::new(),
        written: HashMap::new(),
        spools: Vec::new(),
    };
    for (source, selected) in groups {
        planner.source = *source;
        for item in selected {
            // Every source is copied by itself, and files of several names are known only within one.
            planner.written.clear();
            planner.add(item, spool)?;
        }
    }
    Ok(Plan {
        entries: planner.entries,
        _spools: planner.spools,
    })
}

/// Whether a destination is a folder, by its slash or because the image has one there.
pub(crate) fn is_folder(rootfs: &dyn Tree, dest: &str) -> Result<bool> {
    if dest.ends_with('/') {
        return Ok(true);
    }
    let path = tree::resolve(rootfs, &tree::relative(dest), true)?;
    Ok(rootfs.lookup(&path)?.is_some_and(|node| node.is_folder()))
}

/// The folders of a path that do not exist yet, and those above them, as entries of a layer. Nothing if all exist.
pub(crate) fn make_folder(
    rootfs: &dyn Tree,
    path: &str,
    owner: (u32, u32),
    epoch: Option<i64>,
) -> Result<Entries> {
    let options = Options {
        owner: Some(owner),
        epoch,
        ..Options::default()
    };
    let mut planner = Planner {
        source: rootfs,
        rootfs,
        options: &options,
        entries: Entries::new(),
        written: HashMap::new(),
        spools: Vec::new(),
    };
    let folder = tree::resolve(&planner, &tree::relative(path), true)?;
    if rootfs.lookup(&folder)?.is_some_and(|node| node.is_folder()) {
        return Ok(Entries::new());
    }
    planner.folder(&folder)?;
    Ok(planner.entries)
}

struct Planner<'a> {
    source: &'a dyn Tree,
    rootfs: &'a dyn Tree,
    options: &'a Options,
    entries: Entries,
    /// Files of several names that are in the layer already.
    written: HashMap<(u64, u64), PathBuf>,
    spools: Vec<tempfile::TempPath>,
}

impl Tree for Planner<'_> {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        let Some(entry) = self.entries.get(path) else {
            return self.rootfs.lookup(path);
        };
        Ok(Some(node_of(entry)))
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        self.rootfs.list(folder)
    }

    fn digest(&self, path: &Path, node: &Node) -> Result<Digest> {
        self.rootfs.digest(path, node)
    }

    fn keeps_owners(&self) -> bool {
        true
    }
}

impl Planner<'_> {
    fn add(&mut self, item: &Selected, spool: &Path) -> Result<()> {
        let options = self.options;
        let is_folder = options.dest.ends_with('/') || options.dest.ends_with("/.");
        let dest = tree::resolve(self, &tree::relative(&options.dest), true)?;
        if is_folder {
            self.folder(&dest)?;
        }
        let dest_is_folder =
            dest.as_os_str().is_empty() || self.lookup(&dest)?.is_some_and(|node| node.is_folder());
        match item {
            Selected::Inline { name, content } => {
                let target = if dest_is_folder {
                    dest.join(name)
                } else {
                    dest
                };
                self.parent(&target)?;
                let mode = options
                    .chmod
                    .as_ref()
                    .map_or(0o644, |chmod| chmod.apply(0o644, false));
                let (uid, gid) = options.owner.unwrap_or_default();
                let bytes = content.clone().into_bytes();
                let kind = EntryKind::File {
                    size: bytes.len() as u64,
                    content: Content::Bytes(bytes),
                };
                self.put(
                    target,
                    Entry {
                        kind,
                        mode,
                        uid,
                        gid,
                        mtime: self.made(),
                        xattrs: Vec::new(),
                    },
                )
            }
            Selected::Fetched { name, node } => {
                if options.unpack_fetched
                    && let Some(unpacked) = archive::open(&node.real, spool)?
                {
                    self.folder(&dest)?;
                    return self.unpack(&dest, unpacked);
                }
                let target = if dest_is_folder {
                    dest.join(name)
                } else {
                    dest
                };
                self.parent(&target)?;
                let kind = EntryKind::File {
                    content: Content::Path(node.real.clone()),
                    size: node.size,
                };
                let entry = self.entry(node, kind)?;
                self.put(target, entry)
            }
            Selected::Node {
                name,
                path,
                node,
                below,
            } => {
                if options.unpack
                    && node.kind == NodeKind::File
                    && let Some(unpacked) = archive::open(&node.real, spool)?
                {
                    self.folder(&dest)?;
                    return self.unpack(&dest, unpacked);
                }
                if options.parents {
                    let target = dest.join(below);
                    self.source_parents(path, below, &target)?;
                    return self.copy(
                        path,
                        node,
                        &target,
                        Path::new(""),
                        &Verdict::default(),
                        true,
                    );
                }
                if node.is_folder() {
                    if !dest_is_folder {
                        self.folder(&dest)?;
                    }
                    return self.copy(path, node, &dest, Path::new(""), &Verdict::default(), false);
                }
                let target = if dest_is_folder {
                    dest.join(name)
                } else {
                    dest
                };
                self.parent(&target)?;
                self.copy(
                    path,
                    node,
                    &target,
                    Path::new(""),
                    &Verdict::default(),
                    true,
                )
            }
        }
    }

    /// The time of what this layer makes and no source has.
    fn made(&self) -> Time {
        (self.options.epoch.unwrap_or(0), 0)
    }

    fn time(&self, node: &Node) -> Time {
        match self.options.epoch {
            // Owners and times of the context say when it was checked out; those of a stage are clamped when its layers are made.
            Some(epoch) if !self.source.keeps_owners() || node.mtime.0 > epoch => (epoch, 0),
            _ => (node.mtime.0, 0),
        }
    }

    fn parent(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) => self.folder(parent),
            None => Ok(()),
        }
    }

    /// Makes sure that a folder and all above it are in the layer: new, or with what the image says of them.
    fn folder(&mut self, path: &Path) -> Result<()> {
        self.folder_of(path, self.options.owner.unwrap_or_default())
    }

    fn folder_of(&mut self, path: &Path, (uid, gid): (u32, u32)) -> Result<()> {
        let mut at = PathBuf::new();
        for part in path {
            at.push(part);
            match self.entries.get(&at) {
                Some(Entry {
                    kind: EntryKind::Folder,
                    ..
                }) => continue,
                Some(_) => return Err(not_a_folder(&at)),
                None => {}
            }
            let entry = match self.rootfs.lookup(&at)? {
                Some(node) if node.is_folder() => Entry {
                    xattrs: xattrs(&node)?,
                    ..Entry::folder(node.mode, node.uid, node.gid, node.mtime)
                },
                Some(_) => return Err(not_a_folder(&at)),
                None => Entry::folder(0o755, uid, gid, self.made()),
            };
            self.entries.insert(at.clone(), entry);
        }
        Ok(())
    }

    /// The folders above a file that `--parents` brings along.
    fn source_parents(&mut self, path: &Path, below: &Path, target: &Path) -> Result<()> {
        let depth = below.components().count().saturating_sub(1);
        let sources: Vec<&Path> = path.ancestors().skip(1).take(depth).collect();
        let targets: Vec<&Path> = target.ancestors().skip(1).take(depth).collect();
        self.folder(target.ancestors().nth(depth + 1).unwrap_or(Path::new("")))?;
        for (source, target) in sources.into_iter().zip(targets).rev() {
            if self.lookup(target)?.is_none()
                && let Some(node) = self.source.lookup(source)?
            {
                let entry = self.entry(&node, EntryKind::Folder)?;
                self.entries.insert(target.into(), entry);
            }
            self.folder(target)?;
        }
        Ok(())
    }

    fn entry(&self, node: &Node, kind: EntryKind) -> Result<Entry> {
        let options = self.options;
        let owners = if self.source.keeps_owners() {
            (node.uid, node.gid)
        } else {
            (0, 0)
        };
        let (uid, gid) = options.owner.unwrap_or(owners);
        let mode = match (&options.chmod, &kind) {
            (_, EntryKind::Symlink(_)) => 0o777,
            (Some(chmod), _) => chmod.apply(node.mode, node.is_folder()),
            (None, _) => node.mode,
        };
        Ok(Entry {
            kind,
            mode,
            uid,
            gid,
            mtime: self.time(node),
            xattrs: xattrs(node)?,
        })
    }

    /// Copies a file, or a folder with all that is in it. The folder itself only counts if `own` is set.
    fn copy(
        &mut self,
        path: &Path,
        node: &Node,
        target: &Path,
        name: &Path,
        verdict: &Verdict,
        own: bool,
    ) -> Result<()> {
        let kind = match &node.kind {
            NodeKind::Folder => {
                if own {
                    self.parent(target)?;
                    if self.lookup(target)?.is_some_and(|there| !there.is_folder()) {
                        return Err(not_a_folder(target));
                    }
                    let entry = self.entry(node, EntryKind::Folder)?;
                    self.entries.insert(target.into(), entry);
                }
                for child in self.source.list(path)? {
                    let name = name.join(&child);
                    let verdict = judge(&self.options.exclude, &name, verdict);
                    let path = path.join(&child);
                    let Some(node) = self.source.lookup(&path)? else {
                        continue;
                    };
                    let inside = node.is_folder()
                        && self
                            .options
                            .exclude
                            .may_show_inside(&name.to_string_lossy());
                    if verdict.hidden && !inside {
                        continue;
                    }
                    self.copy(
                        &path,
                        &node,
                        &target.join(&child),
                        &name,
                        &verdict,
                        !verdict.hidden,
                    )?;
                }
                return Ok(());
            }
            NodeKind::File => match node.links.and_then(|links| self.written.get(&links)) {
                Some(first) => EntryKind::Hardlink(first.clone()),
                None => EntryKind::File {
                    content: Content::Path(node.real.clone()),
                    size: node.size,
                },
            },
            NodeKind::Symlink(to) => EntryKind::Symlink(to.clone()),
            NodeKind::Character(device) => EntryKind::Character(*device),
            NodeKind::Block(device) => EntryKind::Block(*device),
            NodeKind::Fifo => EntryKind::Fifo,
        };
        self.parent(target)?;
        let entry = self.entry(node, kind)?;
        self.put(target.into(), entry)?;
        if let Some(links) = node.links {
            self.written.entry(links).or_insert_with(|| target.into());
        }
        Ok(())
    }

    fn put(&mut self, target: PathBuf, entry: Entry) -> Result<()> {
        if target.as_os_str().is_empty()
            || self.lookup(&target)?.is_some_and(|there| there.is_folder())
        {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!(
                    "/{} is a folder in the image, and a file cannot take its place",
                    target.display()
                ),
            )
            .with_hint("end the destination with a slash to copy into the folder"));
        }
        if target
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b".wh."))
        {
            return Err(BuildError::new(
                BuildErrorKind::Unsupported,
                format!("/{} cannot be in an image", target.display()),
            )
            .with_hint("names that begin with .wh. mark deleted files in layers"));
        }
        // Whoever had this name before is replaced; later names of a replaced file need its content.
        if self.entries.contains_key(&target) {
            self.written.retain(|_, first| *first != target);
            if let Some(next) = self.entries.iter().find_map(|(path, entry)| {
                (entry.kind == EntryKind::Hardlink(target.clone())).then(|| path.clone())
            }) {
                let old = self.entries[&target].clone();
                for entry in self
                    .entries
                    .values_mut()
                    .filter(|entry| entry.kind == EntryKind::Hardlink(target.clone()))
                {
                    entry.kind = EntryKind::Hardlink(next.clone());
                }
                self.entries.insert(next, old);
            }
        }
        self.entries.insert(target, entry);
        Ok(())
    }

    /// Owners and modes are the archive's own, whatever the flags say: so does BuildKit.
    fn unpack(&mut self, dest: &Path, unpacked: archive::Unpacked) -> Result<()> {
        for (path, mut entry) in unpacked.entries {
            let name = path
                .file_name()
                .map(OsStrExt::as_bytes)
                .unwrap_or_default()
                .to_vec();
            let parent = tree::resolve(
                self,
                &dest.join(path.parent().unwrap_or(Path::new(""))),
                true,
            )?;
            let target = parent.join(std::ffi::OsStr::from_bytes(&name));
            if let EntryKind::Hardlink(to) = &mut entry.kind {
                *to = tree::resolve(self, &dest.join(&*to), false)?;
                if !self.entries.contains_key(to) {
                    return Err(BuildError::new(
                        BuildErrorKind::Context,
                        format!(
                            "/{} in the archive is a link to /{}, which it does not hold",
                            path.display(),
                            to.display()
                        ),
                    ));
                }
            }
            if let Some(epoch) = self.options.epoch.filter(|epoch| entry.mtime.0 > *epoch) {
                entry.mtime = (epoch, 0);
            }
            self.folder_of(&parent, (0, 0))?;
            if entry.kind == EntryKind::Folder {
                if target.as_os_str().is_empty() {
                    continue;
                }
                if self
                    .lookup(&target)?
                    .is_some_and(|there| !there.is_folder())
                {
                    return Err(not_a_folder(&target));
                }
                self.entries.insert(target, entry);
            } else {
                self.put(target, entry)?;
            }
        }
        self.spools.extend(unpacked.spool);
        Ok(())
    }
}

fn xattrs(node: &Node) -> Result<Vec<(String, Vec<u8>)>> {
    if matches!(node.kind, NodeKind::Symlink(_)) || node.real.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    tree::kept_xattrs(&node.real).map_err(|error| {
        BuildError::io(
            format!("read the attributes of {}", node.real.display()),
            error,
        )
    })
}

fn not_a_folder(path: &Path) -> BuildError {
    BuildError::new(
        BuildErrorKind::Context,
        format!(
            "/{} in the image is not a folder, and a folder cannot take its place",
            path.display()
        ),
    )
    .with_hint("copy into the place that a link there points to, or choose another destination")
}
