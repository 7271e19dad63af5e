//! What the sources of a copy mean, and the digest of it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hoist_oci::{Digest, Hasher};

use crate::context::hash_node;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::{Ignore, Verdict};
use crate::pattern::Pattern;
use crate::remote::Fetched;
use crate::tree::{self, Node, NodeKind, Tree};

/// One file or folder to copy.
#[derive(Debug)]
pub(crate) enum Selected {
    Node {
        /// What it is called at the destination.
        name: OsString,
        /// Where it is in the source, links followed.
        path: PathBuf,
        node: Node,
        /// Its path at the destination with `--parents`.
        below: PathBuf,
    },
    /// The body of a heredoc.
    Inline { name: String, content: String },
    /// A file from an address.
    Fetched { name: String, node: Node },
}

impl Selected {
    /// What an address gave: only its owner may read it, whatever the server says of it (Dockerfile reference, "ADD").
    pub(crate) fn of_file(file: &Fetched) -> Selected {
        Selected::Fetched {
            name: file.name.clone(),
            node: Node {
                real: file.path.clone(),
                kind: NodeKind::File,
                mode: 0o600,
                uid: 0,
                gid: 0,
                mtime: (file.changed, 0),
                size: file.size,
                links: None,
            },
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self, Selected::Node { node, .. } if node.is_folder())
    }
}

/// Finds what a source means. Nothing is found only for a pattern: a plain path must exist.
pub(crate) fn select(tree: &dyn Tree, source: &str) -> Result<Vec<Selected>> {
    select_with(tree, source, false)
}

/// As [`select`]; `**` stands for any number of folders if it may, which it does with `--parents`.
pub(crate) fn select_with(
    tree: &dyn Tree,
    source: &str,
    everywhere: bool,
) -> Result<Vec<Selected>> {
    let path = tree::relative(source);
    // With --parents, what is before "/./" stays away.
    let before = source
        .split_once("/./")
        .map(|(before, _)| tree::relative(before))
        .unwrap_or_default();
    let below = |path: &Path| path.strip_prefix(&before).unwrap_or(path).to_owned();
    if Pattern::is_literal(source) {
        return match follow(tree, &path)? {
            Some((resolved, node)) => Ok(vec![Selected::Node {
                name: path.file_name().unwrap_or_default().to_owned(),
                path: resolved,
                node,
                below: below(&path),
            }]),
            None => Err(BuildError::new(
                BuildErrorKind::Context,
                format!("{source} does not exist"),
            )),
        };
    }
    let bad = |_| {
        BuildError::new(
            BuildErrorKind::Dockerfile,
            format!("the pattern {source} is not closed"),
        )
        .with_hint("a '[' needs its ']'; for a bracket that means itself, write [[]")
    };
    if source.contains("**") && everywhere {
        let text = path.to_str().unwrap_or_default();
        let pattern = Pattern::ignore(text).map_err(bad)?;
        let start: PathBuf = path
            .iter()
            .take_while(|part| part.to_str().is_some_and(Pattern::is_literal))
            .collect();
        let mut found = Vec::new();
        matching(tree, &start, &pattern, &mut found)?;
        return Ok(found
            .into_iter()
            .map(|(path, node)| Selected::Node {
                name: path.file_name().unwrap_or_default().to_owned(),
                below: below(&path),
                path,
                node,
            })
            .collect());
    }
    let mut found = vec![PathBuf::new()];
    let mut literal = true;
    for part in &path {
        let part = part.to_str().unwrap_or_default();
        if literal && Pattern::is_literal(part) {
            for path in &mut found {
                *path = tree::resolve(tree, &path.join(part), true)?;
            }
            continue;
        }
        literal = false;
        let pattern = Pattern::go(part).map_err(bad)?;
        let mut next = Vec::new();
        for folder in found {
            for name in tree.list(&folder)? {
                if name.to_str().is_some_and(|name| pattern.matches(name)) {
                    next.push(folder.join(name));
                }
            }
        }
        found = next;
    }
    let mut selected = Vec::new();
    for path in found {
        if let Some((resolved, node)) = follow(tree, &path)? {
            selected.push(Selected::Node {
                name: path.file_name().unwrap_or_default().to_owned(),
                path: resolved,
                node,
                below: below(&path),
            });
        } else if tree.lookup(&path)?.is_some() {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("{} is a link to a file that does not exist", path.display()),
            )
            .with_hint("take it out of the pattern, or name it in .dockerignore"));
        }
    }
    Ok(selected)
}

