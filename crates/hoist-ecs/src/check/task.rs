//! The task as a whole: family, size, compatibility, network, roles, platform.

use super::{Findings, opening};
use crate::fargate::{self, Size};
use crate::node::Node;
use crate::size::{cpu_units, memory_mib};

/// RegisterTaskDefinition's limit: 64 KB (AWS documentation, "Amazon ECS service quotas").
const LIMIT: usize = 64 * 1024;

pub(super) fn check(findings: &mut Findings, root: &Node) {
    family(findings, root);
    size(findings, root);
    compatibilities(findings, root);
    network_mode(findings, root);
    not_on_fargate(findings, root);
    execution_role(findings, root);
    platform(findings, root);
    let bytes = findings.document.value().to_string().len();
    if bytes > LIMIT {
        let message = format!("the task definition is {bytes} bytes long, and ECS takes {LIMIT}");
        findings.error(
            "document-size",
            opening(root),
            message,
            "",
            "move environment variables to `environmentFiles`, and configuration into the image",
        );
    }
}

fn family(findings: &mut Findings, root: &Node) {
    let Some(node) = root.get("family") else {
        return;
    };
    let Some(family) = node.as_str() else { return };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if family.is_empty() || family.len() > 255 || !family.bytes().all(fits) {
        let message = format!("`{family}` cannot name a family");
        findings.error(
            "family",
            node.span,
            message,
            "",
            "use 1 to 255 letters, digits, hyphens and underscores",
        );
    }
}

fn size(findings: &mut Findings, root: &Node) {
    for (key, example) in [("cpu", "\"256\""), ("memory", "\"512\"")] {
        if root.get(key).is_none() {
            let message = format!("Fargate requires that `{key}` be defined at the task level");
            findings.error(
                "fargate-size",
                opening(root),
                message,
                &format!("needs `{key}`"),
                &format!("add \"{key}\": {example}"),
            );
        }
    }
    let (Some(cpu_node), Some(memory_node)) = (root.get("cpu"), root.get("memory")) else {
        return;
    };
    let (Some(cpu_text), Some(memory_text)) = (cpu_node.as_str(), memory_node.as_str()) else {
        return;
    };
    let Some(cpu) = cpu_units(cpu_text) else {
        let message = format!("`{cpu_text}` is no number of CPU units");
        return findings.error(
            "fargate-size",
            cpu_node.span,
            message,
            "",
            "write \"256\" or \"0.25 vCPU\"",
        );
    };
    let Some(memory) = memory_mib(memory_text) else {
        let message = format!("`{memory_text}` is no amount of memory");
        return findings.error(
            "fargate-size",
            memory_node.span,
            message,
            "",
            "write \"512\" (MiB) or \"0.5 GB\"",
        );
    };
    let size = Size { cpu, memory };
    if size.is_valid() {
        return;
    }
    let near: Vec<String> = size
        .neighbours()
        .iter()
        .map(|size| format!("\"{}\" with \"{}\"", size.cpu, size.memory))
        .collect();
    let near = format!("near it are {}", near.join(", "));
    if fargate::memory_sizes(cpu).is_empty() {
        let known: Vec<String> = fargate::CPU_UNITS.iter().map(u32::to_string).collect();
        let message = format!("Fargate has no size with {cpu} CPU units");
        findings.error(
            "fargate-size",
            cpu_node.span,
            message,
            &format!("it has {}", known.join(", ")),
            &near,
        );
    } else {
        let sizes = fargate::memory_sizes(cpu);
        let (least, most) = (sizes[0], sizes[sizes.len() - 1]);
        let label = if (least..=most).contains(&memory) {
            "not one of the steps of this CPU".to_owned()
        } else {
            format!("{cpu} CPU units go with {least} to {most} MiB")
        };
        let message = format!("Fargate has no size with {size}");
        findings.error("fargate-size", memory_node.span, message, &label, &near);
    }
}

fn compatibilities(findings: &mut Findings, root: &Node) {
    match root.get("requiresCompatibilities") {
        None => findings.warning(
            "compatibilities",
            opening(root),
            "the task definition does not ask for Fargate, so ECS does not check it for Fargate",
            "needs `requiresCompatibilities`",
            "add \"requiresCompatibilities\": [\"FARGATE\"]",
        ),
        Some(node) => {
            // Another spelling of it is reported with the values.
            let names = |name: &str| name.eq_ignore_ascii_case("FARGATE");
            let texts: Option<Vec<&str>> = node.items().iter().map(Node::as_str).collect();
            let is_list = matches!(node.kind, crate::node::Kind::Array(_));
            if is_list && texts.is_some_and(|texts| !texts.into_iter().any(names)) {
                findings.error(
                    "compatibilities",
                    node.span,
                    "the task definition is not made for Fargate",
                    "needs `FARGATE`",
                    "write [\"FARGATE\"]",
                );
            }
        }
    }
}

fn network_mode(findings: &mut Findings, root: &Node) {
    match root.get("networkMode") {
        None => findings.error(
            "network-mode",
            opening(root),
            "Fargate only supports network mode `awsvpc`, and without `networkMode` it is `bridge`",
            "needs `networkMode`",
            "add \"networkMode\": \"awsvpc\"",
        ),
        Some(node) => {
            if let Some(mode) = node.as_str().filter(|mode| *mode != "awsvpc") {
                let message =
                    format!("Fargate only supports network mode `awsvpc`, and this is `{mode}`");
                findings.error("network-mode", node.span, message, "", "write \"awsvpc\"");
            }
        }
    }
}

