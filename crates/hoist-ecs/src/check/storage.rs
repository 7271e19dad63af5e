//! Ephemeral storage, volumes and where they are mounted.

use super::task::containers;
use super::{Findings, opening};
use crate::node::{Node, Span};
use crate::suggest;

pub(super) fn check(findings: &mut Findings, root: &Node) {
    if let Some(storage) = root.get("ephemeralStorage") {
        findings.range(
            "ephemeral-storage",
            storage,
            "sizeInGiB",
            21,
            200,
            "GiB (20 is what a task has without asking)",
        );
    }
    let mut volumes: Vec<(&str, Span)> = Vec::new();
    for volume in root.get("volumes").map(Node::items).unwrap_or_default() {
        if volume.get("dockerVolumeConfiguration").is_some() {
            let span = volume
                .entry("dockerVolumeConfiguration")
                .map_or(volume.span, |entry| entry.key_span);
            findings.error(
                "volumes",
                span,
                "Fargate has no Docker volumes",
                "",
                "use an empty volume, EFS or EBS",
            );
        }
        if let Some(path) = volume.get("host").and_then(|host| host.get("sourcePath")) {
            let help = "remove it: the volume is then an empty folder that the containers share";
            findings.error(
                "volumes",
                path.span,
                "Fargate has no host to mount from",
                "",
                help,
            );
        }
        let Some(node) = volume.get("name") else {
            if matches!(volume.kind, crate::node::Kind::Object(_)) {
                findings.error(
                    "volumes",
                    opening(volume),
                    "the volume has no name",
                    "needs `name`",
                    "",
                );
            }
            continue;
        };
        let Some(name) = node.as_str() else { continue };
        if let Some((_, first)) = volumes.iter().find(|(other, _)| *other == name) {
            findings.twice(
                "volumes",
                node.span,
                *first,
                format!("two volumes are named `{name}`"),
                "give one of them another name",
            );
        }
        volumes.push((name, node.span));
    }
    let names: Vec<&str> = containers(root)
        .iter()
        .filter_map(|container| container.get("name")?.as_str())
        .collect();
    for container in containers(root) {
        mounts(findings, container, &volumes);
        for from in container
            .get("volumesFrom")
            .map(Node::items)
            .unwrap_or_default()
        {
            let Some(node) = from.get("sourceContainer") else {
                continue;
            };
            if let Some(name) = node.as_str().filter(|name| !names.contains(name)) {
                findings.error(
                    "volumes",
                    node.span,
                    format!("there is no container `{name}` to take volumes from"),
                    "",
                    &did_you_mean(name, &names),
                );
            }
        }
    }
}

fn mounts(findings: &mut Findings, container: &Node, volumes: &[(&str, Span)]) {
    let known: Vec<&str> = volumes.iter().map(|(name, _)| *name).collect();
    let mut paths: Vec<(&str, Span)> = Vec::new();
    for mount in container
        .get("mountPoints")
        .map(Node::items)
        .unwrap_or_default()
    {
        if let Some(node) = mount.get("sourceVolume")
            && let Some(name) = node.as_str().filter(|name| !known.contains(name))
        {
            let message = format!("there is no volume `{name}`");
            let help = did_you_mean(name, &known);
            let help = if help.is_empty() {
                format!("add {{ \"name\": \"{name}\" }} to `volumes`")
            } else {
                help
            };
            findings.error("volumes", node.span, message, "", &help);
        }
        let Some(node) = mount.get("containerPath") else {
            if mount.get("sourceVolume").is_some() {
                findings.error(
                    "volumes",
                    opening(mount),
                    "the volume is mounted nowhere",
                    "needs `containerPath`",
                    "",
                );
            }
            continue;
        };
        let Some(path) = node.as_str() else { continue };
        if let Some((_, first)) = paths.iter().find(|(other, _)| *other == path) {
            findings.twice(
                "volumes",
                node.span,
                *first,
                format!("two volumes are mounted at `{path}`"),
                "",
            );
        }
        paths.push((path, node.span));
    }
}

fn did_you_mean(name: &str, known: &[&str]) -> String {
    suggest::nearest(name, known.iter().copied())
        .map(|near| format!("did you mean `{near}`?"))
        .unwrap_or_default()
}
