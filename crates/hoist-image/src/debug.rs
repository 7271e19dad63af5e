//! A shell in the place where a command failed: the same files, mounts, user and environment.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hoist_runtime::{ContainerSpec, Containers, ExecSpec, Stdin, TerminalSize};
use nix::sys::termios::{self, SetArg, SpecialCharacterIndices, Termios};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::container::unique_id;
use crate::error::{BuildError, BuildErrorKind, Result};

/// How long to wait for what a shell that ended has written.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Opens a shell on the terminal of this process, in a container as `spec` describes it. Returns when the shell ends.
pub(crate) async fn shell(containers: &Containers, spec: ContainerSpec) -> Result<()> {
    let mut tty = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|error| {
            BuildError::new(BuildErrorKind::Machine, "there is no terminal for a shell")
                .caused_by(error)
                .with_hint("--debug-shell is for people at a terminal")
        })?;
    let failed = |error| BuildError::io("open a shell", error);
    let not_started = |error: hoist_runtime::StartError| {
        BuildError::new(
            BuildErrorKind::Command,
            format!("the shell could not be started: {error}"),
        )
        .with_hint("the image needs /bin/sh for it")
    };
    // The first process only waits, so that the shell is one that can be left.
    let mut keeper = containers
        .start(ContainerSpec {
            id: unique_id("debug"),
            args: ["/bin/sh", "-c", "read line"].map(String::from).into(),
            stdin: Stdin::Pipe,
            ..spec
        })
        .await
        .map_err(not_started)?;
    let _open = keeper.take_stdin();
    let shell = keeper
        .exec(ExecSpec {
            args: vec!["/bin/sh".into()],
            terminal: Some(size()),
            ..ExecSpec::default()
        })
        .await
        .map_err(not_started)?;
    let Some(terminal) = shell.terminal().cloned() else {
        return Err(failed(io::ErrorKind::Unsupported.into()));
    };
    let _ = writeln!(
        tty,
        "\r\na shell where the command failed; `exit` or Ctrl-D leaves it\r"
    );
    let raw = Raw::set(tty.try_clone().map_err(failed)?).map_err(failed)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (keys, mut typed) = mpsc::unbounded_channel::<Vec<u8>>();
    let keyboard = {
        let (mut tty, ended) = (tty.try_clone().map_err(failed)?, Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            // In raw mode a read returns after a tenth of a second, with nothing if nothing was typed.
            while !ended.load(Ordering::Relaxed) {
                match tty.read(&mut buffer) {
                    Ok(n) if keys.send(buffer[..n].to_vec()).is_ok() => {}
                    _ => return,
                }
            }
        })
    };
    let (mut output, mut input) = (terminal.clone(), terminal);
    let showing = async {
        let mut buffer = vec![0; 8192];
        while let Ok(n @ 1..) = output.read(&mut buffer).await {
            if tty.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
    };
    let typing = async {
        while let Some(keys) = typed.recv().await {
            if input.write_all(&keys).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(showing);
    tokio::select! {
        _ = shell.wait() => {
            // Its last words; what it left running may keep the terminal open for ever.
            let _ = tokio::time::timeout(LAST_WORDS, &mut showing).await;
        }
        () = &mut showing => {}
        () = typing => {}
    }
    ended.store(true, Ordering::Relaxed);
    let _ = keyboard.join();
    drop(raw);
    let _ = keeper.kill();
    keeper.wait().await;
    Ok(())
}

/// A terminal that passes on every key, until the value is dropped.
struct Raw {
    tty: File,
    before: Termios,
}

impl Raw {
    fn set(tty: File) -> io::Result<Raw> {
        let before = termios::tcgetattr(&tty)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        termios::tcsetattr(&tty, SetArg::TCSANOW, &raw)?;
        Ok(Raw { tty, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(&self.tty, SetArg::TCSANOW, &self.before);
    }
}

/// The size of the terminal, as `stty` tells it.
fn size() -> TerminalSize {
    let output = File::open("/dev/tty").ok().and_then(|tty| {
        Command::new("stty")
            .arg("size")
            .stdin(Stdio::from(tty))
            .stderr(Stdio::null())
            .output()
            .ok()
    });
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let mut numbers = text
        .iter()
        .flat_map(|text| text.split_whitespace())
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(rows)), Some(Ok(columns))) => TerminalSize { columns, rows },
        _ => TerminalSize::default(),
    }
}
