//! `hoist exec`.

use std::io::{IsTerminal, Read, Write};
use std::process::Command;

use hoist_pipeline::{Failure, Kind, LineEnds, Session, Wanted, open_session};
use nix::sys::termios::{self, SetArg, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Exec;

/// AWS's own program for sessions.
const PLUGIN: &str = "session-manager-plugin";

/// Runs a program in a running container, with this terminal. Returns its exit code.
pub fn run(options: &Exec) -> Result<u8, Failure> {
    let project = project::load(&(&options.at).into())?;
    let service = hoist_pipeline::one(&project, options.service.as_deref())?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let wanted = Wanted {
        task: options.task.clone(),
        container: options.container.clone(),
        command: options.command.clone(),
    };
    let session = async_run(open_session(&aws, service, &wanted))?;
    if let Some(arguments) = session.plugin(aws.region())
        && let Some(code) = plugin(&arguments)?
    {
        return Ok(code);
    }
    let _raw = Raw::enter();
    let code = async_run(carry(&session))?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The session with this terminal, or with what stands in its place.
async fn carry(session: &Session) -> Result<i64, Failure> {
    let (sender, input) = mpsc::channel(16);
    // Reading the terminal cannot be given up: a thread of its own does not keep the process from ending.
    std::thread::spawn(move || {
        let mut some = [0; 1024];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut some) {
            if sender.blocking_send(some[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let is_terminal = std::io::stdout().is_terminal();
    let (resized, size) = watch::channel(is_terminal.then(size).flatten());
    if is_terminal && let Ok(mut changes) = signal(SignalKind::window_change()) {
        tokio::spawn(async move {
            while changes.recv().await.is_some() && resized.send(self::size()).is_ok() {}
        });
    }
    let mut ends = LineEnds::default();
    let mut output = |bytes: &[u8]| {
        let mut out = std::io::stdout().lock();
        let written = match is_terminal {
            true => out.write_all(bytes),
            false => out.write_all(&ends.plain(bytes)),
        };
        let _ = written.and_then(|()| out.flush());
    };
    session.carry(size, input, &mut output).await
}

/// Columns and rows of this terminal.
fn size() -> Option<(u16, u16)> {
    let (columns, rows) = terminal_size::terminal_size()?;
    Some((columns.0, rows.0))
}

/// AWS's own program for sessions takes over this terminal; `None` where it is not installed.
fn plugin(arguments: &[String]) -> Result<Option<u8>, Failure> {
    match Command::new(PLUGIN).args(arguments).status() {
        Ok(status) => Ok(Some(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(u8::MAX),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::because(
            Kind::Check,
            format!("failed to run {PLUGIN}"),
            &error,
        )),
    }
}

/// The terminal without line editing and echo, which the far side does; as it was when dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Raw {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Raw(None);
        }
        let Ok(before) = termios::tcgetattr(&stdin) else {
            return Raw(None);
        };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        let _ = termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw);
        Raw(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
