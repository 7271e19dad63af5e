//! The short form: a web service in a few words, and the definitions that it stands for.

use serde_json::{Map, Value, json};

use crate::fargate::Architecture;

/// How a service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Access {
    /// Through an application load balancer.
    #[default]
    LoadBalancer,
    /// At the public address of its task.
    PublicIp,
    /// Not from outside.
    Private,
}

/// Health check of the load balancer's target group.
///
/// The defaults are quick, so that a deployment takes seconds where AWS's own defaults take minutes: a check each 5 s instead of
/// 30 s, 2 s to answer, healthy after 2, and targets drain for 5 s instead of 300 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Path that is asked.
    pub path: String,
    /// Status codes that mean healthy, as ELB writes them: `200`, `200-399`, `200,204`.
    pub expect: String,
    /// Seconds between checks, 5 to 300.
    pub interval: u32,
    /// Seconds to wait for an answer, 2 to 120 and below the interval.
    pub timeout: u32,
    /// Passed checks in a row that make an unhealthy target healthy, 2 to 10.
    pub healthy: u32,
    /// Failed checks in a row that make a target unhealthy, 2 to 10.
    pub unhealthy: u32,
    /// Seconds after a task's start in which failed checks do not count; 0 is none.
    pub grace: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            expect: "200-399".to_owned(),
            interval: 5,
            timeout: 2,
            healthy: 2,
            unhealthy: 3,
            grace: 0,
        }
    }
}

/// A service in a few words. It renders to the verbatim documents of AWS; see [`WebService::task_definition`],
/// [`WebService::service_definition`] and [`WebService::load_balancer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebService {
    /// Port on which the container listens; none for a worker.
    pub port: Option<u16>,
    /// CPU units, 1024 to a vCPU.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory: u32,
    /// Tasks to start with.
    pub count: u32,
    /// Health check; only with a load balancer.
    pub health: Health,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Secrets: name and ARN (or parameter name).
    pub secrets: Vec<(String, String)>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Processor.
    pub architecture: Architecture,
    /// How it is reached.
    pub access: Access,
    /// Role that the application itself has, name or ARN.
    pub task_role: Option<String>,
    /// Seconds from the stop signal to the kill, 2 to 120; none is ECS's 30.
    pub stop_timeout: Option<u32>,
    /// Seconds for which a leaving target still gets its open requests served, 0 to 3600.
    pub deregistration_delay: u32,
    /// Whether programs can be run in its containers (ECS Exec).
    pub exec: bool,
}

impl Default for WebService {
    fn default() -> Self {
        Self {
            port: None,
            cpu: 256,
            memory: 512,
            count: 1,
            health: Health::default(),
            environment: Vec::new(),
            secrets: Vec::new(),
            command: None,
            architecture: Architecture::default(),
            access: Access::default(),
            task_role: None,
            stop_timeout: None,
            deregistration_delay: 5,
            exec: false,
        }
    }
}

/// Names from which those of the definitions are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `app` of hoist.yaml.
    pub app: String,
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// Environment, if one was chosen.
    pub environment: Option<String>,
    /// Cluster.
    pub cluster: String,
    /// Region; the log configuration names it.
    pub region: String,
}

impl Names {
    /// `app-service`, or `app-environment-service`; the app alone where both are the same word.
    pub fn full(&self) -> String {
        let mut parts = vec![self.app.as_str()];
        parts.extend(self.environment.as_deref());
        if self.service != self.app {
            parts.push(&self.service);
        }
        // Families and services have letters, digits, hyphens and underscores; an environment may be called anything.
        parts.join("-").replace(
            |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_',
            "-",
        )
    }

    /// `/ecs/app-service`.
    pub fn log_group(&self) -> String {
        format!("/ecs/{}", self.full())
    }

    /// Name of the load balancer and of the target group: at most 32 letters, digits and hyphens, none at the ends.
    pub fn balancer(&self) -> String {
        let full = self.full();
        let mut name: String = full
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        if name.len() > 32 || name.starts_with("internal-") {
            // FNV-1a: the same name each time, and two long names that begin alike stay apart.
            let hash = full.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
            name.truncate(23);
            name = format!(
                "{}-{hash:08x}",
                name.trim_matches('-').replace("internal-", "int-")
            );
        }
        name.trim_matches('-').to_owned()
    }

    /// Name of the role with which ECS pulls the image and writes logs.
    pub fn execution_role(&self) -> String {
        format!("{}-execution", self.app)
    }
}

