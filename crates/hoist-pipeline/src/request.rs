//! What one run is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use hoist_aws::Client;
use hoist_image::Workspace;
use hoist_project::{Project, Source};

use crate::deploy::Deployed;
use crate::failure::{Failure, Kind};
use crate::image::BuildOptions;
use crate::journal::What;

/// What is deployed.
pub enum Version<'a> {
    /// What the source builds to, or the image of the same inputs.
    Source {
        /// The source.
        source: &'a Source,
        /// Store and cache of the build engine.
        workspace: &'a Workspace,
        /// How the image is built.
        build: Box<BuildOptions>,
    },
    /// The definitions with the images that they name.
    Written,
    /// An image that exists: a tag or digest of the project's repository, or a reference.
    Image(String),
    /// A revision of the task definition that exists.
    Revision(u32),
    /// The revision that is live, whatever it is.
    Current,
    /// The newest revision before the current one whose deployment succeeded.
    LastGood,
    /// What the last run, which was killed, had in mind: it is gone on with, from where it came to.
    Killed,
}

/// Where the story ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The image is in the repository.
    Pushed,
    /// The task definitions are registered.
    Registered,
    /// The services run them.
    Deployed,
}

/// What one run is asked to do.
pub struct Request<'a> {
    /// The project.
    pub project: &'a Project,
    /// What is deployed.
    pub version: Version<'a>,
    /// Where the story ends.
    pub until: Until,
    /// AWS, real or embedded.
    pub aws: &'a Client,
    /// Whether AWS is the embedded one, where what the definitions refer to is made.
    pub embedded: bool,
    /// Services to deploy; all of them if empty.
    pub services: Vec<String>,
    /// Number of tasks, if it is to be set.
    pub count: Option<u32>,
    /// Whether to deploy although nothing changed.
    pub force: bool,
    /// Longest time for the rollout of a service.
    pub timeout: Duration,
    /// The journal's file.
    pub journal: PathBuf,
}

impl Request<'_> {
    /// What the journal keeps of its beginning.
    pub(crate) fn started(&self, target: &str, words: &str) -> What {
        let commit = match &self.version {
            Version::Source { source, .. } => source.commit.clone(),
            _ => None,
        };
        What::Started {
            app: self.project.app.clone(),
            target: target.to_owned(),
            source: words.to_owned(),
            committed: commit
                .as_deref()
                .and_then(|commit| hoist_project::committed_at(&self.project.root, commit)),
            commit,
            back: matches!(self.version, Version::LastGood),
        }
    }

    /// That what is asked for one service is asked of one.
    ///
    /// # Errors
    /// `Configuration` where `services` are more.
    pub(crate) fn names_one(&self, services: usize) -> Result<(), Failure> {
        let what = match &self.version {
            Version::Killed => return Ok(()),
            _ if self.count.is_some() => "--count would set the number of tasks",
            Version::Revision(_) => "--revision would name a revision",
            _ => return Ok(()),
        };
        if services < 2 {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Configuration,
            format!("{what} of {services} services"),
        )
        .hint("name the one that it is for: --service NAME"))
    }

    /// What a run that ended well came to.
    pub(crate) fn summary(&self, deployed: &Deployed) -> &'static str {
        match (self.until, deployed.changed()) {
            (Until::Deployed, true) if matches!(self.version, Version::LastGood) => {
                "the revision before serves again"
            }
            (Until::Deployed, true) if matches!(self.version, Version::Current) => {
                "new tasks of the same revision serve"
            }
            (Until::Deployed, true) if matches!(self.version, Version::Revision(_)) => {
                "the revision serves"
            }
            (Until::Pushed, _) => "the image is in the repository",
            (Until::Registered, _) => "the task definitions are registered; nothing was deployed",
            (Until::Deployed, true) => "the new revision serves",
            (Until::Deployed, false) => "nothing changed in what runs; nothing was deployed",
        }
    }
}
