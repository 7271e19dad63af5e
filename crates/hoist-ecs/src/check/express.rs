//! A service definition of an Express service, whose load balancer, scaling and security groups ECS makes.

use serde_json::Value;

use super::task::containers;
use super::{Findings, opening};
use crate::node::Node;

/// Members that say what the task definition says.
/// Source: botocore 1.44.5, `ecs/2014-11-13/service-2.json`, CreateExpressGatewayServiceRequest, `taskDefinitionArn`.
const OF_THE_TASK: [&str; 6] = [
    "primaryContainer",
    "executionRoleArn",
    "taskRoleArn",
    "cpu",
    "memory",
    "cpuArchitecture",
];

/// Whether a service definition is one of an Express service: only those name the role with which ECS makes what they need.
pub fn is_express(definition: &Value) -> bool {
    definition["infrastructureRoleArn"].is_string()
}

pub(super) fn check(findings: &mut Findings, root: &Node, task: Option<&Node>) {
    for member in OF_THE_TASK {
        if let Some(entry) = root.entry(member) {
            findings.error(
                "express",
                entry.key_span,
                format!("an Express service with a task definition takes no `{member}`"),
                "the task definition says it",
                "remove it here",
            );
        }
    }
    let Some(task) = task else { return };
    let Some(main) = containers(task)
        .iter()
        .find(|container| container.get("name").and_then(Node::as_str) == Some("Main"))
    else {
        let role = root.entry("infrastructureRoleArn");
        findings.error(
            "express",
            role.map_or(opening(root), |entry| entry.key_span),
            "the task definition of an Express service needs a container named `Main`, and has none",
            "this makes it an Express service",
            "name the container that gets the traffic `Main`",
        );
        return;
    };
    let ports = main
        .get("portMappings")
        .map(Node::items)
        .unwrap_or_default();
    let is_named = |port: &Node| {
        let name = port.get("name").and_then(Node::as_str);
        name.is_some_and(|name| !name.is_empty())
    };
    if ports.len() != 1 || !is_named(&ports[0]) {
        let role = root.entry("infrastructureRoleArn");
        findings.error(
            "express",
            role.map_or(opening(root), |entry| entry.key_span),
            "the container `Main` of an Express service needs one port, with a name",
            "this makes it an Express service",
            "write one port mapping with `containerPort` and `name`",
        );
    }
}
