use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::clock::{self, Millis};
use crate::ids;
use crate::state::{State, Table};

/// The only dimension of a service.
pub const DIMENSION: &str = "ecs:service:DesiredCount";

/// A service whose number of tasks may be changed, within bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `service/CLUSTER/NAME`.
    pub resource: String,
    pub arn: String,
    pub min: u32,
    pub max: u32,
    pub role: String,
    /// `SuspendedState`.
    pub suspended: Value,
    pub created: Millis,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Target {
    /// Whether a kind of activity is suspended, such as `DynamicScalingInSuspended`.
    pub fn is_suspended(&self, what: &str) -> bool {
        self.suspended[what] == true
    }
}

/// A policy that scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub resource: String,
    pub name: String,
    pub arn: String,
    /// `TargetTrackingScaling` or `StepScaling`.
    pub kind: String,
    /// The configuration of its kind, as it was sent.
    pub configuration: Value,
    /// Names of the alarms that belong to it.
    pub alarms: Vec<String>,
    pub created: Millis,
}

impl Policy {
    /// A cooldown of its configuration in milliseconds; five minutes where it says nothing.
    pub fn cooldown(&self, name: &str) -> Millis {
        self.configuration[name].as_i64().unwrap_or(300) * 1000
    }
}

/// Something to be done at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scheduled {
    pub resource: String,
    pub name: String,
    pub arn: String,
    /// `at(...)`, `rate(...)` or `cron(...)`.
    pub schedule: String,
    pub start: Option<Millis>,
    pub end: Option<Millis>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub created: Millis,
    /// When it was done last.
    pub done: Option<Millis>,
}

/// The last change of a target's capacity in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Last {
    pub at: Millis,
    /// Tasks before it.
    pub from: u32,
}

/// Auto scaling of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Scaling {
    pub(super) targets: Table<Target>,
    pub(super) policies: Table<Policy>,
    pub(super) scheduled: Table<Scheduled>,
    /// The newest activities first, with their region.
    activities: Arc<Mutex<VecDeque<(String, Value)>>>,
    /// Held while something changes.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
}

impl Scaling {
    /// What `state` keeps of it.
    pub fn open(state: &State) -> Scaling {
        Scaling {
            targets: state.table("scaling-targets"),
            policies: state.table("scaling-policies"),
            scheduled: state.table("scaling-scheduled"),
            activities: Arc::default(),
            changing: Arc::default(),
        }
    }

    fn log(&self) -> MutexGuard<'_, VecDeque<(String, Value)>> {
        self.activities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a change of capacity; the newest hundred are kept.
    pub(super) fn record(
        &self,
        region: &str,
        resource: &str,
        to: u32,
        cause: &str,
        result: Result<(), &ApiError>,
    ) {
        let now = clock::epoch_seconds(clock::now());
        let (status, message) = match result {
            Ok(()) => (
                "Successful",
                format!(
                    "Successfully set desired count to {to}. Change successfully fulfilled by ecs."
                ),
            ),
            Err(error) => ("Failed", error.to_string()),
        };
        let activity = json!({
            "ActivityId": ids::uuid(),
            "ServiceNamespace": "ecs",
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "Description": format!("Setting desired count to {to}."),
            "Cause": cause,
            "StartTime": now,
            "EndTime": now,
            "StatusCode": status,
            "StatusMessage": message,
        });
        let mut log = self.log();
        log.push_front((region.to_owned(), activity));
        log.truncate(100);
    }

    /// The activities of a region, the newest first.
    pub(super) fn activities(&self, region: &str) -> Vec<Value> {
        let log = self.log();
        log.iter()
            .filter(|(it, _)| it == region)
            .map(|(_, activity)| activity.clone())
            .collect()
    }
}

/// The key of what belongs to a resource and has a name.
pub fn key(resource: &str, name: &str) -> String {
    format!("{resource}\n{name}")
}
