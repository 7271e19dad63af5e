//! Certificates of HTTPS and TLS listeners.

use serde_json::{Value, json};

use super::ask::invalid;
use super::listeners::named;
use crate::api::{ApiError, Call};
use crate::elb::Balancers;

/// What a listener has that does not ask for another (API reference, CreateListener).
const POLICY: &str = "ELBSecurityPolicy-2016-08";
/// The policies that are known. All mean the same here: TLS 1.2 and 1.3 with the ciphers that rustls has.
const POLICIES: [&str; 4] = [
    POLICY,
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
];

fn arns(call: &Call) -> Vec<&str> {
    let all = call.list("Certificates").iter();
    all.filter_map(|it| it["CertificateArn"].as_str()).collect()
}

fn check(balancers: &Balancers, arns: &[&str]) -> Result<(), ApiError> {
    for arn in arns {
        if !arn.starts_with("arn:") {
            return Err(invalid(format!("Certificate ARN '{arn}' is not valid")));
        }
        if balancers.certificates().find(arn)?.is_none() {
            let text = format!("Certificate '{arn}' not found");
            return Err(ApiError::new("CertificateNotFound", text));
        }
    }
    Ok(())
}

/// The default certificate of a listener, as it is shown.
pub fn asked(balancers: &Balancers, call: &Call, protocol: &str) -> Result<Vec<Value>, ApiError> {
    let arns = arns(call);
    match (is_secure(protocol), arns.as_slice()) {
        (true, []) => Err(invalid(format!(
            "A certificate must be specified for {protocol} listeners"
        ))),
        (true, [_]) => {
            check(balancers, &arns)?;
            Ok(vec![json!({"CertificateArn": arns[0]})])
        }
        (true, _) => Err(ApiError::new(
            "TooManyCertificates",
            "You can only specify one certificate when you create or modify a listener",
        )),
        (false, []) => Ok(Vec::new()),
        (false, _) => Err(invalid(format!(
            "A certificate cannot be specified for {protocol} listeners"
        ))),
    }
}

/// Whether a listener speaks TLS.
fn is_secure(protocol: &str) -> bool {
    matches!(protocol, "HTTPS" | "TLS")
}

/// What a TLS listener offers within TLS.
pub fn alpn(call: &Call, protocol: &str) -> Result<Vec<String>, ApiError> {
    let given = call.strings("AlpnPolicy");
    let known = [
        "HTTP1Only",
        "HTTP2Only",
        "HTTP2Optional",
        "HTTP2Preferred",
        "None",
    ];
    match given.as_slice() {
        [] => Ok(Vec::new()),
        _ if protocol != "TLS" => Err(invalid(format!(
            "An ALPN policy cannot be specified for {protocol} listeners"
        ))),
        [one] if known.contains(one) => Ok(vec![(*one).to_owned()]),
        [one] => Err(ApiError::new(
            "ALPNPolicyNotSupported",
            format!("The ALPN policy '{one}' is not supported"),
        )),
        _ => Err(invalid("You can only specify one ALPN policy")),
    }
}

/// The security policy of a listener.
pub fn policy(call: &Call, protocol: &str) -> Result<Option<String>, ApiError> {
    let given = call.str("SslPolicy");
    if !is_secure(protocol) {
        return match given {
            None => Ok(None),
            Some(_) => Err(invalid(format!(
                "An SSL policy cannot be specified for {protocol} listeners"
            ))),
        };
    }
    let name = given.unwrap_or(POLICY);
    // There are many; those of the name's form are taken as they are.
    if !name.starts_with("ELBSecurityPolicy-") {
        let text = format!("SSL policy '{name}' not found");
        return Err(ApiError::new("SSLPolicyNotFound", text));
    }
    Ok(Some(name.to_owned()))
}

pub async fn add(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut listener = named(balancers, call)?;
    if !is_secure(&listener.shown.protocol) {
        return Err(invalid(
            "Certificates can only be added to HTTPS and TLS listeners",
        ));
    }
    let arns = arns(call);
    check(balancers, &arns)?;
    for arn in &arns {
        if !listener.certificates().any(|it| it == *arn) {
            listener.more_certificates.push((*arn).to_owned());
        }
    }
    let table = &balancers.tables().listeners;
    table.put(&call.region, &listener.shown.listener_arn, &listener)?;
    balancers.refresh(&call.region)?;
    let shown: Vec<Value> = arns
        .iter()
        .map(|arn| json!({"CertificateArn": arn, "IsDefault": false}))
        .collect();
    Ok(json!({"Certificates": shown}))
}

pub async fn remove(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut listener = named(balancers, call)?;
    let arns = arns(call);
    if listener
        .shown
        .certificates
        .iter()
        .any(|it| arns.iter().any(|arn| it["CertificateArn"] == *arn))
    {
        return Err(ApiError::new(
            "OperationNotPermitted",
            "You cannot remove the default certificate of a listener",
        ));
    }
    listener
        .more_certificates
        .retain(|it| !arns.contains(&it.as_str()));
    let table = &balancers.tables().listeners;
    table.put(&call.region, &listener.shown.listener_arn, &listener)?;
    balancers.refresh(&call.region)?;
    Ok(json!({}))
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let listener = named(balancers, call)?;
    let shown: Vec<Value> = listener
        .certificates()
        .enumerate()
        .map(|(at, arn)| json!({"CertificateArn": arn, "IsDefault": at == 0}))
        .collect();
    Ok(json!({"Certificates": shown}))
}

pub fn policies(call: &Call) -> Result<Value, ApiError> {
    let wanted = call.strings("Names");
    if let Some(unknown) = wanted.iter().find(|name| !POLICIES.contains(name)) {
        let text = format!("SSL policy '{unknown}' not found");
        return Err(ApiError::new("SSLPolicyNotFound", text));
    }
    let shown: Vec<Value> = POLICIES
        .iter()
        .filter(|name| wanted.is_empty() || wanted.contains(name))
        .map(|name| {
            json!({
                "Name": name, "SslProtocols": ["TLSv1.2", "TLSv1.3"], "SupportedLoadBalancerTypes": ["application", "network"],
                "Ciphers": [{"Name": "TLS_AES_128_GCM_SHA256", "Priority": 1}, {"Name": "TLS_AES_256_GCM_SHA384", "Priority": 2}],
            })
        })
        .collect();
    Ok(json!({"SslPolicies": shown}))
}
