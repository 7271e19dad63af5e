//! Containers: names, images, essential ones, memory, environment, stop timeout.

use super::task::containers;
use super::{Findings, opening};
use crate::node::{Node, Span};
use crate::size::{cpu_units, memory_mib};

/// RegisterTaskDefinition's limit (AWS documentation, "Amazon ECS service quotas").
const LIMIT: usize = 10;

pub(super) fn check(findings: &mut Findings, root: &Node, built: Option<&str>) {
    let Some(list) = root.entry("containerDefinitions") else {
        return;
    };
    let all = containers(root);
    if all.is_empty() {
        if matches!(list.value.kind, crate::node::Kind::Array(_)) {
            let help = "add one with `name` and `essential`";
            findings.error(
                "container-count",
                list.value.span,
                "there is no container",
                "",
                help,
            );
        }
        return;
    }
    if all.len() > LIMIT {
        let message = format!(
            "the task definition has {} containers, and ECS takes {LIMIT}",
            all.len()
        );
        findings.error(
            "container-count",
            opening(&all[LIMIT]),
            message,
            "the 11th",
            "move some of them to a service of their own",
        );
    }
    names(findings, all);
    essential(findings, all);
    images(findings, all, built);
    resources(findings, root, all);
    for container in all {
        environment(findings, container);
        findings.range("stop-timeout", container, "stopTimeout", 2, 120, "seconds");
        findings.range("stop-timeout", container, "startTimeout", 2, 120, "seconds");
    }
}

fn names(findings: &mut Findings, all: &[Node]) {
    let mut seen: Vec<(&str, Span)> = Vec::new();
    for container in all {
        let Some(node) = container.get("name") else {
            if matches!(container.kind, crate::node::Kind::Object(_)) {
                findings.error(
                    "container-name",
                    opening(container),
                    "the container has no name",
                    "needs `name`",
                    "",
                );
            }
            continue;
        };
        let Some(name) = node.as_str() else { continue };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 255 || !name.bytes().all(fits) {
            let help = "use 1 to 255 letters, digits, hyphens and underscores";
            findings.error(
                "container-name",
                node.span,
                format!("`{name}` cannot name a container"),
                "",
                help,
            );
        } else if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            let message = format!("two containers are named `{name}`");
            findings.twice(
                "container-name",
                node.span,
                *first,
                message,
                "give one of them another name",
            );
        } else {
            seen.push((name, node.span));
        }
    }
}

fn essential(findings: &mut Findings, all: &[Node]) {
    let off = |container: &&Node| container.get("essential").and_then(Node::as_bool) == Some(false);
    if let (true, Some(node)) = (
        all.iter().all(|container| off(&container)),
        all[0].get("essential"),
    ) {
        let help =
            "set \"essential\": true for the container that serves; the task ends when it does";
        findings.error(
            "essential",
            node.span,
            "no container is essential",
            "",
            help,
        );
    }
}

fn images(findings: &mut Findings, all: &[Node], built: Option<&str>) {
    for container in all {
        let name = container.get("name").and_then(Node::as_str);
        let ours = if built.is_some() {
            name == built
        } else {
            all.len() == 1
        };
        match container.get("image") {
            None if !ours && matches!(container.kind, crate::node::Kind::Object(_)) => findings
                .error(
                    "image",
                    opening(container),
                    "the container has no image",
                    "needs `image`",
                    "hoist puts an image only into the service's `container`",
                ),
            Some(node) => {
                let Some(image) = node.as_str() else { continue };
                if image.is_empty() && !ours {
                    findings.error("image", node.span, "the image is empty", "", "");
                } else if image.contains(char::is_whitespace) {
                    let message = format!("`{image}` is not the name of an image");
                    findings.error("image", node.span, message, "", "an image has no spaces");
                } else if image.starts_with("http://") || image.starts_with("https://") {
                    let message = format!("`{image}` is not the name of an image");
                    findings.error(
                        "image",
                        node.span,
                        message,
                        "",
                        "write it without `https://`",
                    );
                }
            }
            None => {}
        }
    }
}

