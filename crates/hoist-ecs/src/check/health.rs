//! The container's own health check.

use super::Findings;
use super::task::containers;
use crate::node::Node;

pub(super) fn check(findings: &mut Findings, root: &Node) {
    for health in containers(root)
        .iter()
        .filter_map(|container| container.get("healthCheck"))
    {
        command(findings, health);
        // HealthCheck of the ECS API reference: 5-300, 2-60, 1-10, 0-300.
        let interval = findings.range("health-check", health, "interval", 5, 300, "seconds");
        let timeout = findings.range("health-check", health, "timeout", 2, 60, "seconds");
        findings.range("health-check", health, "retries", 1, 10, "");
        findings.range("health-check", health, "startPeriod", 0, 300, "seconds");
        if let (Some(timeout), Some(node)) = (timeout, health.get("timeout"))
            && timeout > interval.unwrap_or(30)
        {
            let interval = interval.unwrap_or(30);
            let message =
                format!("a check may take {timeout} s, and the next one is due after {interval} s");
            findings.warning(
                "health-check",
                node.span,
                message,
                "",
                "let `timeout` be below `interval`",
            );
        }
    }
}

fn command(findings: &mut Findings, health: &Node) {
    let Some(command) = health.get("command") else {
        return;
    };
    let help = "write [\"CMD-SHELL\", \"curl -f http://127.0.0.1:8080/ || exit 1\"] or [\"CMD\", \"program\", \"argument\"]";
    let Some(first) = command.items().first() else {
        if matches!(command.kind, crate::node::Kind::Array(_)) {
            findings.error(
                "health-check",
                command.span,
                "the command of the health check is empty",
                "",
                help,
            );
        }
        return;
    };
    match (first.as_str(), command.items().len()) {
        (Some("CMD" | "CMD-SHELL"), 1) => {
            findings.error(
                "health-check",
                command.span,
                "the health check has nothing to run",
                "",
                help,
            );
        }
        (Some("CMD-SHELL"), 2..) if command.items().len() > 2 => findings.warning(
            "health-check",
            command.items()[2].span,
            "after `CMD-SHELL` only one line is run",
            "this is the shell's `$0`",
            "write the whole line as one string",
        ),
        (Some("CMD" | "CMD-SHELL" | "NONE"), _) | (None, _) => {}
        (Some(other), _) => {
            let message = format!(
                "a health check begins with `CMD` or `CMD-SHELL`, and this begins with `{other}`"
            );
            findings.error("health-check", first.span, message, "", help);
        }
    }
}
