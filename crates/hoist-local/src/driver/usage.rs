//! What the containers of tasks use.

use std::net::IpAddr;

use hoist_fargate::Task;

use super::compose::task_limits;
use super::crew::Crew;
use crate::clock::{self, Millis};

/// What one container had used at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub at: Millis,
    /// Processor time since its start.
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    pub pids: u64,
}

impl Crew {
    /// The task with this address, if it has any process.
    pub fn task_at(&self, address: IpAddr) -> Option<Task> {
        let address = address.to_string();
        let arns = self.arns();
        self.ctx.driver.read(|world| {
            let mut tasks = arns.iter().filter_map(|arn| world.task(arn));
            tasks
                .find(|task| task.ip.as_ref() == Some(&address))
                .cloned()
        })
    }

    /// What the running containers of a task use now, and what they did the last time that was asked.
    pub async fn sample(&self, task: &str) -> Vec<(String, Sample, Option<Sample>)> {
        let Some(run) = self.run(task) else {
            return Vec::new();
        };
        let mut samples = Vec::new();
        for (name, process) in run.processes() {
            // One that has ended has nothing to tell.
            let Ok(stats) = process.stats().await else {
                continue;
            };
            let now = Sample {
                at: clock::now(),
                cpu_nanos: stats.cpu_nanos,
                memory_bytes: stats.memory_bytes,
                pids: stats.pids,
            };
            let before = run.keep_sample(&name, now);
            samples.push((name, now, before));
        }
        samples
    }

    /// Processor time in nanoseconds and memory in bytes of each running container of a task.
    pub async fn usage(&self, task: &str) -> Vec<(String, u64, u64)> {
        let mut used = Vec::new();
        if let Some(run) = self.run(task) {
            for (name, process) in run.processes() {
                if let Ok(stats) = process.stats().await {
                    used.push((name, stats.cpu_nanos, stats.memory_bytes));
                }
            }
        }
        used
    }

    /// The memory that a task may use, in bytes.
    pub fn memory_limit(&self, task: &Task) -> Option<u64> {
        self.limits(task).1
    }

    /// Units of processor (1024 a core) and bytes of memory that a task may use.
    pub fn limits(&self, task: &Task) -> (Option<u64>, Option<u64>) {
        self.ctx.driver.read(|world| {
            let definition = world.task_definition(&task.task_definition);
            definition.map_or((None, None), |it| {
                let limits = task_limits(&it.document, task);
                (limits.cpu_units, limits.memory_bytes)
            })
        })
    }
}
