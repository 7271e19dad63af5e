//! The container runtime that tasks run on.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use hoist_runtime::privilege::{self, PrivilegeError};
use hoist_runtime::{Native, NativeConfig, Runtime, RuntimeError};

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
    #[error("`{0}` is not a container runtime of the embedded AWS; use native")]
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

/// Gets the rights that containers need. Call it before any thread exists.
///
/// # Errors
/// When there is no way to have them.
pub fn prepare(settings: &Settings) -> Result<(), EngineError> {
    match settings.runtime.as_deref() {
        None | Some("native") => {}
        Some(other) => return Err(EngineError::Unknown(other.to_owned())),
    }
    privilege::acquire()?;
    Ok(())
}

/// Brings up the runtime and removes what an earlier daemon left.
///
/// # Errors
/// When the kernel refuses something that it needs.
pub async fn start(home: &Home) -> Result<Arc<dyn Runtime>, EngineError> {
    let runtime = Native::new(NativeConfig {
        init_program: PathBuf::from("/proc/self/exe"),
        cgroup_parent: format!("hoist-{}", home.tag()),
        snapshots: home.images().join("snapshots"),
        // Every subnet of a default VPC's size that its block (172.31.0.0/16) has room for.
        subnets: (0..16)
            .map(|block| (Ipv4Addr::new(172, 31, block * 16, 1), 20))
            .collect(),
    })
    .await?;
    runtime.clean_up().await?;
    Ok(Arc::new(runtime))
}
