//! Service Connect: which names and ports a task may call others by, and who stands behind them.
//!
//! See "Use Service Connect to connect Amazon ECS services with short names" in the developer guide.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hoist_fargate::{Service, ServiceStatus, Task, World};
use serde_json::Value;

use super::table::serving;
use crate::ctx::Ctx;
use crate::elb::Patience;

/// What the services of a namespace offer under one name and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What goes into `/etc/hosts`.
    pub name: String,
    /// The port that clients call.
    pub port: u16,
    /// The region and the name of the namespace.
    region: String,
    namespace: String,
    /// Whether the port speaks HTTP/1, by `appProtocol`.
    pub http: bool,
    /// How long what may take, as the `timeout` of the service says.
    pub patience: Patience,
}

/// What is said to have no end.
const ENDLESS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What an offer of a port says of its time limits; 0 is none. Defaults: TimeoutConfiguration in the API reference, and 15 s for a
/// request ("Service Connect proxy", developer guide).
fn patience(offer: &Value, protocol: Option<&str>) -> Patience {
    let given = |name: &str, default: u64| match offer["timeout"][name].as_u64() {
        Some(0) => ENDLESS,
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::from_secs(default),
    };
    let is_http = matches!(protocol, Some("http" | "http2" | "grpc"));
    Patience {
        request: given("perRequestTimeoutSeconds", 15),
        idle: given("idleTimeoutSeconds", if is_http { 300 } else { 3600 }),
    }
}

/// The endpoints that a task has, which only a task of a service with Service Connect does. They are those of the moment: like on the
/// real service, a client that is to call something new is deployed anew.
pub fn endpoints(ctx: &Ctx, task: &Task) -> Vec<Endpoint> {
    ctx.driver.read(|world| {
        let service = task.service.as_deref().and_then(|arn| world.service(arn));
        let Some(namespace) = service.and_then(|it| namespace(ctx, world, it)) else {
            return Vec::new();
        };
        let mut found: Vec<Endpoint> = Vec::new();
        for other in members(ctx, world, &task.region, &namespace) {
            for offer in offers(other) {
                let protocol =
                    mapping(world, other, offer).and_then(|it| it["appProtocol"].as_str());
                for (name, port) in aliases(offer, &namespace) {
                    let known = found.iter().any(|it| it.name == name && it.port == port);
                    if !known {
                        found.push(Endpoint {
                            name,
                            port,
                            region: task.region.clone(),
                            namespace: namespace.clone(),
                            http: protocol == Some("http"),
                            patience: patience(offer, protocol),
                        });
                    }
                }
            }
        }
        found
    })
}

impl Endpoint {
    /// The tasks that stand behind it now, each with the port that its container listens on.
    pub fn targets(&self, ctx: &Ctx) -> Vec<SocketAddr> {
        ctx.driver.read(|world| {
            let mut found = Vec::new();
            for service in members(ctx, world, &self.region, &self.namespace) {
                for offer in offers(service) {
                    let mut own = aliases(offer, &self.namespace).into_iter();
                    if own.any(|(name, port)| name == self.name && port == self.port) {
                        let tasks = serving(world, service);
                        found.extend(tasks.iter().filter_map(|it| target(world, it, offer)));
                    }
                }
            }
            found.sort_unstable();
            found.dedup();
            found
        })
    }
}

/// The addresses that the proxy of a task takes its endpoints at: one for each name, as the agent of ECS gives them.
pub fn addressed(endpoints: &[Endpoint]) -> (Vec<(String, IpAddr)>, Vec<SocketAddr>) {
    let mut hosts: Vec<(String, IpAddr)> = Vec::new();
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        let known = hosts.iter().find(|(name, _)| *name == endpoint.name);
        let ip = known.map(|(_, ip)| *ip).unwrap_or_else(|| {
            let number = hosts.len() + 1;
            let ip = Ipv4Addr::new(127, 255, (number >> 8) as u8, (number & 0xff) as u8);
            hosts.push((endpoint.name.clone(), ip.into()));
            ip.into()
        });
        addresses.push(SocketAddr::new(ip, endpoint.port));
    }
    (hosts, addresses)
}

fn connect(service: &Service) -> Option<&Value> {
    let connect = service.request.get("serviceConnectConfiguration")?;
    (connect["enabled"] == true).then_some(connect)
}

