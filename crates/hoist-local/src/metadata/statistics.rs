//! What containers use, in the form of Docker's statistics.

use hoist_fargate::Task;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::driver::{Crew, Sample};

/// Processor time of the whole machine since its start, in nanoseconds, and its number of processors.
fn machine() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut lines = text.lines();
    let ticks: u64 = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|it| it.parse::<u64>().ok())
        .sum();
    let processors = lines.take_while(|line| line.starts_with("cpu")).count();
    // A tick of /proc/stat is a hundredth of a second (proc_stat(5)).
    (ticks * 10_000_000, processors as u64)
}

fn shown(
    name: &str,
    id: Option<String>,
    limit: Option<u64>,
    now: Sample,
    before: Option<Sample>,
) -> Value {
    let (system, processors) = machine();
    let cpu = |sample: &Sample, system: u64| {
        json!({
            "cpu_usage": {
                "total_usage": sample.cpu_nanos,
                "percpu_usage": [],
                "usage_in_kernelmode": 0,
                "usage_in_usermode": sample.cpu_nanos,
            },
            "system_cpu_usage": system,
            "online_cpus": processors,
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        })
    };
    let earlier = before.unwrap_or_default();
    let passed = u64::try_from(now.at - earlier.at).unwrap_or(0);
    let system_before = match before {
        Some(_) => system.saturating_sub(passed * 1_000_000 * processors),
        None => 0,
    };
    json!({
        "read": clock::iso8601(now.at),
        "preread": clock::iso8601(earlier.at),
        "pids_stats": {"current": now.pids},
        "blkio_stats": {
            "io_service_bytes_recursive": [], "io_serviced_recursive": [], "io_queue_recursive": [], "io_service_time_recursive": [],
            "io_wait_time_recursive": [], "io_merged_recursive": [], "io_time_recursive": [], "sectors_recursive": [],
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(&now, system),
        "precpu_stats": cpu(&earlier, system_before),
        "memory_stats": {"usage": now.memory_bytes, "max_usage": now.memory_bytes, "stats": {}, "limit": limit},
        "name": name,
        "id": id,
    })
}

/// The statistics of one container; `null` while it does not run.
pub async fn container(crew: &Crew, task: &Task, name: &str) -> Value {
    let all = crew.sample(&task.arn).await;
    let Some((_, now, before)) = all.into_iter().find(|(it, ..)| it == name) else {
        return Value::Null;
    };
    shown(
        name,
        crew.runtime_id(&task.arn, name),
        crew.memory_limit(task),
        now,
        before,
    )
}

/// The statistics of all containers of a task, by their ids.
pub async fn task(crew: &Crew, task: &Task) -> Value {
    let mut out = Map::new();
    for (name, now, before) in crew.sample(&task.arn).await {
        if let Some(id) = crew.runtime_id(&task.arn, &name) {
            out.insert(
                id.clone(),
                shown(&name, Some(id), crew.memory_limit(task), now, before),
            );
        }
    }
    Value::Object(out)
}
