//! The published rates of the APIs: a bucket of tokens for each account, region and group of operations.
//!
//! Sources: "Request throttling for the Amazon ECS API"; "Request throttling for the Elastic Load Balancing API"; "Request throttling for
//! the Amazon EC2 API"; the quotas pages of CloudWatch Logs and Amazon ECR. What publishes no rate has none here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::api::Service;
use crate::clock::Millis;

/// Whether calls are limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limiting {
    /// As many as the machine can answer.
    #[default]
    None,
    /// As many as AWS answers.
    Aws,
}

impl std::str::FromStr for Limiting {
    type Err = String;

    fn from_str(text: &str) -> Result<Limiting, String> {
        match text {
            "none" => Ok(Limiting::None),
            "aws" => Ok(Limiting::Aws),
            _ => Err(format!("`{text}` is no kind of limits; use none or aws")),
        }
    }
}

/// How many calls at once, and how many a second in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    burst: f64,
    refill: f64,
}

/// The bucket that an operation takes from, if it has a published rate.
fn bucket(service: Service, action: &str) -> Option<(&'static str, Rate)> {
    let rate = |name, burst, refill| Some((name, Rate { burst, refill }));
    match service {
        Service::Ecs => match action {
            "RegisterTaskDefinition" | "DeregisterTaskDefinition" | "DeleteTaskDefinitions" => {
                rate("task definition writes", 20.0, 1.0)
            }
            "DescribeTaskDefinition" | "ListTaskDefinitions" | "ListTaskDefinitionFamilies" => {
                rate("task definition reads", 50.0, 20.0)
            }
            "CreateCluster"
            | "UpdateCluster"
            | "UpdateClusterSettings"
            | "DeleteCluster"
            | "PutClusterCapacityProviders" => rate("cluster writes", 20.0, 1.0),
            "DescribeClusters" | "ListClusters" => rate("cluster reads", 50.0, 20.0),
            "CreateService"
            | "UpdateService"
            | "DeleteService"
            | "CreateTaskSet"
            | "UpdateTaskSet"
            | "DeleteTaskSet"
            | "UpdateServicePrimaryTaskSet" => rate("service writes", 50.0, 5.0),
            "DescribeServices"
            | "ListServices"
            | "DescribeTaskSets"
            | "ListServicesByNamespace" => rate("service reads", 100.0, 20.0),
            "ListServiceDeployments"
            | "DescribeServiceDeployments"
            | "StopServiceDeployment"
            | "ContinueServiceDeployment" => rate("service deployments", 50.0, 20.0),
            "DescribeServiceRevisions" => rate("service revisions", 50.0, 20.0),
            "RunTask" | "StopTask" | "StartTask" | "ExecuteCommand" => {
                rate("tasks run and stopped", 100.0, 40.0)
            }
            "DescribeTasks" | "ListTasks" => rate("task reads", 100.0, 20.0),
            _ => None,
        },
        // The rates of registrations and other writes are not confirmed by a source at hand.
        Service::Elbv2 => match action {
            _ if action.starts_with("Describe") => rate("reads", 40.0, 10.0),
            "RegisterTargets" | "DeregisterTargets" => rate("registrations", 20.0, 4.0),
            _ => rate("writes", 20.0, 3.0),
        },
        Service::Ec2 if action.starts_with("Describe") => rate("reads", 100.0, 20.0),
        Service::Ec2 => rate("writes", 50.0, 5.0),
        // CloudWatch Logs gives only rates a second.
        Service::Logs => match action {
            "CreateLogGroup" => rate("CreateLogGroup", 10.0, 10.0),
            "DescribeLogGroups" => rate("DescribeLogGroups", 10.0, 10.0),
            "CreateLogStream" => rate("CreateLogStream", 50.0, 50.0),
            "DescribeLogStreams" => rate("DescribeLogStreams", 25.0, 25.0),
            "GetLogEvents" => rate("GetLogEvents", 25.0, 25.0),
            "FilterLogEvents" => rate("FilterLogEvents", 10.0, 10.0),
            "PutLogEvents" => rate("PutLogEvents", 5000.0, 5000.0),
            _ => None,
        },
        Service::Ecr => match action {
            "PutImage" => rate("PutImage", 10.0, 10.0),
            "InitiateLayerUpload" => rate("InitiateLayerUpload", 100.0, 100.0),
            "CompleteLayerUpload" => rate("CompleteLayerUpload", 100.0, 100.0),
            "UploadLayerPart" => rate("UploadLayerPart", 500.0, 500.0),
            "GetAuthorizationToken" => rate("GetAuthorizationToken", 500.0, 500.0),
            "BatchCheckLayerAvailability" => rate("BatchCheckLayerAvailability", 1000.0, 1000.0),
            "BatchGetImage" => rate("BatchGetImage", 2000.0, 2000.0),
            "GetDownloadUrlForLayer" => rate("GetDownloadUrlForLayer", 3000.0, 3000.0),
            _ => None,
        },
        _ => None,
    }
}

struct Level {
    tokens: f64,
    at: Millis,
}

type Levels = HashMap<(Service, &'static str, String), Level>;

/// The buckets of a running instance. Cheap to clone.
#[derive(Clone, Default)]
pub struct Limits(Arc<Mutex<(Limiting, Levels)>>);

impl Limits {
    /// Full buckets.
    pub fn new(limiting: Limiting) -> Limits {
        Limits(Arc::new(Mutex::new((limiting, Levels::new()))))
    }

    /// Limits from now on, or none; every bucket is full again.
    pub fn set(&self, limiting: Limiting) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (limiting, Levels::new());
    }

    /// Whether calls are limited.
    pub fn get(&self) -> Limiting {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes a token for a call; false if there is none, and the call is to be throttled.
    pub fn admits(&self, service: Service, action: &str, region: &str, now: Millis) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (limiting, levels) = &mut *state;
        let Some((name, rate)) = bucket(service, action).filter(|_| *limiting == Limiting::Aws)
        else {
            return true;
        };
        let level = levels
            .entry((service, name, region.to_owned()))
            .or_insert(Level {
                tokens: rate.burst,
                at: now,
            });
        let passed = (now - level.at).max(0) as f64 / 1000.0;
        level.tokens = (level.tokens + passed * rate.refill).min(rate.burst);
        level.at = now;
        if level.tokens < 1.0 {
            return false;
        }
        level.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_answered_and_then_as_many_a_second_as_flow_in() {
        let limits = Limits::new(Limiting::Aws);
        let answered = |action: &str, now: Millis| {
            (0..1000)
                .filter(|_| limits.admits(Service::Ecs, action, "us-east-1", now))
                .count()
        };
        assert_eq!(answered("UpdateService", 0), 50);
        assert_eq!(answered("CreateService", 0), 0);
        assert_eq!(answered("DescribeServices", 0), 100);
        assert_eq!(answered("UpdateService", 1_000), 5);
        assert_eq!(answered("UpdateService", 3_600_000), 50);
        assert!(limits.admits(Service::Ecs, "UpdateService", "eu-west-1", 3_600_000));
        assert_eq!(answered("ListTagsForResource", 0), 1000);
        limits.set(Limiting::None);
        assert_eq!(answered("UpdateService", 3_600_000), 1000);
    }
}
