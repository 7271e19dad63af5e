//! What definitions refer to and ECS never makes: roles, log groups, subnets, target groups, secrets.

use serde_json::Value;

/// Kinds of things that a definition refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Referent {
    /// ECS cluster, name or ARN.
    Cluster,
    /// IAM role with which ECS pulls and logs, name or ARN.
    ExecutionRole,
    /// IAM role of the application, name or ARN.
    TaskRole,
    /// IAM role with which ECS makes what an Express service needs, name or ARN.
    InfrastructureRole,
    /// CloudWatch log group.
    LogGroup,
    /// VPC subnet.
    Subnet,
    /// VPC security group.
    SecurityGroup,
    /// Target group of a load balancer.
    TargetGroup,
    /// Secret of Secrets Manager or parameter of Parameter Store.
    Secret,
    /// Cloud Map service.
    ServiceRegistry,
}

/// One place in a definition that names something outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// JSON pointer to the string.
    pub pointer: String,
    /// What it names.
    pub referent: Referent,
    /// The name, identifier or ARN.
    pub value: String,
}

/// Everything that a task definition or a service definition refers to, in the order of the document.
pub fn references(definition: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut add = |pointer: String, referent| {
        if let Some(value) = definition.pointer(&pointer).and_then(Value::as_str) {
            found.push(Reference {
                pointer,
                referent,
                value: value.to_owned(),
            });
        }
    };
    let count = |pointer: &str| {
        definition
            .pointer(pointer)
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };

    add("/cluster".to_owned(), Referent::Cluster);
    add("/executionRoleArn".to_owned(), Referent::ExecutionRole);
    add("/taskRoleArn".to_owned(), Referent::TaskRole);
    for i in 0..count("/containerDefinitions") {
        let container = format!("/containerDefinitions/{i}");
        add(
            format!("{container}/logConfiguration/options/awslogs-group"),
            Referent::LogGroup,
        );
        for list in ["secrets", "logConfiguration/secretOptions"] {
            for j in 0..count(&format!("{container}/{list}")) {
                add(
                    format!("{container}/{list}/{j}/valueFrom"),
                    Referent::Secret,
                );
            }
        }
        add(
            format!("{container}/repositoryCredentials/credentialsParameter"),
            Referent::Secret,
        );
    }
    add(
        "/infrastructureRoleArn".to_owned(),
        Referent::InfrastructureRole,
    );
    // An Express service has its network without the level between.
    for network in [
        "/networkConfiguration/awsvpcConfiguration",
        "/networkConfiguration",
    ] {
        for (member, referent) in [
            ("subnets", Referent::Subnet),
            ("securityGroups", Referent::SecurityGroup),
        ] {
            for i in 0..count(&format!("{network}/{member}")) {
                add(format!("{network}/{member}/{i}"), referent);
            }
        }
    }
    for i in 0..count("/loadBalancers") {
        add(
            format!("/loadBalancers/{i}/targetGroupArn"),
            Referent::TargetGroup,
        );
        add(
            format!("/loadBalancers/{i}/advancedConfiguration/alternateTargetGroupArn"),
            Referent::TargetGroup,
        );
    }
    for i in 0..count("/serviceRegistries") {
        add(
            format!("/serviceRegistries/{i}/registryArn"),
            Referent::ServiceRegistry,
        );
    }
    found
}

/// The definition with other strings at some pointers. A pointer that leads nowhere changes nothing.
pub fn with_references<'a>(
    definition: &Value,
    changes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Value {
    let mut changed = definition.clone();
    for (pointer, value) in changes {
        if let Some(place) = changed.pointer_mut(pointer) {
            *place = Value::from(value);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reference_is_found_and_can_be_replaced() {
        let task = json!({
            "executionRoleArn": "exec", "taskRoleArn": "app",
            "containerDefinitions": [{
                "logConfiguration": { "options": { "awslogs-group": "/ecs/web" } },
                "secrets": [{ "name": "A", "valueFrom": "arn:a" }],
            }],
        });
        let kinds: Vec<_> = references(&task)
            .into_iter()
            .map(|found| (found.referent, found.value))
            .collect();
        assert_eq!(
            kinds,
            [
                (Referent::ExecutionRole, "exec".to_owned()),
                (Referent::TaskRole, "app".to_owned()),
                (Referent::LogGroup, "/ecs/web".to_owned()),
                (Referent::Secret, "arn:a".to_owned()),
            ]
        );
        let service = json!({
            "cluster": "c",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"] } },
            "loadBalancers": [{ "targetGroupArn": "arn:tg" }],
        });
        let found = references(&service);
        assert_eq!(found.len(), 5);
        let changed = with_references(
            &service,
            found.iter().map(|found| (found.pointer.as_str(), "new")),
        );
        assert!(
            references(&changed)
                .iter()
                .all(|found| found.value == "new")
        );
        assert_eq!(with_references(&service, [("/nowhere/0", "x")]), service);
    }
}
