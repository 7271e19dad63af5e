//! Where a service answers: the host name rules of the AWS SDKs, for the services hoist talks to.

use crate::{Partition, Service};

/// A resolved endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address without a trailing slash, such as `https://ecs.eu-central-1.amazonaws.com`.
    pub url: String,
    /// The region of the credential scope; differs from the client's for global services.
    pub signing_region: String,
    /// Whether the address was configured rather than derived from the region.
    pub custom: bool,
}

/// Which variant of an endpoint is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Variant {
    /// Validated cryptography (FIPS 140).
    pub fips: bool,
    /// IPv6 beside IPv4.
    pub dual_stack: bool,
}

/// Derives the address of a service in a region.
///
/// The answers agree with botocore's endpoint rules for every [`Service`], partition and variant; see the table in the tests.
/// A partition without dual-stack endpoints answers with its ordinary ones.
pub fn of_region(service: Service, region: &str, variant: Variant) -> Endpoint {
    let partition = Partition::of(region);
    let dual_stack = partition.dual_stack_suffix.filter(|_| variant.dual_stack);
    let suffix = dual_stack.unwrap_or(partition.dns_suffix);
    let (host, signing_region) = if service.is_global() {
        (
            global_host(service, &partition, variant.fips, dual_stack),
            partition.global_region,
        )
    } else {
        let name = regional_name(
            service,
            &partition,
            region,
            variant.fips,
            dual_stack.is_some(),
        );
        (format!("{name}.{region}.{suffix}"), region)
    };
    Endpoint {
        url: format!("https://{host}"),
        signing_region: signing_region.to_owned(),
        custom: false,
    }
}

fn regional_name(
    service: Service,
    partition: &Partition,
    region: &str,
    fips: bool,
    dual_stack: bool,
) -> String {
    let name = service.signing_name();
    if service == Service::Ecr {
        let short = match (fips, dual_stack) {
            (false, dual_stack) => {
                dual_stack && matches!(partition.id, "aws" | "aws-cn" | "aws-us-gov")
            }
            (true, false) => matches!(partition.id, "aws" | "aws-us-gov"),
            (true, true) => {
                region.starts_with("us-") && matches!(partition.id, "aws" | "aws-us-gov")
            }
        };
        return format!(
            "{}ecr{}",
            if short { "" } else { "api." },
            if fips { "-fips" } else { "" }
        );
    }
    // In GovCloud the ordinary endpoints of most services are the validated ones.
    let validated_already = partition.id == "aws-us-gov"
        && !dual_stack
        && !matches!(
            service,
            Service::Ecs
                | Service::SecretsManager
                | Service::CodeDeploy
                | Service::ServiceDiscovery
        );
    if fips && !validated_already {
        format!("{name}-fips")
    } else {
        name.to_owned()
    }
}

