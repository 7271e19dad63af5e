//! The append-only record of every deployment, so that a killed run can be told truthfully by the next.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use hoist_rollout::Progress;
use serde::{Deserialize, Serialize};

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

/// A journal file, opened for one run.
pub struct Journal {
    path: PathBuf,
    file: File,
    run: String,
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
        })
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

    /// What the newest run before this one was deploying, if it never recorded its end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn unfinished(&self) -> io::Result<Option<Entry>> {
        let mut open: Option<Entry> = None;
        for entry in self
            .entries()?
            .into_iter()
            .filter(|entry| entry.run != self.run)
        {
            match entry.what {
                What::Deploying { .. } => open = Some(entry),
                What::Ended { .. } if open.as_ref().is_some_and(|begun| begun.run == entry.run) => {
                    open = None
                }
                _ => {}
            }
        }
        Ok(open)
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
    fn a_run_that_never_ended_is_told_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/journal.jsonl");
        let killed = Journal::open(&path).unwrap();
        killed.record(deploying()).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"at\":\"20\n")
            .unwrap();

        let next = Journal::open(&path).unwrap();
        assert_eq!(next.unfinished().unwrap().unwrap().what, deploying());

        killed
            .record(What::Ended {
                outcome: "done".into(),
                summary: String::new(),
            })
            .unwrap();
        assert_eq!(next.unfinished().unwrap(), None);
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
