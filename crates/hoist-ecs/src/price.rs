//! What tasks cost on Fargate.

use serde_json::Value;

use crate::fargate::{Architecture, Size};
use crate::size;

/// Hours that AWS counts to a month in its price pages.
pub const HOURS_PER_MONTH: f64 = 730.0;

/// GiB of ephemeral storage that every task has without paying for it.
const FREE_STORAGE: u32 = 20;

/// Prices of Fargate on Linux in US dollars. Billed by the second, one minute at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// One vCPU for an hour.
    pub vcpu_hour: f64,
    /// One GB of memory for an hour.
    pub gb_hour: f64,
    /// One GB of ephemeral storage beyond the first 20, for an hour.
    pub storage_gb_hour: f64,
}

/// A region's prices of a vCPU and of a GB for an hour: x86, ARM. AWS changes them rarely; read in autumn 2026 from
/// <https://aws.amazon.com/fargate/pricing/> and its public copies.
const REGIONS: [(&str, [f64; 2], [f64; 2]); 5] = [
    ("us-east-1", [0.04048, 0.004_445], [0.03238, 0.003_56]),
    ("us-east-2", [0.04048, 0.004_445], [0.03238, 0.003_56]),
    ("us-west-2", [0.04048, 0.004_445], [0.03238, 0.003_56]),
    ("ap-southeast-2", [0.04856, 0.005_32], [0.03885, 0.004_26]),
    ("sa-east-1", [0.0696, 0.0076], [0.0557, 0.006_12]),
];

/// One GB of ephemeral storage for an hour, in us-east-1.
const STORAGE: f64 = 0.000_111;

impl Prices {
    /// On-demand prices of a region; `None` where this table has none.
    pub fn of_region(region: &str, architecture: Architecture) -> Option<Self> {
        let (_, x86, arm) = REGIONS.iter().find(|(name, ..)| *name == region)?;
        let [vcpu_hour, gb_hour] = *match architecture {
            Architecture::X86_64 => x86,
            Architecture::Arm64 => arm,
        };
        Some(Self {
            vcpu_hour,
            gb_hour,
            storage_gb_hour: STORAGE,
        })
    }

    /// What one task of this size costs in an hour. `storage` is the ephemeral storage in GiB; 20 are free.
    pub fn per_hour(&self, size: Size, storage: u32) -> f64 {
        let storage = f64::from(storage.saturating_sub(FREE_STORAGE));
        self.vcpu_hour * size.vcpus()
            + self.gb_hour * size.gigabytes()
            + self.storage_gb_hour * storage
    }
}

/// What the configuration says of prices.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// One vCPU for an hour, instead of the table's.
    pub vcpu_hour: Option<f64>,
    /// One GB for an hour, instead of the table's.
    pub gb_hour: Option<f64>,
    /// What part of the on-demand price a task on FARGATE_SPOT costs, 0 to 1. It floats, so only the user can say it.
    pub spot: Option<f64>,
}

/// What a service costs in a month of [`HOURS_PER_MONTH`], if its tasks always run.
#[derive(Debug, Clone, PartialEq)]
pub struct Bill {
    /// US dollars.
    pub dollars: f64,
    /// What the number rests on, where that is not the region's published price.
    pub notes: Vec<String>,
}

