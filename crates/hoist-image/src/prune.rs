//! Making room: what was not used for longest goes first, and nothing that has a name.
//!
//! Builds hold a shared lock while they run, and pruning an exclusive one, so that nothing goes away under a build. What was used in the
//! last hour stays anyway, since an image may be on its way to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hoist_oci::spec::{Descriptor, Index, Manifest, media_type};
use hoist_oci::{Digest, Store};

use crate::cache::Record;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::workspace::Workspace;

/// What is used again after so long is used by chance.
const OLD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often builds look by themselves.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// How much may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneOptions {
    /// Bytes that the cache may have: layers without a name, unpacked layers, cache mounts and fetched files.
    pub limit: u64,
    /// What was used so recently stays whatever its size.
    pub grace: Duration,
    /// Unpacked layers count and may go. Only while no containers run on them.
    pub unpacked: bool,
}

impl Default for PruneOptions {
    /// 20 GB, an hour, no unpacked layers.
    fn default() -> Self {
        PruneOptions {
            limit: 20 << 30,
            grace: Duration::from_secs(60 * 60),
            unpacked: false,
        }
    }
}

/// What went away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Bytes that are free again.
    pub freed: u64,
    /// Things that are gone: layers, caches, fetched files.
    pub removed: usize,
    /// Bytes that stay in the cache.
    pub kept: u64,
}

/// Held by a build for as long as it runs.
#[derive(Debug)]
pub(crate) struct InUse {
    _file: File,
}

fn lock_file(workspace: &Workspace) -> Result<File> {
    let path = workspace.cache("locks").join("in-use");
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| BuildError::io(format!("open {}", path.display()), error))
}

/// Keeps everything where it is until the value is dropped.
pub(crate) fn in_use(workspace: &Workspace) -> Result<InUse> {
    let file = lock_file(workspace)?;
    file.lock_shared()
        .map_err(|error| BuildError::io("lock the build cache", error))?;
    Ok(InUse { _file: file })
}

/// Says that something was used now.
pub(crate) fn touch(path: &Path) {
    // Without it, the thing only counts as older than it is.
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Prunes with the default limits if nobody did for a day. Best effort: a build does not fail for it.
pub(crate) fn when_due(workspace: &Workspace) {
    let stamp = workspace.cache("locks").join("pruned");
    if age(&stamp).is_some_and(|age| age < PERIOD) {
        return;
    }
    let first = !stamp.exists();
    let _ = fs::write(&stamp, "");
    if first {
        return;
    }
    match prune(workspace, &PruneOptions::default()) {
        Ok(pruned) => tracing::debug!(?pruned, "pruned the build cache"),
        Err(error) => tracing::debug!(%error, "did not prune the build cache"),
    }
}

/// How long a build that has ended may still hold the lock: a program that is started has the files of its parent between its fork and its exec.
const HELD: Duration = Duration::from_millis(500);

/// The lock that every build shares, for this process alone.
fn lock_alone(workspace: &Workspace) -> Result<File> {
    let lock = lock_file(workspace)?;
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < HELD => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(BuildError::new(
                    BuildErrorKind::Machine,
                    "a build is running, and its files must stay",
                )
                .with_hint("prune again when it is done"));
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(BuildError::io("lock the build cache", error));
            }
        }
    }
}

/// Removes what was not used for longest, until what is left is below the limit.
///
/// # Errors
/// Fails when a build is running, or the file system does.
pub fn prune(workspace: &Workspace, options: &PruneOptions) -> Result<Pruned> {
    let _lock = lock_alone(workspace)?;
    let live = live(&workspace.store)?;
    let mut items = layers(workspace, &live, options)?;
    items.extend(folders(workspace)?);
    items.sort_by_key(|item| item.used);
    let mut kept: u64 = items.iter().map(|item| item.size).sum();
    let mut pruned = Pruned::default();
    let now = SystemTime::now();
    for item in items {
        let age = now.duration_since(item.used).unwrap_or_default();
        if kept <= options.limit || age < options.grace {
            continue;
        }
        item.what.remove(workspace, options)?;
        kept -= item.size;
        pruned.freed += item.size;
        pruned.removed += 1;
    }
    pruned.freed += orphans(workspace, &live, options)?;
    for folder in ["steps", "selections", "context", "locks"] {
        forget_old(&workspace.cache(folder));
    }
    pruned.kept = kept;
    Ok(pruned)
}

struct Item {
    used: SystemTime,
    size: u64,
    what: What,
}

enum What {
    /// A layer, and the records of the steps that made it.
    Layer(Digest, Vec<PathBuf>),
    File(PathBuf),
    Folder(PathBuf),
}

