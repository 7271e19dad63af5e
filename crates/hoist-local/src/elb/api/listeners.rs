use serde_json::{Value, json};

use super::ask::{change_attributes, invalid, listed, number, page, required, structured, tags};
use super::{certificates, load_balancers};
use crate::api::{ApiError, Call};
use crate::elb::Balancers;
use crate::elb::balancers::group_not_found;
use crate::elb::model::{
    Act, ForwardConfig, Listener, LoadBalancer, ShownListener, Stickiness, Weighted,
    listener_attributes,
};
use crate::ids;

pub fn not_found() -> ApiError {
    ApiError::new("ListenerNotFound", "One or more listeners not found")
}

/// The listener that `ListenerArn` names.
pub fn named(balancers: &Balancers, call: &Call) -> Result<Listener, ApiError> {
    let arn = required(call, "ListenerArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":listener/") {
        return Err(invalid(format!("'{arn}' is not a valid listener ARN")));
    }
    balancers
        .tables()
        .listeners
        .get(&call.region, arn)?
        .ok_or_else(not_found)
}

/// Every group that a listener or one of its rules leads to, with that listener.
pub fn uses(balancers: &Balancers, region: &str) -> Result<Vec<(Listener, String)>, ApiError> {
    let rules = balancers.tables().rules.list(region)?;
    let mut found = Vec::new();
    for (arn, listener) in balancers.tables().listeners.list(region)? {
        let own = rules
            .iter()
            .filter(|(_, rule)| rule.listener == arn)
            .flat_map(|(_, rule)| &rule.shown.actions);
        for act in own.chain(&listener.shown.default_actions) {
            found.extend(
                act.groups()
                    .into_iter()
                    .map(|group| (listener.clone(), group.to_owned())),
            );
        }
    }
    Ok(found)
}

/// Reads the actions of a listener or a rule, checks them, and fills in what AWS fills in.
pub fn actions(
    balancers: &Balancers,
    call: &Call,
    member: &str,
    protocol: &str,
    balancer: &str,
) -> Result<Vec<Act>, ApiError> {
    let mut acts: Vec<Act> = structured(call, member)?.unwrap_or_default();
    if acts.is_empty() {
        return Err(invalid("At least one action must be specified"));
    }
    if acts.len() > 1 {
        return Err(ApiError::new(
            "InvalidLoadBalancerAction",
            "Only one action of the types 'forward', 'redirect' and 'fixed-response' can be specified",
        ));
    }
    let bad = |why: &str| ApiError::new("InvalidLoadBalancerAction", why);
    for act in &mut acts {
        match act.kind.as_str() {
            "forward" => forward(act)?,
            "redirect" if layer(protocol) == "HTTP" => {
                let config = act
                    .redirect_config
                    .as_ref()
                    .ok_or_else(|| bad("A redirect configuration must be specified"))?;
                if !matches!(config.status_code.as_str(), "HTTP_301" | "HTTP_302") {
                    return Err(invalid(format!(
                        "The redirect status code '{}' must be HTTP_301 or HTTP_302",
                        config.status_code
                    )));
                }
                let unchanged = config.protocol == "#{protocol}"
                    && config.host == "#{host}"
                    && config.port == "#{port}"
                    && config.path == "/#{path}";
                if unchanged {
                    return Err(bad(
                        "The redirect configuration is not valid because it creates a loop.",
                    ));
                }
            }
            "fixed-response" if layer(protocol) == "HTTP" => {
                let config = act
                    .fixed_response_config
                    .as_mut()
                    .ok_or_else(|| bad("A fixed response configuration must be specified"))?;
                let code: u16 = config.status_code.parse().unwrap_or(0);
                if !(200..600).contains(&code) || (300..400).contains(&code) {
                    return Err(invalid(format!(
                        "The fixed-response status code '{}' must be 2XX, 4XX or 5XX",
                        config.status_code
                    )));
                }
                if config
                    .message_body
                    .as_ref()
                    .is_some_and(|body| body.len() > 1024)
                {
                    return Err(invalid(
                        "The message body of a fixed response must be at most 1024 characters long",
                    ));
                }
                config
                    .content_type
                    .get_or_insert_with(|| "text/plain".into());
            }
            other => {
                return Err(bad(&format!(
                    "The action type '{other}' is not valid with {protocol} listeners"
                )));
            }
        }
        for group in act.groups() {
            let kept = balancers
                .tables()
                .groups
                .get(&call.region, group)?
                .ok_or_else(group_not_found)?;
            if !fits(protocol, &kept.shown.protocol) {
                return Err(ApiError::new(
                    "IncompatibleProtocols",
                    format!(
                        "The protocol '{protocol}' of the listener and the protocol '{}' of the target group are not compatible",
                        kept.shown.protocol
                    ),
                ));
            }
            for (listener, used) in uses(balancers, &call.region)? {
                if used == group && listener.shown.load_balancer_arn != balancer {
                    return Err(ApiError::new(
                        "TargetGroupAssociationLimit",
                        format!(
                            "The following target groups cannot be associated with more than one load balancer: {group}"
                        ),
                    ));
                }
            }
        }
    }
    Ok(acts)
}

