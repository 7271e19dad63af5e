//! Elastic Load Balancing answers, and the public address of a network interface.

use serde_json::Value;

use super::{list, number, text, view};

view! {
    /// One of `TargetHealthDescriptions`.
    TargetView
}
view! {
    /// A target group.
    TargetGroupView
}
view! {
    /// A load balancer.
    BalancerView
}

/// The targets of a `DescribeTargetHealth` answer.
pub fn targets(answer: &Value) -> impl Iterator<Item = TargetView<'_>> {
    list(answer, "TargetHealthDescriptions").map(TargetView::of)
}

/// The target groups of a `DescribeTargetGroups` answer.
pub fn target_groups(answer: &Value) -> impl Iterator<Item = TargetGroupView<'_>> {
    list(answer, "TargetGroups").map(TargetGroupView::of)
}

/// The load balancers of a `DescribeLoadBalancers` answer.
pub fn balancers(answer: &Value) -> impl Iterator<Item = BalancerView<'_>> {
    list(answer, "LoadBalancers").map(BalancerView::of)
}

/// The first public address in a `DescribeNetworkInterfaces` answer.
pub fn interfaces_public_ip(answer: &Value) -> Option<&str> {
    list(answer, "networkInterfaceSet")
        .filter_map(|interface| interface.pointer("/association/publicIp")?.as_str())
        .find(|address| !address.is_empty())
}

impl<'a> TargetView<'a> {
    /// `Target.Id`: the address of an ip target.
    pub fn id(&self) -> &'a str {
        self.raw()
            .get("Target")
            .map(|target| text(target, "Id"))
            .unwrap_or_default()
    }

    /// `Target.Port`.
    pub fn port(&self) -> Option<u16> {
        number(self.raw().get("Target")?, "Port").and_then(|port| u16::try_from(port).ok())
    }

    /// `TargetHealth.State`: initial, healthy, unhealthy, unhealthy.draining, unused, draining, unavailable.
    pub fn state(&self) -> &'a str {
        self.health("State")
    }

    /// `TargetHealth.Reason`, such as `Target.Timeout`.
    pub fn reason(&self) -> &'a str {
        self.health("Reason")
    }

    /// `TargetHealth.Description`, such as `Request timed out`.
    pub fn description(&self) -> &'a str {
        self.health("Description")
    }

    fn health(&self, key: &str) -> &'a str {
        self.raw()
            .get("TargetHealth")
            .map(|health| text(health, key))
            .unwrap_or_default()
    }
}

impl<'a> TargetGroupView<'a> {
    /// `TargetGroupArn`.
    pub fn arn(&self) -> &'a str {
        text(self.raw(), "TargetGroupArn")
    }

    /// `TargetGroupName`.
    pub fn name(&self) -> &'a str {
        text(self.raw(), "TargetGroupName")
    }

    /// `Port`.
    pub fn port(&self) -> Option<u16> {
        number(self.raw(), "Port").and_then(|port| u16::try_from(port).ok())
    }

    /// `Protocol`.
    pub fn protocol(&self) -> &'a str {
        text(self.raw(), "Protocol")
    }

    /// `TargetType`: ip for Fargate.
    pub fn target_type(&self) -> &'a str {
        text(self.raw(), "TargetType")
    }

    /// `HealthCheckPath`.
    pub fn health_path(&self) -> &'a str {
        text(self.raw(), "HealthCheckPath")
    }

    /// `LoadBalancerArns`.
    pub fn balancer_arns(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        list(self.raw(), "LoadBalancerArns").filter_map(Value::as_str)
    }
}

impl<'a> BalancerView<'a> {
    /// `LoadBalancerArn`.
    pub fn arn(&self) -> &'a str {
        text(self.raw(), "LoadBalancerArn")
    }

    /// `LoadBalancerName`.
    pub fn name(&self) -> &'a str {
        text(self.raw(), "LoadBalancerName")
    }

    /// `DNSName`.
    pub fn dns_name(&self) -> &'a str {
        text(self.raw(), "DNSName")
    }

    /// `Scheme`: internet-facing or internal.
    pub fn scheme(&self) -> &'a str {
        text(self.raw(), "Scheme")
    }

    /// `State.Code`.
    pub fn state(&self) -> &'a str {
        self.raw()
            .get("State")
            .map(|state| text(state, "Code"))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn targets_are_read_from_what_the_xml_becomes() {
        let answer = json!({"TargetHealthDescriptions": [{
            "Target": {"Id": "10.0.0.7", "Port": "8080"},
            "TargetHealth": {"State": "unhealthy", "Reason": "Target.Timeout", "Description": "Request timed out"}
        }]});
        let target = targets(&answer).next().unwrap();
        assert_eq!(
            (target.id(), target.port(), target.state(), target.reason()),
            ("10.0.0.7", Some(8080), "unhealthy", "Target.Timeout")
        );
    }

    #[test]
    fn the_public_address_of_an_interface_is_found() {
        let answer = json!({"networkInterfaceSet": [{"networkInterfaceId": "eni-0"}, {"association": {"publicIp": "203.0.113.12"}}]});
        assert_eq!(interfaces_public_ip(&answer), Some("203.0.113.12"));
        assert_eq!(interfaces_public_ip(&json!({})), None);
    }
}
