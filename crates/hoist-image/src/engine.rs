//! Which engine builds, and why. The reasons for the order are in `docs/design/engines.md`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hoist_runtime::privilege;
use tokio::process::Command;

use crate::builder::{self, Remote};
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::request::{Builder, Engine};

/// How long a command may take that only asks.
const PATIENCE: Duration = Duration::from_secs(15);

/// An engine, with the reason for it.
#[derive(Debug, Clone)]
pub(crate) enum Chosen {
    Embedded(String),
    Buildkit(Buildkit, String),
}

/// Where BuildKit is.
#[derive(Debug, Clone)]
pub(crate) enum Buildkit {
    /// In a Docker Engine.
    Docker(Docker),
    /// At an address of its own.
    Remote(Remote),
}

/// A Docker Engine, and the command that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Docker {
    pub program: PathBuf,
    version: String,
    /// The engine was started without a bridge, so that only the machine's own network is left for steps.
    pub no_bridge: bool,
}

impl Docker {
    fn said(&self) -> String {
        let network = if self.no_bridge {
            ", without a bridge network: steps use this machine's"
        } else {
            ""
        };
        format!("Docker Engine {} answers{network}", self.version)
    }
}

impl Chosen {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Chosen::Embedded(_) => "embedded",
            Chosen::Buildkit(..) => "buildkit",
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Chosen::Embedded(why) | Chosen::Buildkit(_, why) => why,
        }
    }
}

/// Chooses an engine. A builder that is named builds, unless the embedded engine is asked for.
pub(crate) async fn choose(wanted: Engine, builder: Option<&Builder>) -> Result<Chosen> {
    match (wanted, builder) {
        (Engine::Embedded, _) => match privileges() {
            Ok(how) => Ok(Chosen::Embedded(format!("it was asked for, and {how}"))),
            Err(missing) => Err(BuildError::new(
                BuildErrorKind::Machine,
                format!("the embedded engine cannot run here: {missing}"),
            )
            .with_hint("run as root, allow user namespaces, or build with --engine buildkit")),
        },
        (_, Some(builder)) => {
            let remote = builder::reach(builder).await?;
            let why = format!("its builder was named, and {}", remote.said());
            Ok(Chosen::Buildkit(Buildkit::Remote(remote), why))
        }
        (Engine::Buildkit, None) => match docker().await {
            Ok(docker) => {
                let why = format!("it was asked for, and {}", docker.said());
                Ok(Chosen::Buildkit(Buildkit::Docker(docker), why))
            }
            Err(why) => Err(BuildError::new(BuildErrorKind::Machine, format!("the engine buildkit needs a Docker Engine or a builder, and {why}"))
                .with_hint("start one, set DOCKER_HOST to another, name a buildkitd with --builder tcp://HOST:PORT, or build with --engine embedded")),
        },
        (Engine::Auto, None) => match privileges() {
            Ok(how) => Ok(Chosen::Embedded(how)),
            Err(missing) => match docker().await {
                Ok(docker) => {
                    let why = format!("{}, and the embedded engine cannot run here: {missing}", docker.said());
                    Ok(Chosen::Buildkit(Buildkit::Docker(docker), why))
                }
                Err(why) => Err(BuildError::new(BuildErrorKind::Machine, format!("nothing can build here: the embedded engine cannot run ({missing}), and {why}"))
                    .with_hint("run as root, allow user namespaces, start a Docker Engine, or name a buildkitd with --builder tcp://HOST:PORT")),
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

/// The Docker Engine that answers, or why none does.
///
/// Of several `docker` commands in `PATH`, the first that can drive BuildKit is taken: those from version 23 on need the plug-in buildx.
async fn docker() -> std::result::Result<Docker, String> {
    let mut found = None;
    let mut trouble = None;
    let both = "{{.Client.Version}} {{.Server.Version}}";
    for program in on_path("docker") {
        let versions = match said(&program, &["version", "--format", both], &[]).await {
            Ok(versions) => versions,
            Err(why) => {
                trouble.get_or_insert(format!("no Docker Engine answers ({why})"));
                continue;
            }
        };
        let (client, server) = versions.split_once(' ').unwrap_or(("", &versions));
        let major = client
            .split('.')
            .next()
            .and_then(|text| text.parse::<u32>().ok());
        let builds = major.is_some_and(|major| major < 23)
            || said(&program, &["buildx", "version"], &[]).await.is_ok();
        if builds || found.is_none() {
            found = Some((program, server.to_owned()));
        }
        if builds {
            break;
        }
    }
    let Some((program, version)) = found else {
        return Err(trouble.unwrap_or_else(|| "the docker command is not installed".into()));
    };
    let networks = said(&program, &["network", "ls", "--format", "{{.Name}}"], &[]).await;
    let no_bridge = networks.is_ok_and(|names| !names.lines().any(|name| name == "bridge"));
    Ok(Docker {
        program,
        version,
        no_bridge,
    })
}

/// The programs of that name in `PATH`.
pub(crate) fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs: Vec<PathBuf> = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .filter(|program| program.is_file())
        .collect();
    programs.into_iter()
}

/// What a command prints, or in a few words why it fails.
pub(crate) async fn said(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &Path)],
) -> std::result::Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let name = program.file_name().unwrap_or_default().display();
    let output = match tokio::time::timeout(PATIENCE, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{name} cannot be run: {error}")),
        Err(_) => return Err(format!("{name} got no answer in {} s", PATIENCE.as_secs())),
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !text.is_empty() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // What went wrong is the last thing that is said, after progress and warnings.
    let why = said
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("it says nothing");
    let why = why.trim_start_matches("ERROR: ");
    Err(why.trim_start_matches("error: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_embedded_engine_is_chosen_where_it_can_run() {
        let chosen = choose(Engine::Auto, None).await.unwrap();
        assert_eq!(chosen.name(), "embedded");
        assert!(chosen.reason().starts_with("this is Linux, "));
        let asked = choose(Engine::Embedded, None).await.unwrap();
        assert!(
            asked
                .reason()
                .starts_with("it was asked for, and this is Linux, ")
        );
    }
}
