//! What is kept of load balancers, target groups, listeners and rules. The shown part of each serialises as the API answers it.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::clock::Millis;

/// Keys and values of tags or attributes.
pub type Pairs = BTreeMap<String, String>;

/// A load balancer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub shown: ShownLoadBalancer,
    pub attributes: Pairs,
    pub tags: Pairs,
    /// When it has been set up. Zero for those of older versions, which were at once.
    #[serde(default)]
    pub ready_at: Millis,
}

impl LoadBalancer {
    /// As the API answers it at a moment: `provisioning` until it has been set up.
    pub fn shown_at(&self, now: Millis) -> ShownLoadBalancer {
        let mut shown = self.shown.clone();
        if now < self.ready_at {
            shown.state = json!({"Code": "provisioning"});
        }
        shown
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownLoadBalancer {
    pub load_balancer_arn: String,
    /// The loopback address that all of its listeners are on.
    #[serde(rename = "DNSName")]
    pub dns_name: String,
    pub canonical_hosted_zone_id: String,
    pub created_time: String,
    pub load_balancer_name: String,
    pub scheme: String,
    pub vpc_id: String,
    pub state: Value,
    /// `application` or `network`.
    #[serde(rename = "Type")]
    pub kind: String,
    pub availability_zones: Vec<Zone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    pub ip_address_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Zone {
    pub zone_name: String,
    pub subnet_id: String,
    pub load_balancer_addresses: Vec<Value>,
}

/// A target group and the targets that are registered in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetGroup {
    pub shown: ShownTargetGroup,
    pub attributes: Pairs,
    pub tags: Pairs,
    pub targets: Vec<Registration>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownTargetGroup {
    pub target_group_arn: String,
    pub target_group_name: String,
    pub protocol: String,
    pub port: u16,
    pub vpc_id: String,
    pub health_check_protocol: String,
    /// A port or `traffic-port`.
    pub health_check_port: String,
    pub health_check_enabled: bool,
    pub health_check_interval_seconds: u32,
    pub health_check_timeout_seconds: u32,
    pub healthy_threshold_count: u32,
    pub unhealthy_threshold_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matcher: Option<HttpMatcher>,
    pub target_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    pub ip_address_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpMatcher {
    pub http_code: String,
}

/// A registered target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Registration {
    pub id: std::net::IpAddr,
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

/// A listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listener {
    pub shown: ShownListener,
    /// The port asked for; `shown.port` is the one that could be had.
    pub asked_port: u16,
    pub attributes: Pairs,
    pub tags: Pairs,
    /// ARN of the default rule.
    pub default_rule: String,
    /// ARNs of certificates besides the default one.
    #[serde(default)]
    pub more_certificates: Vec<String>,
}

impl Listener {
    /// ARNs of the certificates that it shows, the default one first.
    pub fn certificates(&self) -> impl Iterator<Item = &str> {
        let default = self
            .shown
            .certificates
            .iter()
            .filter_map(|it| it["CertificateArn"].as_str());
        default.chain(self.more_certificates.iter().map(String::as_str))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownListener {
    pub listener_arn: String,
    pub load_balancer_arn: String,
    pub port: u16,
    pub protocol: String,
    pub default_actions: Vec<Act>,
    /// The default certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// One name at most, of a TLS listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn_policy: Vec<String>,
}

/// A rule other than a default one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    pub shown: ShownRule,
    pub listener: String,
    pub tags: Pairs,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownRule {
    pub rule_arn: String,
    /// A number, or `default`.
    pub priority: String,
    pub conditions: Vec<Condition>,
    pub actions: Vec<Act>,
    pub is_default: bool,
}

/// An action as sent and as answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Act {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient"
    )]
    pub order: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_config: Option<RedirectConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_response_config: Option<FixedResponseConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_config: Option<ForwardConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RedirectConfig {
    #[serde(default = "protocol")]
    pub protocol: String,
    #[serde(default = "port")]
    pub port: String,
    #[serde(default = "host")]
    pub host: String,
    #[serde(default = "path")]
    pub path: String,
    #[serde(default = "query")]
    pub query: String,
    pub status_code: String,
}

fn protocol() -> String {
    "#{protocol}".into()
}

fn port() -> String {
    "#{port}".into()
}

fn host() -> String {
    "#{host}".into()
}

fn path() -> String {
    "/#{path}".into()
}

fn query() -> String {
    "#{query}".into()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FixedResponseConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_body: Option<String>,
    pub status_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ForwardConfig {
    #[serde(default)]
    pub target_groups: Vec<Weighted>,
    #[serde(default)]
    pub target_group_stickiness_config: Stickiness,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weighted {
    pub target_group_arn: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient"
    )]
    pub weight: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Stickiness {
    #[serde(deserialize_with = "lenient")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub duration_seconds: Option<u32>,
}

/// A condition as sent and as answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Condition {
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header_config: Option<Values>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_pattern_config: Option<Values>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_header_config: Option<HttpHeader>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_string_config: Option<QueryStrings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_request_method_config: Option<Values>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip_config: Option<Values>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Values {
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpHeader {
    pub http_header_name: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueryStrings {
    pub values: Vec<QueryString>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueryString {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub value: String,
}

/// Reads a number or a boolean that the query protocol sends as text.
fn lenient<'de, D: Deserializer<'de>, T: FromStr>(source: D) -> Result<Option<T>, D::Error> {
    let text = match Value::deserialize(source)? {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("'{text}' has the wrong type")))
}

/// Attributes of a new load balancer that the API shows, with the documented defaults.
pub fn load_balancer_attributes(kind: &str) -> Pairs {
    let common = [
        ("access_logs.s3.enabled", "false"),
        ("access_logs.s3.bucket", ""),
        ("access_logs.s3.prefix", ""),
        ("deletion_protection.enabled", "false"),
        ("ipv6.deny_all_igw_traffic", "false"),
        ("zonal_shift.config.enabled", "false"),
    ];
    let application = [
        ("client_keep_alive.seconds", "3600"),
        ("connection_logs.s3.enabled", "false"),
        ("connection_logs.s3.bucket", ""),
        ("connection_logs.s3.prefix", ""),
        ("idle_timeout.timeout_seconds", "60"),
        ("load_balancing.cross_zone.enabled", "true"),
        ("routing.http.desync_mitigation_mode", "defensive"),
        ("routing.http.drop_invalid_header_fields.enabled", "false"),
        ("routing.http.preserve_host_header.enabled", "false"),
        (
            "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
            "false",
        ),
        ("routing.http.xff_client_port.enabled", "false"),
        ("routing.http.xff_header_processing.mode", "append"),
        ("routing.http2.enabled", "true"),
        ("waf.fail_open.enabled", "false"),
    ];
    let network = [
        ("dns_record.client_routing_policy", "any_availability_zone"),
        ("load_balancing.cross_zone.enabled", "false"),
    ];
    let own: &[_] = if kind == "application" {
        &application
    } else {
        &network
    };
    common
        .iter()
        .chain(own)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Attributes of a new target group that the API shows, with the documented defaults.
pub fn target_group_attributes(protocol: &str) -> Pairs {
    let common = [
        ("deregistration_delay.timeout_seconds", "300"),
        ("stickiness.enabled", "false"),
        (
            "load_balancing.cross_zone.enabled",
            "use_load_balancer_configuration",
        ),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.count",
            "1",
        ),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.percentage",
            "off",
        ),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
            "1",
        ),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
            "off",
        ),
    ];
    let http = [
        ("load_balancing.algorithm.type", "round_robin"),
        ("load_balancing.algorithm.anomaly_mitigation", "off"),
        ("slow_start.duration_seconds", "0"),
        ("stickiness.type", "lb_cookie"),
        ("stickiness.lb_cookie.duration_seconds", "86400"),
        ("stickiness.app_cookie.cookie_name", ""),
        ("stickiness.app_cookie.duration_seconds", "86400"),
    ];
    let tcp = [
        (
            "deregistration_delay.connection_termination.enabled",
            "false",
        ),
        ("preserve_client_ip.enabled", "false"),
        ("proxy_protocol_v2.enabled", "false"),
        ("stickiness.type", "source_ip"),
        (
            "target_health_state.unhealthy.connection_termination.enabled",
            "true",
        ),
        (
            "target_health_state.unhealthy.draining_interval_seconds",
            "0",
        ),
    ];
    let own: &[_] = if matches!(protocol, "HTTP" | "HTTPS") {
        &http
    } else {
        &tcp
    };
    common
        .iter()
        .chain(own)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Attributes of a new listener.
pub fn listener_attributes(protocol: &str) -> Pairs {
    let own: &[_] = match protocol {
        "HTTP" | "HTTPS" => &[("routing.http.response.server.enabled", "true")],
        "TCP" => &[("tcp.idle_timeout.seconds", "350")],
        // "TLS listeners: 350 s, and can't be changed" (Network Load Balancers user guide, "Connection idle timeout").
        _ => &[],
    };
    own.iter()
        .map(|(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}
