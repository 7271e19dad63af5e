//! Becoming the user that a program runs as.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::user::Identity;
use crate::StartError;

/// How this process becomes another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// By the system calls for it, which need the id to exist here.
    Calls,
    /// It has been done, by a user namespace in which our only id has that number.
    Renamed,
}

/// Does what has to be done before the system call filter forbids new namespaces.
///
/// Where this process has one id only (rootless without `newuidmap`), an image's `USER 1000` is that one id under another name. The
/// program then sees the files of the image's root as its own, which is what they are on this machine.
pub(super) fn prepare(name: &str, identity: &Identity) -> Result<Change, StartError> {
    let mapped =
        |file: &str, id: u32| fs::read_to_string(file).map_or(true, |map| is_mapped(&map, id));
    let missing = match (
        mapped("/proc/self/uid_map", identity.uid),
        mapped("/proc/self/gid_map", identity.gid),
    ) {
        (true, true) => return Ok(Change::Calls),
        (false, _) => identity.uid,
        (true, false) => identity.gid,
    };
    let rename = || -> std::io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{} 0 1", identity.uid))?;
        fs::write("/proc/self/gid_map", format!("{} 0 1", identity.gid))
    };
    rename().map_err(|_| not_mapped(name, missing))?;
    Ok(Change::Renamed)
}

/// Whether an id exists, by the lines of `/proc/self/uid_map`: first id inside, first outside, how many.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line
            .split_whitespace()
            .map(|field| field.parse::<u64>().unwrap_or(0));
        let (first, count) = (fields.next().unwrap_or(0), fields.nth(1).unwrap_or(0));
        (first..first + count).contains(&u64::from(id))
    })
}

impl Change {
    /// Gives up every other id for good.
    pub(super) fn complete(self, name: &str, identity: &Identity) -> Result<(), StartError> {
        if self == Change::Renamed {
            return Ok(());
        }
        let groups: Vec<Gid> = identity
            .groups
            .iter()
            .map(|&id| Gid::from_raw(id))
            .collect();
        match setgroups(&groups) {
            Ok(()) => {}
            // A user namespace of one id may not change groups at all, and has none.
            Err(Errno::EPERM) if crate::linux::rights::setgroups_denied() => {}
            Err(Errno::EINVAL) => {
                return Err(not_mapped(
                    name,
                    identity.groups.first().copied().unwrap_or(0),
                ));
            }
            Err(error) => return Err(StartError::other("set the supplementary groups", error)),
        }
        let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
        setresgid(gid, gid, gid)
            .map_err(|error| StartError::other(format!("become group {gid}"), error))?;
        setresuid(uid, uid, uid)
            .map_err(|error| StartError::other(format!("become user {uid}"), error))
    }
}

fn not_mapped(user: &str, id: u32) -> StartError {
    StartError::UserNotMapped {
        user: user.to_owned(),
        id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_in_ranges() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert!(is_mapped(map, 0) && is_mapped(map, 1) && is_mapped(map, 65_536));
        assert!(!is_mapped(map, 65_537));
        assert!(is_mapped("0 0 4294967295\n", u32::MAX - 1));
        assert!(!is_mapped("0 65534 1\n", 1000));
    }
}
