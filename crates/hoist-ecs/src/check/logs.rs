//! Log configuration.

use super::Findings;
use super::task::containers;
use crate::node::Node;
use crate::suggest;

/// Options of the awslogs driver (AWS documentation, "Send Amazon ECS logs to CloudWatch").
const AWSLOGS: [&str; 10] = [
    "awslogs-group",
    "awslogs-region",
    "awslogs-stream-prefix",
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-multiline-pattern",
    "awslogs-endpoint",
    "awslogs-credentials-endpoint",
    "mode",
    "max-buffer-size",
];

/// Log drivers that Fargate has.
const DRIVERS: [&str; 3] = ["awslogs", "splunk", "awsfirelens"];

pub(super) fn check(findings: &mut Findings, root: &Node) {
    let all = containers(root);
    for container in all {
        let Some(log) = container.get("logConfiguration") else {
            continue;
        };
        let Some(driver) = log.get("logDriver") else {
            continue;
        };
        match driver.as_str() {
            Some("awslogs") => awslogs(findings, log, driver),
            Some("awsfirelens")
                if all
                    .iter()
                    .all(|other| other.get("firelensConfiguration").is_none()) =>
            {
                let help = "add a container with `firelensConfiguration`, such as the image of aws-for-fluent-bit";
                findings.error(
                    "log-options",
                    driver.span,
                    "no container routes logs for awsfirelens",
                    "",
                    help,
                );
            }
            Some(other) if !DRIVERS.contains(&other) => {
                let message = format!("Fargate does not have the log driver `{other}`");
                findings.error(
                    "log-options",
                    driver.span,
                    message,
                    "",
                    "it has awslogs, splunk and awsfirelens",
                );
            }
            _ => {}
        }
    }
}

fn awslogs(findings: &mut Findings, log: &Node, driver: &Node) {
    let options = log.get("options");
    for (key, example) in [
        ("awslogs-group", "/ecs/web"),
        ("awslogs-region", "eu-central-1"),
        ("awslogs-stream-prefix", "web"),
    ] {
        let value = options.and_then(|options| options.get(key));
        match value {
            None => {
                let span = log
                    .entry("options")
                    .map_or(driver.span, |entry| entry.key_span);
                let help = format!("add \"{key}\": \"{example}\" to the options");
                findings.error(
                    "log-options",
                    span,
                    format!("awslogs on Fargate needs `{key}`"),
                    &format!("needs `{key}`"),
                    &help,
                );
            }
            Some(value) if value.as_str() == Some("") => {
                findings.error(
                    "log-options",
                    value.span,
                    format!("`{key}` is empty"),
                    "",
                    &format!("write \"{example}\""),
                );
            }
            _ => {}
        }
    }
    let Some(options) = options else { return };
    for entry in options.entries() {
        if !AWSLOGS.contains(&entry.key.as_str()) {
            let help = match suggest::nearest(&entry.key, AWSLOGS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "ECS refuses options that the driver does not have".to_owned(),
            };
            findings.warning(
                "log-options",
                entry.key_span,
                format!("awslogs is not known to have an option `{}`", entry.key),
                "",
                &help,
            );
        }
    }
    if let Some(group) = options.get("awslogs-group") {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
        let name = group.as_str().unwrap_or_default();
        if name.len() > 512 || !name.chars().all(fits) {
            let help = "use 1 to 512 letters, digits and . _ - / #";
            findings.error(
                "log-options",
                group.span,
                format!("`{name}` cannot name a log group"),
                "",
                help,
            );
        }
    }
    let mode = options.get("mode");
    if let Some(node) = mode.filter(|mode| {
        mode.as_str()
            .is_some_and(|mode| mode != "blocking" && mode != "non-blocking")
    }) {
        findings.error(
            "log-options",
            node.span,
            "`mode` is `blocking` or `non-blocking`",
            "",
            "write \"non-blocking\", or remove it: that is the default",
        );
    }
    if let (Some(size), Some("blocking")) = (
        options.entry("max-buffer-size"),
        mode.and_then(Node::as_str),
    ) {
        let help = "remove it, or set \"mode\": \"non-blocking\"";
        findings.warning(
            "log-options",
            size.key_span,
            "a buffer size has no effect in blocking mode",
            "",
            help,
        );
    }
}