/// All that matches a pattern in a folder and below. What is in a folder that matches comes with it.
fn matching(
    tree: &dyn Tree,
    folder: &Path,
    pattern: &Pattern,
    found: &mut Vec<(PathBuf, Node)>,
) -> Result<()> {
    for name in tree.list(folder)? {
        let path = folder.join(name);
        let Some(node) = tree.lookup(&path)? else {
            continue;
        };
        if path.to_str().is_some_and(|path| pattern.matches(path)) {
            found.push((path, node));
        } else if node.is_folder() {
            matching(tree, &path, pattern, found)?;
        }
    }
    Ok(())
}

fn follow(tree: &dyn Tree, path: &Path) -> Result<Option<(PathBuf, Node)>> {
    let resolved = tree::resolve(tree, path, true)?;
    Ok(tree.lookup(&resolved)?.map(|node| (resolved, node)))
}

/// The digest of what was selected: part of the step's cache key.
pub(crate) fn digest(tree: &dyn Tree, selected: &[Selected], exclude: &Ignore) -> Result<Digest> {
    let mut hasher = Hasher::new();
    for item in selected {
        match item {
            Selected::Inline { name, content } => {
                hasher.update(format!("inline {name} {}\0{content}", content.len()).as_bytes());
            }
            // Its digest is a part of the key by itself.
            Selected::Fetched { name, .. } => hasher.update(format!("fetched {name}\0").as_bytes()),
            Selected::Node {
                name,
                path,
                node,
                below,
            } => {
                hasher.update(format!("below {}\0", below.display()).as_bytes());
                // A folder's own name does not matter: only its contents are copied.
                let name = if node.is_folder() {
                    Path::new("")
                } else {
                    Path::new(name)
                };
                digest_node(
                    &mut hasher,
                    tree,
                    name,
                    path,
                    node,
                    exclude,
                    &Verdict::default(),
                )?;
            }
        }
    }
    Ok(hasher.finish())
}

fn digest_node(
    hasher: &mut Hasher,
    tree: &dyn Tree,
    name: &Path,
    path: &Path,
    node: &Node,
    exclude: &Ignore,
    verdict: &Verdict,
) -> Result<()> {
    let owners = tree.keeps_owners();
    hash_node(hasher, name, node, owners, &|| tree.digest(path, node))?;
    if node.is_folder() {
        let mut visit = |below: &Path, node: &Node, content: &dyn Fn() -> Result<Digest>| {
            let joined = match name.as_os_str().is_empty() {
                true => Cow::Borrowed(below),
                false => Cow::Owned(name.join(below)),
            };
            hash_node(hasher, &joined, node, owners, content)
        };
        if exclude.is_empty() && tree.visit_below(path, &mut visit)? {
            return Ok(());
        }
        for child in tree.list(path)? {
            let (name, path) = (name.join(&child), path.join(&child));
            let verdict = judge(exclude, &name, verdict);
            if verdict.hidden && !exclude.may_show_inside(&name.to_string_lossy()) {
                continue;
            }
            if let Some(node) = tree.lookup(&path)? {
                digest_node(hasher, tree, &name, &path, &node, exclude, &verdict)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn judge(exclude: &Ignore, name: &Path, folder: &Verdict) -> Verdict {
    if exclude.is_empty() {
        Verdict::default()
    } else {
        exclude.verdict(&name.to_string_lossy(), folder)
    }
}
