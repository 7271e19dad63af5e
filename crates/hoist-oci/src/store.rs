//! The image store: an OCI layout on disk.
//!
//! ```text
//! oci-layout            the version of the layout
//! index.json            tagged manifests (org.opencontainers.image.ref.name)
//! blobs/sha256/<hex>    content, complete and verified from the moment it has this name
//! layers/               the layer table, see the module of that name
//! tmp/                  files that are being written
//! ```
//! Several processes may use one store at once, and any may be killed at any moment: a file is written under `tmp`
//! and renamed; who changes `index.json` holds a lock on `tmp/index.lock`.
//!
//! A power cut is another matter. A store that was [opened](Store::open) as such syncs what it writes before it has its name. A
//! [cache](Store::open_cache) leaves that to the system, for a disk takes longer to sync a layer than two cores to compress it; what a power cut
//! leaves shorter than it should be (file systems keep the order of a rename and of the sizes, not that of the content) counts as missing.
//! The layout is that of <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>, so that other tools
//! can read it (`skopeo inspect oci:<root>:<tag>`).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::spec::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use crate::{BlobWriter, Digest, Hasher};

/// The annotation that holds a tag in `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Files in `tmp` that are older belong to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Content on disk. Cheap to clone; see the [crate's example](crate).
#[derive(Debug, Clone)]
pub struct Store {
    root: Arc<Path>,
    durable: bool,
}

/// One image for one platform, as it lies in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Points at the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The digest of the configuration: docker's image id.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
}

