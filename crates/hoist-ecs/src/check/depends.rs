//! The order in which containers start.

use super::Findings;
use super::task::containers;
use crate::node::{Node, Span};
use crate::suggest;

pub(super) fn check(findings: &mut Findings, root: &Node) {
    let all = containers(root);
    let names: Vec<&str> = all
        .iter()
        .map(|container| {
            container
                .get("name")
                .and_then(Node::as_str)
                .unwrap_or_default()
        })
        .collect();
    // waits[i] lists whom container i waits for, and where that is said.
    let mut waits: Vec<Vec<(usize, Span)>> = vec![Vec::new(); all.len()];
    for (own, container) in all.iter().enumerate() {
        for item in container
            .get("dependsOn")
            .map(Node::items)
            .unwrap_or_default()
        {
            let Some(node) = item.get("containerName") else {
                continue;
            };
            let Some(name) = node.as_str() else { continue };
            let Some(other) = names.iter().position(|known| *known == name) else {
                let help = match suggest::nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "there is {}",
                        names
                            .iter()
                            .filter(|name| !name.is_empty())
                            .map(|name| format!("`{name}`"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                };
                findings.error(
                    "depends-on",
                    node.span,
                    format!("there is no container `{name}` to wait for"),
                    "",
                    &help,
                );
                continue;
            };
            waits[own].push((other, node.span));
            condition(findings, item, &all[other], name);
        }
    }
    cycle(findings, &names, &waits);
}

fn condition(findings: &mut Findings, item: &Node, other: &Node, name: &str) {
    let Some(node) = item.get("condition") else {
        return;
    };
    let essential = other
        .get("essential")
        .and_then(Node::as_bool)
        .unwrap_or(true);
    match node.as_str() {
        Some(condition @ ("COMPLETE" | "SUCCESS")) if essential => {
            let message = format!(
                "`{name}` is essential, so waiting for its end (`{condition}`) would end the task"
            );
            let help =
                format!("set \"essential\": false for `{name}`, or wait for START or HEALTHY");
            findings.error("depends-on", node.span, message, "", &help);
        }
        Some("HEALTHY") if other.get("healthCheck").is_none() => {
            let message = format!("`{name}` has no health check, so it never becomes HEALTHY");
            let help = format!(
                "add a `healthCheck` to `{name}` (one in the image does not count), or wait for START"
            );
            findings.error("depends-on", node.span, message, "", &help);
        }
        _ => {}
    }
}

/// Reports the first circle, at the place that closes it.
fn cycle(findings: &mut Findings, names: &[&str], waits: &[Vec<(usize, Span)>]) {
    fn walk(
        at: usize,
        waits: &[Vec<(usize, Span)>],
        path: &mut Vec<usize>,
        done: &mut [bool],
    ) -> Option<(usize, Span)> {
        if done[at] {
            return None;
        }
        path.push(at);
        for (next, span) in &waits[at] {
            if let Some(start) = path.iter().position(|seen| seen == next) {
                return Some((start, *span));
            }
            if let Some(found) = walk(*next, waits, path, done) {
                return Some(found);
            }
        }
        path.pop();
        done[at] = true;
        None
    }
    let mut done = vec![false; names.len()];
    for start in 0..names.len() {
        let mut path = Vec::new();
        if let Some((from, span)) = walk(start, waits, &mut path, &mut done) {
            let mut circle: Vec<&str> = path[from..].iter().map(|index| names[*index]).collect();
            circle.push(names[path[from]]);
            let message = format!(
                "containers wait for each other in a circle: {}",
                circle.join(" -> ")
            );
            return findings.error(
                "depends-on",
                span,
                message,
                "closes the circle",
                "remove one `dependsOn`",
            );
        }
    }
}
