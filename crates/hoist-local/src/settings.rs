use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::faults::FaultSpec;
use crate::home::Home;
use crate::limits::Limiting;

/// How long things take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// What AWS itself takes and nobody can set is dropped; what a user sets runs in real time.
    #[default]
    Fast,
    /// Everything takes the time that it takes on the real service.
    Fargate,
}

impl std::str::FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Pace, String> {
        match text {
            "fast" => Ok(Pace::Fast),
            "fargate" => Ok(Pace::Fargate),
            _ => Err(format!("`{text}` is not a pace; use fast or fargate")),
        }
    }
}

/// What a home keeps from one start to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Settings {
    /// The loopback port; chosen at the first start and kept.
    pub port: Option<u16>,
    /// How long things take.
    pub pace: Pace,
    /// Which container runtime to use: `native`, `docker`, or nothing for the one that works here.
    pub runtime: Option<String>,
    /// How many calls are answered.
    pub limits: Limiting,
    /// What goes wrong on purpose.
    pub faults: FaultSpec,
}

impl Settings {
    fn path(home: &Home) -> PathBuf {
        home.file("settings.json")
    }

    /// The settings of `home`; the defaults if it has none.
    ///
    /// # Errors
    /// When the file is there but cannot be read or is not what it should be.
    pub fn load(home: &Home) -> std::io::Result<Settings> {
        match std::fs::read(Self::path(home)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, home: &Home) -> std::io::Result<()> {
        write_whole(&Self::path(home), &serde_json::to_vec_pretty(self)?)
    }
}

/// Writes a file readable by its owner only, so that a reader sees the old or the new content and never a part.
pub(crate) fn write_whole(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
