//! A busybox root file system and containers on it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hoist_runtime::{Config, ContainerSpec, Containers, Exit, RootFs, Running};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Where Debian's and Alpine's busybox-static puts it.
fn busybox() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("the tests need busybox-static (apt-get install busybox-static)")
}

pub struct Lab {
    pub directory: TempDir,
    pub containers: Containers,
    pub parent: String,
}

impl Lab {
    pub fn new(name: &str) -> Lab {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base");
        fs::create_dir_all(base.join("bin")).unwrap();
        fs::create_dir_all(base.join("tmp")).unwrap();
        fs::create_dir_all(base.join("etc")).unwrap();
        fs::copy(busybox(), base.join("bin/busybox")).unwrap();
        let applets = [
            "sh", "cat", "echo", "sleep", "id", "pwd", "env", "ls", "wc", "head", "tail", "dd",
            "kill", "nc", "ip", "mount", "mknod", "touch", "hostname", "grep", "ps", "stat",
            "true", "false", "mkdir", "rm", "unshare", "ulimit", "tr", "httpd", "wget", "df",
            "tee", "su", "stty", "tty", "nslookup", "mv",
        ];
        for applet in applets {
            symlink("busybox", base.join("bin").join(applet)).unwrap();
        }
        fs::write(
            base.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .unwrap();
        fs::write(
            base.join("etc/group"),
            "root:x:0:\napp:x:1000:\nextra:x:1500:app\n",
        )
        .unwrap();
        fs::write(base.join("bin/not-a-program"), "\x7fELF but not really").unwrap();
        fs::write(base.join("bin/not-executable"), "#!/bin/sh\n").unwrap();
        set_mode(&base.join("bin/not-a-program"), 0o755);
        set_mode(&base.join("bin/not-executable"), 0o644);
        let parent = format!("hoist-test-{}-{name}", std::process::id());
        let containers = Containers::new(Config {
            init_program: "/proc/self/exe".into(),
            cgroup_parent: parent.clone(),
        });
        Lab {
            directory,
            containers,
            parent,
        }
    }

    pub fn base(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    pub fn upper(&self, id: &str) -> PathBuf {
        self.directory.path().join(format!("{id}.upper"))
    }

    pub fn spec(&self, id: &str, args: &[&str]) -> ContainerSpec {
        let work = self.directory.path().join(format!("{id}.work"));
        let upper = self.upper(id);
        fs::create_dir_all(&work).unwrap();
        fs::create_dir_all(&upper).unwrap();
        ContainerSpec {
            id: id.to_owned(),
            rootfs: RootFs {
                lower: vec![self.base()],
                upper,
                work,
            },
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..ContainerSpec::default()
        }
    }

    /// Runs a shell script to its end; its standard output and how it ended.
    pub async fn sh(&self, id: &str, script: &str) -> (String, Exit) {
        self.run(self.spec(id, &["sh", "-c", script])).await
    }

    pub async fn run(&self, spec: ContainerSpec) -> (String, Exit) {
        let mut running = self.containers.start(spec).await.unwrap();
        let output = both(&mut running).await;
        (output, running.wait().await)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.containers.cleanup_orphans() {
            panic!("the control groups of the test remain: {error}");
        }
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        stream.read_to_string(&mut text).await.unwrap();
    }
    text
}

/// Standard output, then standard error.
pub async fn both(running: &mut Running) -> String {
    let (stdout, stderr) = (running.take_stdout(), running.take_stderr());
    let (stdout, stderr) = tokio::join!(text(stdout), text(stderr));
    stdout + &stderr
}

/// Root of the machine, not of a user namespace.
pub fn is_root() -> bool {
    !hoist_runtime::privilege::in_user_namespace()
}

/// Runs the tests of this program again as a user without rights, all but the calling one.
///
/// Nothing to do when they run as one already.
pub fn again_without_root(calling: &str) {
    use std::os::unix::process::CommandExt;
    if !is_root() {
        return;
    }
    let output = std::process::Command::new("/proc/self/exe")
        .args(["--skip", calling, "--skip", "docker"])
        .uid(65534)
        .gid(65534)
        .env("HOME", "/tmp")
        .env_remove("TMPDIR")
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !said.contains(" 0 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
