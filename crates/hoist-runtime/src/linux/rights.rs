//! Root, or root in a user namespace: how a process gets there.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, User, geteuid, getgid, getuid};

use crate::privilege::{Privilege, PrivilegeError};

pub(crate) fn in_user_namespace() -> bool {
    !fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

pub(crate) fn setgroups_denied() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|setting| setting.trim() == "deny")
}

pub(crate) fn acquire() -> Result<Privilege, PrivilegeError> {
    if geteuid().is_root() && crate::linux::stage::capabilities::has(SYS_ADMIN) {
        return Ok(if in_user_namespace() {
            Privilege::UserNamespace {
                full_range: mapped_ids() > 1,
            }
        } else {
            Privilege::Root
        });
    }
    if fs::read_dir("/proc/self/task")
        .map(Iterator::count)
        .unwrap_or(1)
        > 1
    {
        return Err(PrivilegeError::Threads);
    }
    enter()
}

/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u8 = 21;

/// How many user ids exist here.
fn mapped_ids() -> u64 {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        .sum()
}

fn enter() -> Result<Privilege, PrivilegeError> {
    let (uid, gid) = (getuid(), getgid());
    let ranges = subordinate_ranges(uid);
    // newuidmap has to run outside of the namespace, so it is started before, and told to go on by a line.
    let mut mapper = match &ranges {
        Some(ranges) => Some(spawn_mapper(uid, gid, *ranges)?),
        None => None,
    };
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        if let Some(mapper) = &mut mapper {
            let _ = mapper.kill();
            let _ = mapper.wait();
        }
        return Err(refusal(errno));
    }
    let full_range = match mapper {
        Some(mut mapper) => mapper_go(&mut mapper)?,
        None => false,
    };
    if !full_range {
        let write = |file: &str, text: String| fs::write(Path::new("/proc/self").join(file), text);
        let setup = |action| move |source| PrivilegeError::Setup { action, source };
        write("setgroups", "deny".to_owned()).map_err(setup("give up supplementary groups"))?;
        write("uid_map", format!("0 {uid} 1")).map_err(|error| apparmor(error, "map the user"))?;
        write("gid_map", format!("0 {gid} 1")).map_err(setup("map the group"))?;
    }
    let setup = |action| {
        move |errno: Errno| PrivilegeError::Setup {
            action,
            source: errno.into(),
        }
    };
    let (root_group, root) = (Gid::from_raw(0), Uid::from_raw(0));
    nix::unistd::setresgid(root_group, root_group, root_group).map_err(setup("become group 0"))?;
    nix::unistd::setresuid(root, root, root).map_err(setup("become user 0"))?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .map_err(|errno| apparmor(errno.into(), "keep mounts to ourselves"))?;
    Ok(Privilege::UserNamespace { full_range })
}

fn setting(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/")))
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Says which setting of this machine made the kernel refuse a user namespace.
fn refusal(errno: Errno) -> PrivilegeError {
    let refused = |reason: &str, hint: &str| PrivilegeError::NoUserNamespace {
        reason: reason.to_owned(),
        hint: format!("{hint}; or run as root, or use a Docker Engine with --runtime docker"),
    };
    if setting("kernel.unprivileged_userns_clone").as_deref() == Some("0") {
        return refused(
            "kernel.unprivileged_userns_clone is 0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        );
    }
    if setting("user.max_user_namespaces").as_deref() == Some("0") {
        return refused(
            "user.max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=15000",
        );
    }
    if setting("kernel.apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return apparmor(errno.into(), "make it");
    }
    match errno {
        Errno::EINVAL => PrivilegeError::Threads,
        Errno::ENOSYS => refused("this kernel has none", "use a kernel with CONFIG_USER_NS"),
        Errno::EPERM => refused(
            "operation not permitted (a sandbox around this process, such as a container's system call filter, forbids it)",
            "allow unshare(CLONE_NEWUSER) there",
        ),
        Errno::ENOSPC => refused(
            "too many exist, or they are nested too deep",
            "raise user.max_user_namespaces",
        ),
        other => refused(other.desc(), "see user_namespaces(7)"),
    }
}

/// On Ubuntu the namespace is given but has no power until a profile allows it.
fn apparmor(source: io::Error, action: &'static str) -> PrivilegeError {
    if setting("kernel.apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return PrivilegeError::NoUserNamespace {
            reason: "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)".to_owned(),
            hint: "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give hoist an AppArmor profile with `userns,`; \
                   or run as root, or use a Docker Engine with --runtime docker"
                .to_owned(),
        };
    }
    PrivilegeError::Setup { action, source }
}

/// The ranges that `/etc/subuid` and `/etc/subgid` give to this user, if newuidmap and newgidmap are there to use them.
fn subordinate_ranges(uid: Uid) -> Option<[(u32, u32); 2]> {
    let installed = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
    };
    if !installed("newuidmap") || !installed("newgidmap") {
        return None;
    }
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let find = |file: &str| {
        range_of(
            &fs::read_to_string(file).ok()?,
            name.as_deref(),
            uid.as_raw(),
        )
    };
    Some([find("/etc/subuid")?, find("/etc/subgid")?])
}

fn range_of(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let number = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner != number {
            return None;
        }
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (range.1 > 0).then_some(range)
    })
}

fn spawn_mapper(
    uid: Uid,
    gid: Gid,
    [users, groups]: [(u32, u32); 2],
) -> Result<std::process::Child, PrivilegeError> {
    let pid = std::process::id();
    let script = format!(
        "read go && newuidmap {pid} 0 {uid} 1 1 {} {} && newgidmap {pid} 0 {gid} 1 1 {} {}",
        users.0, users.1, groups.0, groups.1
    );
    Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| PrivilegeError::Setup {
            action: "start newuidmap",
            source,
        })
}

/// Lets the mapper go on. `false` when it fails, so that one id has to do.
fn mapper_go(mapper: &mut std::process::Child) -> Result<bool, PrivilegeError> {
    let setup = |source| PrivilegeError::Setup {
        action: "map users with newuidmap",
        source,
    };
    if let Some(mut go) = mapper.stdin.take() {
        go.write_all(b"go\n").map_err(setup)?;
    }
    let mut said = String::new();
    if let Some(mut stderr) = mapper.stderr.take() {
        stderr.read_to_string(&mut said).map_err(setup)?;
    }
    let done = mapper.wait().map_err(setup)?.success();
    if !done {
        // Nothing is mapped unless newuidmap had come through; then newgidmap's failure leaves no way on.
        if mapped_ids() > 0 {
            return Err(setup(io::Error::other(said.trim().to_owned())));
        }
        tracing::warn!(
            "newuidmap failed, so only one user exists in containers: {}",
            said.trim()
        );
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_or_by_number() {
        let text = "other:100000:65536\napp:165536:65536\n4242:300000:1000\n";
        assert_eq!(range_of(text, Some("app"), 1000), Some((165_536, 65_536)));
        assert_eq!(range_of(text, None, 4242), Some((300_000, 1000)));
        assert_eq!(range_of(text, Some("ghost"), 7), None);
    }
}
