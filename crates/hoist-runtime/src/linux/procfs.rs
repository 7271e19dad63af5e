//! Figures from `/proc`, for containers without a control group.

use std::fs;
use std::io;

use crate::Stats;

/// What all processes in the process id namespace of `pid` use together.
pub(crate) fn stats_of_namespace(pid: u32) -> io::Result<Stats> {
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid"))?;
    let mut stats = Stats::default();
    // SAFETY: both take a constant and return a number.
    let (ticks, page) = unsafe {
        (
            libc::sysconf(libc::_SC_CLK_TCK),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    let (ticks, page) = (ticks.max(1) as u64, page.max(1) as u64);
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        if fs::read_link(path.join("ns/pid")).ok().as_ref() != Some(&namespace) {
            continue;
        }
        // A process that ends meanwhile is no longer counted.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else {
            continue;
        };
        // After the name, which may hold anything: proc(5), fields 14 and 15 (ticks), 20 (threads) and 24 (pages).
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_whitespace()
                    .map(|field| field.parse().unwrap_or(0))
                    .collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        stats.cpu_nanos += (field(14) + field(15)) * (1_000_000_000 / ticks);
        stats.memory_bytes += field(24) * page;
        stats.pids += field(20);
    }
    Ok(stats)
}
