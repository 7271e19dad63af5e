//! The embedded AWS alone: what the tests of this crate run, and `hoist local` without the rest.

use std::process::ExitCode;

use hoist_local::{Home, ServeOptions, control, serve};

fn main() -> ExitCode {
    hoist_runtime::init();
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "local")
        .collect();
    match run(&arguments) {
        Ok(text) => {
            use std::io::Write as _;
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            use std::io::Write as _;
            let mut text = format!("error: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                text.push_str(&format!(": {source}"));
                cause = source.source();
            }
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let home = Home::from_env()?;
    let value = |name: &str| {
        arguments
            .iter()
            .skip_while(|argument| *argument != name)
            .nth(1)
    };
    let options = control::StartOptions {
        port: value("--port").map(|text| text.parse()).transpose()?,
        pace: value("--pace").map(|text| text.parse()).transpose()?,
        runtime: value("--runtime").cloned(),
        limits: value("--limits").map(|text| text.parse()).transpose()?,
        faults: value("--faults").map(|text| text.parse()).transpose()?,
        ..Default::default()
    };
    match arguments.first().map(String::as_str) {
        Some("serve") => {
            serve(
                &home,
                ServeOptions {
                    port: options.port,
                    pace: options.pace,
                    runtime: options.runtime,
                    limits: options.limits,
                    faults: options.faults,
                },
            )?;
            Ok(String::new())
        }
        Some("start") => Ok(format!("{}\n", control::start(&home, &options)?.endpoint())),
        Some("stop") => {
            control::stop(&home)?;
            Ok(String::new())
        }
        Some("status") => match control::status(&home)? {
            Some(status) => {
                let lacks = status.lacks.iter();
                let lacks: String = lacks.map(|it| format!("tasks lack {it}\n")).collect();
                let endpoint = status.endpoint();
                Ok(format!("{endpoint} (process {})\n{lacks}", status.pid))
            }
            None => Ok("not running\n".to_owned()),
        },
        Some("env") => Ok(control::env(&home)?
            .iter()
            .map(|(name, value)| format!("export {name}={value}\n"))
            .collect()),
        Some("reset") => {
            control::reset(&home)?;
            Ok(String::new())
        }
        _ => Err(
            "usage: hoist-local start|stop|status|env|reset|serve [--port N] [--pace fast|fargate] [--limits none|aws] [--faults SPEC]"
                .into(),
        ),
    }
}
