//! What a look at the machine comes to.

use std::fmt;
use std::process::Command;

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// `ok`, `note` or `missing`.
    pub state: &'static str,
    /// What was found.
    pub says: String,
    /// What could be done.
    pub hint: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn good(what: &'static str, says: impl Into<String>) -> Finding {
        Finding::new(what, "ok", says.into())
    }

    /// It restricts what can be done.
    pub fn odd(what: &'static str, says: impl Into<String>) -> Finding {
        Finding::new(what, "note", says.into())
    }

    /// Something does not work.
    pub fn bad(what: &'static str, says: impl Into<String>) -> Finding {
        Finding::new(what, "missing", says.into())
    }

    fn new(what: &'static str, state: &'static str, says: String) -> Finding {
        Finding {
            what,
            state,
            says,
            hint: None,
        }
    }

    /// With what could be done.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Findings(pub Vec<Finding>);

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            writeln!(
                out,
                "{:8} {:11} {}",
                finding.state, finding.what, finding.says
            )?;
            if let Some(hint) = &finding.hint {
                writeln!(out, "{:20} {hint}", "")?;
            }
        }
        Ok(())
    }
}

/// What the deploying side needs of the machine: git, and an AWS configuration.
pub fn machine_findings() -> Vec<Finding> {
    let git = match Command::new("git").arg("--version").output() {
        Ok(output) if output.status.success() => Finding::good(
            "git",
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        ),
        _ => Finding::odd("git", "git is not installed")
            .hint("images are named by a digest of the source instead of the commit"),
    };
    let aws = match hoist_aws::Config::load(hoist_aws::Overrides::default()) {
        Ok(config) => Finding::good("aws", format!("region {}", config.region())),
        Err(error) => Finding::odd("aws", error.to_string())
            .hint("only deployments without --local need an AWS configuration"),
    };
    vec![git, aws]
}