/// Parameters that Fargate does not take (AWS documentation, "Task definition differences for Fargate").
fn not_on_fargate(findings: &mut Findings, root: &Node) {
    let mut refuse = |node: &Node, key: &str, help: &str| {
        if let Some(entry) = node.entry(key).filter(|_| node.get(key).is_some()) {
            let empty = entry.value.items().is_empty()
                && entry.value.as_str().is_none()
                && entry.value.as_bool() != Some(true);
            let is_list = matches!(
                entry.value.kind,
                crate::node::Kind::Array(_) | crate::node::Kind::Bool(_)
            );
            if !(is_list && empty) {
                findings.error(
                    "not-on-fargate",
                    entry.key_span,
                    format!("`{key}` does not work on Fargate"),
                    "",
                    help,
                );
            }
        }
    };
    refuse(
        root,
        "placementConstraints",
        "remove it: there are no instances to choose from",
    );
    refuse(root, "inferenceAccelerators", "remove it");
    refuse(root, "ipcMode", "remove it");
    for container in containers(root) {
        refuse(
            container,
            "links",
            "containers of one task reach each other at 127.0.0.1",
        );
        refuse(container, "privileged", "remove it");
        refuse(
            container,
            "hostname",
            "remove it: under awsvpc the host name is that of the network interface",
        );
        refuse(
            container,
            "dnsServers",
            "remove it: name resolution is that of the VPC",
        );
        refuse(
            container,
            "dnsSearchDomains",
            "remove it: name resolution is that of the VPC",
        );
        refuse(
            container,
            "extraHosts",
            "remove it: under awsvpc ECS refuses it",
        );
        refuse(container, "disableNetworking", "remove it");
        refuse(container, "dockerSecurityOptions", "remove it");
    }
    let pid = root.get("pidMode");
    if let Some(node) = pid.filter(|node| node.as_str() == Some("host")) {
        findings.error(
            "not-on-fargate",
            node.span,
            "`pidMode` can only be `task` on Fargate",
            "",
            "write \"task\" or remove it",
        );
    }
}

fn execution_role(findings: &mut Findings, root: &Node) {
    if root.get("executionRoleArn").is_some() {
        return;
    }
    for container in containers(root) {
        let log = container.get("logConfiguration");
        if let Some(driver) = log
            .and_then(|log| log.get("logDriver"))
            .filter(|driver| driver.as_str() == Some("awslogs"))
        {
            return findings.error(
                "execution-role",
                driver.span,
                "Fargate requires an execution role to support the log driver awslogs",
                "writes to CloudWatch Logs with that role",
                "add `executionRoleArn`",
            );
        }
        let secrets = container
            .entry("secrets")
            .filter(|entry| !entry.value.items().is_empty());
        if let Some(entry) = secrets {
            return findings.error(
                "execution-role",
                entry.key_span,
                "ECS needs an execution role to read secrets",
                "reads them with that role",
                "add `executionRoleArn`",
            );
        }
        let image = container.get("image").filter(|image| {
            image
                .as_str()
                .is_some_and(|image| image.contains(".dkr.ecr."))
        });
        if let Some(image) = image {
            return findings.error(
                "execution-role",
                image.span,
                "ECS needs an execution role to pull an image from ECR",
                "pulls it with that role",
                "add `executionRoleArn`",
            );
        }
    }
    // Every image that hoist puts in comes from ECR.
    findings.warning(
        "execution-role",
        opening(root),
        "there is no execution role, and without one ECS cannot pull an image from ECR",
        "",
        "add `executionRoleArn`",
    );
}

fn platform(findings: &mut Findings, root: &Node) {
    let Some(platform) = root.get("runtimePlatform") else {
        return;
    };
    let system = platform.get("operatingSystemFamily").and_then(Node::as_str);
    if let Some(node) = platform.get("cpuArchitecture")
        && node.as_str() == Some("ARM64")
        && system.is_some_and(|system| system.starts_with("WINDOWS"))
    {
        findings.error(
            "platform",
            node.span,
            "Windows runs on X86_64 only",
            "",
            "write \"X86_64\"",
        );
    }
    if let Some(node) = platform.get("operatingSystemFamily")
        && let Some(system) = node.as_str()
        && system.starts_with("WINDOWS")
    {
        if !(system.ends_with("_CORE") || system.ends_with("_FULL"))
            || system.contains("2016")
            || system.contains("2004")
            || system.contains("20H2")
        {
            let message = format!("Fargate does not run `{system}`");
            findings.error(
                "platform",
                node.span,
                message,
                "",
                "it runs LINUX and WINDOWS_SERVER_2019, 2022 and 2025, CORE or FULL",
            );
        } else {
            findings.warning(
                "platform",
                node.span,
                "hoist builds Linux images, and this task runs on Windows",
                "",
                "write \"LINUX\" for the image that hoist builds",
            );
        }
    }
}

/// The container definitions.
pub(super) fn containers(root: &Node) -> &[Node] {
    root.get("containerDefinitions")
        .map(Node::items)
        .unwrap_or_default()
}
