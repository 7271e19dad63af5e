//! What `ADD` fetches: files by HTTP, and git repositories.
//!
//! What a file's server last gave is kept with the name that the server has for this version, so that an unchanged file is asked for
//! but not sent again; one whose `--checksum` is known and kept is not even asked for. A repository is kept bare and only the wanted
//! commit is fetched.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hoist_oci::{Digest, DownloadError};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::cache::Lock;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::report::Reporter;
use crate::spool;
use crate::tree::{Node, NodeKind, Tree};
use crate::workspace::Workspace;

/// An address as a source of `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    Http(String),
    Git(GitAddress),
}

/// A repository, and what of it is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GitAddress {
    /// What `git fetch` understands.
    pub url: String,
    /// Branch, tag or commit; the default branch where there is none.
    pub reference: Option<String>,
    pub folder: Option<String>,
    /// The commit that the reference must be: `?checksum=` or `?commit=`.
    pub commit: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub submodules: Option<bool>,
}

impl Remote {
    /// Reads a source; `None` if it is a path of the context.
    ///
    /// Addresses of git are those of <https://docs.docker.com/reference/dockerfile/#adding-files-from-a-git-repository>: `git://`,
    /// `ssh://`, `user@host:path`, and `http(s)://...git`, each with `#reference:folder` or a query.
    pub(crate) fn of(text: &str) -> Option<Remote> {
        let lower = text.to_ascii_lowercase();
        let scheme = ["http://", "https://", "git://", "ssh://"]
            .into_iter()
            .find(|scheme| lower.starts_with(scheme));
        let http = matches!(scheme, Some("http://" | "https://"));
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (bare, query) = before.split_once('?').unwrap_or((before, ""));
        match scheme {
            Some(_) if http && !bare.ends_with(".git") => Some(Remote::Http(text.into())),
            Some(_) => git(bare, query, fragment),
            None if scp_like(bare) => git(bare, query, fragment),
            None => None,
        }
    }
}

/// `user@host:path`, as `ssh` is addressed.
fn scp_like(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, rest)| {
        let word = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        word(user)
            && rest
                .split_once(':')
                .is_some_and(|(host, path)| word(host) && !path.is_empty())
    })
}

fn git(url: &str, query: &str, fragment: &str) -> Option<Remote> {
    let mut address = GitAddress {
        url: url.into(),
        ..GitAddress::default()
    };
    let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (address.reference, address.folder) = (filled(reference), filled(folder));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let flag = match value {
            "true" | "1" | "" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        match key {
            "ref" => address.reference = filled(value),
            "tag" => address.reference = Some(format!("refs/tags/{value}")),
            "branch" => address.reference = Some(format!("refs/heads/{value}")),
            "subdir" => address.folder = filled(value),
            "commit" | "checksum" => address.commit = filled(value),
            "keep-git-dir" => address.keep_git_dir = flag,
            "submodules" => address.submodules = flag,
            _ => return None,
        }
    }
    Some(Remote::Git(address))
}

/// A file that a server gave.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub path: PathBuf,
    /// What it is called at the destination.
    pub name: String,
    pub digest: Digest,
    /// Seconds since 1970; 0 where the server says nothing.
    pub changed: i64,
    pub size: u64,
}

/// What is known of an address.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    size: u64,
    etag: Option<String>,
    changed: i64,
    name: Option<String>,
}

/// Fetches files and repositories for one build.
pub(crate) struct Fetcher<'a> {
    pub workspace: &'a Workspace,
    pub report: &'a Reporter,
    pub runtime: &'a Handle,
}

