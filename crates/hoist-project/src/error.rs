//! Why a project could not be read.

use std::io;
use std::path::PathBuf;

use hoist_ecs::Problem;

/// Why a project could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is no `hoist.yaml` here or above.
    #[error("no hoist.yaml in {} or above it", .start.display())]
    NotFound {
        /// Where the search began.
        start: PathBuf,
        /// Whether a Dockerfile lies there.
        dockerfile: bool,
    },
    /// A folder was given that has no `hoist.yaml`.
    #[error("{} has no hoist.yaml", .folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
        /// Whether a Dockerfile lies there.
        dockerfile: bool,
    },
    /// A file could not be read.
    #[error("failed to read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file says something that is wrong.
    #[error("{}", first(.0))]
    Problems(Vec<Problem>),
    /// `-e` names an environment that `hoist.yaml` does not have.
    #[error("{file} has no environment `{wanted}`")]
    NoSuchEnvironment {
        /// The file.
        file: String,
        /// The environment that was asked for.
        wanted: String,
        /// Those that there are.
        known: Vec<String>,
    },
}

fn first(problems: &[Problem]) -> String {
    match problems {
        [] => "nothing is wrong".to_owned(),
        [one] => one.to_string(),
        [one, rest @ ..] => format!("{one} (and {} more)", rest.len()),
    }
}

impl ProjectError {
    /// The problems with their places, to be rendered; empty for errors that are not in a file.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Problems(problems) => problems,
            _ => &[],
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { dockerfile: true, .. } | Self::NoFile { dockerfile: true, .. } => {
                Some("there is a Dockerfile: `hoist init` writes a hoist.yaml for it".to_owned())
            }
            Self::NotFound { .. } | Self::NoFile { .. } => {
                Some("go to the folder of the application, name it on the command line, or run `hoist init` there".to_owned())
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Some("check the path".to_owned()),
            Self::Read { .. } => None,
            Self::Problems(_) => None,
            Self::NoSuchEnvironment { wanted, known, .. } => Some(if known.is_empty() {
                "it has no `environments:` at all".to_owned()
            } else {
                match hoist_ecs::suggest::nearest(wanted, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it has {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
                }
            }),
        }
    }
}

impl From<Box<Problem>> for ProjectError {
    fn from(problem: Box<Problem>) -> Self {
        Self::Problems(vec![*problem])
    }
}

impl From<Vec<Problem>> for ProjectError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}
