//! The files of layers whose entries are known, as a tree.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hoist_oci::Digest;

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layer::{Entries, Entry, EntryKind};
use crate::tree::{Node, NodeKind, Tree};

/// The files of layers that this process made, seen without unpacking anything.
pub(crate) struct Listed {
    pub entries: Entries,
}

impl Tree for Listed {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(node_of(&Entry::folder(0o755, 0, 0, (0, 0)))));
        }
        Ok(self.entries.get(path).map(node_of))
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        let names = self
            .entries
            .keys()
            .filter(|path| path.parent() == Some(folder))
            .filter_map(|path| path.file_name());
        Ok(names.map(OsString::from).collect())
    }

    fn digest(&self, path: &Path, _node: &Node) -> Result<Digest> {
        Err(BuildError::new(
            BuildErrorKind::Io,
            format!(
                "failed to read /{}: the layer is not unpacked",
                path.display()
            ),
        ))
    }

    fn keeps_owners(&self) -> bool {
        true
    }
}

pub(crate) fn node_of(entry: &Entry) -> Node {
    let kind = match &entry.kind {
        EntryKind::Folder => NodeKind::Folder,
        EntryKind::Symlink(target) => NodeKind::Symlink(target.clone()),
        _ => NodeKind::File,
    };
    Node {
        real: PathBuf::new(),
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        size: 0,
        links: None,
    }
}
