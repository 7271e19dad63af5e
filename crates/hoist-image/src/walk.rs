//! A walk through a context: its files in order, looked at by as many threads as there is work for.

use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hoist_oci::Digest;

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::ignore::{Ignore, Verdict};
use crate::stat_cache::{Kept, Stamp};
use crate::tree::Node;

/// Threads that look at files at the same time: they wait for the file system more than they compute.
const THREADS: usize = 4;

/// Files from which on a second thread is worth its start; a folder counts as many.
const WORTH_A_THREAD: usize = 256;
const FOLDER: usize = 64;

/// A file that a build may copy.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the context.
    pub path: PathBuf,
    /// Without its place.
    pub node: Node,
    pub stamp: Stamp,
    /// Of a file, as soon as it is known.
    pub digest: OnceLock<Digest>,
    /// How many entries that follow are in this folder or below.
    pub below: usize,
}

/// Names of a folder, with what the file system says of them.
type Names = Vec<(OsString, DirEntry)>;

pub(crate) struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    kept: &'a Kept,
    /// Threads that may still be started.
    free: AtomicUsize,
}

impl Walk<'_> {
    /// All that is visible in a folder, itself first: a folder comes before what is in it, and names are sorted.
    pub(crate) fn through(root: &Path, ignore: &Ignore, kept: &Kept) -> Result<Vec<Entry>> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let walk = Walk {
            root,
            ignore,
            kept,
            free: AtomicUsize::new(threads.min(THREADS) - 1),
        };
        let metadata = fs::symlink_metadata(root)
            .map_err(|error| BuildError::io(format!("read {}", root.display()), error))?;
        let mut entries = Vec::new();
        walk.enter(PathBuf::new(), &metadata, &mut 0, &mut entries)?;
        walk.folder(Path::new(""), &Verdict::default(), &mut 0, &mut entries)?;
        entries[0].below = entries.len() - 1;
        Ok(entries)
    }

    /// Adds a file at the end; false for what no image can hold.
    fn enter(
        &self,
        path: PathBuf,
        metadata: &Metadata,
        next: &mut usize,
        out: &mut Vec<Entry>,
    ) -> Result<bool> {
        // Only a link is looked into.
        let real = match metadata.is_symlink() {
            true => self.root.join(&path),
            false => PathBuf::new(),
        };
        let node = Node::of(real, metadata).map_err(|error| {
            let place = self.root.join(&path);
            BuildError::io(format!("read {}", place.display()), error)
        })?;
        let Some(mut node) = node else {
            return Ok(false);
        };
        // Owners of the machine that builds are no business of the image.
        (node.uid, node.gid) = (0, 0);
        let stamp = Stamp::of(metadata);
        let digest = OnceLock::new();
        if metadata.is_file()
            && let Some(kept) = self.kept.digest(next, path.as_os_str().as_bytes(), &stamp)
        {
            let _ = digest.set(kept);
        }
        out.push(Entry {
            path,
            node,
            stamp,
            digest,
            below: 0,
        });
        Ok(true)
    }

    /// Enters what is visible in a folder.
    fn folder(
        &self,
        folder: &Path,
        verdict: &Verdict,
        next: &mut usize,
        out: &mut Vec<Entry>,
    ) -> Result<()> {
        let failed = |error| self.failed(folder, error);
        let mut names = fs::read_dir(self.root.join(folder))
            .map_err(failed)?
            .map(|file| file.map(|file| (file.file_name(), file)))
            .collect::<io::Result<Names>>()
            .map_err(failed)?;
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.names(folder, names, verdict, next, out)
    }

    /// Enters these names of a folder: half of them by another thread, if one is free.
    fn names(
        &self,
        folder: &Path,
        mut names: Names,
        verdict: &Verdict,
        next: &mut usize,
        out: &mut Vec<Entry>,
    ) -> Result<()> {
        if !worth_a_thread(&names) || !self.take_thread() {
            for (name, file) in names {
                self.name(folder, &name, &file, verdict, next, out)?;
            }
            return Ok(());
        }
        let second = names.split_off(names.len() / 2);
        let halved = AtomicBool::new(false);
        // Whoever is done first leaves its place to what the other still has to do.
        let done = || {
            if !halved.swap(true, Ordering::Relaxed) {
                self.free.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| {
                let mut entries = Vec::new();
                let entered = self.names(folder, second, verdict, &mut 0, &mut entries);
                done();
                entered.map(|()| entries)
            });
            let first = self.names(folder, names, verdict, next, out);
            done();
            let second = beside.join().expect("looking at files does not panic");
            first?;
            out.append(&mut second?);
            Ok(())
        })
    }

    fn take_thread(&self) -> bool {
        let take = |free: usize| free.checked_sub(1);
        self.free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Enters a file, if it is visible, and what is visible in it.
    fn name(
        &self,
        folder: &Path,
        name: &OsString,
        file: &DirEntry,
        verdict: &Verdict,
        next: &mut usize,
        out: &mut Vec<Entry>,
    ) -> Result<()> {
        let path = folder.join(name);
        let Some(text) = path.to_str() else {
            let place = self.root.join(&path);
            let what = format!("the name of {} is not UTF-8", place.display());
            return Err(BuildError::new(BuildErrorKind::Context, what)
                .with_hint("rename it, or name its folder in .dockerignore"));
        };
        let failed = |error| self.failed(folder, error);
        let verdict = self.ignore.verdict(text, verdict);
        let is_folder = file.file_type().map_err(failed)?.is_dir();
        if verdict.hidden && !(is_folder && self.ignore.may_show_inside(text)) {
            return Ok(());
        }
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            // It vanished since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let place = out.len();
        if !metadata.is_dir() && verdict.hidden || !self.enter(path, &metadata, next, out)? {
            return Ok(());
        }
        if metadata.is_dir() {
            let path = folder.join(name);
            self.folder(&path, &verdict, next, out)?;
            out[place].below = out.len() - place - 1;
            if verdict.hidden && out[place].below == 0 {
                out.truncate(place);
            }
        }
        Ok(())
    }

    fn failed(&self, folder: &Path, error: io::Error) -> BuildError {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let place = self.root.join(folder);
        let error = BuildError::io(format!("read the folder {}", place.display()), error);
        if denied {
            error.with_hint("make it readable, or name it in .dockerignore")
        } else {
            error
        }
    }
}

fn worth_a_thread(names: &Names) -> bool {
    if names.len() >= WORTH_A_THREAD {
        return true;
    }
    let is_folder = |file: &DirEntry| file.file_type().is_ok_and(|kind| kind.is_dir());
    let folders = names.iter().filter(|(_, file)| is_folder(file)).count();
    names.len() > 1 && names.len() + folders * FOLDER >= WORTH_A_THREAD
}
