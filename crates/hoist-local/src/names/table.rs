use std::net::Ipv4Addr;

use hoist_fargate::{Health, Service, Task, TaskStatus, World};
use hoist_runtime::Names;
use serde_json::{Value, json};

use crate::ctx::Ctx;

/// The names of an instance, as its state is now.
pub struct Table(pub Ctx);

impl Names for Table {
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        interface(name)
            .map(|address| vec![address])
            .or_else(|| self.registered(name))
            .or_else(|| self.connected(name))
            .or_else(|| self.connected(searched(name)?))
    }
}

/// A name without the domain of its task's own name, which resolvers try names without dots in.
fn searched(name: &str) -> Option<&str> {
    let (alias, domain) = name.split_once('.')?;
    let (_region, rest) = domain.split_once('.')?;
    (rest == "compute.internal").then_some(alias)
}

/// The address in the name of a network interface, such as `ip-172-31-0-9.eu-central-1.compute.internal`.
fn interface(name: &str) -> Option<Ipv4Addr> {
    let (host, rest) = name.split_once('.')?;
    let inner = rest.ends_with(".compute.internal") || rest == "ec2.internal";
    let dashed = host.strip_prefix("ip-").filter(|_| inner)?;
    dashed.replace('-', ".").parse().ok()
}

impl Table {
    /// A name of a Cloud Map namespace.
    fn registered(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let map = &self.0.map;
        let namespaces = map.namespaces.all().ok()?;
        for (region, _, namespace) in namespaces {
            let Some(label) = name
                .strip_suffix(&namespace.name.to_lowercase())
                .and_then(|it| it.strip_suffix('.'))
            else {
                continue;
            };
            let entries = map.entries.list(&region).ok()?;
            let entry = entries
                .into_iter()
                .map(|(_, it)| it)
                .find(|it| it.namespace == namespace.id && it.name.eq_ignore_ascii_case(label));
            return match entry {
                Some(entry) => {
                    let all = self.instances(&region, &entry.id, &entry.arn);
                    Some(
                        all.iter()
                            .filter(|it| it.healthy)
                            .filter_map(Instance::address)
                            .collect(),
                    )
                }
                // Service Connect puts names into the same namespace.
                None => Some(self.connected(name).unwrap_or_default()),
            };
        }
        None
    }

    /// What is registered with a service of Cloud Map: tasks, and what was registered by hand.
    pub fn instances(&self, region: &str, id: &str, arn: &str) -> Vec<Instance> {
        let by_hand = self.0.map.registered.list(region).unwrap_or_default();
        let by_hand = by_hand
            .into_iter()
            .map(|(_, it)| it)
            .filter(|it| it.entry == id);
        let mut all: Vec<Instance> = by_hand
            .map(|it| Instance {
                id: it.id,
                healthy: it.healthy,
                attributes: it.attributes,
            })
            .collect();
        all.extend(self.tasks(arn));
        all
    }

    fn tasks(&self, registry: &str) -> Vec<Instance> {
        self.0.driver.read(|world| {
            let registers = |service: &&Service| {
                let all = service
                    .request
                    .get("serviceRegistries")
                    .and_then(Value::as_array);
                all.into_iter()
                    .flatten()
                    .any(|it| it["registryArn"] == registry)
            };
            world
                .every_service()
                .filter(registers)
                .flat_map(|service| serving(world, service))
                .map(|it| Instance::of(world, it))
                .collect()
        })
    }

    /// An alias of Service Connect, or the name that it has without one.
    fn connected(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        self.0.driver.read(|world| {
            let mut found = None;
            for service in world.every_service() {
                let Some(connect) = service
                    .request
                    .get("serviceConnectConfiguration")
                    .filter(|it| it["enabled"] == true)
                else {
                    continue;
                };
                let namespace = self.namespace(world, service, connect);
                let offers = connect["services"].as_array();
                let offered = offers
                    .into_iter()
                    .flatten()
                    .any(|offer| is_named(offer, &namespace, name));
                if offered {
                    let addresses: &mut Vec<Ipv4Addr> = found.get_or_insert_default();
                    addresses.extend(serving(world, service).into_iter().filter_map(address));
                }
            }
            found
        })
    }

