//! Lenient views of the few fields that hoist reads from answers.
//!
//! A view borrows the answer and never fails: what is absent, null or of another shape reads as empty, and [`raw`](ServiceView::raw) gives
//! the rest. Nothing that AWS adds tomorrow breaks it.
//!
//! ```
//! use hoist_aws::read;
//!
//! let answer = serde_json::json!({"services": [{"serviceName": "web", "desiredCount": 2,
//!     "deployments": [{"status": "PRIMARY", "taskDefinition": "arn:web:3", "rolloutState": "COMPLETED"}]}]});
//! let service = read::services(&answer).next().expect("there is one");
//! assert_eq!(service.name(), "web");
//! assert_eq!(service.primary().expect("it has one").task_definition(), "arn:web:3");
//! ```

mod balancer;
mod deployment;
mod service;
mod task;

use jiff::Timestamp;
use serde_json::Value;

pub use balancer::{
    BalancerView, TargetGroupView, TargetView, balancers, interfaces_public_ip, target_groups,
    targets,
};
pub use deployment::{
    RevisionView, ServiceDeploymentView, service_deployment_briefs, service_deployments,
    service_revisions,
};
pub use service::{BalancerLink, DeploymentView, EventView, ServiceView, missing, services};
pub use task::{ContainerView, TaskView, failures, tasks};

/// The text at a key, or nothing.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a key; also one that is written as text, as query answers do.
pub fn number(value: &Value, key: &str) -> Option<i64> {
    let value = value.get(key)?;
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|number| number as i64))
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// The items at a key, or none.
pub fn list<'a>(value: &'a Value, key: &str) -> std::slice::Iter<'a, Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
        .iter()
}

/// The moment at a key: seconds since 1970 as JSON services write it, or ISO 8601 as query services do.
pub fn moment(value: &Value, key: &str) -> Option<Timestamp> {
    let value = value.get(key)?;
    if let Some(seconds) = value.as_f64() {
        return Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok();
    }
    value.as_str()?.parse().ok()
}

/// Makes a view type: a borrowed value with its `raw()`.
macro_rules! view {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a>(&'a serde_json::Value);

        impl<'a> $name<'a> {
            /// Looks at a value.
            pub fn of(value: &'a serde_json::Value) -> Self {
                $name(value)
            }

            /// The whole value.
            pub fn raw(&self) -> &'a serde_json::Value {
                self.0
            }
        }
    };
}
pub(crate) use view;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_and_odd_fields_read_as_empty() {
        for odd in [
            json!(null),
            json!([]),
            json!("x"),
            json!({"services": "x"}),
            json!({"services": [null, 3]}),
        ] {
            for service in services(&odd) {
                assert_eq!(
                    (
                        service.name(),
                        service.desired(),
                        service.deployments().count()
                    ),
                    ("", 0, 0)
                );
            }
            assert_eq!(
                tasks(&odd).count() + targets(&odd).count() + service_deployments(&odd).count(),
                0
            );
        }
    }

    #[test]
    fn moments_are_read_in_both_forms() {
        let both = json!({"a": 1_700_000_000.5, "b": "2023-11-14T22:13:20Z"});
        assert_eq!(
            moment(&both, "a").unwrap().as_millisecond(),
            1_700_000_000_500
        );
        assert_eq!(moment(&both, "b").unwrap().as_second(), 1_700_000_000);
        assert_eq!(moment(&both, "c"), None);
    }
}
