//! Room to move, with the number of tasks that there are now.

use hoist_aws::read;

use super::{Check, Look, Outcome, Scene, Subject, error};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "moving-room",
    sentence: "Minimum and maximum percent let the tasks that there are now be replaced",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(_: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let mut findings = Vec::new();
        let configuration = &subject.service["deploymentConfiguration"];
        let rolling = configuration["strategy"]
            .as_str()
            .is_none_or(|name| name == "ROLLING");
        let percent = |key: &str, default: i64| read::number(configuration, key).unwrap_or(default);
        let count = read::number(&subject.service, "desiredCount").unwrap_or(1);
        let (minimum, maximum) = (
            percent("minimumHealthyPercent", 100),
            percent("maximumPercent", 200),
        );
        // What an update leaves out stays, and ECS refuses the two together (developer guide, "Balancing an Amazon ECS service across
        // Availability Zones"). New services balance where they can, since September 2025.
        let balances = |service: &serde_json::Value| {
            service["availabilityZoneRebalancing"]
                .as_str()
                .map(|word| word == "ENABLED")
        };
        let kept = subject.live.as_ref().and_then(balances);
        if balances(&subject.service).or(kept) == Some(true) && maximum <= 100 {
            findings.push(error(
                format!("the service balances its tasks over Availability Zones, which ECS refuses with {maximum} % at most"),
                "set `availabilityZoneRebalancing` to DISABLED in the service definition, or raise `maximumPercent` above 100".to_owned(),
            ));
        }
        // ECS rounds the minimum up and the maximum down.
        let least = (count * minimum + 99) / 100;
        let most = count * maximum / 100;
        if rolling && count > 0 && most <= count && least >= count {
            findings.push(error(
                format!(
                    "with {count} tasks, {minimum} % at least and {maximum} % at most no task could be started and none stopped"
                ),
                format!(
                    "set `maximumPercent` to {} or more",
                    (100 * (count + 1) + count - 1) / count
                ),
            ));
        }
        Ok(findings)
    })
}
