//! Partitions: the separate AWS clouds, told apart by the name of a region.

/// A partition, with the host name suffixes its endpoints use.
///
/// The values are those of `partitions.json` in the AWS SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The second field of every ARN in it, such as `aws` or `aws-cn`.
    pub id: &'static str,
    /// What ordinary endpoints end in, such as `amazonaws.com`.
    pub dns_suffix: &'static str,
    /// What dual-stack endpoints end in, where the partition has them.
    pub dual_stack_suffix: Option<&'static str>,
    /// The region in which global services (IAM) are signed.
    pub global_region: &'static str,
}

const AWS: Partition = Partition {
    id: "aws",
    dns_suffix: "amazonaws.com",
    dual_stack_suffix: Some("api.aws"),
    global_region: "us-east-1",
};
const CHINA: Partition = Partition {
    id: "aws-cn",
    dns_suffix: "amazonaws.com.cn",
    dual_stack_suffix: Some("api.amazonwebservices.com.cn"),
    global_region: "cn-north-1",
};
const GOVCLOUD: Partition = Partition {
    id: "aws-us-gov",
    dns_suffix: "amazonaws.com",
    dual_stack_suffix: Some("api.aws"),
    global_region: "us-gov-west-1",
};
const ISO: Partition = Partition {
    id: "aws-iso",
    dns_suffix: "c2s.ic.gov",
    dual_stack_suffix: Some("api.aws"),
    global_region: "us-iso-east-1",
};
const ISO_B: Partition = Partition {
    id: "aws-iso-b",
    dns_suffix: "sc2s.sgov.gov",
    dual_stack_suffix: Some("api.aws"),
    global_region: "us-isob-east-1",
};
const ISO_E: Partition = Partition {
    id: "aws-iso-e",
    dns_suffix: "cloud.adc-e.uk",
    dual_stack_suffix: None,
    global_region: "eu-isoe-west-1",
};
const ISO_F: Partition = Partition {
    id: "aws-iso-f",
    dns_suffix: "csp.hci.ic.gov",
    dual_stack_suffix: None,
    global_region: "us-isof-south-1",
};
const EUROPE: Partition = Partition {
    id: "aws-eusc",
    dns_suffix: "amazonaws.eu",
    dual_stack_suffix: Some("api.amazonwebservices.eu"),
    global_region: "eusc-de-east-1",
};

impl Partition {
    /// Tells the partition of a region by its name; unknown names belong to `aws`.
    pub fn of(region: &str) -> Partition {
        const BY_PREFIX: [(&str, Partition); 7] = [
            ("cn-", CHINA),
            ("us-gov-", GOVCLOUD),
            ("us-isob-", ISO_B),
            ("us-isof-", ISO_F),
            ("us-iso-", ISO),
            ("eu-isoe-", ISO_E),
            ("eusc-", EUROPE),
        ];
        BY_PREFIX
            .iter()
            .find(|(prefix, _)| region.starts_with(prefix))
            .map_or(AWS, |(_, partition)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_name_tells_its_partition() {
        for (region, id) in [
            ("eu-central-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-east-1", "aws-us-gov"),
            ("us-iso-west-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("eusc-de-east-1", "aws-eusc"),
            ("moon-base-1", "aws"),
        ] {
            assert_eq!(Partition::of(region).id, id, "{region}");
        }
    }
}
