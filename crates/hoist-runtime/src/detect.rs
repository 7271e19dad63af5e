//! What this machine offers for running containers.

use std::path::PathBuf;

use crate::privilege::{self, Privilege, PrivilegeError};

/// Which runtimes work here, and what is missing.
#[derive(Debug)]
pub struct Detection {
    /// The rights that this process has for the native runtime, or why it has none.
    pub native: Result<Privilege, PrivilegeError>,
    /// Why memory, processor and process limits have no effect natively, or some of them, if so.
    pub without_limits: Option<String>,
    /// What would give them effect, where there is something to do.
    pub limits_hint: Option<&'static str>,
    /// Why containers have no other users than root natively, if so, and what that means for them.
    pub without_users: Option<String>,
    /// Why tasks of the native runtime cannot reach what is outside of this machine, if that can be told before they are run; see
    /// [`crate::Runtime::lacks`].
    pub without_egress: Option<String>,
    /// The `docker` command, if it is installed. Whether an engine answers is known only by asking it ([`crate::Docker::new`]).
    pub docker: Option<PathBuf>,
}

/// Looks at this machine. Call it after [`privilege::acquire`], whose answer it repeats.
pub fn detect() -> Detection {
    let native = privilege::acquire();
    let without_limits = without_limits();
    Detection {
        without_users: native.as_ref().ok().and_then(without_users),
        native,
        limits_hint: without_limits.as_ref().and_then(|_| limits_hint()),
        without_limits,
        without_egress: without_egress(),
        docker: find("docker"),
    }
}

/// As root packet filter rules make the way out, otherwise a program that carries what tasks send; what it carries is filtered, too.
#[cfg(target_os = "linux")]
fn without_egress() -> Option<String> {
    use crate::linux::egress::{CARRIERS, without_carrier};
    let why = if privilege::in_user_namespace()
        && CARRIERS.iter().all(|(program, _)| find(program).is_none())
    {
        without_carrier()
    } else if find("nft").is_none() {
        "that takes `nft`, which is not installed (package nftables)".to_owned()
    } else {
        return None;
    };
    Some(format!(
        "tasks reach each other and this machine's load balancers, and nothing outside: {why}"
    ))
}

#[cfg(not(target_os = "linux"))]
fn without_egress() -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
fn without_limits() -> Option<String> {
    crate::linux::cgroup::Hierarchies::detect().lacks()
}

#[cfg(not(target_os = "linux"))]
fn without_limits() -> Option<String> {
    Some("only Linux has control groups".to_owned())
}

/// Without root a user has groups of version 2 where systemd hands one on.
fn limits_hint() -> Option<&'static str> {
    if !privilege::in_user_namespace() {
        return None;
    }
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Some(if is_v2 {
        "where systemd runs, a scope of your own has them: systemd-run --user --scope --property=Delegate=yes hoist local start"
    } else {
        "an ordinary user has them on a machine with version 2 alone (Linux option systemd.unified_cgroup_hierarchy=1), otherwise root"
    })
}

/// What a namespace with one id cannot do; `None` where there are many.
pub(crate) fn without_users(rights: &Privilege) -> Option<String> {
    matches!(rights, Privilege::UserNamespace { full_range: false }).then(|| {
        "this user has no further ids, so what changes users itself (su, apt-get) fails, and all files belong to one owner; \
         install uidmap and give this user a range in /etc/subuid and /etc/subgid"
            .to_owned()
    })
}

/// The file of this name in the search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_detected_is_what_containers_get() {
        let detection = detect();
        let privilege = detection
            .native
            .expect("the tests have the rights that containers need");
        assert_eq!(
            privilege == Privilege::Root,
            !privilege::in_user_namespace()
        );
        let containers = crate::Containers::new(crate::Config {
            init_program: "/proc/self/exe".into(),
            cgroup_parent: "hoist-test-detect".into(),
        });
        assert_eq!(
            detection.without_limits.as_deref(),
            containers.without_limits()
        );
    }
}
