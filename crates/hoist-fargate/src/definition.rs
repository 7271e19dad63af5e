//! Task definition revisions and clusters: the verbatim document and what the scheduler reads of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Arn, Millis};

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    pub arn: Arn,
    pub name: String,
    pub region: String,
    /// `ACTIVE` or `INACTIVE`.
    pub active: bool,
    pub created_at: Millis,
    /// The members of CreateCluster and UpdateCluster, verbatim: `tags`, `settings`, `capacityProviders`, …
    pub request: Map<String, Value>,
}

/// When a container may start, seen from another one (`dependsOn[].condition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Condition {
    Start,
    Complete,
    Success,
    Healthy,
}

/// One entry of `dependsOn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub container: String,
    pub condition: Condition,
}

/// `healthCheck` of a container definition, defaults filled in (facts: interval 30 s, timeout 5 s, retries 3, no start period).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `["CMD", …]` or `["CMD-SHELL", "…"]`, as written.
    pub command: Vec<String>,
    pub interval: Millis,
    pub timeout: Millis,
    pub retries: u32,
    pub start_period: Millis,
}

/// What the scheduler reads of one container definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDefinition {
    pub name: String,
    pub image: String,
    pub essential: bool,
    pub depends_on: Vec<Dependency>,
    pub health_check: Option<HealthCheck>,
    /// How long it has between the stop signal and SIGKILL (default 30 s).
    pub stop_timeout: Millis,
    /// How long others wait for it to reach their condition.
    pub start_timeout: Option<Millis>,
    /// Whether its tag is pinned to a digest for the whole deployment (`versionConsistency`, on by default).
    pub pinned: bool,
}

/// One revision of a task definition family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskDefinition {
    pub arn: Arn,
    pub region: String,
    pub family: String,
    pub revision: u32,
    /// `ACTIVE`, else `INACTIVE`.
    pub active: bool,
    pub registered_at: Millis,
    pub deregistered_at: Option<Millis>,
    /// When DeleteTaskDefinitions named it: `DELETE_IN_PROGRESS` from then on.
    pub deleted_at: Option<Millis>,
    /// The request of RegisterTaskDefinition, verbatim, with `tags`.
    pub document: Map<String, Value>,
    /// The containers, in the order of the document.
    pub containers: Vec<ContainerDefinition>,
}

impl TaskDefinition {
    /// The container definition of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerDefinition> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }
}
