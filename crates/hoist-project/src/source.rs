//! What version of the source is deployed: commit, branch, and whether anything was changed since.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of the source, as git or GitHub's environment tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Full commit hash; none outside of a repository or before its first commit.
    pub commit: Option<String>,
    /// Branch, if one is checked out.
    pub branch: Option<String>,
    /// Whether a file of the project differs from the commit, or is not in it.
    pub dirty: bool,
    /// Why something could not be found out, such as that git is not installed.
    pub note: Option<String>,
}

impl Source {
    /// Looks at the files of the project in `dir`. `env` is the environment of the process.
    ///
    /// GitHub's variables count only for what was checked out there: `dir` lies in `GITHUB_WORKSPACE`, and HEAD is
    /// `GITHUB_SHA`. For a pull request that is a merge which nobody committed, so its head is the commit.
    pub fn of(dir: &Path, env: &BTreeMap<String, String>) -> Self {
        let git = Git {
            dir,
            repository: repository(dir),
            path: env.get("PATH"),
        };
        let mut source = Self::default();
        let mut head = None;
        if git.repository.is_some() {
            match git.run(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]) {
                Ok(hash) => {
                    head = hash
                        .map(|hash| hash.trim().to_owned())
                        .filter(|hash| is_hash(hash));
                    source.branch = git
                        .run(&["symbolic-ref", "--short", "--quiet", "HEAD"])
                        .ok()
                        .flatten()
                        .map(|name| name.trim().to_owned());
                    match git.run(&[
                        "status",
                        "--porcelain",
                        "--untracked-files=normal",
                        "--",
                        ".",
                    ]) {
                        Ok(Some(changes)) => source.dirty = !changes.is_empty(),
                        _ => {
                            source.note =
                                Some("git could not tell whether files were changed".to_owned())
                        }
                    }
                }
                Err(why) => source.note = Some(why),
            }
        }
        source.commit = head;
        source.apply_github(dir, env);
        source
    }

    fn apply_github(&mut self, dir: &Path, env: &BTreeMap<String, String>) {
        let Some(sha) = env.get("GITHUB_SHA").filter(|sha| is_hash(sha)) else {
            return;
        };
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let elsewhere = env
            .get("GITHUB_WORKSPACE")
            .is_some_and(|root| !real(dir).starts_with(real(Path::new(root))));
        if elsewhere || self.commit.as_ref().is_some_and(|head| head != sha) {
            return;
        }
        let event = env
            .get("GITHUB_EVENT_PATH")
            .and_then(|path| fs::read_to_string(path).ok());
        let event: Option<serde_json::Value> =
            event.and_then(|text| serde_json::from_str(&text).ok());
        let of_pull_request = env
            .get("GITHUB_EVENT_NAME")
            .is_some_and(|name| name == "pull_request");
        let head = event
            .as_ref()
            .filter(|_| of_pull_request)
            .and_then(|event| event["pull_request"]["head"]["sha"].as_str());
        self.commit = Some(head.filter(|sha| is_hash(sha)).unwrap_or(sha).to_owned());
        let named = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
        let is_branch = env
            .get("GITHUB_REF_TYPE")
            .is_none_or(|kind| kind == "branch");
        if let Some(branch) =
            named("GITHUB_HEAD_REF").or_else(|| named("GITHUB_REF_NAME").filter(|_| is_branch))
        {
            self.branch = Some(branch);
        }
    }

    /// The first 12 digits of the commit.
    pub fn short(&self) -> Option<&str> {
        self.commit
            .as_deref()
            .map(|commit| &commit[..commit.len().min(12)])
    }

    /// The tag of an image built from this source: the full commit hash; of a dirty tree `HASH-dirty-DIGEST`, without a
    /// commit `src-DIGEST`, where DIGEST is the first 12 digits of `inputs`, the digest of what the image is built from
    /// (with or without `sha256:`).
    pub fn tag(&self, inputs: &str) -> String {
        let digest = inputs.rsplit(':').next().unwrap_or(inputs);
        let digest = digest.get(..12).unwrap_or(digest);
        match &self.commit {
            Some(commit) if self.dirty => format!("{commit}-dirty-{digest}"),
            Some(commit) => commit.clone(),
            None => format!("src-{digest}"),
        }
    }
}

/// When `commit` was committed, RFC 3339, as the repository around `dir` tells it.
pub fn committed_at(dir: &Path, commit: &str) -> Option<String> {
    let git = Git {
        dir,
        repository: repository(dir),
        path: None,
    };
    git.repository.as_ref()?;
    let told = git
        .run(&["show", "--no-patch", "--format=%cI", commit])
        .ok()??;
    Some(told.trim().to_owned()).filter(|told| !told.is_empty())
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The nearest folder upwards that holds a repository.
fn repository(dir: &Path) -> Option<PathBuf> {
    let dir = fs::canonicalize(dir).ok()?;
    dir.ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

struct Git<'a> {
    dir: &'a Path,
    repository: Option<PathBuf>,
    path: Option<&'a String>,
}

impl Git<'_> {
    /// What git prints; `None` if it fails. `Err` if it cannot be started.
    fn run(&self, args: &[&str]) -> Result<Option<String>, String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.dir);
        if let Some(repository) = &self.repository {
            // A checkout often belongs to another user than the one who runs the job.
            command
                .arg("-c")
                .arg(format!("safe.directory={}", repository.display()));
        }
        // Nothing of the repository's own configuration may run or wait here.
        command.args(["-c", "core.fsmonitor=false"]).args(args);
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_PREFIX",
            "GIT_COMMON_DIR",
        ] {
            command.env_remove(name);
        }
        if let Some(path) = self.path {
            command.env("PATH", path);
        }
        command
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => {
                Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err("git is not installed, so the commit is not known".to_owned())
            }
            Err(error) => Err(format!("git cannot be run: {error}")),
        }
    }
}
