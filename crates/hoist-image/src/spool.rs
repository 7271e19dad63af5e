//! Temporary files and folders that say whose they are, so that what a killed build left is found and removed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Nothing here is used for so long; whatever is older was left.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder that goes away with its value.
pub(crate) fn folder(parent: &Path, kind: &str) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{}{kind}-", own()))
        .tempdir_in(parent)
}

/// A file that goes away with its value.
pub(crate) fn file(parent: &Path, kind: &str) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&format!("{}{kind}-", own()))
        .tempfile_in(parent)
}

/// The beginning of the names of this process: process ids mean something only within their namespace.
fn own() -> String {
    format!("hoist-{}-{}-", namespace(), std::process::id())
}

fn namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

/// Removes what processes left that are no more, and tells the name of each thing. Best effort: it only frees space.
pub(crate) fn sweep(parent: &Path, left: &dyn Fn(&str)) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let here = namespace();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let mut fields = name.split('-');
        if fields.next() != Some("hoist") {
            continue;
        }
        let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
        let (Some(namespace), Some(process)) = (number(), number()) else {
            continue;
        };
        let ended = namespace == here && !Path::new("/proc").join(process.to_string()).exists();
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if ended || age.is_some_and(|age| age > STALE) {
            left(name);
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_processes_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let kept = folder(dir.path(), "kept").unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let left = dir
            .path()
            .join(format!("hoist-{}-{}-bound-x", namespace(), child.id()));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("file"), "").unwrap();
        let other = dir.path().join(format!("hoist-1-{}-bound-x", child.id()));
        fs::write(&other, "").unwrap();
        fs::write(dir.path().join("unrelated"), "").unwrap();
        let told = std::cell::RefCell::new(Vec::new());
        sweep(dir.path(), &|name| told.borrow_mut().push(name.to_owned()));
        assert_eq!(
            told.into_inner(),
            [left.file_name().unwrap().to_str().unwrap()]
        );
        assert!(kept.path().exists() && other.exists() && dir.path().join("unrelated").exists());
        assert!(!left.exists());
    }
}
