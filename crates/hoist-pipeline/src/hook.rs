//! Commands of the user's on this machine: the hook before a build, the smoke test after a deployment.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::cancel::Cancel;
use crate::event::{Event, Events, Step};
use crate::failure::{Failure, Kind};

/// How many of the last lines a failure shows.
const SHOWN: usize = 20;

/// Runs `command` in `folder`; its output becomes events.
///
/// # Errors
/// `Build` with the last lines when it exits with anything but 0; cancellation, after which the hook is gone.
pub async fn run(
    command: &hoist_project::Command,
    folder: &Path,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let hook = Hook {
        what: "build hook",
        kind: Kind::Build,
        step: Step::Build,
        variables: &[],
    };
    hook.run(command, folder, cancel, events).await
}

/// What a command is to the run.
pub struct Hook<'a> {
    /// Its name in messages.
    pub what: &'a str,
    /// The end that its failure is.
    pub kind: Kind,
    /// The step that its lines belong to.
    pub step: Step,
    /// Variables over those of this process.
    pub variables: &'a [(&'a str, &'a str)],
}

impl Hook<'_> {
    /// Runs `command` in `folder`; its output becomes events.
    ///
    /// # Errors
    /// Its kind, with the last lines, when it exits with anything but 0; cancellation, after which it is gone.
    pub async fn run(
        &self,
        command: &hoist_project::Command,
        folder: &Path,
        cancel: &Cancel,
        events: &Events,
    ) -> Result<(), Failure> {
        let (what, kind) = (self.what, self.kind);
        let arguments = command.to_args();
        let (program, rest) = arguments.split_first().ok_or_else(|| {
            Failure::new(Kind::Configuration, format!("the {what} names no program"))
        })?;
        let mut child = Command::new(program)
            .args(rest)
            .envs(self.variables.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failure::because(
                    kind,
                    format!("failed to run the {what} `{command}`"),
                    &error,
                )
            })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (out, err) =
                tokio::join!(lines(out, self.step, events), lines(err, self.step, events));
            let status = child.wait().await.map_err(|error| {
                Failure::because(
                    kind,
                    format!("failed to wait for the {what} `{command}`"),
                    &error,
                )
            })?;
            if status.success() {
                return Ok(());
            }
            let last: Vec<String> = out.into_iter().chain(err).collect();
            Err(
                Failure::new(kind, format!("the {what} `{command}` failed: {status}"))
                    .detail(last[last.len().saturating_sub(SHOWN)..].join("\n"))
                    .hint(format!("run it by hand in {}", folder.display())),
            )
        };
        cancel.or(work).await
    }
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, step: Step, events: &Events) -> Vec<String> {
    let mut seen = Vec::new();
    let Some(stream) = stream else { return seen };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(read) if read > 0) {
        let text = String::from_utf8_lossy(&line)
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        events.emit(Event::Output {
            step,
            line: text.clone(),
        });
        if seen.len() >= 2 * SHOWN {
            seen.drain(..SHOWN);
        }
        seen.push(text);
        line.clear();
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::cancellation;

    #[tokio::test]
    async fn a_failing_hook_shows_what_it_said_last() {
        let (_canceller, cancel) = cancellation();
        let events = Events::new(Vec::new());
        let command = hoist_project::Command::Shell(
            "echo compiling; echo no such file >&2; exit 3".to_owned(),
        );
        let failure = run(&command, Path::new("/"), &cancel, &events)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, Kind::Build);
        let detail = failure.detail.unwrap();
        assert!(
            detail.contains("compiling") && detail.contains("no such file"),
            "{detail}"
        );
        assert!(
            failure.message.contains("exit status: 3"),
            "{}",
            failure.message
        );
    }
}
