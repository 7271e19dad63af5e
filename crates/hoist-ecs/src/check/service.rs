//! A service definition: network, load balancers, counts.

use super::task::containers;
use super::{Findings, opening};
use crate::node::{Kind, Node};
use crate::suggest;

pub(super) fn check(findings: &mut Findings, root: &Node, task: Option<&Node>) {
    name(findings, root);
    launch_type(findings, root);
    network(findings, root);
    findings.range("service-size", root, "desiredCount", 0, 5000, "tasks");
    findings.range(
        "service-size",
        root,
        "healthCheckGracePeriodSeconds",
        0,
        i64::MAX,
        "seconds",
    );
    let balancers = root
        .get("loadBalancers")
        .map(Node::items)
        .unwrap_or_default();
    if let (Some(entry), true) = (
        root.entry("healthCheckGracePeriodSeconds"),
        balancers.is_empty(),
    ) && entry.value.as_i64().is_some_and(|seconds| seconds > 0)
    {
        let help = "remove it, or add the load balancer";
        findings.warning(
            "service-size",
            entry.key_span,
            "a grace period without a load balancer has no effect",
            "",
            help,
        );
    }
    if balancers.len() > 5 {
        let message = format!(
            "the service has {} target groups, and ECS takes 5",
            balancers.len()
        );
        findings.error(
            "load-balancer",
            opening(&balancers[5]),
            message,
            "the 6th",
            "remove what is beyond",
        );
    }
    for balancer in balancers {
        load_balancer(findings, balancer, task);
    }
    for registry in root
        .get("serviceRegistries")
        .map(Node::items)
        .unwrap_or_default()
    {
        if let Some(node) = registry.get("containerName") {
            container(findings, node, task);
        }
    }
    if let Some(task) = root
        .entry("taskDefinition")
        .filter(|entry| entry.value.as_str().is_some_and(|name| !name.is_empty()))
    {
        let help = "remove it: the service gets the revision that hoist registers";
        findings.warning(
            "service-size",
            task.key_span,
            "`taskDefinition` of the service definition is not used",
            "",
            help,
        );
    }
}

fn name(findings: &mut Findings, root: &Node) {
    let Some(node) = root.get("serviceName") else {
        return;
    };
    let Some(name) = node.as_str() else { return };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 255 || !name.bytes().all(fits) {
        let help = "use 1 to 255 letters, digits, hyphens and underscores";
        findings.error(
            "service-size",
            node.span,
            format!("`{name}` cannot name a service"),
            "",
            help,
        );
    }
}

fn launch_type(findings: &mut Findings, root: &Node) {
    let strategy = root
        .entry("capacityProviderStrategy")
        .filter(|entry| !entry.value.items().is_empty());
    if let Some(node) = root.get("launchType") {
        if let Some(kind) = node.as_str().filter(|kind| *kind != "FARGATE") {
            findings.error(
                "launch-type",
                node.span,
                format!("the service runs on `{kind}`, not on Fargate"),
                "",
                "write \"FARGATE\"",
            );
        }
        if let Some(strategy) = strategy {
            let help = "keep one of them";
            findings.error(
                "launch-type",
                strategy.key_span,
                "both `launchType` and `capacityProviderStrategy`",
                "",
                help,
            );
        }
    } else if strategy.is_none() {
        findings.error(
            "launch-type",
            opening(root),
            "the service does not say that it runs on Fargate, and the default is EC2",
            "needs `launchType`",
            "add \"launchType\": \"FARGATE\"",
        );
    }
    if let Some(node) = root
        .get("schedulingStrategy")
        .filter(|node| node.as_str() == Some("DAEMON"))
    {
        findings.error(
            "launch-type",
            node.span,
            "Fargate does not support the DAEMON scheduling strategy",
            "",
            "write \"REPLICA\"",
        );
    }
    for key in ["placementStrategy", "placementConstraints"] {
        if let Some(entry) = root
            .entry(key)
            .filter(|entry| !entry.value.items().is_empty())
        {
            let help = "remove it: there are no instances to choose from";
            findings.error(
                "not-on-fargate",
                entry.key_span,
                format!("`{key}` does not work on Fargate"),
                "",
                help,
            );
        }
    }
}

