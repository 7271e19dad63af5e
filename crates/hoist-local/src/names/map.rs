use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Millis;
use crate::state::{State, Table};

/// A namespace of Cloud Map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    pub id: String,
    pub arn: String,
    pub name: String,
    /// `DNS_PRIVATE` or `HTTP`.
    pub kind: String,
    pub description: Option<String>,
    pub created: Millis,
}

/// A service of a namespace: a name in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub id: String,
    pub arn: String,
    pub name: String,
    pub namespace: String,
    pub description: Option<String>,
    /// `DnsConfig`, as it was sent.
    pub dns: Value,
    /// `HealthCheckCustomConfig`, as it was sent.
    #[serde(default)]
    pub custom_health: Value,
    pub created: Millis,
}

/// Something that was registered by hand, not by a service of ECS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    pub id: String,
    /// The service's id.
    pub entry: String,
    pub attributes: Value,
    pub healthy: bool,
}

/// Something that was asked for and is done already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub kind: String,
    /// What it was about: `NAMESPACE`, `SERVICE` or `INSTANCE`, and its id.
    pub targets: Value,
    pub at: Millis,
}

/// The Cloud Map of an instance. Cheap to clone.
#[derive(Clone)]
pub struct CloudMap {
    pub(super) namespaces: Table<Namespace>,
    pub(super) entries: Table<Entry>,
    pub(super) operations: Table<Operation>,
    /// By `SERVICE-ID/INSTANCE-ID`.
    pub(super) registered: Table<Registered>,
    /// By ARN: a list of `Key` and `Value`.
    pub(super) tags: Table<Vec<Value>>,
}

impl CloudMap {
    /// What `state` keeps of it.
    pub fn open(state: &State) -> CloudMap {
        CloudMap {
            namespaces: state.table("cloudmap-namespaces"),
            entries: state.table("cloudmap-services"),
            operations: state.table("cloudmap-operations"),
            registered: state.table("cloudmap-instances"),
            tags: state.table("cloudmap-tags"),
        }
    }
}
