use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Millis;
use crate::state::{State, Table};

/// The group that is always there.
pub const GROUP: &str = "default";

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    pub name: String,
    pub group: String,
    pub arn: String,
    /// The members of CreateSchedule or the last UpdateSchedule, verbatim, but for `Name`, `GroupName` and `ClientToken`.
    pub request: Map<String, Value>,
    pub client_token: Option<String>,
    pub created: Millis,
    pub changed: Millis,
    /// When it was followed last.
    pub done: Option<Millis>,
}

/// A group of schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub arn: String,
    pub tags: Vec<Value>,
    pub created: Millis,
}

/// The Scheduler of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    /// By `GROUP/NAME`.
    pub(super) schedules: Table<Schedule>,
    pub(super) groups: Table<Group>,
}

impl Scheduler {
    /// What `state` keeps of it.
    pub fn open(state: &State) -> Scheduler {
        Scheduler {
            schedules: state.table("scheduler-schedules"),
            groups: state.table("scheduler-groups"),
        }
    }
}