impl What {
    fn remove(&self, workspace: &Workspace, options: &PruneOptions) -> Result<()> {
        match self {
            What::Layer(diff_id, records) => {
                // The records go first: a record without its layer would only cost a look.
                for record in records {
                    let _ = fs::remove_file(record);
                }
                let failed = |error| {
                    BuildError::from_source(
                        BuildErrorKind::Io,
                        format!("remove the layer {diff_id}"),
                        error,
                    )
                };
                workspace.store.remove_layer(diff_id).map_err(failed)?;
                if options.unpacked {
                    workspace.snapshots.remove(diff_id).map_err(|error| {
                        BuildError::from_source(
                            BuildErrorKind::Io,
                            format!("remove the unpacked layer {diff_id}"),
                            error,
                        )
                    })?;
                }
                Ok(())
            }
            What::File(path) => match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(BuildError::io(format!("remove {}", path.display()), error))
                }
                _ => Ok(()),
            },
            What::Folder(path) => match fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(BuildError::io(format!("remove {}", path.display()), error))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Everything that a name leads to.
fn live(store: &Store) -> Result<BTreeSet<Digest>> {
    let failed = |error| BuildError::from_source(BuildErrorKind::Io, "list the images", error);
    let mut found = BTreeSet::new();
    for (_, image) in store.tags().map_err(failed)? {
        follow(store, &image, &mut found);
    }
    Ok(found)
}

fn follow(store: &Store, image: &Descriptor, found: &mut BTreeSet<Digest>) {
    if !found.insert(image.digest) {
        return;
    }
    // What cannot be read leads nowhere, and stays by its own digest.
    if media_type::is_index(&image.media_type) {
        if let Ok(index) = store.read_json::<Index>(&image.digest) {
            for manifest in &index.manifests {
                follow(store, manifest, found);
            }
        }
    } else if let Ok(manifest) = store.read_json::<Manifest>(&image.digest) {
        found.insert(manifest.config.digest);
        found.extend(manifest.layers.iter().map(|layer| layer.digest));
    }
}

fn layers(
    workspace: &Workspace,
    live: &BTreeSet<Digest>,
    options: &PruneOptions,
) -> Result<Vec<Item>> {
    let failed = |error| BuildError::from_source(BuildErrorKind::Io, "list the layers", error);
    let mut records: BTreeMap<Digest, (SystemTime, Vec<PathBuf>)> = BTreeMap::new();
    for (path, used) in entries(&workspace.cache("steps")) {
        let record = fs::read(&path)
            .ok()
            .and_then(|json| serde_json::from_slice::<Record>(&json).ok());
        if let Some(diff_id) = record.and_then(|record| record.diff_id) {
            let known = records.entry(diff_id).or_insert((used, Vec::new()));
            known.0 = known.0.max(used);
            known.1.push(path);
        }
    }
    let mut items = Vec::new();
    for (diff_id, written) in workspace.store.layers().map_err(failed)? {
        let forms = workspace.store.layer_forms(&diff_id).map_err(failed)?;
        if forms.iter().any(|(_, blob)| live.contains(&blob.digest)) {
            continue;
        }
        let mut size: u64 = forms.iter().map(|(_, blob)| blob.size).sum();
        if options.unpacked
            && let Some(folder) = workspace.snapshots.existing(&diff_id)
        {
            size += weight(&folder);
        }
        let (used, records) = records.remove(&diff_id).unwrap_or((written, Vec::new()));
        items.push(Item {
            used,
            size,
            what: What::Layer(diff_id, records),
        });
    }
    Ok(items)
}

/// Cache mounts, fetched files and repositories.
fn folders(workspace: &Workspace) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (path, written) in entries(&workspace.cache("mounts")) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let used =
            modified(&workspace.cache("locks").join(format!("used-{name}"))).unwrap_or(written);
        items.push(Item {
            used,
            size: weight(&path),
            what: What::Folder(path),
        });
    }
    for (path, used) in entries(&workspace.cache("remote")) {
        let size = weight(&path);
        let what = if path.is_dir() {
            What::Folder(path)
        } else {
            What::File(path)
        };
        items.push(Item { used, size, what });
    }
    Ok(items)
}

/// Blobs that neither a name nor the table of layers knows: manifests and configurations of builds that got no name.
fn orphans(workspace: &Workspace, live: &BTreeSet<Digest>, options: &PruneOptions) -> Result<u64> {
    let failed = |error| BuildError::from_source(BuildErrorKind::Io, "list the blobs", error);
    let mut known = BTreeSet::new();
    for (diff_id, _) in workspace.store.layers().map_err(failed)? {
        let forms = workspace.store.layer_forms(&diff_id).map_err(failed)?;
        known.extend(forms.into_iter().map(|(_, blob)| blob.digest));
    }
    let mut freed = 0;
    for (path, _) in entries(&workspace.store.root().join("blobs/sha256")) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else {
            continue;
        };
        let young = age(&path).is_none_or(|age| age < options.grace);
        if live.contains(&digest) || known.contains(&digest) || young {
            continue;
        }
        let size = path.metadata().map_or(0, |metadata| metadata.len());
        workspace.store.remove(&digest).map_err(failed)?;
        freed += size;
    }
    Ok(freed)
}

fn entries(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .filter_map(|path| modified(&path).map(|time| (path, time)))
        .collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(modified(path)?).ok()
}

/// Bytes below a path, as far as they can be seen.
fn weight(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    fs::read_dir(path).map_or(0, |entries| {
        entries.flatten().map(|entry| weight(&entry.path())).sum()
    })
}

/// Removes small files that nobody looked at for a month.
fn forget_old(folder: &Path) {
    for (path, used) in entries(folder) {
        // Whoever opened this one waits for it by its file.
        if path.ends_with("in-use") {
            continue;
        }
        if SystemTime::now()
            .duration_since(used)
            .is_ok_and(|age| age > OLD)
        {
            let _ = fs::remove_file(path);
        }
    }
}
