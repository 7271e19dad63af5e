//! How long a deployment is going to take, and which settings cost the time.

use serde::Serialize;
use serde_json::Value;

/// What AWS itself takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// From the wish for a task to its containers running: interface, placement, pull, start.
    pub start: u32,
    /// From the wish to stop to the task being gone.
    pub stop: u32,
    /// From the last old task to the deployment being completed.
    pub complete: u32,
    /// How long a task without any health check must run to count as healthy.
    pub unchecked: u32,
}

impl Pace {
    /// Medians of public logs of Fargate deployments, up to autumn 2026: pull after 18 s, pull 20 s, start 12 s; stop 45 s; completion 50 s.
    pub const FARGATE: Pace = Pace {
        start: 50,
        stop: 45,
        complete: 50,
        unchecked: 40,
    };
    /// The embedded AWS at its fast pace.
    pub const EMBEDDED: Pace = Pace {
        start: 1,
        stop: 1,
        complete: 0,
        unchecked: 1,
    };
}

/// A part of a deployment's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// What happens.
    pub what: &'static str,
    /// Seconds.
    pub seconds: u32,
    /// The setting that decides it, if a user's.
    pub setting: Option<String>,
    /// What could be set instead, where it is much.
    pub advice: Option<String>,
}

/// The expected parts of a deployment of `service` with `count` tasks. `group` is the target group (members of CreateTargetGroup) if
/// there is one, its `Attributes` included. Empty where nothing would be started.
pub fn estimate(
    service: &Value,
    definition: &Value,
    group: Option<&Value>,
    count: u32,
    pace: Pace,
) -> Vec<Part> {
    parts(service, definition, group, count, pace, true)
}

/// As [`estimate`], for a service that is created: all its tasks start at once, and none has to leave.
pub fn estimate_first(
    service: &Value,
    definition: &Value,
    group: Option<&Value>,
    count: u32,
    pace: Pace,
) -> Vec<Part> {
    parts(service, definition, group, count, pace, false)
}

fn parts(
    service: &Value,
    definition: &Value,
    group: Option<&Value>,
    count: u32,
    pace: Pace,
    replaces: bool,
) -> Vec<Part> {
    if count == 0 {
        return Vec::new();
    }
    let configuration = &service["deploymentConfiguration"];
    let number = |value: &Value| -> Option<u32> {
        match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
        }
    };
    let percent = |key: &str, default: u32| number(&configuration[key]).unwrap_or(default);
    let rolling = matches!(configuration["strategy"].as_str(), None | Some("ROLLING"));
    let (minimum, maximum) = (
        percent("minimumHealthyPercent", 100),
        percent("maximumPercent", 200),
    );
    let above = (count * maximum / 100).saturating_sub(count);
    let below = count - (count * minimum).div_ceil(100).min(count);
    let room = above.max(below);
    let batches = match (rolling && replaces, room) {
        (false, _) => 1,
        (true, 0) => return Vec::new(),
        (true, room) => count.div_ceil(room),
    };
    let mut parts = Vec::new();
    let mut add = |what, seconds: u32, setting: Option<String>, advice: Option<String>| {
        if seconds > 0 {
            parts.push(Part {
                what,
                seconds,
                setting,
                advice,
            });
        }
    };
    let waves = (batches > 1).then(|| {
        format!("minimumHealthyPercent {minimum} and maximumPercent {maximum}: {batches} batches")
    });
    let wider = (batches > 1).then(|| "maximumPercent 200 replaces all tasks at once".to_owned());
    add("tasks start", batches * pace.start, waves, wider);
    match group {
        Some(group) => {
            let interval = number(&group["HealthCheckIntervalSeconds"]).unwrap_or(30);
            let advice = (interval > 10).then(|| {
                format!(
                    "an interval of 5 s saves up to {} s",
                    batches * (interval - 5)
                )
            });
            let setting = format!("health check interval {interval} s");
            add(
                "first health check",
                batches * interval,
                Some(setting),
                advice,
            );
        }
        None => match slowest_check(definition) {
            Some(seconds) => {
                let setting = format!("container health check interval {seconds} s");
                add("first health check", batches * seconds, Some(setting), None);
            }
            None => add("counts as healthy", batches * pace.unchecked, None, None),
        },
    }
    if !replaces {
        add("ECS completes it", pace.complete, None, None);
        return parts;
    }
    for (what, member, seconds) in waits(configuration) {
        add(what, seconds, Some(member), None);
    }
    if let Some(group) = group {
        let delay = group["Attributes"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|attribute| attribute["Key"] == "deregistration_delay.timeout_seconds")
            .and_then(|attribute| number(&attribute["Value"]))
            .unwrap_or(300);
        let advice =
            (delay > 30).then(|| format!("a delay of 10 s saves {} s", batches * (delay - 10)));
        let setting = format!("deregistration delay {delay} s");
        add(
            "open requests drain",
            batches * delay,
            Some(setting),
            advice,
        );
    }
    add("old tasks stop", batches * pace.stop, None, None);
    add("ECS completes it", pace.complete, None, None);
    parts
}