/// What the definitions refer to and ECS never makes: the provision step does, or whoever owns the account.
///
/// [`Surroundings::named`] has the names that those use; identifiers of an account take their place where they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Role name or ARN.
    pub execution_role: String,
    /// Subnet identifiers.
    pub subnets: Vec<String>,
    /// Security group identifiers.
    pub security_groups: Vec<String>,
    /// Target group ARN or name; only read where the service has a load balancer.
    pub target_group: String,
}

impl Surroundings {
    /// The names by which the provision step knows what it makes.
    pub fn named(names: &Names) -> Self {
        Self {
            execution_role: names.execution_role(),
            subnets: vec![format!("{}-a", names.app), format!("{}-b", names.app)],
            security_groups: vec![names.app.clone()],
            target_group: names.balancer(),
        }
    }
}

/// What a load balancer needs for one service. The members of each part are those of the ELBv2 calls that make them, so that the
/// provision step can pass them on.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadBalancer {
    /// `CreateLoadBalancer`, without subnets and security groups.
    pub load_balancer: Value,
    /// `CreateTargetGroup`, without the VPC.
    pub target_group: Value,
    /// `ModifyTargetGroupAttributes`: key and value.
    pub attributes: Vec<(String, String)>,
    /// `CreateListener`, without the ARNs and the default action, which forwards to the target group.
    pub listener: Value,
}

impl LoadBalancer {
    /// One document with all of it, for `hoist render`.
    pub fn to_value(&self) -> Value {
        let attributes: Vec<Value> = self
            .attributes
            .iter()
            .map(|(key, value)| json!({ "Key": key, "Value": value }))
            .collect();
        json!({
            "LoadBalancer": self.load_balancer,
            "TargetGroup": self.target_group,
            "TargetGroupAttributes": attributes,
            "Listener": self.listener,
        })
    }
}

impl WebService {
    /// Whether a load balancer stands before the service.
    pub fn is_balanced(&self) -> bool {
        self.port.is_some() && self.access == Access::LoadBalancer
    }

    /// The task definition. The container has the service's name and no image yet: [`crate::with_image`] puts it in.
    pub fn task_definition(&self, names: &Names, around: &Surroundings) -> Value {
        let mut container = Map::new();
        container.insert("name".into(), json!(names.service));
        container.insert("image".into(), json!(format!("{}:latest", names.app)));
        container.insert("essential".into(), json!(true));
        if let Some(command) = &self.command {
            container.insert("command".into(), json!(command));
        }
        if let Some(port) = self.port {
            container.insert(
                "portMappings".into(),
                json!([{ "containerPort": port, "hostPort": port, "protocol": "tcp", "name": names.service }]),
            );
        }
        if !self.environment.is_empty() {
            let list: Vec<Value> = self
                .environment
                .iter()
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect();
            container.insert("environment".into(), list.into());
        }
        if !self.secrets.is_empty() {
            let list: Vec<Value> = self
                .secrets
                .iter()
                .map(|(name, from)| json!({ "name": name, "valueFrom": from }))
                .collect();
            container.insert("secrets".into(), list.into());
        }
        if let Some(seconds) = self.stop_timeout {
            container.insert("stopTimeout".into(), json!(seconds));
        }
        container.insert(
            "logConfiguration".into(),
            json!({ "logDriver": "awslogs", "options": {
                "awslogs-group": names.log_group(),
                "awslogs-region": names.region,
                "awslogs-stream-prefix": names.service,
            }}),
        );
        let mut definition = Map::new();
        definition.insert("family".into(), json!(names.full()));
        definition.insert("requiresCompatibilities".into(), json!(["FARGATE"]));
        definition.insert("networkMode".into(), json!("awsvpc"));
        definition.insert("cpu".into(), json!(self.cpu.to_string()));
        definition.insert("memory".into(), json!(self.memory.to_string()));
        definition.insert("runtimePlatform".into(), {
            let architecture = match self.architecture {
                Architecture::X86_64 => "X86_64",
                Architecture::Arm64 => "ARM64",
            };
            json!({ "cpuArchitecture": architecture, "operatingSystemFamily": "LINUX" })
        });
        definition.insert("executionRoleArn".into(), json!(around.execution_role));
        if let Some(role) = &self.task_role {
            definition.insert("taskRoleArn".into(), json!(role));
        }
        definition.insert(
            "containerDefinitions".into(),
            Value::Array(vec![Value::Object(container)]),
        );
        Value::Object(definition)
    }