    /// The name of the namespace that a service is in: its own, else its cluster's; both may be given as ARNs.
    fn namespace(&self, world: &World, service: &Service, connect: &Value) -> String {
        let own = connect["namespace"].as_str().map(str::to_owned);
        let of_cluster = || {
            let cluster = world.cluster(&service.cluster)?;
            let defaults = cluster.request.get("serviceConnectDefaults")?;
            defaults["namespace"].as_str().map(str::to_owned)
        };
        let given = own.or_else(of_cluster).unwrap_or_default();
        let Some(id) = given.rsplit_once(":namespace/").map(|(_, id)| id) else {
            return given;
        };
        let known = self.0.map.namespaces.get(&service.region, id);
        known.ok().flatten().map_or(given.clone(), |it| it.name)
    }
}

/// Whether an entry of `serviceConnectConfiguration.services` goes by a name: an alias, or `DISCOVERY-NAME.NAMESPACE`.
fn is_named(offer: &Value, namespace: &str, name: &str) -> bool {
    let discovery = offer["discoveryName"]
        .as_str()
        .or_else(|| offer["portName"].as_str())
        .unwrap_or_default();
    let own = format!("{discovery}.{namespace}");
    let aliases = offer["clientAliases"].as_array();
    let mut given = aliases
        .into_iter()
        .flatten()
        .filter_map(|it| it["dnsName"].as_str());
    given.any(|alias| alias.eq_ignore_ascii_case(name)) || own.eq_ignore_ascii_case(name)
}

/// The tasks of a service that serve: running, to stay so, and not unhealthy.
fn serving<'a>(world: &'a World, service: &Service) -> Vec<&'a Task> {
    let serves = |task: &&Task| {
        task.status == TaskStatus::Running
            && task.desired_status == TaskStatus::Running
            && task.health != Health::Unhealthy
    };
    world.tasks_of(&service.arn).filter(serves).collect()
}

fn address(task: &Task) -> Option<Ipv4Addr> {
    task.ip.as_ref()?.parse().ok()
}

/// An instance of a service of Cloud Map.
pub struct Instance {
    pub id: String,
    pub healthy: bool,
    pub attributes: Value,
}

impl Instance {
    /// A task, with the attributes that ECS gives it ("Use service discovery", developer guide).
    fn of(world: &World, task: &Task) -> Instance {
        let name = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
        let family = name(&task.task_definition);
        let service = task.service.as_deref().and_then(|arn| world.service(arn));
        Instance {
            id: task.id.clone(),
            healthy: true,
            attributes: json!({
                "AVAILABILITY_ZONE": task.availability_zone.clone().unwrap_or_default(),
                "AWS_INIT_HEALTH_STATUS": "HEALTHY",
                "AWS_INSTANCE_IPV4": task.ip.clone().unwrap_or_default(),
                "ECS_CLUSTER_NAME": name(&task.cluster),
                "ECS_SERVICE_NAME": service.map(|it| it.name.clone()).unwrap_or_default(),
                "ECS_TASK_DEFINITION_FAMILY": family.split(':').next(),
                "REGION": task.region,
            }),
        }
    }

    /// Its address within the network.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.attributes["AWS_INSTANCE_IPV4"].as_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_named_after_its_address() {
        let address = Some(Ipv4Addr::new(172, 31, 0, 9));
        assert_eq!(
            interface("ip-172-31-0-9.eu-central-1.compute.internal"),
            address
        );
        assert_eq!(interface("ip-172-31-0-9.ec2.internal"), address);
        assert_eq!(interface("ip-172-31-0-9.example.com"), None);
        assert_eq!(interface("web.eu-central-1.compute.internal"), None);
    }

    #[test]
    fn a_name_is_found_in_the_domain_of_the_task() {
        assert_eq!(searched("shop.eu-central-1.compute.internal"), Some("shop"));
        assert_eq!(searched("shop.example.com"), None);
    }

    #[test]
    fn an_offer_goes_by_its_aliases_and_by_its_own_name() {
        let offer = json!({"portName": "http", "discoveryName": "web", "clientAliases": [{"port": 80, "dnsName": "shop"}]});
        assert!(is_named(&offer, "prod", "shop"));
        assert!(is_named(&offer, "prod", "web.prod"));
        assert!(!is_named(&offer, "prod", "web"));
        assert!(is_named(&json!({"portName": "http"}), "prod", "http.prod"));
    }
}
