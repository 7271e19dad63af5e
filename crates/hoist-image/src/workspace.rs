//! Where images, unpacked layers and the cache of a home lie.

use std::fs;
use std::path::{Path, PathBuf};

use hoist_oci::Store;
use hoist_runtime::Snapshots;

use crate::container;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::spool;

/// The images of one home: a store, unpacked layers and the build cache. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Image contents and names.
    pub store: Store,
    /// Unpacked layers.
    pub snapshots: Snapshots,
    home: PathBuf,
}

impl Workspace {
    /// Opens the workspace in a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn open(home: &Path) -> Result<Workspace> {
        let failed =
            |error| BuildError::io(format!("make the image folder {}", home.display()), error);
        fs::create_dir_all(home).map_err(failed)?;
        // Unpacked layers keep set-id files: nobody else may reach them.
        let home = fs::canonicalize(home).map_err(failed)?;
        for folder in [
            "steps",
            "locks",
            "context",
            "selections",
            "spool",
            "mounts",
            "remote",
        ] {
            let path = home.join("cache").join(folder);
            fs::create_dir_all(&path).map_err(failed)?;
        }
        let store = Store::open_cache(&home.join("store")).map_err(|error| {
            let hint = error.hint();
            let error = BuildError::from_source(
                BuildErrorKind::Io,
                format!("open the image store in {}", home.display()),
                error,
            );
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        let snapshots = Snapshots::open(&home.join("snapshots")).map_err(|error| {
            BuildError::from_source(
                BuildErrorKind::Io,
                format!("open the unpacked layers in {}", home.display()),
                error,
            )
        })?;
        for folder in [&home.join("cache/spool"), Path::new("/dev/shm")] {
            spool::sweep(folder, &container::remove_left);
        }
        if let Err(error) = snapshots.clean_up() {
            tracing::debug!(%error, "failed to remove what killed builds left");
        }
        Ok(Workspace {
            store,
            snapshots,
            home,
        })
    }

    /// The folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn cache(&self, folder: &str) -> PathBuf {
        self.home.join("cache").join(folder)
    }
}
