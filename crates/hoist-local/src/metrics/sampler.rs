//! What the services of ECS use, and the requests of target groups: measured once a minute.

use std::collections::{BTreeMap, HashMap};

use hoist_fargate::TaskStatus;

use super::store::{Metrics, Point, Series};
use crate::clock::{self, Millis};
use crate::driver::Crew;

/// Remembers what was measured last.
pub struct Sampler {
    crew: Crew,
    /// Processor time of each container, in nanoseconds, and when it was read.
    used: HashMap<(String, String), (Millis, u64)>,
    /// Requests of each target group since it runs.
    requests: HashMap<String, u64>,
}

/// Used and reserved, of all tasks of a service.
#[derive(Default)]
struct Sum {
    cpu: f64,
    cpu_reserved: f64,
    memory: f64,
    memory_reserved: f64,
}

impl Sampler {
    /// A sampler that has seen nothing.
    pub fn new(crew: Crew) -> Sampler {
        Sampler {
            crew,
            used: HashMap::new(),
            requests: HashMap::new(),
        }
    }

    /// Measures, and adds what it saw to `metrics`.
    pub async fn measure(&mut self, metrics: &Metrics) {
        // It counts to the minute that has just passed.
        let at = clock::now() - metrics.minute();
        self.services(metrics, at).await;
        self.groups(metrics, at);
    }

    /// `CPUUtilization` and `MemoryUtilization`: percent of what the tasks of a service have reserved.
    async fn services(&mut self, metrics: &Metrics, at: Millis) {
        let arns = self.crew.arns();
        let running: Vec<_> = self.crew.ctx.driver.read(|world| {
            let tasks = arns.iter().filter_map(|arn| world.task(arn));
            tasks
                .filter(|task| task.service.is_some() && task.status == TaskStatus::Running)
                .cloned()
                .collect()
        });
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        let mut seen = HashMap::new();
        for task in &running {
            let (cpu, memory) = self.crew.limits(task);
            let sum = sums
                .entry(task.service.clone().unwrap_or_default())
                .or_default();
            let mut measured = false;
            for (name, nanos, bytes) in self.crew.usage(&task.arn).await {
                let now = clock::now();
                let key = (task.arn.clone(), name);
                if let Some((before, used)) = self.used.get(&key) {
                    let passed = (now - before).max(1) as f64 * 1e6;
                    sum.cpu += nanos.saturating_sub(*used) as f64 / passed * 1024.0;
                    measured = true;
                }
                sum.memory += bytes as f64;
                seen.insert(key, (now, nanos));
            }
            if measured {
                sum.cpu_reserved += cpu.unwrap_or(1024) as f64;
            }
            sum.memory_reserved += memory.unwrap_or(0) as f64;
        }
        self.used = seen;
        for (service, sum) in sums {
            // arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/NAME
            let region = service.split(':').nth(3).unwrap_or_default();
            let mut names = service.rsplit('/');
            let (name, cluster) = (
                names.next().unwrap_or_default(),
                names.next().unwrap_or_default(),
            );
            for (metric, used, reserved) in [
                ("CPUUtilization", sum.cpu, sum.cpu_reserved),
                ("MemoryUtilization", sum.memory, sum.memory_reserved),
            ] {
                if reserved > 0.0 {
                    let dimensions = [("ClusterName", cluster), ("ServiceName", name)];
                    let series = Series::new("AWS/ECS", metric, &dimensions);
                    metrics.put(region, series, Point::of(at, used / reserved * 100.0));
                }
            }
        }
    }

    /// `RequestCount` and `RequestCountPerTarget` of each target group.
    fn groups(&mut self, metrics: &Metrics, at: Millis) {
        let mut seen = HashMap::new();
        for (arn, balancers, requests, healthy) in self.crew.ctx.balancers.requests() {
            let before = self.requests.get(&arn).copied().unwrap_or(requests);
            seen.insert(arn.clone(), requests);
            // As many as there would be in a whole minute.
            let scale = 60_000.0 / metrics.minute() as f64;
            let count = requests.saturating_sub(before) as f64 * scale;
            let region = arn.split(':').nth(3).unwrap_or_default();
            let group = arn.rsplit(':').next().unwrap_or_default();
            for balancer in balancers {
                let balancer = balancer
                    .split_once(":loadbalancer/")
                    .map_or("", |(_, it)| it);
                let both = [("TargetGroup", group), ("LoadBalancer", balancer)];
                metrics.put(
                    region,
                    Series::new("AWS/ApplicationELB", "RequestCount", &both),
                    Point::of(at, count),
                );
                if healthy > 0 {
                    let each = Point::of(at, count / healthy as f64);
                    metrics.put(
                        region,
                        Series::new("AWS/ApplicationELB", "RequestCountPerTarget", &both),
                        each,
                    );
                }
            }
        }
        self.requests = seen;
    }
}