    /// The service definition: what CreateService takes, without `taskDefinition`.
    pub fn service_definition(&self, names: &Names, around: &Surroundings) -> Value {
        let mut definition = Map::new();
        definition.insert("serviceName".into(), json!(names.full()));
        definition.insert("cluster".into(), json!(names.cluster));
        definition.insert("launchType".into(), json!("FARGATE"));
        definition.insert("platformVersion".into(), json!("LATEST"));
        definition.insert("desiredCount".into(), json!(self.count));
        definition.insert(
            "deploymentConfiguration".into(),
            json!({
                "deploymentCircuitBreaker": { "enable": true, "rollback": true },
                "minimumHealthyPercent": 100,
                "maximumPercent": 200,
            }),
        );
        let public = self.access != Access::Private;
        definition.insert(
            "networkConfiguration".into(),
            json!({ "awsvpcConfiguration": {
                "subnets": around.subnets,
                "securityGroups": around.security_groups,
                "assignPublicIp": if public { "ENABLED" } else { "DISABLED" },
            }}),
        );
        if let (true, Some(port)) = (self.is_balanced(), self.port) {
            definition.insert(
                "loadBalancers".into(),
                json!([{ "targetGroupArn": around.target_group, "containerName": names.service, "containerPort": port }]),
            );
            definition.insert(
                "healthCheckGracePeriodSeconds".into(),
                json!(self.health.grace),
            );
        }
        definition.insert("propagateTags".into(), json!("SERVICE"));
        definition.insert("enableECSManagedTags".into(), json!(true));
        definition.insert("enableExecuteCommand".into(), json!(self.exec));
        Value::Object(definition)
    }

    /// The load balancer that goes with it; none for a worker or a service that is reached without one.
    pub fn load_balancer(&self, names: &Names) -> Option<LoadBalancer> {
        let port = self.port.filter(|_| self.is_balanced())?;
        let name = names.balancer();
        Some(LoadBalancer {
            load_balancer: json!({ "Name": name, "Type": "application", "Scheme": "internet-facing", "IpAddressType": "ipv4" }),
            target_group: json!({
                "Name": name,
                "Protocol": "HTTP",
                "Port": port,
                "TargetType": "ip",
                "HealthCheckProtocol": "HTTP",
                "HealthCheckPath": self.health.path,
                "HealthCheckIntervalSeconds": self.health.interval,
                "HealthCheckTimeoutSeconds": self.health.timeout,
                "HealthyThresholdCount": self.health.healthy,
                "UnhealthyThresholdCount": self.health.unhealthy,
                "Matcher": { "HttpCode": self.health.expect },
            }),
            attributes: vec![(
                "deregistration_delay.timeout_seconds".to_owned(),
                self.deregistration_delay.to_string(),
            )],
            listener: json!({ "Protocol": "HTTP", "Port": 80 }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(app: &str, service: &str, environment: Option<&str>) -> Names {
        Names {
            app: app.to_owned(),
            service: service.to_owned(),
            environment: environment.map(str::to_owned),
            cluster: "default".to_owned(),
            region: "eu-central-1".to_owned(),
        }
    }

    #[test]
    fn names_are_made_of_application_environment_and_service() {
        assert_eq!(names("shop", "web", None).full(), "shop-web");
        assert_eq!(names("shop", "shop", None).full(), "shop");
        assert_eq!(
            names("shop", "web", Some("eu.prod")).full(),
            "shop-eu-prod-web"
        );
        assert_eq!(names("shop", "web", None).log_group(), "/ecs/shop-web");
    }

    #[test]
    fn names_of_load_balancers_fit_and_differ() {
        let long = |service: &str| {
            names(
                "an-application-with-a-long-name",
                service,
                Some("production"),
            )
            .balancer()
        };
        let (one, two) = (long("web-one"), long("web-two"));
        for name in [
            &one,
            &two,
            &names("internal-tools", "web", None).balancer(),
            &names("a", "b_c", None).balancer(),
        ] {
            assert!(name.len() <= 32, "{name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "{name}"
            );
            assert!(
                !name.starts_with('-') && !name.ends_with('-') && !name.starts_with("internal-"),
                "{name}"
            );
        }
        assert_ne!(one, two, "two long names that begin alike stay apart");
        assert_eq!(one, long("web-one"), "the same name each time");
    }
}
