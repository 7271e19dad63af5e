//! Unpacked layers, and places for containers to write to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hoist_oci::spec::Descriptor;
use hoist_oci::{Compression, Digest, Hasher, Image, Store};

use crate::RuntimeError;
use crate::linux::unpack::Unpacking;

/// Unpacked layers by diff id, each unpacked once. Several processes may use one at the same time.
///
/// ```no_run
/// # fn example(store: &hoist_oci::Store, image: &hoist_oci::Image) -> Result<(), Box<dyn std::error::Error>> {
/// let snapshots = hoist_runtime::Snapshots::open("/var/lib/hoist/snapshots".as_ref())?;
/// let lower = snapshots.lower_dirs(store, image)?;
/// let scratch = snapshots.scratch()?;
/// let rootfs = hoist_runtime::RootFs { lower, upper: scratch.upper(), work: scratch.work() };
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Snapshots {
    root: PathBuf,
    user_namespace: bool,
}

/// An upper and a work directory, removed when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Locked as long as it is used, so that others can tell it from one that a killed process left.
    _lock: File,
    kept: bool,
}

impl Snapshots {
    /// Opens `root`, making it when it does not exist.
    pub fn open(root: &Path) -> Result<Snapshots, RuntimeError> {
        let snapshots = Snapshots {
            root: root.to_owned(),
            user_namespace: crate::privilege::in_user_namespace(),
        };
        for directory in [snapshots.layers(), root.join("locks"), root.join("scratch")] {
            fs::create_dir_all(&directory).map_err(RuntimeError::path("make", directory))?;
        }
        Ok(snapshots)
    }

    /// Layers are marked differently in a user namespace, so each way has its own.
    fn layers(&self) -> PathBuf {
        self.root.join(if self.user_namespace {
            "layers-user"
        } else {
            "layers"
        })
    }

    /// The unpacked layer, if it is there.
    pub fn existing(&self, diff_id: &Digest) -> Option<PathBuf> {
        let path = self.layers().join(diff_id.hex());
        path.is_dir().then_some(path)
    }

    fn lock(&self, diff_id: &Digest) -> Result<File, RuntimeError> {
        let path = self.root.join("locks").join(diff_id.hex());
        let lock = File::create(&path).map_err(RuntimeError::path("open the lock", &path))?;
        lock.lock().map_err(RuntimeError::path("lock", &path))?;
        Ok(lock)
    }