fn forward(act: &mut Act) -> Result<(), ApiError> {
    let bad = |why: &str| ApiError::new("InvalidLoadBalancerAction", why);
    let config = match (act.forward_config.take(), act.target_group_arn.clone()) {
        (Some(config), _) => config,
        (None, Some(arn)) => ForwardConfig {
            target_groups: vec![Weighted {
                target_group_arn: arn,
                weight: Some(1),
            }],
            target_group_stickiness_config: Stickiness::default(),
        },
        (None, None) => return Err(bad("A target group ARN must be specified")),
    };
    let mut config = config;
    if config.target_groups.is_empty() || config.target_groups.len() > 5 {
        return Err(bad(
            "A forward action must have between 1 and 5 target groups",
        ));
    }
    for (i, group) in config.target_groups.iter().enumerate() {
        if config.target_groups[..i]
            .iter()
            .any(|other| other.target_group_arn == group.target_group_arn)
        {
            return Err(bad(
                "A target group must be named only once in a forward action",
            ));
        }
        if group.weight.is_some_and(|weight| weight > 999) {
            return Err(invalid(
                "The weight of a target group must be in the range 0-999",
            ));
        }
    }
    for group in &mut config.target_groups {
        group.weight.get_or_insert(1);
    }
    config
        .target_group_stickiness_config
        .enabled
        .get_or_insert(false);
    let named = act.target_group_arn.take();
    act.target_group_arn = match config.target_groups.as_slice() {
        [only] => Some(only.target_group_arn.clone()),
        _ => None,
    };
    if named.is_some_and(|named| {
        !config
            .target_groups
            .iter()
            .any(|group| group.target_group_arn == named)
    }) {
        return Err(bad(
            "You cannot specify both a target group ARN and a forward configuration with other target groups",
        ));
    }
    act.forward_config = Some(config);
    Ok(())
}

/// Whether a listener may lead to targets of a protocol (user guides of both load balancers, "Routing configuration").
fn fits(listener: &str, group: &str) -> bool {
    match listener {
        "HTTP" | "HTTPS" => matches!(group, "HTTP" | "HTTPS"),
        "TLS" => matches!(group, "TCP" | "TLS"),
        "TCP" | "UDP" => group == listener || group == "TCP_UDP",
        other => group == other,
    }
}

/// What an action cares for of a protocol: HTTP in TLS is HTTP, and TCP is TCP.
fn layer(protocol: &str) -> &str {
    match protocol {
        "HTTPS" => "HTTP",
        "TLS" => "TCP",
        other => other,
    }
}

fn protocol_of<'a>(call: &'a Call, kind: &str) -> Result<&'a str, ApiError> {
    let protocol = call
        .str("Protocol")
        .ok_or_else(|| invalid("A listener protocol must be specified"))?;
    match (kind, protocol) {
        ("application", "HTTP" | "HTTPS") | ("network", "TCP" | "TLS" | "UDP" | "TCP_UDP") => {
            Ok(protocol)
        }
        ("network", "QUIC" | "TCP_QUIC") => Err(ApiError::new(
            "UnsupportedProtocol",
            format!("Protocol '{protocol}' is not supported by the embedded AWS"),
        )),
        // github.com/hashicorp/terraform, issue 18126; github.com/pulumi/pulumi-aws, issue 1193
        _ => Err(invalid(format!(
            "Listener protocol '{protocol}' must be one of '{}'",
            match kind {
                "application" => "HTTP, HTTPS",
                _ => "TLS, TCP, TCP_UDP, UDP",
            }
        ))),
    }
}

