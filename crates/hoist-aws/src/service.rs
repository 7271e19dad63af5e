//! The services hoist talks to, and how each is spoken to on the wire.

/// How a service's requests and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `awsJson1_0` or `awsJson1_1`: `X-Amz-Target: <target_prefix>.<operation>`.
    Json {
        /// What stands before the operation in `X-Amz-Target`.
        target_prefix: &'static str,
        /// `1.0` or `1.1`.
        version: &'static str,
    },
    /// AWS query: form parameters, lists as `Name.member.N`, XML answers.
    Query {
        /// The `Version` parameter.
        version: &'static str,
    },
    /// REST with JSON: the method and the path name the operation.
    Rest,
    /// EC2 query: form parameters, lists as `Name.N`, XML answers.
    Ec2 {
        /// The `Version` parameter.
        version: &'static str,
    },
}

/// An AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Elastic Container Service.
    Ecs,
    /// Elastic Container Registry.
    Ecr,
    /// Elastic Load Balancing, version 2.
    Elbv2,
    /// CloudWatch Logs.
    Logs,
    /// Security Token Service.
    Sts,
    /// Identity and Access Management (global: signed in the partition's own region).
    Iam,
    /// Elastic Compute Cloud: networks and interfaces.
    Ec2,
    /// Systems Manager: parameters and sessions.
    Ssm,
    /// Secrets Manager.
    SecretsManager,
    /// Application Auto Scaling.
    ApplicationAutoScaling,
    /// CloudWatch: alarms and metrics.
    CloudWatch,
    /// EventBridge: scheduled tasks.
    Events,
    /// EventBridge Scheduler: scheduled tasks.
    Scheduler,
    /// CodeDeploy.
    CodeDeploy,
    /// CloudFormation.
    CloudFormation,
    /// Cloud Map.
    ServiceDiscovery,
}

impl Service {
    /// Every service, for tables and tests.
    pub const ALL: [Service; 16] = [
        Service::Ecs,
        Service::Ecr,
        Service::Elbv2,
        Service::Logs,
        Service::Sts,
        Service::Iam,
        Service::Ec2,
        Service::Ssm,
        Service::SecretsManager,
        Service::ApplicationAutoScaling,
        Service::CloudWatch,
        Service::Events,
        Service::Scheduler,
        Service::CodeDeploy,
        Service::CloudFormation,
        Service::ServiceDiscovery,
    ];

    /// The name in credential scopes, such as `elasticloadbalancing`.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::Ecs => "ecs",
            Service::Ecr => "ecr",
            Service::Elbv2 => "elasticloadbalancing",
            Service::Logs => "logs",
            Service::Sts => "sts",
            Service::Iam => "iam",
            Service::Ec2 => "ec2",
            Service::Ssm => "ssm",
            Service::SecretsManager => "secretsmanager",
            Service::ApplicationAutoScaling => "application-autoscaling",
            Service::CloudWatch => "monitoring",
            Service::Events => "events",
            Service::Scheduler => "scheduler",
            Service::CodeDeploy => "codedeploy",
            Service::CloudFormation => "cloudformation",
            Service::ServiceDiscovery => "servicediscovery",
        }
    }

    /// The prefix of IAM actions, such as `ecs` in `ecs:UpdateService`.
    pub fn iam_prefix(self) -> &'static str {
        match self {
            Service::CloudWatch => "cloudwatch",
            other => other.signing_name(),
        }
    }

    /// The service id in lower case with underscores, as `AWS_ENDPOINT_URL_<ID>` (upper case) and the
    /// `services` section of the configuration file name it.
    /// See <https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html>.
    pub fn config_key(self) -> &'static str {
        match self {
            Service::Ecs => "ecs",
            Service::Ecr => "ecr",
            Service::Elbv2 => "elastic_load_balancing_v2",
            Service::Logs => "cloudwatch_logs",
            Service::Sts => "sts",
            Service::Iam => "iam",
            Service::Ec2 => "ec2",
            Service::Ssm => "ssm",
            Service::SecretsManager => "secrets_manager",
            Service::ApplicationAutoScaling => "application_auto_scaling",
            Service::CloudWatch => "cloudwatch",
            Service::Events => "eventbridge",
            Service::Scheduler => "scheduler",
            Service::CodeDeploy => "codedeploy",
            Service::CloudFormation => "cloudformation",
            Service::ServiceDiscovery => "servicediscovery",
        }
    }

    /// How the service is spoken to. Prefixes and versions are those of the botocore models.
    pub fn protocol(self) -> Protocol {
        let json = |target_prefix| Protocol::Json {
            target_prefix,
            version: "1.1",
        };
        match self {
            Service::Ecs => json("AmazonEC2ContainerServiceV20141113"),
            Service::Ecr => json("AmazonEC2ContainerRegistry_V20150921"),
            Service::Logs => json("Logs_20140328"),
            Service::Ssm => json("AmazonSSM"),
            Service::SecretsManager => json("secretsmanager"),
            Service::ApplicationAutoScaling => json("AnyScaleFrontendService"),
            Service::Events => json("AWSEvents"),
            Service::CodeDeploy => json("CodeDeploy_20141006"),
            Service::ServiceDiscovery => json("Route53AutoNaming_v20170314"),
            Service::Scheduler => Protocol::Rest,
            Service::Elbv2 => Protocol::Query {
                version: "2015-12-01",
            },
            Service::Sts => Protocol::Query {
                version: "2011-06-15",
            },
            Service::Iam => Protocol::Query {
                version: "2010-05-08",
            },
            Service::CloudWatch => Protocol::Query {
                version: "2010-08-01",
            },
            Service::CloudFormation => Protocol::Query {
                version: "2010-05-15",
            },
            Service::Ec2 => Protocol::Ec2 {
                version: "2016-11-15",
            },
        }
    }

    /// Whether one endpoint serves the whole partition.
    pub fn is_global(self) -> bool {
        self == Service::Iam
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.signing_name())
    }
}