/// Why the store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// What was being done, to be followed by the path.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The store does not hold the content.
    #[error("failed to read {digest}: the image store {} does not hold it", root.display())]
    Missing {
        /// What was asked for.
        digest: Digest,
        /// Where.
        root: PathBuf,
    },
    /// The content is not what its digest says.
    #[error("{expected} is damaged: its {size} bytes have the digest {actual}")]
    WrongDigest {
        /// What it should have.
        expected: Digest,
        /// What it has.
        actual: Digest,
        /// How much it is, in bytes.
        size: u64,
    },
    /// A JSON file is damaged, or not what its media type says.
    #[error("failed to read {} as JSON", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An index has no manifest for the platform.
    #[error(
        "failed to find an image for {wanted} in {digest}: it has {}",
        list(available)
    )]
    NoSuchPlatform {
        /// The index.
        digest: Digest,
        /// The platform.
        wanted: Box<Platform>,
        /// What the index has.
        available: Vec<Platform>,
    },
    /// A descriptor that should point at an image points at something else.
    #[error("failed to read {digest} as an image: its media type is {media_type}")]
    NotAnImage {
        /// What was asked for.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk (or the quota) is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } if self.is_disk_full() => {
                Some("free some space on that file system; nothing was left half-written")
            }
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Some("set HOIST_HOME to a folder that you may write")
            }
            Self::Json { .. } => {
                Some("the image store is damaged: remove its folder, it is made anew")
            }
            Self::NoSuchPlatform { .. } => {
                Some("ask for one of those with --platform, or use an image that has it")
            }
            _ => None,
        }
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platforms".to_owned();
    }
    platforms
        .iter()
        .map(Platform::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Store {
    /// Opens the store in the folder `root`, and makes it if it is not there. What it takes is on disk when it says so.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_as(root, true)
    }

    /// The same for content that can be made again: what was written is there after the process was killed, but perhaps not after a power cut.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn open_cache(root: &Path) -> Result<Self, StoreError> {
        Self::open_as(root, false)
    }

    fn open_as(root: &Path, durable: bool) -> Result<Self, StoreError> {
        let store = Self {
            root: root.into(),
            durable,
        };
        for folder in [
            root.join("blobs").join("sha256"),
            root.join("layers"),
            store.temporary(),
        ] {
            fs::create_dir_all(&folder)
                .map_err(|source| StoreError::io("create the folder", &folder, source))?;
        }
        let layout = root.join("oci-layout");
        if !layout.exists() {
            store.replace_file(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        store.remove_abandoned();
        Ok(store)
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the content is here.
    pub fn has(&self, digest: &Digest) -> bool {
        let found = fs::metadata(self.blob_path(digest));
        // What a power cut left of a file that nobody synced is empty.
        found.is_ok_and(|found| found.len() > 0 || *digest == Digest::of(b""))
    }

    /// Whether the content is here, all `size` bytes of it.
    pub(crate) fn has_all(&self, digest: &Digest, size: u64) -> bool {
        let found = fs::metadata(self.blob_path(digest));
        found.is_ok_and(|found| found.len() == size)
    }

    /// Where the content is, or would be. Never write there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join("sha256").join(digest.hex())
    }

    /// Opens content for reading.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not here.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => StoreError::Missing {
                digest: *digest,
                root: self.root.to_path_buf(),
            },
            _ => StoreError::io("open", &path, source),
        })
    }

    /// Reads small content whole. It is verified: a file that rotted on disk is an error, not an image.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not here, [`StoreError::WrongDigest`] when the file was damaged.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut content = Vec::new();
        io::Read::read_to_end(&mut self.open_blob(digest)?, &mut content)
            .map_err(|source| StoreError::io("read", &self.blob_path(digest), source))?;
        let actual = Digest::of(&content);
        if actual != *digest {
            return Err(StoreError::WrongDigest {
                expected: *digest,
                actual,
                size: content.len() as u64,
            });
        }
        Ok(content)
    }

    /// Reads JSON content.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`StoreError::Json`] when it does not have the form.
    pub fn read_json<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T, StoreError> {
        let content = self.read(digest)?;
        serde_json::from_slice(&content).map_err(|source| StoreError::Json {
            path: self.blob_path(digest),
            source,
        })
    }

    /// Stores content, and gives its digest.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn put(&self, content: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(content);
        if self.has_all(&digest, content.len() as u64) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer
            .write_all(content)
            .map_err(|source| StoreError::io("write", &self.blob_path(&digest), source))?;
        writer.commit().map(|(digest, _)| digest)
    }

    /// Starts to store content of any size.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(self.clone())
    }

    /// Checks that the file of some content still has its digest, whatever its size.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] when it was damaged, [`StoreError::Missing`] when it is not here.
    pub fn verify(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut file = self.open_blob(digest)?;
        let (mut hasher, mut size, mut piece) = (Hasher::new(), 0, vec![0; 1 << 17]);
        loop {
            let read = io::Read::read(&mut file, &mut piece)
                .map_err(|source| StoreError::io("read", &self.blob_path(digest), source))?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
            size += read as u64;
        }
        match hasher.finish() {
            actual if actual == *digest => Ok(()),
            actual => Err(StoreError::WrongDigest {
                expected: *digest,
                actual,
                size,
            }),
        }
    }

    /// Removes content; it is no error if it is not here. Whether anything still refers to it is the caller's business.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    /// Gives `descriptor` a name; a name that something else had moves.
    ///
    /// # Errors
    /// Fails when the file system does, or `index.json` is damaged.
    pub fn tag(&self, name: &str, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.change_index(|index| {
            index.manifests.retain(|entry| {
                entry
                    .annotations
                    .get(REF_NAME)
                    .is_none_or(|known| known != name)
            });
            let mut entry = descriptor.clone();
            entry
                .annotations
                .insert(REF_NAME.to_owned(), name.to_owned());
            index.manifests.push(entry);
        })
    }

    /// Takes a name away; it is no error if nothing has it.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub fn untag(&self, name: &str) -> Result<(), StoreError> {
        self.change_index(|index| {
            index.manifests.retain(|entry| {
                entry
                    .annotations
                    .get(REF_NAME)
                    .is_none_or(|known| known != name)
            });
        })
    }

    /// What has the name, if anything.
    ///
    /// # Errors
    /// Fails when `index.json` cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        Ok(self
            .tags()?
            .into_iter()
            .find(|(tag, _)| tag == name)
            .map(|(_, descriptor)| descriptor))
    }

    /// All names, in the order in which they were given.
    ///
    /// # Errors
    /// Fails when `index.json` cannot be read.
    pub fn tags(&self) -> Result<Vec<(String, Descriptor)>, StoreError> {
        Ok(self
            .index()?
            .manifests
            .into_iter()
            .filter_map(|mut entry| entry.annotations.remove(REF_NAME).map(|name| (name, entry)))
            .collect())
    }

    /// Reads the image for `platform` that `descriptor` (a manifest, or an index of them) points at.
    ///
    /// A manifest is taken whatever its platform: who asks for one by digest means it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPlatform`], [`StoreError::Missing`], [`StoreError::Json`], [`StoreError::NotAnImage`].
    pub fn image(&self, descriptor: &Descriptor, platform: &Platform) -> Result<Image, StoreError> {
        if media_type::is_index(&descriptor.media_type) {
            let index: Index = self.read_json(&descriptor.digest)?;
            let manifest = index
                .for_platform(platform)
                .ok_or_else(|| no_such_platform(&descriptor.digest, &index, platform))?;
            return self.image(manifest, platform);
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            return Err(StoreError::NotAnImage {
                digest: descriptor.digest,
                media_type: descriptor.media_type.clone(),
            });
        }
        let manifest: Manifest = self.read_json(&descriptor.digest)?;
        if !matches!(
            manifest.config.media_type.as_str(),
            media_type::CONFIG | media_type::DOCKER_CONFIG
        ) {
            return Err(StoreError::NotAnImage {
                digest: descriptor.digest,
                media_type: manifest.config.media_type,
            });
        }
        let config_digest = manifest.config.digest;
        let config = self.read_json(&config_digest)?;
        Ok(Image {
            descriptor: descriptor.clone(),
            manifest,
            config_digest,
            config,
        })
    }

    fn index(&self) -> Result<Index, StoreError> {
        let path = self.root.join("index.json");
        match fs::read(&path) {
            Ok(json) => {
                serde_json::from_slice(&json).map_err(|source| StoreError::Json { path, source })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Index::new(Vec::new())),
            Err(source) => Err(StoreError::io("read", &path, source)),
        }
    }

    fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), StoreError> {
        let lock_path = self.temporary().join("index.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|source| StoreError::io("open", &lock_path, source))?;
        lock.lock()
            .map_err(|source| StoreError::io("lock", &lock_path, source))?;
        let before = self.index()?;
        let mut index = before.clone();
        change(&mut index);
        if index == before {
            return Ok(());
        }
        let path = self.root.join("index.json");
        let json = serde_json::to_vec_pretty(&index).map_err(|source| StoreError::Json {
            path: path.clone(),
            source,
        })?;
        self.replace_file(&path, &json)
    }

    /// Writes a small file so that readers see the old content or the new, and a crash leaves one of the two.
    pub(crate) fn replace_file(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let folder = path.parent().expect("the path is below the root");
        fs::create_dir_all(folder)
            .map_err(|source| StoreError::io("create the folder", folder, source))?;
        let failed = |source| StoreError::io("write", path, source);
        let mut file = tempfile::Builder::new()
            .prefix("file-")
            .tempfile_in(self.temporary())
            .map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        self.sync(file.as_file()).map_err(failed)?;
        make_readable(file.as_file()).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        self.sync_folder(folder)
    }

    /// Has the content of a new file survive a power cut.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        if self.durable {
            file.sync_all()
        } else {
            Ok(())
        }
    }

    /// Has a rename in `folder` survive a power cut.
    pub(crate) fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        File::open(folder)
            .and_then(|folder| self.sync(&folder))
            .map_err(|source| StoreError::io("sync the folder", folder, source))
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Removes what killed processes left. Best effort: it only frees space.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.temporary()) else {
            return;
        };
        for entry in entries.flatten() {
            let is_ours = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with("blob-") || name.starts_with("file-"));
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = changed.is_ok_and(|changed| {
                SystemTime::now()
                    .duration_since(changed)
                    .is_ok_and(|age| age > ABANDONED)
            });
            if is_ours && is_old {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

pub(crate) fn no_such_platform(digest: &Digest, index: &Index, wanted: &Platform) -> StoreError {
    let available = index
        .manifests
        .iter()
        .filter_map(|manifest| manifest.platform.clone())
        .collect();
    StoreError::NoSuchPlatform {
        digest: *digest,
        wanted: Box::new(wanted.clone()),
        available,
    }
}

/// Temporary files are made for their owner alone; content is for whoever may enter the folder.
#[cfg(unix)]
pub(crate) fn make_readable(file: &File) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

#[cfg(not(unix))]
pub(crate) fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("images")).unwrap();
        (folder, store)
    }

    #[test]
    fn content_is_found_by_its_digest_and_kept_once() {
        let (_folder, store) = store();
        let digest = store.put(b"hello").unwrap();
        assert_eq!(store.put(b"hello").unwrap(), digest);
        assert!(store.has(&digest));
        assert_eq!(store.read(&digest).unwrap(), b"hello");
        assert_eq!(
            fs::read_dir(store.root().join("blobs/sha256"))
                .unwrap()
                .count(),
            1
        );
        assert!(matches!(
            store.read(&Digest::of(b"other")),
            Err(StoreError::Missing { .. })
        ));
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert!(!store.has(&digest));
    }

    #[test]
    fn a_writer_that_is_dropped_or_holds_the_wrong_content_leaves_nothing() {
        let (_folder, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        let mut writer = store.writer().unwrap();
        writer.write_all(b"wrong").unwrap();
        let expected = Digest::of(b"right");
        let error = writer.commit_as(&expected).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&Digest::of(b"wrong").to_string()),
            "{error}"
        );
        assert_eq!(
            fs::read_dir(store.root().join("blobs/sha256"))
                .unwrap()
                .count(),
            0
        );
        assert_eq!(fs::read_dir(store.temporary()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_rotted_is_an_error() {
        let (_folder, store) = store();
        let digest = store.put(b"hello").unwrap();
        fs::write(store.blob_path(&digest), b"hellO").unwrap();
        assert!(matches!(
            store.read(&digest),
            Err(StoreError::WrongDigest { .. })
        ));
    }

    #[test]
    fn tags_move_and_go() {
        let (_folder, store) = store();
        let [one, two] = [b"1", b"2"].map(|content| Descriptor::of(media_type::MANIFEST, content));
        store.tag("a:v1", &one).unwrap();
        store.tag("a:v2", &one).unwrap();
        store.tag("a:v1", &two).unwrap();
        assert_eq!(store.resolve("a:v1").unwrap(), Some(two.clone()));
        assert_eq!(
            store.tags().unwrap(),
            [("a:v2".to_owned(), one), ("a:v1".to_owned(), two)]
        );
        store.untag("a:v1").unwrap();
        store.untag("a:v1").unwrap();
        assert_eq!(store.resolve("a:v1").unwrap(), None);
    }

    #[test]
    fn what_a_power_cut_left_short_counts_as_missing_and_is_stored_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_cache(folder.path()).unwrap();
        let blob = Descriptor::of(media_type::MANIFEST, b"content");
        store.put(b"content").unwrap();
        store
            .add_layer(&blob.digest, crate::Compression::None, &blob)
            .unwrap();
        for short in ["", "cont"] {
            fs::write(store.blob_path(&blob.digest), short).unwrap();
            assert_eq!(store.has(&blob.digest), !short.is_empty());
            assert_eq!(store.layer_forms(&blob.digest).unwrap(), []);
            store.put(b"content").unwrap();
            assert_eq!(store.read(&blob.digest).unwrap(), b"content");
            assert_eq!(store.layer_forms(&blob.digest).unwrap().len(), 1);
        }
        let entry = folder.path().join("layers").join(blob.digest.hex());
        fs::write(entry.join("none.json"), "").unwrap();
        assert_eq!(store.layer_forms(&blob.digest).unwrap(), []);
        // Nothing is missing of content that is empty.
        let empty = store.put(b"").unwrap();
        assert!(store.has(&empty));
    }

    #[test]
    fn no_tag_is_lost_when_many_write_at_once() {
        let (_folder, store) = store();
        let descriptor = Descriptor::of(media_type::MANIFEST, b"x");
        thread::scope(|scope| {
            for writer in 0..8 {
                let (root, descriptor) = (store.root().to_owned(), &descriptor);
                scope.spawn(move || {
                    let own = Store::open(&root).unwrap();
                    for n in 0..8 {
                        own.tag(&format!("{writer}-{n}"), descriptor).unwrap();
                        own.put(format!("{n}").as_bytes()).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.tags().unwrap().len(), 64);
    }

    #[test]
    fn an_index_leads_to_the_image_of_the_platform_or_says_what_it_has() {
        let (_folder, store) = store();
        let arm: Platform = "linux/arm64".parse().unwrap();
        let config = serde_json::to_vec(&ImageConfig::empty(&arm)).unwrap();
        store.put(&config).unwrap();
        let manifest = serde_json::to_vec(&Manifest::new(
            Descriptor::of(media_type::CONFIG, &config),
            vec![],
        ))
        .unwrap();
        store.put(&manifest).unwrap();
        let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
        descriptor.platform = Some(arm.clone());
        let index = serde_json::to_vec(&Index::new(vec![descriptor])).unwrap();
        store.put(&index).unwrap();
        let top = Descriptor::of(media_type::INDEX, &index);

        let image = store.image(&top, &arm).unwrap();
        assert_eq!(image.config_digest, Digest::of(&config));
        assert_eq!(image.descriptor.digest, Digest::of(&manifest));
        let error = store
            .image(&top, &"linux/amd64".parse().unwrap())
            .unwrap_err();
        assert!(error.to_string().ends_with("it has linux/arm64"), "{error}");
        let config = Descriptor::of(media_type::CONFIG, &config);
        assert!(matches!(
            store.image(&config, &arm),
            Err(StoreError::NotAnImage { .. })
        ));
    }
}
