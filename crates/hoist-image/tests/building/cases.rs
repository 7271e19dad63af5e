//! Dockerfiles with their contexts, many to a file, so that they can be read side by side.
//!
//! ```text
//! f PATH MODE CONTENT      a file of the context (`|` in a path is a space; `\n` in the content ends a line)
//! d PATH MODE              a folder
//! l PATH TARGET            a symbolic link
//! h PATH OTHER             a hard link
//! t PATH FOLDER            an archive of a folder, compressed as its name says
//! == a title
//! %arg NAME=VALUE          options of the build: arg, target, secret, ignore (a line of .dockerignore), own (of the Dockerfile's own)
//! %docker REASON           this engine differs on purpose, or does not understand it: why
//! FROM scratch
//! %want                    what must come out, written by hand from the Dockerfile reference
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

/// When everything in a context was changed.
pub const THEN: i64 = 1_000_000_000;

#[derive(Debug, Clone, Default)]
pub struct Case {
    pub group: &'static str,
    pub title: String,
    pub dockerfile: String,
    pub args: Vec<(String, String)>,
    pub target: Option<String>,
    pub secrets: Vec<(String, String)>,
    pub ignore: Vec<String>,
    pub own_ignore: Vec<String>,
    /// Why an engine is not compared.
    pub differs: BTreeMap<String, String>,
    pub want: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    context: Vec<String>,
    pub cases: Vec<Case>,
}

impl Group {
    pub fn read(name: &'static str, text: &str) -> Group {
        let mut group = Group {
            name,
            context: Vec::new(),
            cases: Vec::new(),
        };
        let mut crlf = false;
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("== ") {
                crlf = false;
                group.cases.push(Case {
                    group: name,
                    title: title.into(),
                    ..Case::default()
                });
                continue;
            }
            let Some(case) = group.cases.last_mut() else {
                group.context.push(line.into());
                continue;
            };
            if let Some(want) = &mut case.want {
                want.push(line.into());
                continue;
            }
            let Some(option) = line.strip_prefix('%') else {
                case.dockerfile.push_str(line);
                case.dockerfile.push_str(if crlf { "\r\n" } else { "\n" });
                continue;
            };
            let (key, value) = option.split_once(' ').unwrap_or((option, ""));
            let pair = || {
                let (name, value) = value.split_once('=').unwrap();
                (name.to_owned(), value.to_owned())
            };
            match key {
                "arg" => case.args.push(pair()),
                "secret" => case.secrets.push(pair()),
                "target" => case.target = Some(value.into()),
                "ignore" => case.ignore.push(value.into()),
                "own" => case.own_ignore.push(value.into()),
                "docker" | "buildah" => drop(case.differs.insert(key.into(), value.into())),
                "crlf" => crlf = true,
                "want" => case.want = Some(Vec::new()),
                other => panic!("{name}: {}: there is no option {other}", case.title),
            }
        }
        group
    }

    /// Makes the files of the context.
    pub fn fill(&self, context: &Path) {
        fs::create_dir_all(context).unwrap();
        for line in self.context.iter().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let path = context.join(words[1].replace('|', " "));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match words[0] {
                "f" => {
                    let content = words.get(3).unwrap_or(&"").replace("\\n", "\n");
                    fs::write(&path, content).unwrap();
                }
                "d" => fs::create_dir_all(&path).unwrap(),
                "l" => symlink(words[2], &path).unwrap(),
                "h" => fs::hard_link(context.join(words[2]), &path).unwrap(),
                "t" => continue,
                other => panic!("{}: there is no kind of file {other}", self.name),
            }
        }
        // Owners of the machine must not matter, so they are strange ones; they take away set-id bits, so modes come last.
        settle(context);
        for line in &self.context {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            if matches!(words[0], "f" | "d") {
                let mode = u32::from_str_radix(words[2], 8).unwrap();
                let path = context.join(words[1].replace('|', " "));
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        for line in self.context.iter().filter(|line| line.starts_with("t ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let done = Command::new("tar")
                .args([
                    "--sort=name",
                    "--owner=3",
                    "--group=4",
                    "--numeric-owner",
                    "--format=pax",
                ])
                .args([
                    "--pax-option=delete=atime,delete=ctime",
                    "--auto-compress",
                    "--create",
                    "--file",
                ])
                .arg(context.join(words[1]))
                .arg("--directory")
                .arg(context)
                .arg(words[2])
                .status();
            assert!(done.unwrap().success());
            touch(&context.join(words[1]));
        }
    }
}

impl Case {
    /// Writes what belongs to this case alone into the context.
    pub fn write(&self, context: &Path) {
        let write = |name: &str, lines: &[String]| {
            let path = context.join(name);
            let _ = fs::remove_file(&path);
            if !lines.is_empty() {
                fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
                fresh(&path);
            }
        };
        write(".dockerignore", &self.ignore);
        write("Dockerfile.dockerignore", &self.own_ignore);
        fs::write(context.join("Dockerfile"), &self.dockerfile).unwrap();
        fresh(&context.join("Dockerfile"));
        touch(context);
    }

    pub fn name(&self) -> String {
        format!("{}: {}", self.group, self.title)
    }
}

fn settle(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            settle(&entry.path());
        }
        std::os::unix::fs::lchown(entry.path(), Some(77), Some(78)).unwrap();
        touch(&entry.path());
    }
}

fn touch(path: &Path) {
    let then = filetime::FileTime::from_unix_time(THEN, 0);
    filetime::set_symlink_file_times(path, then, then).unwrap();
}

/// Gives a file a time that no other has: BuildKit takes files of the same size and time for the same.
fn fresh(path: &Path) {
    static NEXT: AtomicI64 = AtomicI64::new(THEN + 1);
    let time = filetime::FileTime::from_unix_time(NEXT.fetch_add(1, Ordering::Relaxed), 0);
    filetime::set_file_times(path, time, time).unwrap();
}