    /// The directory of a layer, unpacked from the blob of `descriptor` unless that has been done. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// When the blob is missing, is not a tar archive, or does not have this diff id; nothing is left then.
    pub fn layer_dir(
        &self,
        store: &Store,
        descriptor: &Descriptor,
        diff_id: &Digest,
    ) -> Result<PathBuf, RuntimeError> {
        if let Some(existing) = self.existing(diff_id) {
            return Ok(existing);
        }
        let _lock = self.lock(diff_id)?;
        if let Some(existing) = self.existing(diff_id) {
            return Ok(existing);
        }
        let partial = self.layers().join(format!("{}.partial", diff_id.hex()));
        remove(&partial)?;
        fs::create_dir(&partial).map_err(RuntimeError::path("make", &partial))?;
        let blob = store
            .open_blob(&descriptor.digest)
            .map_err(|error| RuntimeError::Store {
                action: format!("open layer {}", descriptor.digest),
                problem: error.to_string(),
            })?;
        let unpacked = self
            .unpack(blob, &descriptor.media_type, &partial)
            .and_then(|found| {
                if found == *diff_id {
                    Ok(())
                } else {
                    Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("its content is {found}, not what the image says"),
                    ))
                }
            });
        if let Err(error) = unpacked {
            let _ = remove(&partial);
            return Err(match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    RuntimeError::path("unpack a layer into", partial)(error)
                }
                _ => RuntimeError::Layer {
                    layer: diff_id.to_string(),
                    problem: error.to_string(),
                },
            });
        }
        self.publish(&partial, diff_id)
    }

    fn unpack(&self, blob: File, media_type: &str, into: &Path) -> io::Result<Digest> {
        let compression = match Compression::of_media_type(media_type) {
            Some(compression) => compression,
            None => {
                let mut start = [0; 4];
                let length = std::os::unix::fs::FileExt::read_at(&blob, &mut start, 0)?;
                Compression::of_magic(&start[..length])
            }
        };
        let mut content = Hashing {
            inner: compression.decoder(blob)?,
            hasher: Hasher::new(),
        };
        let left = Unpacking::new(into, self.user_namespace)?.archive(&mut content)?;
        if left != Default::default() {
            tracing::debug!(?left, into = %into.display(), "without root, not everything of a layer can be kept");
        }
        // The digest is that of everything, including what follows the end of the archive.
        io::copy(&mut content, &mut io::sink())?;
        Ok(content.hasher.finish())
    }

    fn publish(&self, from: &Path, diff_id: &Digest) -> Result<PathBuf, RuntimeError> {
        let path = self.layers().join(diff_id.hex());
        fs::rename(from, &path).map_err(RuntimeError::path("publish the layer", &path))?;
        Ok(path)
    }

    /// The directories of all layers of an image, topmost first, as [`crate::RootFs::lower`] takes them.
    pub fn lower_dirs(&self, store: &Store, image: &Image) -> Result<Vec<PathBuf>, RuntimeError> {
        let diff_ids = &image.config.rootfs.diff_ids;
        if diff_ids.len() != image.manifest.layers.len() {
            return Err(RuntimeError::Layer {
                layer: image.descriptor.digest.to_string(),
                problem: format!(
                    "the manifest has {} layers, the configuration {}",
                    image.manifest.layers.len(),
                    diff_ids.len()
                ),
            });
        }
        let layers = image.manifest.layers.iter().zip(diff_ids).rev();
        layers
            .map(|(descriptor, diff_id)| self.layer_dir(store, descriptor, diff_id))
            .collect()
    }

    /// New empty directories for a container to write to.
    pub fn scratch(&self) -> Result<Scratch, RuntimeError> {
        let parent = self.root.join("scratch");
        // Between being made and being locked it looks like one that was left behind.
        let guard = self.scratch_lock()?;
        guard
            .lock_shared()
            .map_err(RuntimeError::path("lock", &parent))?;
        let path = tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&parent)
            .map_err(RuntimeError::path("make a directory in", &parent))?
            .keep();
        let lock = File::open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(RuntimeError::path("lock", &path))?;
        let scratch = Scratch {
            path,
            _lock: lock,
            kept: false,
        };
        for directory in [scratch.upper(), scratch.work()] {
            fs::create_dir(&directory).map_err(RuntimeError::path("make", &directory))?;
            // The upper directory is the container's `/`.
            fs::set_permissions(
                &directory,
                std::os::unix::fs::PermissionsExt::from_mode(0o755),
            )
            .map_err(RuntimeError::path("set the mode of", &directory))?;
        }
        Ok(scratch)
    }

    fn scratch_lock(&self) -> Result<File, RuntimeError> {
        let path = self.root.join("locks/scratch");
        File::create(&path).map_err(RuntimeError::path("open the lock", &path))
    }

    /// Keeps what was written to `scratch` as the layer of this diff id. It is in the form that unpacking would give.
    pub fn commit(&self, mut scratch: Scratch, diff_id: &Digest) -> Result<PathBuf, RuntimeError> {
        let _lock = self.lock(diff_id)?;
        if let Some(existing) = self.existing(diff_id) {
            return Ok(existing);
        }
        let path = self.publish(&scratch.upper(), diff_id)?;
        scratch.kept = true;
        remove(&scratch.path)?;
        Ok(path)
    }

    /// Removes an unpacked layer. It must not be in use.
    pub fn remove(&self, diff_id: &Digest) -> Result<(), RuntimeError> {
        let _lock = self.lock(diff_id)?;
        match self.existing(diff_id) {
            Some(path) => remove(&path),
            None => Ok(()),
        }
    }

    /// Removes the scratch directories that killed processes left.
    pub fn clean_up(&self) -> Result<(), RuntimeError> {
        let parent = self.root.join("scratch");
        let guard = self.scratch_lock()?;
        guard.lock().map_err(RuntimeError::path("lock", &parent))?;
        let entries = fs::read_dir(&parent).map_err(RuntimeError::path("read", &parent))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

impl Scratch {
    /// Receives what a container writes.
    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// For the overlay's own use.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, "cannot remove a scratch directory");
        }
    }
}

