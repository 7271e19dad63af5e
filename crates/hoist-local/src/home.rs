use std::path::{Path, PathBuf};

/// The directory that holds everything of one embedded AWS: state, images, sockets, locks, logs.
///
/// Two homes are two independent instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

/// Why no home directory could be found or made.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `$HOIST_HOME` nor `$XDG_DATA_HOME` nor `$HOME` is set.
    #[error("no home directory: none of HOIST_HOME, XDG_DATA_HOME and HOME is set")]
    Unknown,
    /// A directory could not be made.
    #[error("failed to create {path}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl HomeError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        Some("set HOIST_HOME to a directory that you may write to")
    }
}

impl Home {
    /// A home at `path`, made absolute. Nothing is created yet.
    pub fn at(path: impl AsRef<Path>) -> Home {
        let path = path.as_ref();
        Home(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// `$HOIST_HOME`, else `$XDG_DATA_HOME/hoist`, else `$HOME/.local/share/hoist`.
    ///
    /// # Errors
    /// When none of the three variables is set.
    pub fn from_env() -> Result<Home, HomeError> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = var("HOIST_HOME") {
            return Ok(Home::at(PathBuf::from(path)));
        }
        if let Some(path) = var("XDG_DATA_HOME") {
            return Ok(Home::at(PathBuf::from(path).join("hoist")));
        }
        let home = var("HOME").ok_or(HomeError::Unknown)?;
        Ok(Home::at(PathBuf::from(home).join(".local/share/hoist")))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the images are: the store and the unpacked layers (`images/`).
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// Where the embedded AWS keeps its own things (`local/`).
    pub fn local(&self) -> PathBuf {
        self.0.join("local")
    }

    /// A file or directory of the embedded AWS.
    pub fn file(&self, name: &str) -> PathBuf {
        self.local().join(name)
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn create(&self) -> Result<(), HomeError> {
        let path = self.local();
        std::fs::create_dir_all(&path).map_err(|source| HomeError::Create { path, source })
    }

    /// Twelve hex digits that tell this home from every other one; names its control group.
    pub fn tag(&self) -> String {
        use sha2::Digest as _;
        hex::encode(&sha2::Sha256::digest(self.0.as_os_str().as_encoded_bytes())[..6])
    }
}