/// Runs a listener; the port that it got.
async fn started(
    balancers: &Balancers,
    arn: &str,
    listener: &Listener,
    balancer: &LoadBalancer,
) -> Result<u16, ApiError> {
    let started = balancers.start_listener(arn, listener, balancer).await;
    started.map_err(|error| {
        let name = &balancer.shown.dns_name;
        ApiError::internal(format!("failed to listen on {name}: {error}"))
    })
}

pub async fn create(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let balancer = load_balancers::named(balancers, call)?;
    let protocol = protocol_of(call, &balancer.shown.kind)?;
    let port = number(call, "Port", 1, 65535, "Port")?
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| invalid("A listener port must be specified"))?;
    let balancer_arn = &balancer.shown.load_balancer_arn;
    let shown = certificates::asked(balancers, call, protocol)?;
    let ssl_policy = certificates::policy(call, protocol)?;
    let alpn_policy = certificates::alpn(call, protocol)?;
    let acts = actions(balancers, call, "DefaultActions", protocol, balancer_arn)?;
    let tags = tags(call)?;
    let all = balancers.tables().listeners.list(&call.region)?;
    let there = all.into_iter().map(|(_, listener)| listener);
    if let Some(there) = there
        .into_iter()
        .find(|l| l.shown.load_balancer_arn == *balancer_arn && l.asked_port == port)
    {
        if there.shown.protocol == protocol
            && there.shown.default_actions == acts
            && there.shown.certificates == shown
            && there.tags == tags
        {
            return Ok(json!({"Listeners": [there.shown]}));
        }
        return Err(ApiError::new(
            "DuplicateListener",
            format!(
                "A listener already exists on this port for this load balancer '{balancer_arn}'"
            ),
        ));
    }
    let id = ids::hex(16);
    let arn = format!(
        "{}/{id}",
        balancer_arn.replacen(":loadbalancer/", ":listener/", 1)
    );
    let mut listener = Listener {
        shown: ShownListener {
            listener_arn: arn.clone(),
            load_balancer_arn: balancer_arn.clone(),
            port,
            protocol: protocol.to_owned(),
            default_actions: acts,
            certificates: shown,
            ssl_policy,
            alpn_policy,
        },
        asked_port: port,
        attributes: listener_attributes(protocol),
        tags,
        default_rule: format!(
            "{}/{}",
            arn.replacen(":listener/", ":listener-rule/", 1),
            ids::hex(16)
        ),
        more_certificates: Vec::new(),
    };
    listener.shown.port = started(balancers, &arn, &listener, &balancer).await?;
    if listener.shown.port != port {
        tracing::warn!(
            listener = arn,
            asked = port,
            got = listener.shown.port,
            "the port cannot be bound; listening on another"
        );
    }
    if let Err(error) = balancers
        .tables()
        .listeners
        .put(&call.region, &arn, &listener)
    {
        balancers.stop_listener(&arn).await;
        return Err(error.into());
    }
    balancers.refresh(&call.region)?;
    Ok(json!({"Listeners": [listener.shown]}))
}

pub fn describe(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let mut all: Vec<Listener> = balancers
        .tables()
        .listeners
        .list(&call.region)?
        .into_iter()
        .map(|(_, listener)| listener)
        .collect();
    let arns = call.strings("ListenerArns");
    if !arns.is_empty() {
        if !arns
            .iter()
            .all(|arn| all.iter().any(|l| l.shown.listener_arn == *arn))
        {
            return Err(not_found());
        }
        all.retain(|l| arns.contains(&l.shown.listener_arn.as_str()));
    } else if call.str("LoadBalancerArn").is_some() {
        let balancer = load_balancers::named(balancers, call)?;
        all.retain(|l| l.shown.load_balancer_arn == balancer.shown.load_balancer_arn);
    } else {
        return Err(invalid(
            "You must specify either listener ARNs or a load balancer ARN",
        ));
    }
    let (listeners, marker) = page(call, all.into_iter().map(|l| l.shown).collect())?;
    Ok(json!({"Listeners": listeners, "NextMarker": marker}))
}