fn remove(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RuntimeError::path("remove", path)(error))
        }
        _ => Ok(()),
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use tar::{Builder, EntryType, Header};

    struct Layer(Builder<Vec<u8>>);

    impl Layer {
        fn new() -> Layer {
            Layer(Builder::new(Vec::new()))
        }

        fn header(kind: EntryType, mode: u32) -> Header {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_mtime(1_000_000_000);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            header
        }

        /// Writes the name as it stands, which the builder would refuse for a hostile one.
        fn raw(
            mut self,
            kind: EntryType,
            name: &str,
            mode: u32,
            link: &str,
            content: &[u8],
        ) -> Layer {
            let mut header = Layer::header(kind, mode);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            self.0.append(&header, content).unwrap();
            self
        }

        fn file(self, name: &str, content: &str) -> Layer {
            self.raw(EntryType::Regular, name, 0o644, "", content.as_bytes())
        }

        fn attribute(mut self, name: &str, value: &[u8]) -> Layer {
            self.0
                .append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)])
                .unwrap();
            self
        }

        fn bytes(self) -> Vec<u8> {
            self.0.into_inner().unwrap()
        }
    }

    struct Place {
        _directory: tempfile::TempDir,
        store: Store,
        snapshots: Snapshots,
    }

    impl Place {
        fn new() -> Place {
            let directory = tempfile::tempdir().unwrap();
            Place {
                store: Store::open(&directory.path().join("store")).unwrap(),
                snapshots: Snapshots::open(&directory.path().join("snapshots")).unwrap(),
                _directory: directory,
            }
        }

        fn put(&self, tar: &[u8], compression: Compression) -> (Descriptor, Digest) {
            let mut encoder = compression.encoder(Vec::new()).unwrap();
            io::Write::write_all(&mut encoder, tar).unwrap();
            let blob = encoder.finish().unwrap();
            let digest = self.store.put(&blob).unwrap();
            (
                Descriptor::new(compression.media_type(), digest, blob.len() as u64),
                Digest::of(tar),
            )
        }

        fn unpack(&self, layer: Layer) -> Result<PathBuf, RuntimeError> {
            let (descriptor, diff_id) = self.put(&layer.bytes(), Compression::None);
            self.snapshots.layer_dir(&self.store, &descriptor, &diff_id)
        }
    }

    #[test]
    fn every_form_of_a_layer_unpacks_to_the_same_files() {
        let tar = Layer::new()
            .raw(EntryType::Directory, "etc/", 0o750, "", b"")
            .file("etc/name", "value")
            .raw(EntryType::Regular, "bin/tool", 0o4755, "", b"tool")
            .raw(EntryType::Link, "bin/same", 0o755, "bin/tool", b"")
            .raw(EntryType::Symlink, "bin/other", 0o777, "/bin/tool", b"")
            .raw(EntryType::Fifo, "pipe", 0o600, "", b"")
            .bytes();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let place = Place::new();
            let (descriptor, diff_id) = place.put(&tar, compression);
            let path = place
                .snapshots
                .layer_dir(&place.store, &descriptor, &diff_id)
                .unwrap();
            assert_eq!(fs::read_to_string(path.join("etc/name")).unwrap(), "value");
            let etc = fs::metadata(path.join("etc")).unwrap();
            assert_eq!(
                (etc.permissions().mode() & 0o7777, etc.mtime()),
                (0o750, 1_000_000_000)
            );
            let tool = fs::metadata(path.join("bin/tool")).unwrap();
            assert_eq!(
                (
                    tool.permissions().mode() & 0o7777,
                    tool.nlink(),
                    tool.mtime()
                ),
                (0o4755, 2, 1_000_000_000)
            );
            assert_eq!(
                fs::read_link(path.join("bin/other")).unwrap(),
                Path::new("/bin/tool")
            );
            assert!(
                fs::symlink_metadata(path.join("pipe"))
                    .unwrap()
                    .file_type()
                    .is_fifo()
            );
            assert_eq!(
                place
                    .snapshots
                    .layer_dir(&place.store, &descriptor, &diff_id)
                    .unwrap(),
                path
            );
        }
    }

    #[test]
    fn what_a_layer_deletes_is_gone_from_the_stack() {
        let place = Place::new();
        let lower = Layer::new()
            .file("keep", "1")
            .file("gone", "2")
            .file("dir/old", "3");
        let upper = Layer::new()
            .file(".wh.gone", "")
            .raw(EntryType::Directory, "dir/", 0o755, "", b"")
            .file("dir/.wh..wh..opq", "")
            .file("dir/new", "4");
        let lower = place.unpack(lower).unwrap();
        let upper = place.unpack(upper).unwrap();
        assert!(
            fs::symlink_metadata(upper.join("gone"))
                .unwrap()
                .file_type()
                .is_char_device()
        );
        let scratch = place.snapshots.scratch().unwrap();
        let target = scratch.path.join("target");
        fs::create_dir(&target).unwrap();
        let overlay =
            crate::Overlay::mount(&[upper, lower], &scratch.upper(), &scratch.work(), &target)
                .unwrap();
        let list = |path: PathBuf| {
            let mut names: Vec<_> = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(list(overlay.path().to_owned()), ["dir", "keep"]);
        assert_eq!(list(overlay.path().join("dir")), ["new"]);
    }

    #[test]
    fn a_layer_does_not_reach_out_of_its_directory() {
        let place = Place::new();
        let outside = tempfile::tempdir().unwrap();
        let outside_name = outside.path().to_str().unwrap();
        let linked = Layer::new()
            .raw(EntryType::Symlink, "link", 0o777, outside_name, b"")
            .file("link/file", "in");
        let _ = place.unpack(linked);
        let linked = Layer::new()
            .raw(
                EntryType::Symlink,
                "up",
                0o777,
                "../../../../../../../..",
                b"",
            )
            .file(&format!("up{outside_name}/file"), "in");
        let path = place.unpack(linked).unwrap();
        assert_eq!(
            fs::read_to_string(path.join(outside_name.trim_start_matches('/')).join("file"))
                .unwrap(),
            "in"
        );
        let secret = outside.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let linked = Layer::new().raw(
            EntryType::Link,
            "copy",
            0o644,
            secret.to_str().unwrap(),
            b"",
        );
        assert!(place.unpack(linked).is_err());
        let climbing = place
            .unpack(Layer::new().file("a/../../escaped", "in"))
            .unwrap_err();
        assert!(
            climbing
                .to_string()
                .contains("a/../../escaped: the path leads out of the layer"),
            "{climbing}"
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        let layers: Vec<_> = fs::read_dir(place.snapshots.layers())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            !layers
                .iter()
                .any(|name| name.ends_with(".partial") || name == "escaped"),
            "{layers:?}"
        );
    }

    #[test]
    fn a_later_entry_of_an_archive_replaces_an_earlier_one() {
        let place = Place::new();
        let layer = Layer::new()
            .file("a", "1")
            .raw(EntryType::Symlink, "a", 0o777, "b", b"")
            .file("d/x", "1")
            .file("d", "now a file")
            .file("f", "1")
            .file("f", "2");
        let path = place.unpack(layer).unwrap();
        assert_eq!(fs::read_link(path.join("a")).unwrap(), Path::new("b"));
        assert_eq!(fs::read_to_string(path.join("d")).unwrap(), "now a file");
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "2");
    }

    #[test]
    fn capabilities_of_files_are_kept_and_marks_of_overlay_are_not() {
        let place = Place::new();
        // Version 2, CAP_NET_BIND_SERVICE permitted and effective.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let layer = Layer::new()
            .attribute("security.capability", &capability)
            .file("ping", "")
            .attribute("trusted.overlay.redirect", b"/etc")
            .raw(EntryType::Directory, "dir/", 0o755, "", b"");
        let path = place.unpack(layer).unwrap();
        assert_eq!(
            xattr::get(path.join("ping"), "security.capability")
                .unwrap()
                .as_deref(),
            Some(&capability[..])
        );
        assert_eq!(
            xattr::get(path.join("dir"), "trusted.overlay.redirect").unwrap(),
            None
        );
    }

    #[test]
    fn content_that_is_not_what_the_image_says_is_refused() {
        let place = Place::new();
        let (descriptor, _) = place.put(&Layer::new().file("a", "1").bytes(), Compression::Gzip);
        let other = Digest::of(b"other");
        let error = place
            .snapshots
            .layer_dir(&place.store, &descriptor, &other)
            .unwrap_err();
        assert!(
            error.to_string().contains("not what the image says"),
            "{error}"
        );
        assert_eq!(place.snapshots.existing(&other), None);
    }

    #[test]
    fn scratch_directories_vanish_and_those_in_use_are_left_alone() {
        let place = Place::new();
        let used = place.snapshots.scratch().unwrap();
        let dropped = place.snapshots.scratch().unwrap().path.clone();
        assert!(!dropped.exists());
        let abandoned = place.snapshots.root.join("scratch/abandoned");
        fs::create_dir(&abandoned).unwrap();
        place.snapshots.clean_up().unwrap();
        assert!(used.upper().is_dir() && !abandoned.exists());
        fs::write(used.upper().join("file"), "").unwrap();
        let diff_id = Digest::of(b"built");
        let layer = place.snapshots.commit(used, &diff_id).unwrap();
        assert!(layer.join("file").exists());
        assert_eq!(place.snapshots.existing(&diff_id), Some(layer));
    }
}