/// What `count` tasks of a task definition cost in a month; `service` has the launch type or the capacity providers. `None` for a task
/// definition without a size.
pub fn monthly(
    definition: &Value,
    service: &Value,
    count: u32,
    region: &str,
    rates: &Rates,
) -> Option<Bill> {
    let text = |key: &str| match &definition[key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let size = Size {
        cpu: size::cpu_units(&text("cpu")?)?,
        memory: size::memory_mib(&text("memory")?)?,
    };
    let architecture = match definition["runtimePlatform"]["cpuArchitecture"].as_str() {
        Some("ARM64") => Architecture::Arm64,
        _ => Architecture::X86_64,
    };
    let storage = definition["ephemeralStorage"]["sizeInGiB"]
        .as_u64()
        .and_then(|gib| u32::try_from(gib).ok())
        .unwrap_or(FREE_STORAGE);
    let mut notes = Vec::new();
    let mut prices = match Prices::of_region(region, architecture) {
        Some(prices) => prices,
        None => {
            if rates.vcpu_hour.is_none() || rates.gb_hour.is_none() {
                notes.push(format!(
                    "at the prices of us-east-1: those of {region} are not known; `prices` in hoist.yaml sets them"
                ));
            }
            Prices::of_region("us-east-1", architecture)?
        }
    };
    prices.vcpu_hour = rates.vcpu_hour.unwrap_or(prices.vcpu_hour);
    prices.gb_hour = rates.gb_hour.unwrap_or(prices.gb_hour);
    let on_spot = spot_tasks(&service["capacityProviderStrategy"], count);
    let spot = match (on_spot, rates.spot) {
        (0, _) => 1.0,
        (_, Some(share)) => share,
        (_, None) => {
            notes.push(format!(
                "{on_spot} tasks on FARGATE_SPOT counted at the full price; `prices: {{ spot: 0.3 }}` in hoist.yaml says what they cost"
            ));
            1.0
        }
    };
    let tasks = f64::from(count - on_spot) + f64::from(on_spot) * spot;
    Some(Bill {
        dollars: tasks * prices.per_hour(size, storage) * HOURS_PER_MONTH,
        notes,
    })
}

/// How many of `count` tasks a strategy puts on FARGATE_SPOT: the bases first, the rest by weight.
fn spot_tasks(strategy: &Value, count: u32) -> u32 {
    let providers: Vec<(bool, u64, u64)> = strategy
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let number = |key: &str| item[key].as_u64().unwrap_or(0);
            (
                item["capacityProvider"] == "FARGATE_SPOT",
                number("base"),
                number("weight"),
            )
        })
        .collect();
    let sum = |of_spot: bool, pick: fn(&(bool, u64, u64)) -> u64| -> u64 {
        providers
            .iter()
            .filter(|provider| provider.0 || !of_spot)
            .map(pick)
            .sum()
    };
    let count = u64::from(count);
    let (bases, base) = (sum(false, |one| one.1), sum(true, |one| one.1));
    let (weights, weight) = (sum(false, |one| one.2), sum(true, |one| one.2));
    if bases >= count {
        return u32::try_from(base.min(count)).unwrap_or(0);
    }
    let rest = count - bases;
    let by_weight = (rest * weight).checked_div(weights).unwrap_or(0);
    u32::try_from(base + by_weight).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dollars(definition: &Value, service: &Value, count: u32, rates: Rates) -> f64 {
        monthly(definition, service, count, "us-east-1", &rates)
            .unwrap()
            .dollars
    }

    #[test]
    fn a_quarter_vcpu_costs_about_nine_dollars_a_month() {
        let x86 = json!({ "cpu": "256", "memory": "512" });
        let arm = json!({ "cpu": ".25 vCPU", "memory": "0.5 GB", "runtimePlatform": { "cpuArchitecture": "ARM64" } });
        let plain = Rates::default();
        assert!((dollars(&x86, &Value::Null, 1, plain) - 9.01).abs() < 0.005);
        assert!((dollars(&x86, &Value::Null, 2, plain) - 18.02).abs() < 0.01);
        assert!((dollars(&arm, &Value::Null, 1, plain) - 7.21).abs() < 0.005);
        let mut large = x86.clone();
        large["ephemeralStorage"] = json!({ "sizeInGiB": 30 });
        let more = dollars(&large, &Value::Null, 1, plain) - dollars(&x86, &Value::Null, 1, plain);
        assert!((more - 0.00111 * HOURS_PER_MONTH).abs() < 1e-9);
        assert!(monthly(&json!({}), &Value::Null, 1, "us-east-1", &plain).is_none());
    }

    #[test]
    fn spot_counts_by_base_and_weight_at_what_the_user_says() {
        let strategy = |base: u64| {
            json!([
                { "capacityProvider": "FARGATE", "base": base, "weight": 1 },
                { "capacityProvider": "FARGATE_SPOT", "weight": 3 },
            ])
        };
        assert_eq!(spot_tasks(&strategy(2), 10), 6);
        assert_eq!(spot_tasks(&strategy(2), 1), 0);
        assert_eq!(
            spot_tasks(
                &json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }]),
                5
            ),
            5
        );
        assert_eq!(spot_tasks(&Value::Null, 5), 0);
        let task = json!({ "cpu": "1024", "memory": "2048" });
        let service = json!({ "capacityProviderStrategy": strategy(0) });
        let half = Rates {
            spot: Some(0.5),
            ..Rates::default()
        };
        let (full, spot) = (
            dollars(&task, &service, 4, Rates::default()),
            dollars(&task, &service, 4, half),
        );
        assert!((spot / full - 2.5 / 4.0).abs() < 1e-9);
        let bill = monthly(&task, &service, 4, "us-east-1", &Rates::default()).unwrap();
        assert!(
            bill.notes[0].contains("3 tasks on FARGATE_SPOT"),
            "{:?}",
            bill.notes
        );
    }

    #[test]
    fn a_region_that_is_not_in_the_table_is_said() {
        let task = json!({ "cpu": "1024", "memory": "2048" });
        let bill = monthly(&task, &Value::Null, 1, "mars-north-1", &Rates::default()).unwrap();
        assert!(bill.notes[0].contains("mars-north-1"));
        let own = Rates {
            vcpu_hour: Some(1.0),
            gb_hour: Some(0.5),
            spot: None,
        };
        let bill = monthly(&task, &Value::Null, 1, "mars-north-1", &own).unwrap();
        assert!(bill.notes.is_empty() && (bill.dollars - 2.0 * HOURS_PER_MONTH).abs() < 1e-9);
    }
}
