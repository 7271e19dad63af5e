//! The container runtime that tasks run on.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use hoist_runtime::privilege::{self, PrivilegeError};
use hoist_runtime::{Docker, DockerConfig, NativeConfig, Runtime, RuntimeError};

use crate::driver::NoRuntime;
use crate::home::Home;
use crate::settings::Settings;

/// Why no container can be run here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This process has no right to make containers.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The runtime cannot be brought up.
    #[error("failed to bring up the container runtime")]
    Runtime(#[from] RuntimeError),
    /// There is no such runtime.
    #[error(
        "`{0}` is not a container runtime of the embedded AWS; use native, docker or simulated"
    )]
    Unknown(String),
}

impl EngineError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            EngineError::Privilege(error) => Some(error.hint()),
            EngineError::Runtime(_) | EngineError::Unknown(_) => None,
        }
    }
}

/// The runtime that was asked for, or the one that works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This machine's own kernel.
    Native,
    /// A Docker Engine.
    Docker,
    /// None: tasks are only played, for load tests.
    Simulated,
}

/// Chooses the runtime and gets the rights that it needs. Call it before any thread exists.
///
/// Unless one was asked for, it is the native one where this process may have the rights, else a Docker Engine that answers.
///
/// # Errors
/// When there is no way to run containers, with what the native runtime lacks.
pub fn prepare(settings: &Settings) -> Result<Choice, EngineError> {
    match settings.runtime.as_deref() {
        Some("docker") => Ok(Choice::Docker),
        Some("simulated") => Ok(Choice::Simulated),
        Some("native") => {
            privilege::acquire()?;
            Ok(Choice::Native)
        }
        None => match privilege::acquire() {
            Ok(_) => Ok(Choice::Native),
            Err(error) if docker_answers() => {
                tracing::info!(%error, "containers run in the Docker Engine");
                Ok(Choice::Docker)
            }
            Err(error) => Err(error.into()),
        },
        Some(other) => Err(EngineError::Unknown(other.to_owned())),
    }
}

fn docker_answers() -> bool {
    let status = std::process::Command::new("docker")
        .arg("version")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Where tasks ask for names: the third address of the VPC, as in a real one (VPC user guide, "Amazon DNS server").
const RESOLVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);

/// The router of the first subnet.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);

/// Brings up the runtime and removes what an earlier daemon left.
///
/// # Errors
/// When the kernel or the engine refuses something that it needs.
pub async fn start(home: &Home, choice: Choice) -> Result<Arc<dyn Runtime>, EngineError> {
    // Every subnet of a default VPC's size that its block (172.31.0.0/16) has room for.
    let subnets: Vec<(Ipv4Addr, u8)> = (0..16)
        .map(|block| (Ipv4Addr::new(172, 31, block * 16, 1), 20))
        .collect();
    let runtime: Arc<dyn Runtime> = match choice {
        Choice::Native => {
            hoist_runtime::native(NativeConfig {
                init_program: PathBuf::from("/proc/self/exe"),
                cgroup_parent: format!("hoist-{}", home.tag()),
                snapshots: home.images().join("snapshots"),
                subnets,
                resolver: Some(RESOLVER),
                way_out: true,
            })
            .await?
        }
        Choice::Simulated => Arc::new(NoRuntime),
        Choice::Docker => Arc::new(
            Docker::new(DockerConfig {
                program: PathBuf::from("docker"),
                host: None,
                home: home.tag(),
                files: home.file("docker"),
                subnets,
                // Elsewhere the engine lives in a virtual machine, whose addresses this machine does not see.
                publish: !cfg!(target_os = "linux"),
            })
            .await?,
        ),
    };
    for lack in runtime.lacks() {
        tracing::warn!("tasks lack {lack}");
    }
    runtime.clean_up().await?;
    Ok(runtime)
}
