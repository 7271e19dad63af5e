//! A Docker Engine for the tests.

use std::path::Path;

/// An engine of the test's own, in a network and mount namespace that vanish with it.
pub struct Engine {
    daemon: std::process::Child,
    pub socket: String,
}

impl Engine {
    /// Moves this thread into the engine's namespaces, and starts it there.
    pub fn start(directory: &Path) -> Engine {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        // Of this thread only; what it starts inherits them.
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let path = |name: &str| directory.join(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = std::fs::File::create(directory.join("dockerd.log")).unwrap();
        let daemon = std::process::Command::new("dockerd")
            .args([
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
                "--pidfile",
                &path("pid"),
            ])
            .args(["--host", &socket, "--bridge", "none"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Engine { daemon, socket }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SIGTERM makes it stop its containers and its containerd.
        let pid = nix::unistd::Pid::from_raw(self.daemon.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

/// Where the engine is installed, for root.
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let has =
        |name: &str| std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    has("dockerd") && has("docker") && crate::support::is_root()
}
