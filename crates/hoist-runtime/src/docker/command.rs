//! Runs the `docker` command.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::archive::Archive;
use crate::RuntimeError;

/// The command and the engine that it talks to.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    program: PathBuf,
    host: Option<String>,
    /// Locked by every command that makes something, as long as it runs.
    making: PathBuf,
}

/// Longest value that an environment file takes, below the 64 KiB of the command's line reader.
const LONGEST_LINE: usize = 60_000;
/// How often is looked whether commands of a killed process have ended, and for how long.
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);

impl Cli {
    pub(super) fn new(program: PathBuf, host: Option<String>, making: PathBuf) -> Cli {
        Cli {
            program,
            host,
            making,
        }
    }

    /// As [`Cli::run`], for a command that makes or starts a container.
    pub(super) async fn make(&self, args: &[&str]) -> Result<String, RuntimeError> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.hold(&mut command)?;
        let output = command.output().await.map_err(self.missing())?;
        finish(args.first().copied().unwrap_or_default(), output)
    }

    fn lock_file(&self) -> std::io::Result<File> {
        File::options().create(true).append(true).open(&self.making)
    }

    /// Lets the command hold the lock until it ends, also when this process is killed before.
    fn hold(&self, command: &mut Command) -> Result<(), RuntimeError> {
        let failed = |error| RuntimeError::path("lock", &self.making)(error);
        let file = self.lock_file().map_err(failed)?;
        // Nobody holds it alone longer than it takes to see that nobody else does.
        file.lock_shared().map_err(failed)?;
        // SAFETY: between fork and exec one system call is made, on a number; the file is open as long as the command is not dropped.
        unsafe {
            command.pre_exec(move || {
                Errno::result(libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0))?;
                Ok(())
            });
        }
        Ok(())
    }

    /// Waits until no command makes anything any more, one of a killed process neither.
    pub(super) async fn nothing_is_being_made(&self) -> Result<(), RuntimeError> {
        let failed = |error| RuntimeError::path("lock", &self.making)(error);
        let file = self.lock_file().map_err(failed)?;
        let waiting = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
                    Err(TryLockError::Error(error)) => return Err(failed(error)),
                }
            }
        };
        // An engine that hangs is no reason to never start; what it makes late is there to be seen by the next start.
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or(Ok(()))
    }

    /// The command with these arguments, its streams closed.
    pub(super) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(host) = &self.host {
            command.arg("--host").arg(host);
        }
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end and returns what it printed.
    pub(super) async fn run(&self, args: &[&str]) -> Result<String, RuntimeError> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.output().await.map_err(self.missing())?;
        finish(args.first().copied().unwrap_or_default(), output)
    }

    /// The same with this on its standard input.
    pub(super) async fn feed(&self, args: &[&str], input: Vec<u8>) -> Result<String, RuntimeError> {
        self.feed_with(
            self.command(args),
            args.first().copied().unwrap_or_default(),
            input,
        )
        .await
    }

    async fn feed_with(
        &self,
        mut command: Command,
        what: &str,
        input: Vec<u8>,
    ) -> Result<String, RuntimeError> {
        let mut child = spawn_piped(&mut command).map_err(self.missing())?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // A command that has ended says itself why.
                let _ = stdin.write_all(&input).await;
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        finish(what, output.map_err(self.missing())?)
    }

    /// Starts a container that was made. What is returned carries its output and ends after it; `docker logs` would sometimes end before
    /// the last words.
    pub(super) async fn start(&self, name: &str) -> Result<Child, RuntimeError> {
        let mut attached = self.command(&["start", "--attach", name]);
        attached.stdout(Stdio::piped()).stderr(Stdio::piped());
        // The engine tells what was before the question, too.
        let about = format!("container={name}");
        let mut told = self.command(&[
            "events",
            "--since=1",
            "--filter",
            &about,
            "--filter",
            "event=start",
            "--format={{.Action}}",
        ]);
        told.stdout(Stdio::piped());
        let mut attached = attached.spawn().map_err(self.missing())?;
        let mut told = told.spawn().map_err(self.missing())?;
        let mut word = [0; 1];
        let started = async {
            match told.stdout.as_mut() {
                Some(stdout) => matches!(stdout.read(&mut word).await, Ok(1)),
                None => false,
            }
        };
        let is_told = tokio::select! {
            is_told = started => is_told,
            _ = attached.wait() => false,
        };
        if !is_told {
            // Over before it was told, or never begun.
            let since = self
                .run(&["inspect", "--format={{.State.StartedAt}}", name])
                .await?;
            if since.starts_with("0001-") {
                let _ = attached.start_kill();
                let output = attached.wait_with_output().await.map_err(self.missing())?;
                return Err(RuntimeError::Docker {
                    command: "start".to_owned(),
                    problem: last_words(&output),
                });
            }
        }
        Ok(attached)
    }

    /// Creates a container. Its environment may hold secrets, so it travels on standard input, and what a line cannot hold in the
    /// command's own environment: never in the argument list, which every user of the machine can read.
    pub(super) async fn create(
        &self,
        args: &[String],
        env: &[(String, String)],
    ) -> Result<(), RuntimeError> {
        let mut all = vec![
            "create".to_owned(),
            "--env-file".to_owned(),
            "/dev/stdin".to_owned(),
        ];
        let mut file = String::new();
        let mut own = Vec::new();
        for (name, value) in env {
            if value.contains(['\n', '\r']) || value.len() > LONGEST_LINE {
                all.extend(["--env".to_owned(), name.clone()]);
                own.push((name, value));
            } else {
                file += &format!("{name}={value}\n");
            }
        }
        all.extend(args.iter().cloned());
        let mut command = self.command(&all);
        command.envs(own);
        self.hold(&mut command)?;
        self.feed_with(command, "create", file.into_bytes())
            .await
            .map(drop)
    }

    /// Loads an image while it is being written.
    pub(super) async fn load(&self, archive: Archive) -> Result<(), RuntimeError> {
        let mut command = self.command(&["load", "--quiet"]);
        let mut child = spawn_piped(&mut command).map_err(self.missing())?;
        let stdin = child
            .stdin
            .take()
            .and_then(|stdin| stdin.into_owned_fd().ok());
        let write = async {
            match stdin {
                Some(stdin) => {
                    tokio::task::spawn_blocking(move || archive.write(std::fs::File::from(stdin)))
                        .await
                }
                None => Ok(Ok(())),
            }
        };
        let (written, output) = tokio::join!(write, child.wait_with_output());
        // Its own words say more than a broken pipe does.
        finish("load", output.map_err(self.missing())?)?;
        written
            .map_err(std::io::Error::other)
            .and_then(|written| written)
            .map_err(RuntimeError::system("send an image to the Docker Engine"))
    }

    fn missing(&self) -> impl FnOnce(std::io::Error) -> RuntimeError + use<> {
        RuntimeError::path("run", self.program.clone())
    }
}

fn spawn_piped(command: &mut Command) -> std::io::Result<Child> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn finish(what: &str, output: Output) -> Result<String, RuntimeError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(RuntimeError::Docker {
        command: what.to_owned(),
        problem: last_words(&output),
    })
}

/// The last lines of its standard error.
fn last_words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
