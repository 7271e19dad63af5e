//! How a service is deployed: percentages that can move, breaker, strategies.

use super::Findings;
use crate::node::Node;

pub(super) fn check(findings: &mut Findings, root: &Node) {
    let controller = root
        .get("deploymentController")
        .and_then(|controller| controller.get("type"));
    if let Some(node) = controller.filter(|node| node.as_str() == Some("EXTERNAL")) {
        let help = "write \"ECS\", or remove it";
        findings.error(
            "deployment-configuration",
            node.span,
            "hoist does not deploy services of an external controller",
            "",
            help,
        );
    }
    let Some(entry) = root.entry("deploymentConfiguration") else {
        return;
    };
    let configuration = &entry.value;
    percent(findings, root, configuration);
    breaker(findings, configuration);
    findings.range(
        "deployment-configuration",
        configuration,
        "bakeTimeInMinutes",
        0,
        1440,
        "minutes",
    );
    strategy(findings, configuration);
    if let Some(alarms) = configuration.get("alarms") {
        let on = alarms.get("enable").and_then(Node::as_bool) == Some(true);
        if let (true, Some(names)) = (
            on,
            alarms
                .get("alarmNames")
                .filter(|names| names.items().is_empty()),
        ) {
            let help = "name at least one, or set \"enable\": false";
            findings.error(
                "deployment-configuration",
                names.span,
                "deployment alarms are on, and none is named",
                "",
                help,
            );
        }
    }
}

fn percent(findings: &mut Findings, root: &Node, configuration: &Node) {
    let check = "deployment-percent";
    let minimum = match configuration.get("minimumHealthyPercent") {
        Some(_) => findings.range(
            check,
            configuration,
            "minimumHealthyPercent",
            0,
            100,
            "percent",
        ),
        None => Some(100),
    };
    let maximum = match configuration.get("maximumPercent") {
        Some(_) => findings.range(
            check,
            configuration,
            "maximumPercent",
            100,
            i64::MAX,
            "percent",
        ),
        None => Some(200),
    };
    let (Some(minimum), Some(maximum)) = (minimum, maximum) else {
        return;
    };
    // ECS refuses both together: developer guide, "Balancing an Amazon ECS service across Availability Zones".
    let rebalancing = root.get("availabilityZoneRebalancing");
    if let (Some(node), true) = (
        rebalancing.filter(|node| node.as_str() == Some("ENABLED")),
        maximum <= 100,
    ) {
        findings.error(
            check,
            node.span,
            format!("tasks cannot be balanced over zones where `maximumPercent` is {maximum}"),
            "",
            "write \"DISABLED\", or raise `maximumPercent` above 100",
        );
    }
    let rolling = configuration
        .get("strategy")
        .and_then(Node::as_str)
        .is_none_or(|strategy| strategy == "ROLLING");
    let count = root.get("desiredCount").and_then(Node::as_i64).unwrap_or(1);
    if !rolling || count < 1 {
        return;
    }
    // ECS rounds the minimum up and the maximum down.
    let least = (count * minimum + 99) / 100;
    let most = count * maximum / 100;
    if most > count || least < count {
        return;
    }
    let span = configuration
        .get("maximumPercent")
        .or_else(|| configuration.get("minimumHealthyPercent"))
        .map_or(configuration.span, |node| node.span);
    let message = format!("a deployment of {count} tasks can neither start nor stop one");
    let label = format!("at least {least} must run, at most {most} may");
    let needed = 100 + (100 + count - 1) / count;
    let help = if maximum == 100 {
        "raise `maximumPercent` to 200, or lower `minimumHealthyPercent`".to_owned()
    } else {
        format!(
            "raise `maximumPercent` to {needed} or more (it is rounded down), or lower `minimumHealthyPercent`"
        )
    };
    findings.error(check, span, message, &label, &help);
}

fn breaker(findings: &mut Findings, configuration: &Node) {
    let Some(breaker) = configuration.get("deploymentCircuitBreaker") else {
        return;
    };
    let enable = breaker.get("enable").and_then(Node::as_bool);
    let rollback = breaker.get("rollback");
    match (enable, rollback.and_then(Node::as_bool), rollback) {
        (Some(false), Some(true), Some(node)) => {
            let help = "set \"enable\": true";
            findings.warning(
                "circuit-breaker",
                node.span,
                "the circuit breaker is off, so it does not roll back",
                "",
                help,
            );
        }
        (Some(true), Some(false), Some(node)) => {
            let help = "set \"rollback\": true";
            findings.warning(
                "circuit-breaker",
                node.span,
                "a failed deployment is stopped but not rolled back",
                "",
                help,
            );
        }
        _ => {}
    }
    if let Some(threshold) = breaker.get("thresholdConfiguration") {
        let most = match threshold.get("type").and_then(Node::as_str) {
            Some("COUNT") => i64::MAX,
            _ => 100,
        };
        findings.range("circuit-breaker", threshold, "value", 1, most, "");
    }
}

fn strategy(findings: &mut Findings, configuration: &Node) {
    let check = "deployment-configuration";
    let strategy = configuration
        .get("strategy")
        .and_then(Node::as_str)
        .unwrap_or("ROLLING");
    for (key, wanted) in [
        ("linearConfiguration", "LINEAR"),
        ("canaryConfiguration", "CANARY"),
    ] {
        if let Some(entry) = configuration
            .entry(key)
            .filter(|_| configuration.get(key).is_some() && strategy != wanted)
        {
            let message =
                format!("`{key}` goes with the strategy {wanted}, and this is {strategy}");
            findings.error(
                check,
                entry.key_span,
                message,
                "",
                &format!("set \"strategy\": \"{wanted}\", or remove it"),
            );
        }
    }
    if let Some(linear) = configuration.get("linearConfiguration") {
        share(findings, linear, "stepPercent", 3.0);
        findings.range(check, linear, "stepBakeTimeInMinutes", 0, 1440, "minutes");
    }
    if let Some(canary) = configuration.get("canaryConfiguration") {
        share(findings, canary, "canaryPercent", 0.1);
        findings.range(check, canary, "canaryBakeTimeInMinutes", 0, 1440, "minutes");
    }
}

/// A percentage with a fraction, up to 100.
fn share(findings: &mut Findings, object: &Node, key: &str, from: f64) {
    let Some(node) = object.get(key) else { return };
    let crate::node::Kind::Number(number) = &node.kind else {
        return;
    };
    let value = number.as_f64().unwrap_or(f64::NAN);
    if !(from..=100.0).contains(&value) {
        let message = format!("`{key}` is {number}, and ECS takes {from:.1} to 100");
        findings.error(
            "deployment-configuration",
            node.span,
            message,
            &format!("expected {from:.1} to 100"),
            "",
        );
    }
}
