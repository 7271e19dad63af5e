//! The append-only record of every deployment, so that a killed run can be told truthfully by the next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hoist_rollout::Progress;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Which run; entries of one run share it.
    pub run: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What a run records, before or after it happens as the name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "what",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum What {
    /// The run began, before anything was built.
    Started {
        /// Application.
        app: String,
        /// `embedded AWS` or the region.
        target: String,
        /// What is deployed, in words.
        source: String,
        /// Commit of the source, where there is one.
        #[serde(default)]
        commit: Option<String>,
        /// When that was committed, RFC 3339.
        #[serde(default)]
        committed: Option<String>,
        /// Whether an earlier revision is wanted back.
        #[serde(default)]
        back: bool,
    },
    /// A step ended well.
    StepEnded {
        /// The step's name.
        step: String,
        /// What came of it.
        summary: String,
        /// How long it took.
        millis: u64,
    },
    /// Something was seen of a rollout.
    Seen {
        /// Service name.
        service: String,
        /// What.
        progress: Progress,
    },
    /// The image is about to be deployed.
    Began {
        /// Application.
        app: String,
        /// Image tag.
        tag: String,
        /// `embedded` or the region.
        target: String,
    },
    /// The image is in the registry.
    Pushed {
        /// Image by digest.
        image: String,
    },
    /// The service is about to be moved to this revision.
    Deploying {
        /// Cluster name or ARN.
        cluster: String,
        /// Service name.
        service: String,
        /// Task definition ARN.
        task_definition: String,
        /// Whether the service is made by this deployment.
        #[serde(default)]
        created: bool,
    },
    /// The settings of the target group that are to go with a revision.
    Checking {
        /// Cluster name or ARN.
        cluster: String,
        /// Service name.
        service: String,
        /// Task definition ARN.
        task_definition: String,
        /// Members of CreateTargetGroup, with `Attributes`.
        group: Value,
    },
    /// The target group of a service is about to be changed, until it is known that the revision serves.
    Retargeting {
        /// Cluster name or ARN.
        cluster: String,
        /// Service name.
        service: String,
        /// The target group, what it says so far and what it is to say.
        change: Value,
    },
    /// Services are about to be moved, wave by wave: all that the run has in mind, before the first call.
    Releasing(Box<ReleasePlan>),
    /// A task that comes before the services is about to be started.
    Running {
        /// Its key.
        task: String,
        /// Task definition ARN.
        task_definition: String,
        /// Digest of all that hoist.yaml says of it.
        asks: String,
        /// What ECS knows the call by, so that it is carried out once.
        token: String,
    },
    /// A task that comes before the services succeeded.
    Ran {
        /// Its key.
        task: String,
    },
    /// The service serves what the run had in mind for it.
    Moved {
        /// Cluster name or ARN.
        cluster: String,
        /// Service name.
        service: String,
        /// Whether anything was changed for that.
        changed: bool,
    },
    /// A schedule is about to be told to start another task definition.
    Rescheduling {
        /// Its key.
        schedule: String,
        /// Task definition that it started so far.
        before: String,
    },
    /// What moved is about to go back.
    TakingBack {
        /// Why.
        why: String,
    },
    /// A run that was killed is gone on with.
    Resumed,
    /// The rollback was asked for.
    RollbackAsked {
        /// Service deployment ARN.
        deployment: String,
    },
    /// The run ended.
    Ended {
        /// Outcome name.
        outcome: String,
        /// One sentence.
        summary: String,
    },
}

/// What a run has in mind, so that another can go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleasePlan {
    /// The services, in the order of hoist.yaml.
    pub services: Vec<Intended>,
    /// The image by digest, where the run has one.
    pub image: Option<String>,
    /// Tags of the revisions that the run registers.
    pub tags: Vec<(String, String)>,
    /// Number of tasks, if it is to be set.
    pub count: Option<u32>,
    /// Whether services move although nothing changed.
    pub force: bool,
    /// Whether all services of the project are part of it.
    pub whole: bool,
    /// Whether tasks come before the services.
    pub begins: bool,
    /// Whether schedules are part of it.
    pub schedules: bool,
}

/// What a run has in mind for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Intended {
    /// Cluster name or ARN.
    pub cluster: String,
    /// Service name.
    pub service: String,
    /// Task definition ARN.
    pub task_definition: String,
    /// What the service is created from or changed to; null where only the revision changes.
    pub service_definition: Value,
    /// Task definition before; absent if the service is to be created.
    pub previous: Option<String>,
    /// What AWS knows the call by, so that it is carried out once.
    pub token: String,
    /// Whether CodeDeploy moves it.
    pub by_codedeploy: bool,
}

/// A journal file, opened for one run.
pub struct Journal {
    path: PathBuf,
    file: File,
    run: String,
    /// Locked as long as the run lives.
    alive: Option<File>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.alive.take().is_some() {
            let _ = std::fs::remove_file(self.mark(&self.run));
        }
    }
}

