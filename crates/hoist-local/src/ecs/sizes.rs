//! The sizes of Fargate tasks.
//!
//! Source: "Task CPU and memory" in the Amazon ECS Developer Guide. 32 vCPU was refused by the real service on 2026-08-15.

/// Reads a task's `cpu`: `256`, `.25 vCPU`, `1 vcpu`. CPU units.
pub fn cpu(text: &str) -> Option<u64> {
    scaled(text, "vcpu")
}

/// Reads a task's `memory`: `512`, `0.5 GB`, `1gb`. MiB.
pub fn memory(text: &str) -> Option<u64> {
    scaled(text, "gb")
}

fn scaled(text: &str, unit: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(number) = text.strip_suffix(unit) {
        let number: f64 = number.trim().parse().ok()?;
        let scaled = number * 1024.0;
        return (scaled.is_finite() && (1.0..1e9).contains(&scaled))
            .then_some(scaled.round() as u64);
    }
    text.parse().ok()
}

/// Whether Fargate has tasks of that many CPU units and that much memory (MiB).
pub fn exists(cpu: u64, memory: u64) -> bool {
    const GB: u64 = 1024;
    let steps = |low: u64, high: u64, step: u64| {
        (low * GB..=high * GB).contains(&memory) && (memory - low * GB).is_multiple_of(step * GB)
    };
    match cpu {
        256 => [512, GB, 2 * GB].contains(&memory),
        512 => steps(1, 4, 1),
        1024 => steps(2, 8, 1),
        2048 => steps(4, 16, 1),
        4096 => steps(8, 30, 1),
        8192 => steps(16, 60, 4),
        16384 => steps(32, 120, 8),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_74_sizes() {
        let mut count = 0;
        for cpu in [256, 512, 1024, 2048, 4096, 8192, 16384] {
            count += (1..=130 * 1024)
                .filter(|memory| exists(cpu, *memory))
                .count();
        }
        assert_eq!(count, 74);
        assert!(!exists(32768, 65536));
        assert!(!exists(256, 4096));
    }

    #[test]
    fn units_are_read_in_either_form() {
        assert_eq!(cpu(".25 vCPU"), Some(256));
        assert_eq!(cpu("1024"), Some(1024));
        assert_eq!(memory("0.5GB"), Some(512));
        assert_eq!(memory("2 gb"), Some(2048));
        assert_eq!(memory("much"), None);
        assert_eq!(cpu("nan vcpu"), None);
    }
}
