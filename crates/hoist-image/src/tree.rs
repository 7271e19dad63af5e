//! Trees of files that a build reads: the context, and the root file system of a stage or an image.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use hoist_oci::Digest;

use crate::error::{BuildError, BuildErrorKind, Result};

/// Seconds and nanoseconds since 1970.
pub(crate) type Time = (i64, u32);

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Where its content and attributes can be read.
    pub real: PathBuf,
    pub kind: NodeKind,
    /// Permission bits, set-id and sticky included.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub size: u64,
    /// Device and inode of a file with several links.
    pub links: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Folder,
    File,
    Symlink(PathBuf),
    Character(u64),
    Block(u64),
    Fifo,
}

impl Node {
    /// Describes a file; `None` for sockets, which no archive can hold.
    pub(crate) fn of(real: PathBuf, metadata: &Metadata) -> io::Result<Option<Node>> {
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            NodeKind::Folder
        } else if kind.is_file() {
            NodeKind::File
        } else if kind.is_symlink() {
            NodeKind::Symlink(fs::read_link(&real)?)
        } else if kind.is_char_device() {
            NodeKind::Character(metadata.rdev())
        } else if kind.is_block_device() {
            NodeKind::Block(metadata.rdev())
        } else if kind.is_fifo() {
            NodeKind::Fifo
        } else {
            return Ok(None);
        };
        let links = (kind == NodeKind::File && metadata.nlink() > 1)
            .then(|| (metadata.dev(), metadata.ino()));
        Ok(Some(Node {
            real,
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (
                metadata.mtime(),
                u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            ),
            size: metadata.len(),
            links,
        }))
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.kind == NodeKind::Folder
    }
}

/// Something that files can be copied from. Paths are relative to its root and have no `.` or `..`.
pub(crate) trait Tree {
    /// The file at a path; links are not followed. The empty path is the root.
    fn lookup(&self, path: &Path) -> Result<Option<Node>>;

    /// The names in a folder, sorted.
    fn list(&self, folder: &Path) -> Result<Vec<OsString>>;

    /// The digest of a file's content and of the attributes that a layer keeps.
    fn digest(&self, path: &Path, node: &Node) -> Result<Digest>;

    /// Whether owners mean anything here; the context's do not.
    fn keeps_owners(&self) -> bool;

    /// Shows all that is in a folder and below it, in the order of a walk, if the tree has it at hand; false if it has not.
    fn visit_below(&self, _folder: &Path, _visit: &mut Visit<'_>) -> Result<bool> {
        Ok(false)
    }
}

/// Takes a file: its path below the folder, what it is (without where), and a way to its digest.
pub(crate) type Visit<'a> = dyn FnMut(&Path, &Node, &dyn Fn() -> Result<Digest>) -> Result<()> + 'a;

impl<T: Tree> Tree for &T {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        (**self).lookup(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        (**self).list(folder)
    }

    fn digest(&self, path: &Path, node: &Node) -> Result<Digest> {
        (**self).digest(path, node)
    }

    fn keeps_owners(&self) -> bool {
        (**self).keeps_owners()
    }

    fn visit_below(&self, folder: &Path, visit: &mut Visit<'_>) -> Result<bool> {
        (**self).visit_below(folder, visit)
    }
}

/// How many links a path may lead through, as in Linux.
const MAX_LINKS: usize = 40;

/// Makes a path of a Dockerfile relative to a root: `..` stops there.
pub(crate) fn relative(path: &str) -> PathBuf {
    let mut out = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Follows links as if the tree were the whole file system, so that none leads out of it.
///
/// The last part is followed only if asked. What does not exist is taken as it stands.
pub(crate) fn resolve(tree: &dyn Tree, path: &Path, follow_last: bool) -> Result<PathBuf> {
    let mut rest: Vec<OsString> = parts(path);
    rest.reverse();
    let mut at = PathBuf::new();
    let mut links = 0;
    let mut missing = false;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            missing = false;
            continue;
        }
        at.push(part);
        if missing || (rest.is_empty() && !follow_last) {
            continue;
        }
        match tree.lookup(&at)? {
            None => missing = true,
            Some(Node {
                kind: NodeKind::Symlink(target),
                ..
            }) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(BuildError::new(
                        BuildErrorKind::Context,
                        format!("too many symbolic links on the way to /{}", path.display()),
                    ));
                }
                at.pop();
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                let mut target = parts(&target);
                target.reverse();
                rest.extend(target);
            }
            Some(_) => {}
        }
    }
    Ok(at)
}

fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// The attributes of a file that layers keep, sorted: the user's, and file capabilities.
pub(crate) fn kept_xattrs(real: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let names = match xattr::list(real) {
        Ok(names) => names,
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut kept = Vec::new();
    for name in names {
        let Some(text) = name.to_str() else { continue };
        let keep = text == "security.capability"
            || (text.starts_with("user.") && !text.starts_with("user.overlay."));
        if keep && let Some(value) = xattr::get(real, &name)? {
            kept.push((text.to_owned(), value));
        }
    }
    kept.sort();
    Ok(kept)
}

/// The digest of a file's content and kept attributes.
pub(crate) fn digest_file(real: &Path) -> Result<Digest> {
    let doing = || format!("read {}", real.display());
    let mut file = fs::File::open(real).map_err(|error| BuildError::io(doing(), error))?;
    let mut hasher = hoist_oci::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BuildError::io(doing(), error)),
        }
    }
    let content = hasher.finish();
    let xattrs = kept_xattrs(real).map_err(|error| BuildError::io(doing(), error))?;
    if xattrs.is_empty() {
        return Ok(content);
    }
    let mut hasher = hoist_oci::Hasher::new();
    hasher.update(content.as_bytes());
    for (name, value) in xattrs {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(&value);
    }
    Ok(hasher.finish())
}

/// A root file system made of unpacked layers in overlay form, seen without mounting it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rootfs {
    /// Topmost first.
    pub layers: Vec<PathBuf>,
}

impl Rootfs {
    /// The folders that make up a folder of the tree, topmost first; `Err` holds what is there instead.
    fn folders(
        &self,
        path: &Path,
    ) -> io::Result<std::result::Result<Vec<PathBuf>, Option<PathBuf>>> {
        let mut folders = self.layers.clone();
        for part in path.components() {
            let mut next = Vec::new();
            for folder in folders {
                let real = folder.join(part);
                let metadata = match fs::symlink_metadata(&real) {
                    Ok(metadata) => metadata,
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if is_whiteout(&metadata) {
                    break;
                }
                if !metadata.is_dir() {
                    if next.is_empty() {
                        return Ok(Err(Some(real)));
                    }
                    break;
                }
                let opaque = is_opaque(&real)?;
                next.push(real);
                if opaque {
                    break;
                }
            }
            if next.is_empty() {
                return Ok(Err(None));
            }
            folders = next;
        }
        Ok(Ok(folders))
    }
}

/// Whether a file hides what lower layers have at its place (overlayfs).
pub(crate) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Whether a folder hides what lower layers have in it (overlayfs, as root and with `userxattr`).
pub(crate) fn is_opaque(folder: &Path) -> io::Result<bool> {
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        match xattr::get(folder, name) {
            Ok(Some(value)) if value == b"y" => return Ok(true),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

impl Tree for Rootfs {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        let failed = |error| BuildError::io(format!("read /{} of an image", path.display()), error);
        let (folder, name) = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => (folder, name),
            _ => {
                let Some(root) = self.layers.first() else {
                    return Ok(None);
                };
                let metadata = fs::symlink_metadata(root).map_err(failed)?;
                return Node::of(root.clone(), &metadata).map_err(failed);
            }
        };
        let Ok(folders) = self.folders(folder).map_err(failed)? else {
            return Ok(None);
        };
        for folder in folders {
            let real = folder.join(name);
            let metadata = match fs::symlink_metadata(&real) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            if is_whiteout(&metadata) {
                return Ok(None);
            }
            return Node::of(real, &metadata).map_err(failed);
        }
        Ok(None)
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        let failed =
            |error| BuildError::io(format!("list /{} of an image", folder.display()), error);
        let Ok(folders) = self.folders(folder).map_err(failed)? else {
            return Ok(Vec::new());
        };
        let mut seen = std::collections::BTreeMap::new();
        for folder in folders {
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                if let std::collections::btree_map::Entry::Vacant(e) = seen.entry(name) {
                    let metadata = entry.metadata().map_err(failed)?;
                    e.insert(!is_whiteout(&metadata));
                }
            }
        }
        Ok(seen
            .into_iter()
            .filter(|(_, visible)| *visible)
            .map(|(name, _)| name)
            .collect())
    }

