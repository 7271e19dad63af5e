//! A token bucket per group of calls, at the rates that ECS and Elastic Load Balancing publish, so that a release of many services is not
//! throttled. See <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html> and
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html>.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::Service;

/// Burst and refill per second of a group of calls.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    group: &'static str,
    burst: f64,
    per_second: f64,
}

/// The published limit of a call, where there is one.
fn limit(service: Service, operation: &str) -> Option<Limit> {
    let of = |group, burst: u32, per_second: u32| {
        Some(Limit {
            group,
            burst: burst.into(),
            per_second: per_second.into(),
        })
    };
    if service == Service::Elbv2 && operation.starts_with("Describe") {
        return of("load balancer reads", 40, 10);
    }
    if service != Service::Ecs {
        return None;
    }
    match operation {
        "RegisterTaskDefinition" | "DeregisterTaskDefinition" | "DeleteTaskDefinitions" => {
            of("task definition writes", 20, 1)
        }
        "DescribeTaskDefinition" | "ListTaskDefinitions" | "ListTaskDefinitionFamilies" => {
            of("task definition reads", 50, 20)
        }
        "CreateCluster"
        | "UpdateCluster"
        | "UpdateClusterSettings"
        | "DeleteCluster"
        | "PutClusterCapacityProviders" => of("cluster writes", 20, 1),
        "DescribeClusters" | "ListClusters" => of("cluster reads", 50, 20),
        "CreateService"
        | "UpdateService"
        | "DeleteService"
        | "StopServiceDeployment"
        | "ContinueServiceDeployment" => of("service writes", 50, 5),
        "DescribeServices" | "ListServices" | "ListServicesByNamespace" => {
            of("service reads", 100, 20)
        }
        "DescribeServiceDeployments" | "ListServiceDeployments" => {
            of("service deployments", 50, 20)
        }
        "DescribeServiceRevisions" => of("service revisions", 50, 20),
        "RunTask" | "StartTask" | "StopTask" | "ExecuteCommand" => of("task actions", 100, 40),
        "DescribeTasks" | "ListTasks" => of("task reads", 100, 20),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets of one client.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    by_group: Mutex<HashMap<&'static str, Bucket>>,
}

impl Buckets {
    /// Takes one token and says how long to wait before the call may be sent. Waiting callers queue up behind each other.
    pub fn take(&self, service: Service, operation: &str, now: Instant) -> Duration {
        let Some(limit) = limit(service, operation) else {
            return Duration::ZERO;
        };
        let mut buckets = self.lock();
        let bucket = buckets.entry(limit.group).or_insert(Bucket {
            tokens: limit.burst,
            at: now,
        });
        refill(bucket, limit, now);
        bucket.tokens -= 1.0;
        if bucket.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-bucket.tokens / limit.per_second)
        }
    }

    /// Empties the bucket of a call that was throttled all the same: others use the same account.
    pub fn drain(&self, service: Service, operation: &str, now: Instant) {
        let Some(limit) = limit(service, operation) else {
            return;
        };
        let mut buckets = self.lock();
        let bucket = buckets.entry(limit.group).or_insert(Bucket {
            tokens: limit.burst,
            at: now,
        });
        refill(bucket, limit, now);
        bucket.tokens = bucket.tokens.min(0.0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Bucket>> {
        self.by_group
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn refill(bucket: &mut Bucket, limit: Limit, now: Instant) {
    let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
    bucket.tokens = (bucket.tokens + passed * limit.per_second).min(limit.burst);
    bucket.at = now.max(bucket.at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_waits_for_the_refill() {
        let buckets = Buckets::default();
        let now = Instant::now();
        let take = |after: u64| {
            buckets.take(
                Service::Ecs,
                "RegisterTaskDefinition",
                now + Duration::from_secs(after),
            )
        };
        for _ in 0..20 {
            assert_eq!(take(0), Duration::ZERO);
        }
        assert_eq!(take(0), Duration::from_secs(1));
        assert_eq!(take(0), Duration::from_secs(2));
        assert_eq!(take(3), Duration::ZERO);
        assert_eq!(
            buckets.take(Service::Ecs, "DescribeTasks", now),
            Duration::ZERO
        );
    }

    #[test]
    fn a_throttled_call_empties_its_bucket() {
        let buckets = Buckets::default();
        let now = Instant::now();
        buckets.drain(Service::Ecs, "DescribeServices", now);
        assert_eq!(
            buckets.take(Service::Ecs, "ListServices", now),
            Duration::from_millis(50)
        );
    }

    #[test]
    fn calls_without_a_published_limit_are_not_held() {
        let buckets = Buckets::default();
        let now = Instant::now();
        assert!((0..1000).all(|_| { buckets.take(Service::Ecr, "DescribeImages", now).is_zero() }));
    }
}
