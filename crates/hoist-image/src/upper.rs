//! What a command changed: from the upper folder of an overlay to the entries of a layer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::{Content, Entries, Entry, EntryKind};
use crate::tree::{self, Node, NodeKind, Tree};

/// Everything in a folder as entries. Whiteouts and opaque folders of the overlay become those of layers
/// (<https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#representing-changes>).
pub(crate) fn entries(folder: &Path) -> Result<Entries> {
    let mut found = Entries::new();
    let mut first_names = HashMap::new();
    walk(folder, Path::new(""), &mut found, &mut first_names)?;
    Ok(found)
}

fn walk(
    root: &Path,
    folder: &Path,
    found: &mut Entries,
    first_names: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<()> {
    let real = root.join(folder);
    let failed = |error| BuildError::io(format!("read {}", real.display()), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&real).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let real = root.join(&path);
        let failed = |error| BuildError::io(format!("read {}", real.display()), error);
        let metadata = fs::symlink_metadata(&real).map_err(failed)?;
        if tree::is_whiteout(&metadata) {
            found.insert(folder.join(marked(&name)), Entry::whiteout());
            continue;
        }
        if name.as_encoded_bytes().starts_with(b".wh.") {
            return Err(BuildError::new(
                BuildErrorKind::Unsupported,
                format!("/{} cannot be in an image", path.display()),
            )
            .with_hint("names that begin with .wh. mark deleted files in layers"));
        }
        let Some(node) = Node::of(real.clone(), &metadata).map_err(failed)? else {
            continue;
        };
        let kind = match &node.kind {
            NodeKind::Folder => EntryKind::Folder,
            NodeKind::File => match node.links.and_then(|links| first_names.get(&links)) {
                Some(first) => EntryKind::Hardlink(first.clone()),
                None => EntryKind::File {
                    content: Content::Path(real.clone()),
                    size: node.size,
                },
            },
            NodeKind::Symlink(target) => EntryKind::Symlink(target.clone()),
            NodeKind::Character(device) => EntryKind::Character(*device),
            NodeKind::Block(device) => EntryKind::Block(*device),
            NodeKind::Fifo => EntryKind::Fifo,
        };
        if let Some(links) = node.links {
            first_names.entry(links).or_insert_with(|| path.clone());
        }
        let xattrs = if matches!(kind, EntryKind::Symlink(_)) {
            Vec::new()
        } else {
            tree::kept_xattrs(&real).map_err(failed)?
        };
        let is_folder = kind == EntryKind::Folder;
        found.insert(
            path.clone(),
            Entry {
                kind,
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
                mtime: (node.mtime.0, 0),
                xattrs,
            },
        );
        if is_folder {
            if tree::is_opaque(&real).map_err(failed)? {
                found.insert(path.join(".wh..wh..opq"), Entry::whiteout());
            }
            walk(root, &path, found, first_names)?;
        }
    }
    Ok(())
}

fn marked(name: &OsString) -> OsString {
    let mut marked = OsString::from(".wh.");
    marked.push(name);
    marked
}

/// Takes away what was only made to mount something on: empty, new, and nothing that the command left.
pub(crate) fn drop_mount_points(
    entries: &mut Entries,
    below: &dyn Tree,
    targets: &[String],
) -> Result<Vec<PathBuf>> {
    let mut dropped = Vec::new();
    for target in targets {
        let mut path = tree::relative(target);
        while !path.as_os_str().is_empty() {
            let has_children = entries
                .keys()
                .any(|other| other != &path && other.starts_with(&path));
            let is_stub = match entries.get(&path).map(|entry| &entry.kind) {
                Some(EntryKind::Folder) => !has_children,
                Some(EntryKind::File { size: 0, .. }) => {
                    dropped.is_empty() || !dropped.contains(&path)
                }
                _ => false,
            };
            if !is_stub || below.lookup(&path)?.is_some() {
                break;
            }
            entries.remove(&path);
            dropped.push(path.clone());
            path.pop();
        }
    }
    Ok(dropped)
}

/// Times later than `SOURCE_DATE_EPOCH` become it.
pub(crate) fn clamp(entries: &mut Entries, epoch: i64) {
    for entry in entries.values_mut().filter(|entry| entry.mtime.0 > epoch) {
        entry.mtime = (epoch, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Rootfs;

    #[test]
    fn deletions_become_whiteouts_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/a"), "x").unwrap();
        fs::hard_link(root.join("d/a"), root.join("d/b")).unwrap();
        std::os::unix::fs::symlink("/x", root.join("l")).unwrap();
        nix::sys::stat::mknod(
            &root.join("gone"),
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::empty(),
            0,
        )
        .unwrap();
        xattr::set(root.join("d/e"), "trusted.overlay.opaque", b"y").unwrap();
        let found = entries(root).unwrap();
        let names: Vec<_> = found.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                ".wh.gone",
                "d",
                "d/a",
                "d/b",
                "d/e",
                "d/e/.wh..wh..opq",
                "l"
            ]
        );
        assert_eq!(
            found[Path::new("d/b")].kind,
            EntryKind::Hardlink("d/a".into())
        );
        assert!(found[Path::new("d/e")].xattrs.is_empty());
    }

    #[test]
    fn mount_points_leave_no_trace_unless_they_were_used() {
        let folder = || Entry::folder(0o755, 0, 0, (0, 0));
        let mut found = Entries::from([
            ("run".into(), folder()),
            ("run/secrets".into(), folder()),
            ("run/secrets/key".into(), Entry::whiteout()),
            ("cache".into(), folder()),
            ("used".into(), folder()),
            ("used/m".into(), folder()),
            ("used/file".into(), Entry::whiteout()),
        ]);
        let targets = ["/run/secrets/key", "/cache", "/used/m", "/absent"].map(String::from);
        drop_mount_points(&mut found, &Rootfs::default(), &targets).unwrap();
        let names: Vec<_> = found.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(names, ["used", "used/file"]);
    }
}