    fn digest(&self, _path: &Path, node: &Node) -> Result<Digest> {
        digest_file(&node.real)
    }

    fn keeps_owners(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> (tempfile::TempDir, Rootfs) {
        let dir = tempfile::tempdir().unwrap();
        let (low, top) = (dir.path().join("low"), dir.path().join("top"));
        for path in [
            "low/usr/bin",
            "low/hidden/x",
            "low/opaque",
            "top/usr/bin",
            "top/opaque",
            "top/made",
        ] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(low.join("usr/bin/a"), "a").unwrap();
        fs::write(low.join("usr/bin/b"), "low").unwrap();
        fs::write(top.join("usr/bin/b"), "top").unwrap();
        fs::write(low.join("opaque/gone"), "").unwrap();
        fs::write(low.join("gone"), "").unwrap();
        std::os::unix::fs::symlink("usr/bin", low.join("bin")).unwrap();
        std::os::unix::fs::symlink("/../../etc", low.join("out")).unwrap();
        std::os::unix::fs::symlink("loop", low.join("loop")).unwrap();
        for name in ["hidden", "gone"] {
            nix::sys::stat::mknod(
                &top.join(name),
                nix::sys::stat::SFlag::S_IFCHR,
                nix::sys::stat::Mode::empty(),
                0,
            )
            .unwrap();
        }
        xattr::set(top.join("opaque"), "trusted.overlay.opaque", b"y").unwrap();
        (
            dir,
            Rootfs {
                layers: vec![top, low],
            },
        )
    }

    #[test]
    fn upper_layers_cover_lower_ones() {
        let (_dir, tree) = layers();
        let read = |path: &str| {
            tree.lookup(Path::new(path))
                .unwrap()
                .map(|node| fs::read_to_string(node.real).unwrap_or_default())
        };
        assert_eq!(read("usr/bin/a").as_deref(), Some("a"));
        assert_eq!(read("usr/bin/b").as_deref(), Some("top"));
        assert_eq!(read("gone"), None);
        assert_eq!(read("hidden/x"), None);
        assert_eq!(read("opaque/gone"), None);
        assert_eq!(
            tree.list(Path::new("")).unwrap(),
            ["bin", "loop", "made", "opaque", "out", "usr"]
        );
        assert_eq!(tree.list(Path::new("usr/bin")).unwrap(), ["a", "b"]);
        assert!(tree.list(Path::new("opaque")).unwrap().is_empty());
    }

    #[test]
    fn links_stay_in_the_tree() {
        let (_dir, tree) = layers();
        let to = |path: &str| resolve(&tree, Path::new(path), true).unwrap();
        assert_eq!(to("bin/new"), Path::new("usr/bin/new"));
        assert_eq!(to("bin"), Path::new("usr/bin"));
        assert_eq!(to("out/passwd"), Path::new("etc/passwd"));
        assert_eq!(
            resolve(&tree, Path::new("bin"), false).unwrap(),
            Path::new("bin")
        );
        let error = resolve(&tree, Path::new("loop/x"), true).unwrap_err();
        assert!(error.message().contains("too many symbolic links"));
        assert_eq!(relative("/a/../../b/./c/"), Path::new("b/c"));
    }
}
