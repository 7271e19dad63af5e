//! What this machine offers for running containers.

use std::path::PathBuf;

use crate::privilege::{self, Privilege, PrivilegeError};

/// Which runtimes work here, and what is missing.
#[derive(Debug)]
pub struct Detection {
    /// The rights that this process has for the native runtime, or why it has none.
    pub native: Result<Privilege, PrivilegeError>,
    /// Why memory, processor and process limits have no effect natively, if so.
    pub without_limits: Option<String>,
    /// Why tasks of the native runtime cannot reach what is outside of this machine, if that can be told before they are run; see
    /// [`crate::Runtime::lacks`].
    pub without_egress: Option<String>,
    /// The `docker` command, if it is installed. Whether an engine answers is known only by asking it ([`crate::Docker::new`]).
    pub docker: Option<PathBuf>,
}

/// Looks at this machine. Call it after [`privilege::acquire`], whose answer it repeats.
pub fn detect() -> Detection {
    Detection {
        native: privilege::acquire(),
        without_limits: without_limits(),
        without_egress: without_egress(),
        docker: find("docker"),
    }
}

/// As root packet filter rules make the way out, otherwise a program that carries what tasks send.
fn without_egress() -> Option<String> {
    let (program, package) = if privilege::in_user_namespace() {
        ("slirp4netns", "slirp4netns")
    } else {
        ("nft", "nftables")
    };
    let missing = find(program).is_none();
    missing.then(|| {
        format!("tasks reach each other and this machine's load balancers only: `{program}` is not installed (package {package})")
    })
}

#[cfg(target_os = "linux")]
fn without_limits() -> Option<String> {
    use crate::linux::cgroup::Hierarchies;
    match Hierarchies::detect() {
        Hierarchies::Absent(why) => Some(why),
        Hierarchies::V1(_) | Hierarchies::V2(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn without_limits() -> Option<String> {
    Some("only Linux has control groups".to_owned())
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
