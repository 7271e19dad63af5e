//! Durations and sizes as people read them.

/// `850 ms`, `1.2 s`, `2 min 5 s`.
pub fn human_duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

/// `512 B`, `2.0 KiB`, `3.4 MiB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_at_their_borders() {
        assert_eq!(human_duration(999), "999 ms");
        assert_eq!(human_duration(59_999), "59.9 s");
        assert_eq!(human_duration(125_000), "2 min 5 s");
        assert_eq!(human_size(1_023), "1023 B");
        assert_eq!(human_size(1_048_576), "1.0 MiB");
        assert_eq!(human_size(3_565_158), "3.3 MiB");
    }
}