fn resources(findings: &mut Findings, root: &Node, all: &[Node]) {
    let memory = root
        .get("memory")
        .and_then(Node::as_str)
        .and_then(memory_mib)
        .map(i64::from);
    let cpu = root
        .get("cpu")
        .and_then(Node::as_str)
        .and_then(cpu_units)
        .map(i64::from);
    let (mut reserved, mut units) = (0, 0);
    let mut beyond = false;
    for container in all {
        let hard = container.get("memory");
        let soft = container.get("memoryReservation");
        for node in [hard, soft].into_iter().flatten() {
            match (node.as_i64(), memory) {
                (Some(given), _) if given < 6 => {
                    let help = "write MiB, 6 at least; or remove it, and the container may use what the task has";
                    findings.error(
                        "container-memory",
                        node.span,
                        format!("a container cannot run in {given} MiB"),
                        "",
                        help,
                    );
                }
                (Some(given), Some(task)) if given > task => {
                    beyond = true;
                    let message =
                        format!("the container asks for {given} MiB, and the task has {task}");
                    let help =
                        format!("lower it, or raise the `memory` of the task to at least {given}");
                    findings.error("container-memory", node.span, message, "", &help);
                }
                _ => {}
            }
        }
        if let (Some(hard), Some(soft_node)) = (hard.and_then(Node::as_i64), soft)
            && let Some(soft) = soft_node.as_i64()
            && soft > hard
        {
            let message = format!("the reservation of {soft} MiB is above the limit of {hard}");
            findings.error(
                "container-memory",
                soft_node.span,
                message,
                "",
                "`memoryReservation` must not be above `memory`",
            );
        }
        reserved += soft.or(hard).and_then(Node::as_i64).unwrap_or(0);
        if let Some(node) = container.get("cpu") {
            let given = node.as_i64().unwrap_or(0);
            units += given;
            if given < 0 {
                findings.error(
                    "container-memory",
                    node.span,
                    format!("{given} is no number of CPU units"),
                    "",
                    "",
                );
            } else if let Some(task) = cpu.filter(|task| units > *task) {
                let message = format!(
                    "the containers ask for {units} CPU units together, and the task has {task}"
                );
                findings.error(
                    "container-memory",
                    node.span,
                    message,
                    "exceeds the task's `cpu`",
                    "give the containers less, or the task a larger `cpu`",
                );
                return;
            }
        }
        let node = soft.or(hard);
        if let (Some(task), Some(node)) = (memory.filter(|task| !beyond && reserved > *task), node)
            && node.as_i64().is_some_and(|own| own <= task)
        {
            let message =
                format!("the containers ask for {reserved} MiB together, and the task has {task}");
            findings.error(
                "container-memory",
                node.span,
                message,
                "exceeds the task's `memory`",
                "give the containers less, or the task a larger `memory`",
            );
            return;
        }
    }
}

fn environment(findings: &mut Findings, container: &Node) {
    let mut seen: Vec<(&str, Span)> = Vec::new();
    for (list, value) in [("environment", "value"), ("secrets", "valueFrom")] {
        for item in container.get(list).map(Node::items).unwrap_or_default() {
            let Some(node) = item.get("name") else {
                // The shapes require it of a secret already.
                if list == "environment" && matches!(item.kind, crate::node::Kind::Object(_)) {
                    findings.error(
                        "environment",
                        opening(item),
                        "an environment variable without a name",
                        "needs `name`",
                        "",
                    );
                }
                continue;
            };
            let Some(name) = node.as_str() else { continue };
            if name.is_empty() || name.contains('=') {
                findings.error(
                    "environment",
                    node.span,
                    format!("`{name}` cannot name an environment variable"),
                    "",
                    "",
                );
            }
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let message = format!("the variable `{name}` is set twice");
                findings.twice(
                    "environment",
                    node.span,
                    *first,
                    message,
                    "keep one of them",
                );
            }
            seen.push((name, node.span));
            if list == "environment" && item.get(value).is_none() {
                let help = "write \"value\": \"\" for an empty one";
                findings.warning(
                    "environment",
                    node.span,
                    format!("the variable `{name}` has no value"),
                    "",
                    help,
                );
            }
            if let Some(from) = item
                .get("valueFrom")
                .filter(|from| from.as_str() == Some(""))
            {
                findings.error(
                    "environment",
                    from.span,
                    format!("the secret `{name}` comes from nowhere"),
                    "",
                    "write an ARN or the name of a parameter",
                );
            }
        }
    }
}
