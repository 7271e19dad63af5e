//! `hoist doctor`.

use hoist_local::control;
use hoist_pipeline::{Failure, Finding, Findings};
use hoist_runtime::privilege;

use super::local;
use crate::arguments::Doctor;
use crate::render;

/// Says what this machine can do, and what is missing.
pub fn run(options: &Doctor) -> Result<(), Failure> {
    let _ = privilege::acquire();
    let found = hoist_runtime::detect();
    let mut findings = Vec::new();
    findings.push(match &found.native {
        Ok(rights) => Finding::good("containers", format!("run natively, {rights}")),
        Err(error) => Finding::bad("containers", error.to_string())
            .hint("a Docker Engine serves too: `hoist local start --runtime docker`"),
    });
    findings.push(match &found.without_limits {
        None => Finding::good("limits", "memory and processor limits work"),
        Some(why) => {
            let finding = Finding::odd("limits", format!("tasks run without: {why}"));
            match found.limits_hint {
                Some(hint) => finding.hint(hint),
                None => finding,
            }
        }
    });
    if let Some(why) = &found.without_users {
        findings.push(Finding::odd(
            "users",
            format!("containers have root alone: {why}"),
        ));
    }
    findings.push(match &found.without_egress {
        None => Finding::good("way out", "tasks reach the outside"),
        Some(why) => Finding::odd("way out", why),
    });
    findings.push(match &found.docker {
        Some(path) => Finding::good("docker", path.display().to_string()),
        None => Finding::odd("docker", "the docker command is not installed")
            .hint("only `--engine buildkit` and `--runtime docker` need it"),
    });
    let home = local::home()?;
    findings.push(match home.create() {
        Ok(()) => Finding::good("home", home.path().display().to_string()),
        Err(error) => Finding::bad("home", error.to_string())
            .hint("set HOIST_HOME to a folder that can be written"),
    });
    let embedded = match control::status(&home) {
        Ok(Some(status)) => {
            let lacks = status.lacks.iter();
            findings.extend(
                lacks.map(|lack| Finding::odd("embedded", format!("its tasks lack {lack}"))),
            );
            Finding::good("embedded", format!("runs at {}", status.endpoint()))
        }
        Ok(None) => Finding::good("embedded", "does not run; --local starts it"),
        Err(error) => Finding::bad("embedded", error.to_string()),
    };
    findings.push(embedded);
    findings.extend(hoist_pipeline::machine_findings());
    let findings = Findings(findings);
    render::report(&findings, options.output);
    Ok(())
}
