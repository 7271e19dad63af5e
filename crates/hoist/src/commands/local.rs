//! `hoist local`: the embedded AWS.

use hoist_local::control::{self, ControlError, StartOptions};
use hoist_local::{Home, ServeOptions};
use hoist_pipeline::{Failure, Kind};

use super::dispatch::say;
use crate::arguments::{Local, LocalStart};

/// Runs a command about the daemon.
pub fn run(command: Local) -> Result<(), Failure> {
    let home = home()?;
    match command {
        Local::Start(options) => {
            let options = StartOptions {
                port: options.port,
                pace: options.pace,
                runtime: options.runtime,
                limits: options.limits,
                faults: options.faults,
                program: None,
            };
            let status = control::start(&home, &options)
                .map_err(|error| failed("failed to start the embedded AWS", &error))?;
            say(status.endpoint());
        }
        Local::Stop => {
            let ran = control::stop(&home)
                .map_err(|error| failed("failed to stop the embedded AWS", &error))?;
            say(if ran { "stopped" } else { "it was not running" });
        }
        Local::Status => match control::status(&home)
            .map_err(|error| failed("failed to ask the embedded AWS", &error))?
        {
            Some(status) => {
                say(format_args!(
                    "running at {} (process {}, home {})",
                    status.endpoint(),
                    status.pid,
                    home.path().display()
                ));
                for lack in &status.lacks {
                    say(format_args!("tasks lack {lack}"));
                }
            }
            None => return Err(not_running()),
        },
        Local::Env => {
            for (name, value) in control::env(&home)
                .map_err(|error| failed("failed to tell the environment", &error))?
            {
                say(format_args!("export {name}={value}"));
            }
        }
        Local::Dials(options) => {
            let status = running(&home)?;
            let dials = control::turn(&status, options.limits, options.faults)
                .map_err(|error| failed("failed to turn the dials", &error))?;
            let limits = match dials.limits {
                hoist_local::Limiting::None => "none",
                hoist_local::Limiting::Aws => "aws",
            };
            say(format_args!("limits {limits}, faults {}", dials.faults));
        }
        Local::Interrupt { task } => {
            control::interrupt(&running(&home)?, &task)
                .map_err(|error| failed("failed to interrupt the task", &error))?;
            say("interrupted");
        }
        Local::Alarm { name, ok, region } => {
            control::set_alarm(&running(&home)?, &region, &name, !ok)
                .map_err(|error| failed("failed to set the alarm", &error))?;
            say(if ok { "OK" } else { "ALARM" });
        }
        Local::Reset => {
            control::reset(&home)
                .map_err(|error| failed("failed to reset the embedded AWS", &error))?;
            say("reset");
        }
        Local::Serve(options) => serve(&options)?,
    }
    Ok(())
}

fn running(home: &Home) -> Result<control::Status, Failure> {
    control::status(home)
        .map_err(|error| failed("failed to ask the embedded AWS", &error))?
        .ok_or_else(not_running)
}

fn not_running() -> Failure {
    Failure::new(Kind::Unexpected, "the embedded AWS is not running")
        .hint("start it: hoist local start")
}

/// Runs the daemon in this process, until it is told to end.
pub fn serve(options: &LocalStart) -> Result<(), Failure> {
    let options = ServeOptions {
        port: options.port,
        pace: options.pace,
        runtime: options.runtime.clone(),
        limits: options.limits,
        faults: options.faults.clone(),
    };
    hoist_local::serve(&home()?, options).map_err(|error| {
        let failure = Failure::because(Kind::Unexpected, "the embedded AWS ended", &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// The home of this user's embedded AWS, images and journal.
pub fn home() -> Result<Home, Failure> {
    Home::from_env().map_err(|error| {
        let failure = Failure::because(
            Kind::Configuration,
            "failed to find hoist's home directory",
            &error,
        );
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Whether the embedded AWS runs in this home.
pub fn is_running(home: &Home) -> bool {
    control::status(home).is_ok_and(|status| status.is_some())
}

/// What a fault of the daemon's life is to a run.
pub fn failed(what: &str, error: &ControlError) -> Failure {
    let failure = Failure::because(Kind::Unexpected, what, error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