fn global_host(
    service: Service,
    partition: &Partition,
    fips: bool,
    dual_stack: Option<&str>,
) -> String {
    let name = service.signing_name();
    let region = partition.global_region;
    match (partition.id, fips, dual_stack) {
        ("aws", false, Some(suffix)) => format!("{name}.global.{suffix}"),
        ("aws", true, Some(suffix)) => format!("{name}-fips.aws-global.{suffix}"),
        ("aws", false, None) => format!("{name}.{}", partition.dns_suffix),
        ("aws", true, None) => format!("{name}-fips.{}", partition.dns_suffix),
        ("aws-us-gov", _, None) => format!("{name}.us-gov.{}", partition.dns_suffix),
        (_, false, None) => format!("{name}.{region}.{}", partition.dns_suffix),
        (id, fips, suffix) => {
            let suffix = suffix.unwrap_or(partition.dns_suffix);
            format!(
                "{name}{}.{id}-global.{suffix}",
                if fips { "-fips" } else { "" }
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of botocore 1.44: service, region, ordinary, FIPS, dual-stack, both.
    const TABLE: &[(Service, &str, [&str; 4])] = &[
        (
            Service::Ecs,
            "us-east-1",
            [
                "ecs.us-east-1.amazonaws.com",
                "ecs-fips.us-east-1.amazonaws.com",
                "ecs.us-east-1.api.aws",
                "ecs-fips.us-east-1.api.aws",
            ],
        ),
        (
            Service::Ecs,
            "cn-north-1",
            [
                "ecs.cn-north-1.amazonaws.com.cn",
                "ecs-fips.cn-north-1.amazonaws.com.cn",
                "ecs.cn-north-1.api.amazonwebservices.com.cn",
                "ecs-fips.cn-north-1.api.amazonwebservices.com.cn",
            ],
        ),
        (
            Service::Ecs,
            "us-gov-west-1",
            [
                "ecs.us-gov-west-1.amazonaws.com",
                "ecs-fips.us-gov-west-1.amazonaws.com",
                "ecs.us-gov-west-1.api.aws",
                "ecs-fips.us-gov-west-1.api.aws",
            ],
        ),
        (
            Service::Ecs,
            "us-iso-east-1",
            [
                "ecs.us-iso-east-1.c2s.ic.gov",
                "ecs-fips.us-iso-east-1.c2s.ic.gov",
                "ecs.us-iso-east-1.api.aws",
                "ecs-fips.us-iso-east-1.api.aws",
            ],
        ),
        (
            Service::Ecs,
            "eusc-de-east-1",
            [
                "ecs.eusc-de-east-1.amazonaws.eu",
                "ecs-fips.eusc-de-east-1.amazonaws.eu",
                "ecs.eusc-de-east-1.api.amazonwebservices.eu",
                "ecs-fips.eusc-de-east-1.api.amazonwebservices.eu",
            ],
        ),
        (
            Service::Ecr,
            "us-east-1",
            [
                "api.ecr.us-east-1.amazonaws.com",
                "ecr-fips.us-east-1.amazonaws.com",
                "ecr.us-east-1.api.aws",
                "ecr-fips.us-east-1.api.aws",
            ],
        ),
        (
            Service::Ecr,
            "eu-central-1",
            [
                "api.ecr.eu-central-1.amazonaws.com",
                "ecr-fips.eu-central-1.amazonaws.com",
                "ecr.eu-central-1.api.aws",
                "api.ecr-fips.eu-central-1.api.aws",
            ],
        ),
        (
            Service::Ecr,
            "cn-north-1",
            [
                "api.ecr.cn-north-1.amazonaws.com.cn",
                "api.ecr-fips.cn-north-1.amazonaws.com.cn",
                "ecr.cn-north-1.api.amazonwebservices.com.cn",
                "api.ecr-fips.cn-north-1.api.amazonwebservices.com.cn",
            ],
        ),
        (
            Service::Ecr,
            "us-gov-west-1",
            [
                "api.ecr.us-gov-west-1.amazonaws.com",
                "ecr-fips.us-gov-west-1.amazonaws.com",
                "ecr.us-gov-west-1.api.aws",
                "ecr-fips.us-gov-west-1.api.aws",
            ],
        ),
        (
            Service::Ecr,
            "us-isob-east-1",
            [
                "api.ecr.us-isob-east-1.sc2s.sgov.gov",
                "api.ecr-fips.us-isob-east-1.sc2s.sgov.gov",
                "api.ecr.us-isob-east-1.api.aws",
                "api.ecr-fips.us-isob-east-1.api.aws",
            ],
        ),
        (
            Service::Elbv2,
            "eu-central-1",
            [
                "elasticloadbalancing.eu-central-1.amazonaws.com",
                "elasticloadbalancing-fips.eu-central-1.amazonaws.com",
                "elasticloadbalancing.eu-central-1.api.aws",
                "elasticloadbalancing-fips.eu-central-1.api.aws",
            ],
        ),
        (
            Service::Elbv2,
            "us-gov-west-1",
            [
                "elasticloadbalancing.us-gov-west-1.amazonaws.com",
                "elasticloadbalancing.us-gov-west-1.amazonaws.com",
                "elasticloadbalancing.us-gov-west-1.api.aws",
                "elasticloadbalancing-fips.us-gov-west-1.api.aws",
            ],
        ),
        (
            Service::Sts,
            "us-gov-west-1",
            [
                "sts.us-gov-west-1.amazonaws.com",
                "sts.us-gov-west-1.amazonaws.com",
                "sts.us-gov-west-1.api.aws",
                "sts-fips.us-gov-west-1.api.aws",
            ],
        ),
        (
            Service::SecretsManager,
            "us-gov-west-1",
            [
                "secretsmanager.us-gov-west-1.amazonaws.com",
                "secretsmanager-fips.us-gov-west-1.amazonaws.com",
                "secretsmanager.us-gov-west-1.api.aws",
                "secretsmanager-fips.us-gov-west-1.api.aws",
            ],
        ),
        (
            Service::CloudWatch,
            "eu-central-1",
            [
                "monitoring.eu-central-1.amazonaws.com",
                "monitoring-fips.eu-central-1.amazonaws.com",
                "monitoring.eu-central-1.api.aws",
                "monitoring-fips.eu-central-1.api.aws",
            ],
        ),
        (
            Service::Iam,
            "eu-central-1",
            [
                "iam.amazonaws.com",
                "iam-fips.amazonaws.com",
                "iam.global.api.aws",
                "iam-fips.aws-global.api.aws",
            ],
        ),
        (
            Service::Iam,
            "cn-northwest-1",
            [
                "iam.cn-north-1.amazonaws.com.cn",
                "iam-fips.aws-cn-global.amazonaws.com.cn",
                "iam.aws-cn-global.api.amazonwebservices.com.cn",
                "iam-fips.aws-cn-global.api.amazonwebservices.com.cn",
            ],
        ),
        (
            Service::Iam,
            "us-gov-west-1",
            [
                "iam.us-gov.amazonaws.com",
                "iam.us-gov.amazonaws.com",
                "iam.aws-us-gov-global.api.aws",
                "iam-fips.aws-us-gov-global.api.aws",
            ],
        ),
    ];

    #[test]
    fn hosts_agree_with_the_sdk_rules() {
        for (service, region, hosts) in TABLE {
            let variants = [(false, false), (true, false), (false, true), (true, true)];
            for ((fips, dual_stack), host) in variants.into_iter().zip(hosts) {
                let endpoint = of_region(*service, region, Variant { fips, dual_stack });
                assert_eq!(
                    endpoint.url,
                    format!("https://{host}"),
                    "{service} {region} fips={fips} dual_stack={dual_stack}"
                );
            }
        }
    }

    #[test]
    fn a_global_service_is_signed_in_the_region_of_its_partition() {
        let of = |region| of_region(Service::Iam, region, Variant::default()).signing_region;
        assert_eq!(of("eu-central-1"), "us-east-1");
        assert_eq!(of("cn-northwest-1"), "cn-north-1");
        assert_eq!(of("us-gov-east-1"), "us-gov-west-1");
        assert_eq!(
            of_region(Service::Ecs, "eu-central-1", Variant::default()).signing_region,
            "eu-central-1"
        );
    }
}