impl Fetcher<'_> {
    /// A file by its address; `checksum` is what it must be.
    pub(crate) fn file(&self, url: &str, checksum: Option<&Digest>) -> Result<Fetched> {
        let folder = self.workspace.cache("remote");
        let (bare, _) = url.split_once(['?', '#']).unwrap_or((url, ""));
        let place = |digest: &Digest| folder.join(format!("file-{}", digest.hex()));
        let record = folder.join(format!("url-{}", Digest::of(url.as_bytes()).hex()));
        let _lock = Lock::take(
            &self.workspace.cache("locks"),
            &format!("url-{}", Digest::of(url.as_bytes()).hex()),
            || {},
        )?;
        let known: Option<Known> = fs::read(&record)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .filter(|known: &Known| {
                place(&known.digest)
                    .metadata()
                    .is_ok_and(|file| file.len() == known.size)
            });
        if let Some(known) = &known {
            crate::prune::touch(&place(&known.digest));
            crate::prune::touch(&record);
        }
        let fetched = |known: &Known| Fetched {
            path: place(&known.digest),
            name: known
                .name
                .clone()
                .or_else(|| last_part(bare))
                .unwrap_or_default(),
            digest: known.digest,
            changed: known.changed,
            size: known.size,
        };
        if let (Some(known), Some(wanted)) = (&known, checksum)
            && known.digest == *wanted
        {
            return Ok(fetched(known));
        }
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        let answer = self.runtime.block_on(async {
            tokio::select! {
                answer = hoist_oci::download(url, etag, || spool::file(&folder, "download")) => Ok(answer),
                () = self.report.gone() => Err(crate::report::cancelled()),
            }
        })?;
        let known = match (answer, known) {
            (Ok(None), Some(known)) => known,
            (Ok(None), None) => {
                return Err(BuildError::new(
                    BuildErrorKind::Context,
                    format!("{url} did not change, says its server, but it was never fetched"),
                ));
            }
            (Ok(Some((came, file))), _) => {
                let known = Known {
                    digest: came.digest,
                    size: came.size,
                    etag: came.etag,
                    changed: came
                        .last_modified
                        .as_deref()
                        .and_then(http_date)
                        .unwrap_or(0),
                    name: came.name,
                };
                let failed = |error| BuildError::io(format!("keep what {url} gave"), error);
                file.persist(place(&known.digest))
                    .map_err(|error| failed(error.error))?;
                let json = serde_json::to_vec(&known).map_err(|error| failed(error.into()))?;
                fs::write(&record, json).map_err(failed)?;
                known
            }
            (Err(error @ DownloadError::Unreachable { .. }), Some(known)) => {
                self.report
                    .warn(format!("{error}; using what it gave before"), None);
                known
            }
            (Err(error), _) => {
                let hint = match &error {
                    DownloadError::Answer {
                        status: 401 | 403, ..
                    } => {
                        "the server wants to know who asks: fetch it in a RUN step with --mount=type=secret"
                    }
                    DownloadError::Answer { .. } => "look at the address",
                    _ => "is the address right, and can this machine reach it?",
                };
                return Err(BuildError::new(BuildErrorKind::Context, error.to_string())
                    .caused_by(error)
                    .with_hint(hint));
            }
        };
        if let Some(wanted) = checksum.filter(|wanted| **wanted != known.digest) {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!(
                    "{url} gave {}, and --checksum asks for {wanted}",
                    known.digest
                ),
            )
            .with_hint(
                "either the file changed at its server, or the checksum is of another one",
            ));
        }
        Ok(fetched(&known))
    }

    /// The commit that an address means now.
    pub(crate) fn commit(&self, address: &GitAddress, checksum: Option<&str>) -> Result<String> {
        let wanted = checksum
            .map(str::to_owned)
            .or_else(|| address.commit.clone());
        let reference = address.reference.as_deref().unwrap_or("HEAD");
        let commit = if is_commit(reference) {
            reference.to_owned()
        } else {
            let listed = self.git(
                None,
                &[
                    "ls-remote",
                    "--",
                    &address.url,
                    reference,
                    &format!("{reference}^{{}}"),
                ],
                &format!("ask {} for {reference}", address.url),
            )?;
            // An annotated tag names its commit in a second line; a branch comes before a tag of the same name.
            let lines: Vec<(&str, &str)> = listed
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .collect();
            let found = |name: &str| {
                lines
                    .iter()
                    .find(|(_, full)| *full == name)
                    .map(|(hash, _)| (*hash).to_owned())
            };
            [
                format!("{reference}^{{}}"),
                reference.to_owned(),
                format!("refs/heads/{reference}"),
                format!("refs/tags/{reference}^{{}}"),
                format!("refs/tags/{reference}"),
            ]
            .iter()
            .find_map(|name| found(name))
            .ok_or_else(|| {
                BuildError::new(
                    BuildErrorKind::Context,
                    format!(
                        "the repository {} has no branch or tag {reference}",
                        address.url
                    ),
                )
                .with_hint(
                    "write #branch, #tag or #commit (all of its 40 digits) after the address",
                )
            })?
        };
        match wanted {
            Some(wanted) if !commit.starts_with(&wanted) => Err(BuildError::new(
                BuildErrorKind::Context,
                format!(
                    "{reference} of {} is the commit {commit}, and not {wanted}",
                    address.url
                ),
            )
            .with_hint("the branch or tag has moved, or the checksum is of another commit")),
            _ => Ok(commit),
        }
    }

    /// Checks a commit out into a folder of its own.
    pub(crate) fn checkout(
        &self,
        address: &GitAddress,
        commit: &str,
        keep_git_dir: bool,
    ) -> Result<Checkout> {
        let url = &address.url;
        let hash = Digest::of(url.as_bytes()).hex();
        let bare = self.workspace.cache("remote").join(format!("git-{hash}"));
        let failed = |error| BuildError::io(format!("make a folder for {url}"), error);
        let _lock = Lock::take(
            &self.workspace.cache("locks"),
            &format!("git-{hash}"),
            || {
                self.report
                    .warn(format!("another build fetches {url}; waiting for it"), None);
            },
        )?;
        if !bare.join("HEAD").exists() {
            fs::create_dir_all(&bare).map_err(failed)?;
            self.git(
                Some(&bare),
                &["init", "--bare", "--quiet"],
                "make a repository",
            )?;
        }
        crate::prune::touch(&bare);
        let have = |commit: &str| {
            self.git(
                Some(&bare),
                &["cat-file", "-e", &format!("{commit}^{{commit}}")],
                "look for a commit",
            )
            .is_ok()
        };
        if !have(commit) {
            let doing = format!("fetch {commit} from {url}");
            let shallow = [
                "fetch",
                "--quiet",
                "--no-tags",
                "--depth=1",
                "--",
                url,
                commit,
            ];
            // Some servers give single commits only by the name of a branch or tag.
            if self.git(Some(&bare), &shallow, &doing).is_err() {
                let all = [
                    "fetch",
                    "--quiet",
                    "--tags",
                    "--force",
                    "--",
                    url,
                    "+refs/heads/*:refs/heads/*",
                ];
                self.git(Some(&bare), &all, &doing)?;
            }
        }
        if !have(commit) {
            return Err(BuildError::new(
                BuildErrorKind::Context,
                format!("the repository {url} has no commit {commit}"),
            ));
        }
        let folder = spool::folder(&self.workspace.cache("spool"), "git").map_err(failed)?;
        let tree = folder.path().join("tree");
        let path = |path: &Path| path.display().to_string();
        let doing = format!("check out {commit} of {url}");
        self.git(None, &["init", "--quiet", "--", &path(&tree)], &doing)?;
        self.git(Some(&tree), &["remote", "add", "origin", url], &doing)?;
        // The objects stay where they are.
        let lend = || -> std::io::Result<()> {
            let objects = format!("{}\n", bare.join("objects").display());
            fs::write(tree.join(".git/objects/info/alternates"), objects)?;
            if bare.join("shallow").exists() {
                fs::copy(bare.join("shallow"), tree.join(".git/shallow"))?;
            }
            Ok(())
        };
        lend().map_err(failed)?;
        self.git(
            Some(&tree),
            &["checkout", "--quiet", "--detach", commit],
            &doing,
        )?;
        if address.submodules != Some(false) && tree.join(".gitmodules").exists() {
            let update = [
                "submodule",
                "update",
                "--init",
                "--recursive",
                "--depth=1",
                "--quiet",
            ];
            self.git(
                Some(&tree),
                &update,
                &format!("fetch the submodules of {url}"),
            )?;
        }
        let time = self.git(Some(&tree), &["log", "-1", "--format=%ct"], &doing)?;
        if keep_git_dir {
            // The copy must stand alone, and not refer to this machine's cache.
            self.git(Some(&tree), &["repack", "-a", "-d", "--quiet"], &doing)?;
            let _ = fs::remove_file(tree.join(".git/objects/info/alternates"));
        }
        let root = match &address.folder {
            None => tree,
            Some(below) => {
                let root = tree.join(crate::tree::relative(below));
                let real = fs::canonicalize(&root).ok();
                if !real.is_some_and(|real| {
                    real.is_dir() && real.starts_with(fs::canonicalize(&tree).unwrap_or_default())
                }) {
                    return Err(BuildError::new(
                        BuildErrorKind::Context,
                        format!("the commit {commit} of {url} has no folder {below}"),
                    ));
                }
                root
            }
        };
        Ok(Checkout {
            root,
            keep_git_dir,
            time: time.trim().parse().unwrap_or(0),
            _folder: folder,
        })
    }

    fn git(&self, folder: Option<&Path>, arguments: &[&str], doing: &str) -> Result<String> {
        self.report.check()?;
        let mut command = Command::new("git");
        if let Some(folder) = folder {
            command.arg("-C").arg(folder);
        }
        let output = command
            .args([
                "-c",
                "advice.detachedHead=false",
                "-c",
                "core.autocrlf=false",
                "-c",
                "core.fileMode=true",
            ])
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                let missing = error.kind() == std::io::ErrorKind::NotFound;
                let error = BuildError::io("run git", error);
                if missing {
                    error.with_hint("ADD of a repository needs git on the machine that builds")
                } else {
                    error
                }
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<String> = said.lines().map(String::from).collect();
        Err(BuildError::new(
            BuildErrorKind::Context,
            format!("failed to {doing}: {}", lines.last().map_or("git says nothing", String::as_str)),
        )
        .with_output(output.status.code().unwrap_or(128), lines)
        .with_hint("is the address right, and may this machine read the repository? git is run with your own credentials"))
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn last_part(url: &str) -> Option<String> {
    let (_, path) = url.split_once("://")?;
    let (_, path) = path.split_once('/')?;
    path.rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
        .map(String::from)
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = i64::try_from(MONTHS.iter().position(|name| name == month)?).ok()? + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Howard Hinnant's `days_from_civil`.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// A commit's files. They carry the commit's time, and of their modes only whether they can be executed.
#[derive(Debug)]
pub(crate) struct Checkout {
    root: PathBuf,
    keep_git_dir: bool,
    time: i64,
    _folder: tempfile::TempDir,
}

impl Tree for Checkout {
    fn lookup(&self, path: &Path) -> Result<Option<Node>> {
        let real = self.root.join(path);
        let failed = |error| BuildError::io(format!("read {}", real.display()), error);
        if !self.keep_git_dir && path.file_name().is_some_and(|name| name == ".git") {
            return Ok(None);
        }
        let metadata = match fs::symlink_metadata(&real) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Some(mut node) = Node::of(real.clone(), &metadata).map_err(failed)? else {
            return Ok(None);
        };
        node.mode = match node.kind {
            NodeKind::File if node.mode & 0o100 == 0 => 0o644,
            _ => 0o755,
        };
        node.mtime = (self.time, 0);
        (node.uid, node.gid, node.links) = (0, 0, None);
        Ok(Some(node))
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>> {
        let real = self.root.join(folder);
        let failed = |error| BuildError::io(format!("list {}", real.display()), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&real).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if self.keep_git_dir || name != ".git" {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn digest(&self, _path: &Path, node: &Node) -> Result<Digest> {
        crate::tree::digest_file(&node.real)
    }

    fn keeps_owners(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths_and_repositories_from_files() {
        let git = |text: &str| match Remote::of(text) {
            Some(Remote::Git(address)) => address,
            other => panic!("{text}: {other:?}"),
        };
        for path in [
            "a.git",
            "./x",
            "dir/git@x",
            "C:\\x",
            "user@host",
            "mailto:x@y",
        ] {
            assert_eq!(Remote::of(path), None, "{path}");
        }
        for url in [
            "http://h/x",
            "HTTPS://h/x.tar#y",
            "https://h/x.git/y",
            "http://h",
        ] {
            assert_eq!(Remote::of(url), Some(Remote::Http(url.into())));
        }
        for url in [
            "git://h/x",
            "ssh://git@h:22/x",
            "git@h:o/x",
            "https://h/x.git",
            "git@h.example:o/x.git",
        ] {
            assert_eq!(git(url).url, url);
        }
        let address = git("https://h/x.git#v1:sub/dir");
        assert_eq!(
            (
                address.url.as_str(),
                address.reference.as_deref(),
                address.folder.as_deref()
            ),
            ("https://h/x.git", Some("v1"), Some("sub/dir"))
        );
        let address = git("https://h/x.git?tag=v2&subdir=d&keep-git-dir=1&checksum=abc");
        assert_eq!(
            (
                address.reference.as_deref(),
                address.folder.as_deref(),
                address.keep_git_dir,
                address.commit.as_deref()
            ),
            (Some("refs/tags/v2"), Some("d"), Some(true), Some("abc"))
        );
    }

    #[test]
    fn dates_and_names_of_servers_are_read() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            http_date("Tue, 29 Feb 2000 00:00:00 GMT"),
            Some(951_782_400)
        );
        assert_eq!(http_date("yesterday"), None);
        assert_eq!(last_part("http://h/a/b.txt").as_deref(), Some("b.txt"));
        assert_eq!(last_part("http://h/a/"), None);
        assert_eq!(last_part("http://h"), None);
    }
}
