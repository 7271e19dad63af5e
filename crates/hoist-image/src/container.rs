//! Running one command in a real container, and hearing what it prints.

use std::collections::VecDeque;
use std::sync::Mutex;

use hoist_oci::spec::{ImageConfig, Platform};
use hoist_runtime::{Config, ContainerSpec, Containers, Exit, StartError};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::event::{BuildEvent, OutputStream};
use crate::report::Reporter;
use crate::request::BuildRequest;
use crate::spool;
use crate::workspace::Workspace;

/// How many of the last lines an error shows.
const TAIL: usize = 30;
/// A line without an end is cut here, so that a command cannot fill the memory.
const LONGEST: usize = 64 << 10;

/// How a command ended, and what it printed last.
pub(crate) struct Outcome {
    pub exit: Exit,
    pub tail: Vec<String>,
}

/// What starts the containers of one build. Their control groups go away with it.
pub(crate) struct Group {
    pub containers: Containers,
    /// Tells by its name which control group to remove if this process is killed.
    _marker: tempfile::TempDir,
}

impl Group {
    pub(crate) fn new(workspace: &Workspace, request: &BuildRequest) -> Result<Group> {
        let failed = |error| BuildError::io("make a folder for containers", error);
        let marker = spool::folder(&workspace.cache("spool"), MARK).map_err(failed)?;
        let name = marker
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let containers = Containers::new(Config {
            init_program: request.init_program.clone(),
            cgroup_parent: name,
        });
        Ok(Group {
            containers,
            _marker: marker,
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.containers.cleanup_orphans() {
            tracing::debug!(%error, "failed to remove the control groups of a build");
        }
    }
}

/// In the names of spool folders that stand for control groups.
const MARK: &str = "group";

/// Removes the control groups of a build that was killed, given the name of what it left in the spool.
pub(crate) fn remove_left(name: &str) {
    if name.split('-').nth(3) != Some(MARK) {
        return;
    }
    let config = Config {
        init_program: "/proc/self/exe".into(),
        cgroup_parent: name.into(),
    };
    if let Err(error) = Containers::new(config).cleanup_orphans() {
        tracing::debug!(%error, "failed to remove the control groups of a killed build");
    }
}

/// A name that no other container of this machine's builds has.
pub(crate) fn unique_id(kind: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    format!(
        "{kind}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    )
}

/// Starts a container, passes its output on and waits for its end. A build that was dropped kills it.
///
/// `hidden` are values that never show in the output.
pub(crate) async fn run(
    containers: &Containers,
    spec: ContainerSpec,
    report: &Reporter,
    hidden: &[String],
    config: &ImageConfig,
) -> Result<Outcome> {
    let mut running = containers
        .start(spec)
        .await
        .map_err(|error| start_failed(error, config))?;
    let tail = Mutex::new(VecDeque::new());
    let (stdout, stderr) = (running.take_stdout(), running.take_stderr());
    let streams = async {
        tokio::join!(
            read_lines(stdout, OutputStream::Stdout, report, hidden, &tail),
            read_lines(stderr, OutputStream::Stderr, report, hidden, &tail)
        )
    };
    let exit = tokio::select! {
        (exit, _) = async { tokio::join!(running.wait(), streams) } => exit,
        () = report.gone() => {
            // Dropping it kills it; waiting makes sure that nothing writes any more.
            let _ = running.kill();
            running.wait().await;
            return Err(crate::report::cancelled());
        }
    };
    let tail = tail
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Outcome {
        exit,
        tail: tail.into(),
    })
}

async fn read_lines(
    stream: Option<impl AsyncRead + Unpin>,
    kind: OutputStream,
    report: &Reporter,
    hidden: &[String],
    tail: &Mutex<VecDeque<String>>,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 << 10];
    let mut line = Vec::new();
    let emit = |line: &mut Vec<u8>| {
        let mut text =
            String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        line.clear();
        for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        if let Ok(mut tail) = tail.lock() {
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(text.clone());
        }
        report.send(BuildEvent::Output {
            stream: kind,
            line: text,
        });
    };
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        for byte in &buffer[..n] {
            if *byte == b'\n' {
                emit(&mut line);
            } else {
                line.push(*byte);
                if line.len() == LONGEST {
                    emit(&mut line);
                }
            }
        }
    }
    if !line.is_empty() {
        emit(&mut line);
    }
}

fn start_failed(error: StartError, config: &ImageConfig) -> BuildError {
    let platform = config.platform();
    let foreign = !platform.serves(&Platform::host());
    let (kind, hint) = match &error {
        StartError::ExecFormat { .. } if foreign => {
            (BuildErrorKind::Machine, Some(format!("the image is for {platform}, and this machine cannot run that: install qemu-user-static and binfmt-support, or build for {}", Platform::host())))
        }
        StartError::NoSuchExecutable { program } if program == "/bin/sh" => {
            (BuildErrorKind::Command, Some("the image has no shell: use the exec form RUN [\"program\", \"argument\"], another base image, or SHELL".to_owned()))
        }
        StartError::Other { .. } => (BuildErrorKind::Machine, error.hint().map(String::from)),
        _ => (BuildErrorKind::Command, error.hint().map(String::from)),
    };
    let failed = BuildError::new(kind, format!("the command could not be started: {error}"))
        .caused_by(error);
    match hint {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}

/// Whether this process lives in a user namespace that maps a single id.
fn one_id() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let counts = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() == 1
}

/// What a command's end means, if it was no success.
pub(crate) fn check(outcome: Outcome, what: &str) -> Result<()> {
    let Exit {
        code,
        signal,
        oom_killed,
    } = outcome.exit;
    if code == 0 {
        return Ok(());
    }
    let how = match signal {
        _ if oom_killed => "was killed because it used too much memory".to_owned(),
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with exit code {code}"),
    };
    let error = BuildError::new(BuildErrorKind::Command, format!("{what} {how}"));
    let owners = [
        "chown",
        "chgrp",
        "Operation not permitted",
        "Invalid argument",
        "setgroups",
        "seteuid",
    ];
    if one_id()
        && outcome
            .tail
            .iter()
            .any(|line| owners.iter().any(|word| line.contains(word)))
    {
        return Err(error
            .with_hint("this user namespace has one user id, so files cannot change owners: install uidmap (newuidmap) and give this user a range in /etc/subuid and /etc/subgid, or build as root")
            .with_output(code, outcome.tail));
    }
    let error = match code {
        127 => error.with_hint(
            "exit code 127 is a shell's way to say that a command was not found in the image",
        ),
        126 => {
            error.with_hint("exit code 126 is a shell's way to say that a file cannot be executed")
        }
        _ => error,
    };
    Err(error.with_output(code, outcome.tail))
}
