use serde_json::{Value, json};

use super::filter::filter;
use crate::api::{ApiError, Call};

/// Regions that are on without asking for them. Every other name works as well; this list is only what DescribeRegions shows.
const REGIONS: [&str; 17] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// The zones of a region: two.
pub fn zones(region: &str) -> [String; 2] {
    ["a", "b"].map(|letter| format!("{region}{letter}"))
}

/// The id of a zone, such as `use1-az1` of `us-east-1a`.
pub fn zone_id(zone: &str) -> String {
    let (region, letter) = zone.split_at(zone.len().saturating_sub(1));
    let number = letter
        .bytes()
        .next()
        .map_or(1, |b| b.saturating_sub(b'a') + 1);
    let mut short = String::new();
    for part in region.split('-') {
        match part {
            "northeast" => short.push_str("ne"),
            "northwest" => short.push_str("nw"),
            "southeast" => short.push_str("se"),
            "southwest" => short.push_str("sw"),
            part if part.len() <= 2 => short.push_str(part),
            part => short.extend(part.chars().take(1)),
        }
    }
    format!("{short}-az{number}")
}

pub fn describe_zones(call: &Call) -> Result<Value, ApiError> {
    let region = &call.region;
    let shown = |zone: &String| {
        json!({
            "zoneName": zone,
            "zoneState": "available",
            "regionName": region,
            "messageSet": [],
            "zoneId": zone_id(zone),
            "groupName": format!("{region}-1"),
            "networkBorderGroup": region,
            "optInStatus": "opt-in-not-required",
            "zoneType": "availability-zone",
        })
    };
    let mut found: Vec<Value> = zones(region).iter().map(shown).collect();
    for (parameter, member) in [("ZoneName", "zoneName"), ("ZoneId", "zoneId")] {
        for asked in call.strings(parameter) {
            if !found.iter().any(|zone| zone[member] == asked) {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("Invalid availability zone: [{asked}]"),
                ));
            }
        }
        let asked = call.strings(parameter);
        found.retain(|zone| asked.is_empty() || asked.iter().any(|asked| zone[member] == *asked));
    }
    let paths = &[
        ("zone-name", "zoneName"),
        ("zone-id", "zoneId"),
        ("state", "zoneState"),
        ("region-name", "regionName"),
        ("group-name", "groupName"),
        ("zone-type", "zoneType"),
        ("opt-in-status", "optInStatus"),
    ];
    filter(call, &mut found, paths)?;
    Ok(json!({"availabilityZoneInfo": found}))
}

pub fn describe_regions(call: &Call) -> Result<Value, ApiError> {
    let mut names: Vec<&str> = REGIONS.to_vec();
    if !names.contains(&call.region.as_str()) {
        names.push(&call.region);
    }
    let shown = |name: &&str| {
        json!({
            "regionName": name,
            "regionEndpoint": format!("ec2.{name}.amazonaws.com"),
            "optInStatus": "opt-in-not-required",
        })
    };
    let mut found: Vec<Value> = names.iter().map(shown).collect();
    let asked = call.strings("RegionName");
    found.retain(|region| {
        asked.is_empty() || asked.iter().any(|asked| region["regionName"] == *asked)
    });
    let paths = &[
        ("region-name", "regionName"),
        ("endpoint", "regionEndpoint"),
        ("opt-in-status", "optInStatus"),
    ];
    filter(call, &mut found, paths)?;
    Ok(json!({"regionInfo": found}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_the_short_forms() {
        let ids: Vec<_> = [
            "us-east-1a",
            "eu-central-1b",
            "ap-southeast-2a",
            "us-gov-west-1a",
        ]
        .map(zone_id)
        .into();
        assert_eq!(ids, ["use1-az1", "euc1-az2", "apse2-az1", "usgw1-az1"]);
    }
}
