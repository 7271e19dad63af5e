//! Which control group of version 2 is ours to divide, and how its controllers are handed on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{named, probe};

/// Finds a directory of version 2 that is ours to divide: the top as root, else the uppermost group above this process that this user owns,
/// else the group of this process, which is emptied for it.
pub(super) fn writable_v2(top: &Path) -> Result<PathBuf, String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut why = "no group that this user may divide".to_owned();
    let candidates = downwards(top, &own);
    for candidate in &candidates {
        // Moving a process needs the right to write to the group above both places.
        let moves = File::options()
            .append(true)
            .open(candidate.join("cgroup.procs"))
            .map(drop);
        let divided =
            moves
                .and_then(|()| probe(candidate))
                .and_then(|()| match enable(candidate) {
                    Err(error)
                        if error.kind() == io::ErrorKind::ResourceBusy
                            && Some(candidate) == candidates.last() =>
                    {
                        empty(candidate).and_then(|()| enable(candidate))
                    }
                    enabled => enabled,
                });
        match divided {
            Ok(()) => return Ok(candidate.clone()),
            Err(error) => why = format!("{}: {error}", candidate.display()),
        }
    }
    Err(format!("cannot make control groups: {why}"))
}

/// The groups from the top to that of this process, by what `/proc/self/cgroup` says. Outside of containers the top may itself be the one.
fn downwards(top: &Path, own: &str) -> Vec<PathBuf> {
    let mut groups = vec![top.to_owned()];
    if let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) {
        let mut path = top.to_owned();
        // `..` is outside of this process's control group namespace, and not mounted.
        for part in own
            .split('/')
            .take_while(|part| *part != "..")
            .filter(|part| !part.is_empty())
        {
            path.push(part);
            groups.push(path.clone());
        }
    }
    groups
}

/// Moves the processes of a group to one below it. A group that holds processes has no limits below it, and where only this process's own group
/// was handed on (a service with `Delegate=yes`, a container that may write to its groups) there is none above to make others in.
pub(super) fn empty(group: &Path) -> io::Result<()> {
    let below = group.join("hoist-beside");
    match fs::create_dir(&below) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(named(error, &below));
        }
        _ => {}
    }
    let file = below.join("cgroup.procs");
    // What is moved may fork meanwhile.
    for _ in 0..100 {
        let processes = fs::read_to_string(group.join("cgroup.procs"))?;
        if processes.is_empty() {
            return Ok(());
        }
        for pid in processes.lines() {
            // A process of another namespace has no number here, and 0 would be this one.
            if pid == "0" {
                return Err(io::Error::other(
                    "it holds processes that are not seen here",
                ));
            }
            match fs::write(&file, pid) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(named(error, &file));
                }
                _ => {}
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy))
}

/// The controllers of version 2 that limits need, and what is limited by each.
pub(super) const CONTROLLERS_V2: [(&str, &str); 3] = [
    ("cpu", "processor time"),
    ("memory", "memory"),
    ("pids", "processes"),
];

pub(super) fn lists(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|one| one == name)
}

/// Hands the controllers of a version 2 group on to the groups below it: those that it has, and it must have one.
pub(super) fn enable(directory: &Path) -> io::Result<()> {
    let read = |name: &str| {
        let file = directory.join(name);
        fs::read_to_string(&file).map_err(|error| named(error, &file))
    };
    let available = read("cgroup.controllers")?;
    let enabled = read("cgroup.subtree_control")?;
    let ours = CONTROLLERS_V2.map(|(name, _)| name);
    if !ours.iter().any(|name| lists(&available, name)) {
        return Err(io::Error::other(format!(
            "{} has none of the controllers {}",
            directory.display(),
            ours.join(", ")
        )));
    }
    let missing: Vec<String> = ours
        .into_iter()
        .filter(|name| lists(&available, name) && !lists(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let file = directory.join("cgroup.subtree_control");
    fs::write(&file, missing.join(" ")).map_err(|error| named(error, &file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_from_the_top_to_that_of_this_process() {
        let top = Path::new("/sys/fs/cgroup");
        let below = |own: &str| {
            let groups = downwards(top, own);
            groups
                .iter()
                .map(|group| group.strip_prefix(top).unwrap().display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(below("0::/\n"), [""]);
        assert_eq!(
            below("1:name=systemd:/x\n0::/user.slice/a.scope\n"),
            ["", "user.slice", "user.slice/a.scope"]
        );
        assert_eq!(below("0::/../other\n"), [""]);
    }
}
