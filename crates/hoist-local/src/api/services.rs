use std::pin::Pin;

use serde_json::Value;

use super::call::Call;
use super::error::ApiError;
use crate::ctx::Ctx;

/// How a service's requests and answers look on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AWS JSON 1.1: the operation in `X-Amz-Target`.
    Json,
    /// AWS query: form in, XML out.
    Query,
    /// The EC2 dialect of AWS query.
    Ec2,
}

/// A service that the embedded AWS has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Elastic Container Service.
    Ecs,
    /// Elastic Container Registry.
    Ecr,
    /// CloudWatch Logs.
    Logs,
    /// Elastic Load Balancing, version 2.
    Elbv2,
    /// Security Token Service.
    Sts,
    /// Identity and Access Management.
    Iam,
    /// Elastic Compute Cloud: the network part.
    Ec2,
    /// Systems Manager: the Parameter Store.
    Ssm,
    /// Secrets Manager.
    SecretsManager,
    /// Application Auto Scaling.
    ApplicationAutoScaling,
    /// CloudWatch: metrics and alarms.
    CloudWatch,
    /// Cloud Map.
    ServiceDiscovery,
    /// Certificate Manager.
    Acm,
    /// EventBridge.
    Events,
    /// EventBridge Scheduler, which speaks REST with JSON; see [`crate::scheduler`].
    Scheduler,
}

struct Row {
    service: Service,
    signing: &'static str,
    protocol: Protocol,
    /// The prefix of `X-Amz-Target` in JSON, the `Version` in the query protocols.
    prefix: &'static str,
    namespace: &'static str,
}

/// Signing names, target prefixes, versions and namespaces as the botocore models 1.44 have them.
const TABLE: &[Row] = &[
    Row {
        service: Service::Ecs,
        signing: "ecs",
        protocol: Protocol::Json,
        prefix: "AmazonEC2ContainerServiceV20141113",
        namespace: "",
    },
    Row {
        service: Service::Ecr,
        signing: "ecr",
        protocol: Protocol::Json,
        prefix: "AmazonEC2ContainerRegistry_V20150921",
        namespace: "",
    },
    Row {
        service: Service::Logs,
        signing: "logs",
        protocol: Protocol::Json,
        prefix: "Logs_20140328",
        namespace: "",
    },
    Row {
        service: Service::Elbv2,
        signing: "elasticloadbalancing",
        protocol: Protocol::Query,
        prefix: "2015-12-01",
        namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
    },
    Row {
        service: Service::Sts,
        signing: "sts",
        protocol: Protocol::Query,
        prefix: "2011-06-15",
        namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
    },
    Row {
        service: Service::Iam,
        signing: "iam",
        protocol: Protocol::Query,
        prefix: "2010-05-08",
        namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
    },
    Row {
        service: Service::Ec2,
        signing: "ec2",
        protocol: Protocol::Ec2,
        prefix: "2016-11-15",
        namespace: "http://ec2.amazonaws.com/doc/2016-11-15/",
    },
    Row {
        service: Service::Ssm,
        signing: "ssm",
        protocol: Protocol::Json,
        prefix: "AmazonSSM",
        namespace: "",
    },
    Row {
        service: Service::SecretsManager,
        signing: "secretsmanager",
        protocol: Protocol::Json,
        prefix: "secretsmanager",
        namespace: "",
    },
    Row {
        service: Service::ApplicationAutoScaling,
        signing: "application-autoscaling",
        protocol: Protocol::Json,
        prefix: "AnyScaleFrontendService",
        namespace: "",
    },
    Row {
        service: Service::CloudWatch,
        signing: "monitoring",
        protocol: Protocol::Json,
        prefix: "GraniteServiceVersion20100801",
        namespace: "",
    },
    Row {
        service: Service::ServiceDiscovery,
        signing: "servicediscovery",
        protocol: Protocol::Json,
        prefix: "Route53AutoNaming_v20170314",
        namespace: "",
    },
    Row {
        service: Service::Acm,
        signing: "acm",
        protocol: Protocol::Json,
        prefix: "CertificateManager",
        namespace: "",
    },
    Row {
        service: Service::Events,
        signing: "events",
        protocol: Protocol::Json,
        prefix: "AWSEvents",
        namespace: "",
    },
    Row {
        service: Service::Scheduler,
        signing: "scheduler",
        protocol: Protocol::Json,
        // No target prefix at all.
        prefix: "rest:scheduler",
        namespace: "",
    },
];

impl Service {
    fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.service == self)
            .expect("every service has a row")
    }

    /// The service that an `X-Amz-Target` prefix names.
    pub fn by_target(prefix: &str) -> Option<Service> {
        TABLE
            .iter()
            .find(|row| row.protocol == Protocol::Json && row.prefix == prefix)
            .map(|row| row.service)
    }

    /// The query service of that API version, and of that signing name if two share the version.
    pub fn by_version(version: &str, signing: Option<&str>) -> Option<Service> {
        let query = || TABLE.iter().filter(|row| row.protocol != Protocol::Json);
        query()
            .find(|row| row.prefix == version && signing.is_none_or(|name| name == row.signing))
            .or_else(|| query().find(|row| Some(row.signing) == signing))
            .map(|row| row.service)
    }

    /// The name in the credential scope and in ARNs.
    pub fn signing_name(self) -> &'static str {
        self.row().signing
    }

    /// How it speaks.
    pub fn protocol(self) -> Protocol {
        self.row().protocol
    }

    /// The API version of a query service.
    pub fn version(self) -> &'static str {
        self.row().prefix
    }

    /// The XML namespace of its answers.
    pub fn namespace(self) -> &'static str {
        self.row().namespace
    }
}

/// Hands a call to its service. Boxed: all the services' calls would otherwise be compiled once more for each place that awaits one.
pub(super) fn dispatch<'a>(
    ctx: &'a Ctx,
    call: &'a Call,
) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>> {
    Box::pin(async move {
        match call.service {
            Service::Ecs => crate::ecs::handle(ctx, call).await,
            Service::Logs => crate::logs::handle(&ctx.logs, call).await,
            Service::Elbv2 => crate::elb::handle(&ctx.balancers, &ctx.ec2, call).await,
            Service::Ec2 => {
                let answer = crate::ec2::handle(&ctx.ec2, call);
                if answer.is_ok()
                    && call.action.contains("SecurityGroup")
                    && !call.action.starts_with("Describe")
                {
                    crate::driver::guard(ctx).await;
                }
                answer
            }
            Service::Iam => crate::iam::handle(&ctx.iam, call).await,
            Service::Sts => crate::sts::handle(&ctx.keys, &ctx.iam, call).await,
            Service::Ecr => crate::ecr::handle(&ctx.registry, call),
            Service::Ssm => crate::ssm::handle(&ctx.parameters, call).await,
            Service::SecretsManager => crate::secrets::handle(&ctx.secrets, call).await,
            Service::ApplicationAutoScaling => crate::scaling::handle(ctx, call).await,
            Service::CloudWatch => crate::metrics::handle(&ctx.metrics, call),
            Service::ServiceDiscovery => crate::names::handle(ctx, call),
            Service::Acm => crate::acm::handle(ctx, call),
            Service::Events => crate::events::handle(ctx, call).await,
            Service::Scheduler => crate::scheduler::handle(ctx, call),
        }
    })
}