/// The name of the namespace that a service with Service Connect is in: its own, else its cluster's; both may be given as ARNs.
fn namespace(ctx: &Ctx, world: &World, service: &Service) -> Option<String> {
    let own = connect(service)?["namespace"].as_str().map(str::to_owned);
    let of_cluster = || {
        let cluster = world.cluster(&service.cluster)?;
        let defaults = cluster.request.get("serviceConnectDefaults")?;
        defaults["namespace"].as_str().map(str::to_owned)
    };
    let given = own.or_else(of_cluster)?;
    let Some((_, id)) = given.rsplit_once(":namespace/") else {
        return Some(given);
    };
    let known = ctx.map.namespaces.get(&service.region, id);
    Some(known.ok().flatten().map_or(given.clone(), |it| it.name))
}

/// The services of a namespace.
fn members<'a>(
    ctx: &'a Ctx,
    world: &'a World,
    region: &'a str,
    namespace_name: &'a str,
) -> impl Iterator<Item = &'a Service> {
    world.every_service().filter(move |service| {
        service.region == region
            && service.status == ServiceStatus::Active
            && namespace(ctx, world, service).as_deref() == Some(namespace_name)
    })
}

fn offers(service: &Service) -> impl Iterator<Item = &Value> {
    let offers = connect(service).and_then(|it| it["services"].as_array());
    offers.into_iter().flatten()
}

/// What an entry of `services` goes by: each alias, by its own name or as `DISCOVERY-NAME.NAMESPACE`, and its port.
fn aliases(offer: &Value, namespace: &str) -> Vec<(String, u16)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let discovery = text(&offer["discoveryName"]).or_else(|| text(&offer["portName"]));
    let own = format!("{}.{namespace}", discovery.unwrap_or_default());
    let all = offer["clientAliases"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(|alias| {
            let port = alias["port"].as_u64()?.try_into().ok()?;
            Some((text(&alias["dnsName"]).unwrap_or_else(|| own.clone()), port))
        })
        .collect()
}

/// The port mapping of that name in a task definition.
fn named<'a>(world: &'a World, definition: &str, offer: &Value) -> Option<&'a Value> {
    let document = &world.task_definition(definition)?.document;
    let containers = document.get("containerDefinitions")?.as_array()?;
    let mut mappings = containers
        .iter()
        .filter_map(|it| it["portMappings"].as_array())
        .flatten();
    mappings.find(|it| it["name"].is_string() && it["name"] == offer["portName"])
}

fn mapping<'a>(world: &'a World, service: &Service, offer: &Value) -> Option<&'a Value> {
    named(world, &service.task_definition, offer)
}

/// Where a task of a service takes what is sent to an offer.
fn target(world: &World, task: &Task, offer: &Value) -> Option<SocketAddr> {
    let port = named(world, &task.task_definition, offer)?["containerPort"].as_u64()?;
    let ip: Ipv4Addr = task.ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::from((ip, u16::try_from(port).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint(name: &str, port: u16) -> Endpoint {
        Endpoint {
            name: name.to_owned(),
            port,
            region: "us-east-1".to_owned(),
            namespace: "shop".to_owned(),
            http: false,
            patience: patience(&Value::Null, None),
        }
    }

    #[test]
    fn time_limits_are_those_of_the_offer_or_of_its_protocol() {
        let seconds = |offer: Value, protocol| {
            let Patience { request, idle } = patience(&offer, protocol);
            (request.as_secs(), idle.as_secs())
        };
        assert_eq!(seconds(json!({}), None), (15, 3600));
        assert_eq!(seconds(json!({}), Some("grpc")), (15, 300));
        let timeout = json!({"timeout": {"perRequestTimeoutSeconds": 2, "idleTimeoutSeconds": 0}});
        assert_eq!(seconds(timeout, Some("http")), (2, ENDLESS.as_secs()));
    }

    #[test]
    fn an_offer_goes_by_its_aliases_or_by_its_own_name() {
        let offer = json!({"portName": "http", "clientAliases": [{"port": 80, "dnsName": "shop"}, {"port": 81}]});
        let own = [("shop".to_owned(), 80), ("http.prod".to_owned(), 81)];
        assert_eq!(aliases(&offer, "prod"), own);
        let named =
            json!({"portName": "http", "discoveryName": "web", "clientAliases": [{"port": 9}]});
        assert_eq!(aliases(&named, "prod"), [("web.prod".to_owned(), 9)]);
        assert_eq!(aliases(&json!({"portName": "http"}), "prod"), []);
    }

    #[test]
    fn every_name_has_an_address_of_its_own_and_every_port_a_place_at_it() {
        let (hosts, addresses) =
            addressed(&[endpoint("a", 80), endpoint("b", 80), endpoint("a", 81)]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let expected = [
            ("a".to_owned(), ip("127.255.0.1")),
            ("b".to_owned(), ip("127.255.0.2")),
        ];
        assert_eq!(hosts, expected);
        let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        assert_eq!(
            shown,
            ["127.255.0.1:80", "127.255.0.2:80", "127.255.0.1:81"]
        );
    }
}
