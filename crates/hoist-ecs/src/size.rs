//! How `cpu` and `memory` of a task may be written.

/// CPU units of `"256"`, `"1 vCPU"`, `".5 vcpu"`.
///
/// RegisterTaskDefinition takes both forms and reads back the number of units.
pub(crate) fn cpu_units(text: &str) -> Option<u32> {
    scaled(text, "vcpu", 1024.0)
}

/// MiB of `"512"`, `"0.5 GB"`, `"1GB"`.
pub(crate) fn memory_mib(text: &str) -> Option<u32> {
    scaled(text, "gb", 1024.0)
}

fn scaled(text: &str, unit: &str, factor: f64) -> Option<u32> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some(number) = lower.strip_suffix(unit) {
        let number: f64 = number.trim().parse().ok()?;
        let scaled = number * factor;
        return (scaled >= 0.0 && scaled <= f64::from(u32::MAX) && scaled.fract() == 0.0)
            .then_some(scaled as u32);
    }
    lower
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| lower.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        assert_eq!(cpu_units("256"), Some(256));
        assert_eq!(cpu_units("1 vCPU"), Some(1024));
        assert_eq!(cpu_units(".25vcpu"), Some(256));
        assert_eq!(memory_mib("0.5 GB"), Some(512));
        assert_eq!(memory_mib("30GB"), Some(30720));
        assert_eq!(memory_mib("512m"), None);
        assert_eq!(cpu_units(""), None);
        assert_eq!(cpu_units("-1"), None);
        assert_eq!(cpu_units("99999999999"), None);
    }
}