pub async fn modify(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut listener = named(balancers, call)?;
    let balancer = balancers
        .tables()
        .balancers
        .get(&call.region, &listener.shown.load_balancer_arn)?
        .ok_or_else(load_balancers::not_found)?;
    let before = listener.shown.protocol.clone();
    if call.str("Protocol").is_some() {
        protocol_of(call, &balancer.shown.kind)?.clone_into(&mut listener.shown.protocol);
    }
    let now = listener.shown.protocol.clone();
    if now != before || !call.list("Certificates").is_empty() {
        listener.shown.certificates = certificates::asked(balancers, call, &now)?;
    }
    if now != before || call.str("SslPolicy").is_some() {
        listener.shown.ssl_policy = certificates::policy(call, &now)?;
    }
    let alpn = listener.shown.alpn_policy.clone();
    if now != before || !call.list("AlpnPolicy").is_empty() {
        listener.shown.alpn_policy = certificates::alpn(call, &now)?;
    }
    let anew = now != before || alpn != listener.shown.alpn_policy;
    if call.params.get("DefaultActions").is_some() {
        let balancer = &balancer.shown.load_balancer_arn;
        listener.shown.default_actions = actions(
            balancers,
            call,
            "DefaultActions",
            &listener.shown.protocol,
            balancer,
        )?;
    }
    let arn = listener.shown.listener_arn.clone();
    let port = number(call, "Port", 1, 65535, "Port")?.and_then(|port| u16::try_from(port).ok());
    let port = port.filter(|port| *port != listener.asked_port && *port != listener.shown.port);
    let by_datagrams = |protocol: &str| protocol.contains("UDP");
    // Other sockets are needed, at the same port.
    let carried = by_datagrams(&before) || by_datagrams(&now);
    let rebound = carried && before != now;
    if let Some(port) = port {
        let all = balancers.tables().listeners.list(&call.region)?;
        if all.iter().any(|(_, l)| {
            l.shown.load_balancer_arn == listener.shown.load_balancer_arn && l.asked_port == port
        }) {
            return Err(ApiError::new(
                "DuplicateListener",
                format!(
                    "A listener already exists on this port for this load balancer '{}'",
                    listener.shown.load_balancer_arn
                ),
            ));
        }
        (listener.asked_port, listener.shown.port) = (port, port);
    }
    if rebound {
        balancers.stop_listener(&arn).await;
    }
    if rebound || port.is_some() {
        listener.shown.port = started(balancers, &arn, &listener, &balancer).await?;
    }
    balancers
        .tables()
        .listeners
        .put(&call.region, &arn, &listener)?;
    if anew {
        let spoken = balancers.speak(&arn, &listener);
        spoken.map_err(|error| ApiError::internal(format!("failed to speak TLS: {error}")))?;
    }
    balancers.refresh(&call.region)?;
    Ok(json!({"Listeners": [listener.shown]}))
}

/// Removes a listener and its rules.
pub async fn remove(balancers: &Balancers, region: &str, arn: &str) -> Result<(), ApiError> {
    let tables = balancers.tables();
    let rules = tables.rules.list(region)?;
    tables.state.write::<ApiError>(|batch| {
        for (rule, kept) in &rules {
            if kept.listener == arn {
                batch.delete(&tables.rules, region, rule);
            }
        }
        batch.delete(&tables.listeners, region, arn);
        Ok(())
    })?;
    balancers.stop_listener(arn).await;
    Ok(())
}

pub async fn delete(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let listener = named(balancers, call)?;
    remove(balancers, &call.region, &listener.shown.listener_arn).await?;
    balancers.refresh(&call.region)?;
    Ok(json!({}))
}

pub fn describe_attributes(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Attributes": listed(&named(balancers, call)?.attributes)}))
}

pub async fn modify_attributes(balancers: &Balancers, call: &Call) -> Result<Value, ApiError> {
    let _changing = balancers.changing().await;
    let mut listener = named(balancers, call)?;
    change_attributes(call, &mut listener.attributes, "Listener")?;
    balancers
        .tables()
        .listeners
        .put(&call.region, &listener.shown.listener_arn, &listener)?;
    Ok(json!({"Attributes": listed(&listener.attributes)}))
}
