//! Port mappings under awsvpc.

use super::task::containers;
use super::{Findings, opening};
use crate::node::{Kind, Node, Span};

pub(super) fn check(findings: &mut Findings, root: &Node) {
    // All containers of a task share one network interface, so ports and names are unique in the task.
    let mut ports: Vec<(i64, i64, &str, Span)> = Vec::new();
    let mut names: Vec<(&str, Span)> = Vec::new();
    for mapping in containers(root)
        .iter()
        .filter_map(|container| container.get("portMappings"))
        .flat_map(Node::items)
    {
        if !matches!(mapping.kind, Kind::Object(_)) {
            continue;
        }
        let protocol = mapping
            .get("protocol")
            .and_then(Node::as_str)
            .unwrap_or("tcp");
        if let Some((from, to, span)) = range(findings, mapping) {
            let taken = ports
                .iter()
                .find(|(low, high, other, _)| *other == protocol && from <= *high && *low <= to);
            if let Some((.., first)) = taken {
                let what = if from == to {
                    format!("port {from} ({protocol}) is")
                } else {
                    format!("ports {from} to {to} ({protocol}) are")
                };
                let help = "containers of one task share one network interface: one of them must listen elsewhere";
                findings.twice("ports", span, *first, format!("{what} mapped twice"), help);
            }
            ports.push((from, to, protocol, span));
        }
        name(findings, mapping, &mut names);
        if mapping.get("appProtocol").is_some() && mapping.get("name").is_none() {
            let help = "add `name`: Service Connect refers to the port by it";
            findings.error(
                "ports",
                opening(mapping),
                "a port with an `appProtocol` needs a name",
                "needs `name`",
                help,
            );
        }
    }
}

/// The container's ports, if they are valid.
fn range(findings: &mut Findings, mapping: &Node) -> Option<(i64, i64, Span)> {
    let whole = mapping.get("containerPortRange");
    let Some(node) = mapping.get("containerPort") else {
        let Some(node) = whole else {
            let help = "write \"containerPort\": 8080";
            findings.error(
                "ports",
                opening(mapping),
                "the port mapping names no port",
                "needs `containerPort`",
                help,
            );
            return None;
        };
        let parsed = node.as_str().and_then(|text| {
            let (from, to) = text.split_once('-')?;
            let (from, to): (i64, i64) = (from.parse().ok()?, to.parse().ok()?);
            (1 <= from && from <= to && to <= 65535).then_some((from, to, node.span))
        });
        if parsed.is_none() && node.as_str().is_some() {
            findings.error(
                "ports",
                node.span,
                "this is no range of ports",
                "",
                "write \"8000-8010\", within 1 and 65535",
            );
        }
        return parsed;
    };
    if let Some(whole) = whole {
        let help = "keep one of them";
        findings.error(
            "ports",
            whole.span,
            "both `containerPort` and `containerPortRange`",
            "",
            help,
        );
    }
    let port = node.as_i64()?;
    if !(1..=65535).contains(&port) {
        findings.error(
            "ports",
            node.span,
            format!("{port} is no port"),
            "expected 1 to 65535",
            "",
        );
        return None;
    }
    if let Some(host) = mapping.get("hostPort")
        && host.as_i64().is_some_and(|host| host != port && host != 0)
    {
        findings.error(
            "ports",
            host.span,
            "under awsvpc the host port and the container port must match",
            &format!("expected {port}"),
            "remove `hostPort`: it is the container port anyway",
        );
    }
    Some((port, port, node.span))
}

fn name<'a>(findings: &mut Findings, mapping: &'a Node, names: &mut Vec<(&'a str, Span)>) {
    let Some(node) = mapping.get("name") else {
        return;
    };
    let Some(name) = node.as_str() else { return };
    // PortMapping.name: "up to 64 characters, lowercase letters, numbers, underscores and hyphens, not starting with a hyphen".
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) || name.starts_with('-') {
        let help =
            "use 1 to 64 lower-case letters, digits, underscores and hyphens, not a hyphen first";
        findings.error(
            "ports",
            node.span,
            format!("`{name}` cannot name a port"),
            "",
            help,
        );
    } else if let Some((_, first)) = names.iter().find(|(other, _)| *other == name) {
        findings.twice(
            "ports",
            node.span,
            *first,
            format!("two ports are named `{name}`"),
            "give one of them another name",
        );
    }
    names.push((name, node.span));
}
