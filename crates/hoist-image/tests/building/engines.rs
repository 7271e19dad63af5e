//! Other engines as second opinions: Debian's Docker Engine and buildah, each with a home of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cases::Case;
use crate::snapshot::Snapshot;

/// What an engine makes of a case: an image, or its last words.
pub type Verdict = Result<Snapshot, String>;

/// A Docker Engine without networks of its own, since not every machine has the rights for them.
pub struct Docker {
    daemon: Child,
    pub host: String,
    /// A client that can drive BuildKit.
    pub client: PathBuf,
    folder: tempfile::TempDir,
}

impl Docker {
    pub fn start(base: &Path) -> Docker {
        Docker::start_with(base, &[])
    }

    /// With more options for the daemon.
    pub fn start_with(base: &Path, options: &[String]) -> Docker {
        let client = Path::new("/usr/bin/docker");
        let client = if client.exists() {
            client
        } else {
            Path::new("docker")
        };
        Docker::run(Command::new("dockerd"), client.into(), base, options)
    }

    /// One that was unpacked into a folder, with the image store of containerd: its BuildKit can do all that a `buildkitd` can.
    pub fn start_newer(folder: &Path, base: &Path) -> Docker {
        let programs = folder.join("usr/bin");
        let mut daemon = Command::new(folder.join("usr/sbin/dockerd"));
        let path = std::env::var("PATH").unwrap();
        daemon.env("PATH", format!("{}:{path}", programs.display()));
        let settings = base.with_file_name("daemon.json");
        fs::write(&settings, r#"{"features":{"containerd-snapshotter":true}}"#).unwrap();
        let options = [format!("--config-file={}", settings.display())];
        Docker::run(daemon, programs.join("docker"), base, &options)
    }

    fn run(mut daemon: Command, client: PathBuf, base: &Path, options: &[String]) -> Docker {
        // The name of a socket has little room.
        let folder = tempfile::Builder::new()
            .prefix("hd")
            .tempdir_in("/tmp")
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        let host = format!("unix://{}", path("s").display());
        let log = fs::File::create(path("log")).unwrap();
        let daemon = daemon
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args([
                "-H",
                &host,
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-masq=false",
            ])
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the tests need dockerd: apt-get install docker.io");
        let docker = Docker {
            daemon,
            host,
            client,
            folder,
        };
        let began = Instant::now();
        while !docker
            .command(&["version"])
            .output()
            .unwrap()
            .status
            .success()
        {
            let log = fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default();
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "dockerd does not answer:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        worked(
            "docker load",
            &docker
                .command(&["load", "-q", "-i"])
                .arg(base)
                .output()
                .unwrap(),
        );
        docker
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command
            .args(arguments)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", self.folder.path())
            .env("DOCKER_BUILDKIT", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn build(&self, case: &Case, context: &Path) -> Verdict {
        let id = self.folder.path().join("id");
        // Its cache takes files that differ only in their owners for the same.
        let mut command =
            self.command(&["build", "-q", "--no-cache", "--network=host", "--iidfile"]);
        command.arg(&id);
        options(&mut command, case, self.folder.path());
        let _ = fs::remove_file(&id);
        let output = command.arg(context).output().unwrap();
        // A quiet client ends with 0 even when the build failed.
        if !output.status.success() || !id.exists() {
            return Err(last_words(&output));
        }
        let archive = self.folder.path().join("image.tar");
        let id = fs::read_to_string(&id).unwrap();
        let inspected = self.command(&["image", "inspect", id.trim()]).output();
        let inspected = inspected.unwrap();
        worked("docker image inspect", &inspected);
        let image: Value = serde_json::from_slice(&inspected.stdout).unwrap();
        let mut snapshot = Snapshot::default();
        snapshot.configure(&serde_json::json!({"config": image[0]["Config"]}));
        // An image without layers cannot be saved.
        if image[0]["RootFS"]["Layers"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            return Ok(snapshot);
        }
        let mut save = self.command(&["save", "-o"]);
        save.arg(&archive).arg(id.trim());
        worked("docker save", &save.output().unwrap());
        let unpacked = self.folder.path().join("image");
        let _ = fs::remove_dir_all(&unpacked);
        tar::Archive::new(fs::File::open(&archive).unwrap())
            .unpack(&unpacked)
            .unwrap();
        let manifest = fs::read(unpacked.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for layer in manifest[0]["Layers"].as_array().unwrap() {
            snapshot.apply(&fs::read(unpacked.join(layer.as_str().unwrap())).unwrap());
        }
        snapshot.tidy();
        Ok(snapshot)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It ends its containerd and unmounts its layers when it is asked, and not when it is killed.
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

/// buildah, without a daemon.
pub struct Buildah {
    folder: tempfile::TempDir,
}

impl Buildah {
    pub fn start(base: &Path) -> Buildah {
        let folder = tempfile::tempdir().unwrap();
        let buildah = Buildah { folder };
        let source = format!("docker-archive:{}", base.display());
        worked(
            "buildah pull",
            &buildah.command(&["pull", "-q", &source]).output().unwrap(),
        );
        buildah
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.folder.path().join("root"))
            .arg("--runroot")
            .arg(self.folder.path().join("run"))
            .args(["--storage-driver", "overlay"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub fn build(&self, case: &Case, context: &Path) -> Verdict {
        let id = self.folder.path().join("id");
        let mut command = self.command(&[
            "bud",
            "-q",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--format",
            "docker",
            "--pull-never",
            "--iidfile",
        ]);
        command.arg(&id).arg("-f").arg(context.join("Dockerfile"));
        options(&mut command, case, self.folder.path());
        let output = command
            .arg(context)
            .output()
            .expect("the tests need buildah: apt-get install buildah");
        if !output.status.success() {
            return Err(last_words(&output));
        }
        let id = fs::read_to_string(&id).unwrap();
        let out = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        let target = format!("dir:{}", out.display());
        let pushed = self
            .command(&["push", "-q", "-D", id.trim(), &target])
            .output()
            .unwrap();
        worked("buildah push", &pushed);
        let manifest: Value =
            serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"]
                .as_str()
                .unwrap()
                .trim_start_matches("sha256:")
                .to_owned();
            fs::read(out.join(digest)).unwrap()
        };
        let mut snapshot = Snapshot::default();
        for layer in manifest["layers"].as_array().unwrap() {
            snapshot.apply(&blob(layer));
        }
        snapshot.configure(&serde_json::from_slice(&blob(&manifest["config"])).unwrap());
        snapshot.tidy();
        Ok(snapshot)
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--all"]).output();
        // It mounts its own folder, and leaves that to whoever removes it.
        let mounted = self.folder.path().join("root/overlay");
        let _ = nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn options(command: &mut Command, case: &Case, folder: &Path) {
    for (name, value) in &case.args {
        command.arg(format!("--build-arg={name}={value}"));
    }
    for (id, value) in &case.secrets {
        let file = folder.join(format!("secret-{id}"));
        fs::write(&file, value).unwrap();
        command.arg(format!("--secret=id={id},src={}", file.display()));
    }
    if let Some(target) = &case.target {
        command.arg(format!("--target={target}"));
    }
}

fn last_words(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

fn worked(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", last_words(output));
}