/// Interval of the slowest container health check.
fn slowest_check(definition: &Value) -> Option<u32> {
    definition["containerDefinitions"]
        .as_array()?
        .iter()
        .filter(|container| container["healthCheck"].is_object())
        .map(|container| {
            container["healthCheck"]["interval"]
                .as_u64()
                .and_then(|seconds| u32::try_from(seconds).ok())
                .unwrap_or(30)
        })
        .max()
}

/// Bake times and steps that the deployment configuration asks for.
fn waits(configuration: &Value) -> Vec<(&'static str, String, u32)> {
    let minutes = |value: &Value, default: f64| value.as_f64().unwrap_or(default);
    let mut waits = Vec::new();
    match configuration["strategy"].as_str() {
        Some("LINEAR") => {
            let linear = &configuration["linearConfiguration"];
            let step = minutes(&linear["stepPercent"], 10.0).clamp(3.0, 100.0);
            let bake = minutes(&linear["stepBakeTimeInMinutes"], 6.0);
            let steps = (100.0 / step).ceil() - 1.0;
            waits.push((
                "traffic moves in steps",
                format!("steps of {step} % with {bake} min between"),
                (steps * bake * 60.0) as u32,
            ));
        }
        Some("CANARY") => {
            let canary = &configuration["canaryConfiguration"];
            let bake = minutes(&canary["canaryBakeTimeInMinutes"], 10.0);
            waits.push((
                "the canary is watched",
                format!("canary bake time {bake} min"),
                (bake * 60.0) as u32,
            ));
        }
        _ => {}
    }
    let bake = minutes(&configuration["bakeTimeInMinutes"], 0.0);
    waits.push((
        "both revisions stay",
        format!("bake time {bake} min"),
        (bake * 60.0) as u32,
    ));
    waits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn total(parts: &[Part]) -> u32 {
        parts.iter().map(|part| part.seconds).sum()
    }

    #[test]
    fn the_defaults_of_aws_take_minutes_and_quick_settings_do_not() {
        let group = json!({ "HealthCheckIntervalSeconds": 30 });
        let slow = estimate(&json!({}), &json!({}), Some(&group), 1, Pace::FARGATE);
        assert_eq!(total(&slow), 50 + 30 + 300 + 45 + 50);
        assert_eq!(
            slow[2].advice.as_deref(),
            Some("a delay of 10 s saves 290 s")
        );
        // A whole deployment with quick settings was seen to take 153 to 173 s.
        let quick = json!({ "HealthCheckIntervalSeconds": "5",
            "Attributes": [{ "Key": "deregistration_delay.timeout_seconds", "Value": "10" }] });
        let quick = estimate(&json!({}), &json!({}), Some(&quick), 1, Pace::FARGATE);
        assert!((150..=175).contains(&total(&quick)), "{quick:?}");
    }

    #[test]
    fn little_room_makes_batches_and_none_makes_nothing() {
        let service =
            |maximum: u32| json!({ "deploymentConfiguration": { "maximumPercent": maximum } });
        let parts = estimate(&service(150), &json!({}), None, 4, Pace::FARGATE);
        assert_eq!(parts[0].seconds, 2 * Pace::FARGATE.start);
        assert!(
            parts[0]
                .setting
                .as_deref()
                .is_some_and(|text| text.ends_with("2 batches"))
        );
        assert!(estimate(&service(125), &json!({}), None, 3, Pace::FARGATE).is_empty());
        assert!(estimate(&service(200), &json!({}), None, 0, Pace::FARGATE).is_empty());
    }

    #[test]
    fn bakes_and_steps_are_counted() {
        let linear = json!({ "deploymentConfiguration": { "strategy": "LINEAR", "bakeTimeInMinutes": 5,
            "linearConfiguration": { "stepPercent": 25.0, "stepBakeTimeInMinutes": 2 } } });
        let parts = estimate(&linear, &json!({}), None, 2, Pace::EMBEDDED);
        let seconds = |what: &str| {
            parts
                .iter()
                .find(|part| part.what == what)
                .map(|part| part.seconds)
        };
        assert_eq!(seconds("traffic moves in steps"), Some(360));
        assert_eq!(seconds("both revisions stay"), Some(300));
        let checked = json!({ "containerDefinitions": [{ "healthCheck": { "command": ["CMD", "x"], "interval": 15 } }] });
        let parts = estimate(&json!({}), &checked, None, 1, Pace::FARGATE);
        assert_eq!(parts[1].seconds, 15);
    }

    #[test]
    fn a_service_that_is_created_waits_for_no_old_task() {
        let group = json!({ "HealthCheckIntervalSeconds": "5" });
        let service =
            json!({ "deploymentConfiguration": { "maximumPercent": 125, "bakeTimeInMinutes": 5 } });
        let parts = estimate_first(&service, &json!({}), Some(&group), 3, Pace::FARGATE);
        let whats: Vec<&str> = parts.iter().map(|part| part.what).collect();
        assert_eq!(
            whats,
            ["tasks start", "first health check", "ECS completes it"]
        );
        assert_eq!(parts[1].seconds, 5);
    }
}