impl Journal {
    /// Opens (and makes, if absent) the journal at `path` for a new run.
    ///
    /// # Errors
    /// The folder cannot be made or the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Journal> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let run = format!("{:016x}", fastrand::u64(..));
        Ok(Journal {
            path: path.to_owned(),
            file,
            run,
            alive: None,
        })
    }

    /// The run, as its entries name it.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Shows other runs that this one lives, until it is dropped or its process ends however it may. With `killed` it goes on with that
    /// run, and its entries are that run's.
    ///
    /// # Errors
    /// The mark cannot be made, or another process goes on with that run already.
    pub fn live(&mut self, killed: Option<&str>) -> io::Result<()> {
        let run = killed.unwrap_or(&self.run).to_owned();
        let mark = self.mark(&run);
        if let Some(folder) = mark.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::create(&mark)?;
        file.try_lock().map_err(io::Error::from)?;
        self.alive = Some(file);
        self.run = run;
        Ok(())
    }

    /// Whether the process of a run still lives.
    pub fn is_alive(&self, run: &str) -> bool {
        let Ok(file) = File::open(self.mark(run)) else {
            return false;
        };
        // What a process that was killed has forked may hold the lock a moment longer.
        for _ in 0..20 {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
                _ => return false,
            }
        }
        true
    }

    /// Where a run shows that it lives.
    fn mark(&self, run: &str) -> PathBuf {
        self.path.with_extension("runs").join(run)
    }

    /// Appends one entry and has it on disk before it returns.
    ///
    /// # Errors
    /// The write failed (disk full, for one).
    pub fn record(&self, what: What) -> io::Result<()> {
        self.record_of(&self.run, what)
    }

    /// As [`Journal::record`], for another run: one that ended without recording it.
    ///
    /// # Errors
    /// The write failed.
    pub fn record_of(&self, run: &str, what: What) -> io::Result<()> {
        self.append(run, what)?;
        self.file.sync_data()
    }

    /// Appends one entry that the next run could do without: it is not waited for until it is on disk.
    ///
    /// # Errors
    /// The write failed.
    pub fn note(&self, what: What) -> io::Result<()> {
        self.append(&self.run, what)
    }

    /// The entries of this run so far, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_this_run(&self) -> io::Result<Vec<Entry>> {
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.run == self.run);
        Ok(entries)
    }

    fn append(&self, run: &str, what: What) -> io::Result<()> {
        let entry = Entry {
            at: jiff::Timestamp::now().to_string(),
            run: run.to_owned(),
            what,
        };
        let mut line = serde_json::to_string(&entry).map_err(io::Error::other)?;
        line.push('\n');
        // One write of a whole line in append mode: two runs never mix their lines.
        (&self.file).write_all(line.as_bytes())
    }

    /// All whole entries, oldest first; a line torn by a kill is passed over.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let file = File::open(&self.path)?;
        let mut entries = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            if let Ok(entry) = serde_json::from_slice(&line?) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deploying() -> What {
        What::Deploying {
            cluster: "c".into(),
            service: "web".into(),
            task_definition: "web:2".into(),
            created: false,
        }
    }

    #[test]
    fn a_line_torn_by_a_kill_is_passed_over_and_every_kind_of_line_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        let plan = ReleasePlan {
            services: vec![Intended {
                service: "web".into(),
                service_definition: serde_json::json!({ "desiredCount": 2 }),
                ..Intended::default()
            }],
            tags: vec![("a".into(), "b".into())],
            ..ReleasePlan::default()
        };
        let all = [
            deploying(),
            What::Releasing(Box::new(plan)),
            What::Resumed,
            What::Ran { task: "m".into() },
            What::Checking {
                cluster: "c".into(),
                service: "web".into(),
                task_definition: "web:2".into(),
                group: serde_json::json!({ "HealthCheckPath": "/" }),
            },
            What::Retargeting {
                cluster: "c".into(),
                service: "web".into(),
                change: serde_json::json!({ "arn": "tg" }),
            },
        ];
        for what in &all {
            journal.record(what.clone()).unwrap();
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(b"{\"at\":\"20\n")
                .unwrap();
        }
        let read: Vec<What> = journal
            .entries()
            .unwrap()
            .into_iter()
            .map(|entry| entry.what)
            .collect();
        assert_eq!(read, all);
    }

    #[test]
    fn a_run_lives_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut one, other) = (Journal::open(&path).unwrap(), Journal::open(&path).unwrap());
        assert!(!other.is_alive(one.run()));
        one.live(None).unwrap();
        assert!(other.is_alive(one.run()));
        let run = one.run().to_owned();
        let mut third = Journal::open(&path).unwrap();
        assert!(third.live(Some(&run)).is_err(), "two go on with one run");
        drop(one);
        assert!(!other.is_alive(&run));
        third.live(Some(&run)).unwrap();
        assert_eq!(third.run(), run);
    }

    #[test]
    fn what_was_seen_reads_back_and_belongs_to_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (one, other) = (Journal::open(&path).unwrap(), Journal::open(&path).unwrap());
        let seen = What::Seen {
            service: "web".into(),
            progress: Progress::TaskRunning { task: "abc".into() },
        };
        one.note(seen.clone()).unwrap();
        other.note(deploying()).unwrap();
        let entries = one.of_this_run().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].what, seen);
    }
}