fn network(findings: &mut Findings, root: &Node) {
    let help = "add \"networkConfiguration\": { \"awsvpcConfiguration\": { \"subnets\": [\"subnet-...\"] } }";
    let Some(configuration) = root
        .get("networkConfiguration")
        .and_then(|network| network.get("awsvpcConfiguration"))
    else {
        let span = root
            .entry("networkConfiguration")
            .map_or_else(|| opening(root), |entry| entry.key_span);
        let message = "a service on Fargate needs a network configuration";
        return findings.error(
            "network-configuration",
            span,
            message,
            "needs `awsvpcConfiguration`",
            help,
        );
    };
    if let Some(subnets) = configuration.get("subnets") {
        if matches!(subnets.kind, Kind::Array(_)) && subnets.items().is_empty() {
            findings.error(
                "network-configuration",
                subnets.span,
                "there is no subnet",
                "",
                "name at least one; two in different zones are better",
            );
        }
        limit(findings, subnets, "subnets", 16);
    }
    if let Some(groups) = configuration.get("securityGroups") {
        limit(findings, groups, "security groups", 5);
    }
}

fn limit(findings: &mut Findings, list: &Node, what: &str, most: usize) {
    if let Some(beyond) = list.items().get(most) {
        let message = format!(
            "there are {} {what}, and ECS takes {most}",
            list.items().len()
        );
        findings.error(
            "network-configuration",
            beyond.span,
            message,
            "beyond the limit",
            "remove what is beyond",
        );
    }
}

fn load_balancer(findings: &mut Findings, balancer: &Node, task: Option<&Node>) {
    if !matches!(balancer.kind, Kind::Object(_)) {
        return;
    }
    if let Some(entry) = balancer
        .entry("loadBalancerName")
        .filter(|entry| entry.value.as_str().is_some_and(|name| !name.is_empty()))
    {
        let help = "name the `targetGroupArn` of an application or network load balancer";
        findings.error(
            "load-balancer",
            entry.key_span,
            "classic load balancers do not work with awsvpc",
            "",
            help,
        );
    } else {
        match balancer.get("targetGroupArn") {
            None => {
                let message = "the load balancer names no target group";
                findings.error(
                    "load-balancer",
                    opening(balancer),
                    message,
                    "needs `targetGroupArn`",
                    "",
                );
            }
            Some(node) if node.as_str() == Some("") => {
                findings.error(
                    "load-balancer",
                    node.span,
                    "`targetGroupArn` is empty",
                    "",
                    "",
                );
            }
            _ => {}
        }
    }
    let named = match balancer.get("containerName") {
        None => {
            let message = "the load balancer names no container";
            return findings.error(
                "load-balancer",
                opening(balancer),
                message,
                "needs `containerName`",
                "",
            );
        }
        Some(node) => container(findings, node, task),
    };
    let Some(node) = balancer.get("containerPort") else {
        let message = "the load balancer names no port of the container";
        return findings.error(
            "load-balancer",
            opening(balancer),
            message,
            "needs `containerPort`",
            "",
        );
    };
    let (Some(port), Some(container)) = (node.as_i64(), named) else {
        return;
    };
    let mapped: Vec<i64> = container
        .get("portMappings")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter(|mapping| {
            mapping
                .get("protocol")
                .and_then(Node::as_str)
                .unwrap_or("tcp")
                == "tcp"
        })
        .filter_map(|mapping| mapping.get("containerPort")?.as_i64())
        .collect();
    let in_range = container
        .get("portMappings")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .any(|mapping| {
            mapping
                .get("containerPortRange")
                .and_then(Node::as_str)
                .and_then(|text| text.split_once('-'))
                .is_some_and(|(from, to)| {
                    from.parse().is_ok_and(|from: i64| from <= port)
                        && to.parse().is_ok_and(|to: i64| port <= to)
                })
        });
    if !mapped.contains(&port) && !in_range {
        let name = balancer
            .get("containerName")
            .and_then(Node::as_str)
            .unwrap_or_default();
        let message =
            format!("the container `{name}` did not have a container port {port} defined");
        let help = match mapped.as_slice() {
            [] => format!("add {{ \"containerPort\": {port} }} to its `portMappings`"),
            [one] => format!("it maps {one}"),
            several => format!(
                "it maps {}",
                several
                    .iter()
                    .map(i64::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        findings.error("load-balancer", node.span, message, "", &help);
    }
}

/// The container of a name; says so if the task definition has none.
fn container<'a>(findings: &mut Findings, node: &Node, task: Option<&'a Node>) -> Option<&'a Node> {
    let (name, task) = (node.as_str()?, task?);
    let all = containers(task);
    fn named(container: &Node) -> Option<&str> {
        container.get("name").and_then(Node::as_str)
    }
    let found = all.iter().find(|container| named(container) == Some(name));
    if found.is_none() {
        let names: Vec<&str> = all.iter().filter_map(named).collect();
        let help = match suggest::nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "it has {}",
                names
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        findings.error(
            "load-balancer",
            node.span,
            format!("the task definition has no container `{name}`"),
            "",
            &help,
        );
    }
    found
}
