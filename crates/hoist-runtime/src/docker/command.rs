//! Runs the `docker` command.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::archive::Archive;
use crate::RuntimeError;

/// The command and the engine that it talks to.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    program: PathBuf,
    host: Option<String>,
}

/// Longest value that an environment file takes, below the 64 KiB of the command's line reader.
const LONGEST_LINE: usize = 60_000;

impl Cli {
    pub(super) fn new(program: PathBuf, host: Option<String>) -> Cli {
        Cli { program, host }
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
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    Err(RuntimeError::Docker {
        command: what.to_owned(),
        problem: lines[lines.len().saturating_sub(5)..].join("; "),
    })
}
