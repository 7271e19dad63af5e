//! What runs: `RUN` with its mounts, the forms of commands, and `HEALTHCHECK`.

use super::flags::{network, run_mount};
use super::instruction::{Command, Healthcheck, Run};
use super::lines::{self, Mapped};
use super::parser::Parser;
use super::usage::usage;
use crate::error::{BuildError, BuildErrorKind, Result};

impl Parser<'_> {
    pub(super) fn command(&self, args: &Mapped) -> Command {
        match lines::json_array(&args.text) {
            Some(words) => Command::Exec(words),
            None => Command::Shell(args.text.clone()),
        }
    }

    pub(super) fn run(&self) -> Result<Run> {
        let mut flags = self.flags();
        let mut mounts = Vec::new();
        while let Some(value) = flags.value("mount")? {
            match run_mount(self.source, &value) {
                Err(error) if error.kind() == BuildErrorKind::Unsupported => {
                    self.unsupported.borrow_mut().push(error)
                }
                mount => mounts.push(mount?),
            }
        }
        let no_network = match flags.value("network")? {
            None => false,
            Some(value) => network(self.source, &value)?,
        };
        if let Some(value) = flags
            .value("security")?
            .filter(|value| value.text != "sandbox")
        {
            let error = BuildError::new(BuildErrorKind::Unsupported, format!("--security={} is refused", value.text))
                .at(self.source.location(value.range))
                .with_hint("steps always run in a sandbox, because a Dockerfile must not be able to change the machine that builds it");
            self.unsupported.borrow_mut().push(error);
        }
        flags.done(&["mount", "network", "security"])?;
        let command = self.command(&self.raw.args);
        if command == Command::Exec(Vec::new()) {
            return Err(self
                .error(self.whole().range, "RUN has nothing to run")
                .with_hint(usage("RUN")));
        }
        Ok(Run {
            command,
            heredocs: self.raw.heredocs.clone(),
            mounts,
            no_network,
        })
    }

    pub(super) fn healthcheck(&self) -> Result<Healthcheck> {
        let mut flags = self.flags();
        let mut check = Healthcheck {
            command: None,
            interval: flags.duration("interval")?,
            timeout: flags.duration("timeout")?,
            start_period: flags.duration("start-period")?,
            start_interval: flags.duration("start-interval")?,
            retries: flags.count("retries")?,
        };
        flags.done(&[
            "interval",
            "timeout",
            "start-period",
            "start-interval",
            "retries",
        ])?;
        let args = &self.raw.args;
        let end = args
            .text
            .find(char::is_whitespace)
            .unwrap_or(args.text.len());
        let rest = args.trimmed_from(end);
        match args.text[..end].to_ascii_uppercase().as_str() {
            "NONE" if rest.text.is_empty() && self.raw.flags.is_empty() => {}
            "NONE" => {
                return Err(self.error(
                    self.whole().range,
                    "HEALTHCHECK NONE takes neither flags nor arguments",
                ));
            }
            "CMD" => {
                check.command = Some(self.command(&rest));
                if rest.text.is_empty() || check.command == Some(Command::Exec(Vec::new())) {
                    return Err(self
                        .error(self.whole().range, "HEALTHCHECK CMD needs a command")
                        .with_hint(usage("HEALTHCHECK")));
                }
            }
            other => {
                return Err(self
                    .error(
                        args.range(0..end),
                        format!("HEALTHCHECK is followed by CMD or NONE, not by '{other}'"),
                    )
                    .with_hint(usage("HEALTHCHECK")));
            }
        }
        Ok(check)
    }
}
