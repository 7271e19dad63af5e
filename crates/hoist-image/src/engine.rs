//! Which engine builds, and why. The reasons for the order are in `docs/design/engines.md`.

use std::process::Stdio;

use hoist_runtime::privilege;
use tokio::process::Command;

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::request::Engine;

/// An engine, with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    Embedded(String),
    Buildkit(String),
}

impl Chosen {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Chosen::Embedded(_) => "embedded",
            Chosen::Buildkit(_) => "buildkit",
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Chosen::Embedded(why) | Chosen::Buildkit(why) => why,
        }
    }
}

/// Chooses an engine.
pub(crate) async fn choose(wanted: Engine) -> Result<Chosen> {
    match wanted {
        Engine::Embedded => match privileges() {
            Ok(how) => Ok(Chosen::Embedded(format!("it was asked for, and {how}"))),
            Err(missing) => Err(BuildError::new(
                BuildErrorKind::Machine,
                format!("the embedded engine cannot run here: {missing}"),
            )
            .with_hint("run as root, allow user namespaces, or build with --engine buildkit")),
        },
        Engine::Buildkit => match docker().await {
            Ok(version) => Ok(Chosen::Buildkit(format!("it was asked for, and Docker Engine {version} answers"))),
            Err(why) => Err(BuildError::new(BuildErrorKind::Machine, format!("the engine buildkit needs a Docker Engine, and {why}"))
                .with_hint("start one, set DOCKER_HOST to another, or build with --engine embedded")),
        },
        Engine::Auto => match privileges() {
            Ok(how) => Ok(Chosen::Embedded(how)),
            Err(missing) => match docker().await {
                Ok(version) => Ok(Chosen::Buildkit(format!("Docker Engine {version} answers, and the embedded engine cannot run here: {missing}"))),
                Err(why) => Err(BuildError::new(BuildErrorKind::Machine, format!("nothing can build here: the embedded engine cannot run ({missing}), and {why}"))
                    .with_hint("run as root, allow user namespaces, or start a Docker Engine")),
            },
        },
    }
}

/// How this process may run containers. It has asked for the rights at its start; here they are only looked at.
fn privileges() -> std::result::Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Err("it needs Linux".into());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("it needs root or a user namespace".into());
    }
    Ok(if privilege::in_user_namespace() {
        "this is Linux, in a user namespace"
    } else {
        "this is Linux, as root"
    }
    .into())
}

/// The version of the Docker Engine that answers, or why none does.
async fn docker() -> std::result::Result<String, String> {
    let output = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(std::time::Duration::from_secs(10), output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("the docker command is not installed".into());
        }
        Ok(Err(error)) => return Err(format!("the docker command cannot be run ({error})")),
        Err(_) => return Err("the docker command does not answer".into()),
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !version.is_empty() {
        return Ok(version);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "no Docker Engine answers ({})",
        said.lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it says nothing")
            .trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_embedded_engine_is_chosen_where_it_can_run() {
        let chosen = choose(Engine::Auto).await.unwrap();
        assert_eq!(chosen.name(), "embedded");
        assert!(chosen.reason().starts_with("this is Linux, "));
        let asked = choose(Engine::Embedded).await.unwrap();
        assert!(
            asked
                .reason()
                .starts_with("it was asked for, and this is Linux, ")
        );
    }
}
