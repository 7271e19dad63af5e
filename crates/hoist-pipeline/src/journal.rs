//! The append-only record of every deployment, so that a killed run can be told truthfully by the next.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

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
    /// The run began.
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
        let entry = Entry {
            at: jiff::Timestamp::now().to_string(),
            run: run.to_owned(),
            what,
        };
        let mut line = serde_json::to_string(&entry).map_err(io::Error::other)?;
        line.push('\n');
        // One write of a whole line in append mode: two runs never mix their lines.
        (&self.file).write_all(line.as_bytes())?;
        self.file.sync_data()
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
}
