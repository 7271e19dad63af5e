use std::net::Ipv4Addr;

use hoist_fargate::{Health, Service, Task, TaskStatus, World};
use hoist_runtime::{Names, ServiceRecord};
use serde_json::{Value, json};

use super::map::Entry;
use crate::ctx::Ctx;

/// The names of an instance, as its state is now.
pub struct Table(pub Ctx);

/// How many instances one answer names at most (Cloud Map API reference, DnsConfig, `RoutingPolicy`).
const MOST: usize = 8;

impl Names for Table {
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        if let Some(address) = interface(name) {
            return Some(vec![address]);
        }
        let addresses = match self.registered(name)? {
            Found::Service(entry, all) if has(&entry, "A") => {
                let shown = routed(&entry, all);
                shown.iter().filter_map(Instance::address).collect()
            }
            Found::Instance(instance) => instance.address().into_iter().collect(),
            Found::Service(..) | Found::Nothing => Vec::new(),
        };
        Some(addresses)
    }

    fn services(&self, name: &str) -> Vec<ServiceRecord> {
        match self.registered(name) {
            Some(Found::Service(entry, all)) if has(&entry, "SRV") => routed(&entry, all)
                .iter()
                .filter_map(|it| {
                    Some(ServiceRecord {
                        target: format!("{}.{name}", it.id),
                        port: it.port()?,
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What a name of a Cloud Map namespace stands for.
enum Found {
    /// A service, with its instances.
    Service(Entry, Vec<Instance>),
    /// One instance, as SRV records name it.
    Instance(Instance),
    Nothing,
}

/// Whether a service has records of a type.
fn has(entry: &Entry, kind: &str) -> bool {
    let records = entry.dns["DnsRecords"].as_array();
    records.into_iter().flatten().any(|it| it["Type"] == kind)
}

/// The instances that an answer names: with WEIGHTED one, with MULTIVALUE up to eight, in no order; the unhealthy ones only where all
/// are (Cloud Map API reference, DnsConfig).
fn routed(entry: &Entry, mut all: Vec<Instance>) -> Vec<Instance> {
    if all.iter().any(|it| it.healthy) {
        all.retain(|it| it.healthy);
    }
    fastrand::shuffle(&mut all);
    all.truncate(match entry.dns["RoutingPolicy"].as_str() {
        Some("WEIGHTED") => 1,
        _ => MOST,
    });
    all
}

/// The address in the name of a network interface, such as `ip-172-31-0-9.eu-central-1.compute.internal`.
fn interface(name: &str) -> Option<Ipv4Addr> {
    let (host, rest) = name.split_once('.')?;
    let inner = rest.ends_with(".compute.internal") || rest == "ec2.internal";
    let dashed = host.strip_prefix("ip-").filter(|_| inner)?;
    dashed.replace('-', ".").parse().ok()
}

impl Table {
    /// A name of a Cloud Map namespace with DNS; `None` if it is in none.
    fn registered(&self, name: &str) -> Option<Found> {
        let map = &self.0.map;
        let namespaces = map.namespaces.all().ok()?;
        let (region, label, namespace) = namespaces.iter().find_map(|(region, _, it)| {
            let label = name
                .strip_suffix(&it.name.to_lowercase())?
                .strip_suffix('.')?;
            (it.kind != "HTTP").then_some((region, label, it))
        })?;
        let entries = map.entries.list(region).ok()?;
        let entry = |label: &str| {
            let mut own = entries.iter().map(|(_, it)| it);
            own.find(|it| it.namespace == namespace.id && it.name.eq_ignore_ascii_case(label))
        };
        if let Some(entry) = entry(label) {
            let all = self.instances(region, &entry.id, &entry.arn);
            return Some(Found::Service(entry.clone(), all));
        }
        let instance = label.split_once('.').and_then(|(id, rest)| {
            let entry = entry(rest)?;
            let all = self.instances(region, &entry.id, &entry.arn);
            all.into_iter().find(|it| it.id.eq_ignore_ascii_case(id))
        });
        Some(instance.map_or(Found::Nothing, Found::Instance))
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
            let mut found = Vec::new();
            for service in world.every_service() {
                let all = service.request.get("serviceRegistries");
                let all = all.and_then(Value::as_array).into_iter().flatten();
                for own in all.filter(|it| it["registryArn"] == registry) {
                    let tasks = serving(world, service);
                    found.extend(tasks.into_iter().map(|it| Instance::of(world, it, own)));
                }
            }
            found
        })
    }
}

/// The tasks of a service that serve: running, to stay so, and not unhealthy.
pub(super) fn serving<'a>(world: &'a World, service: &Service) -> Vec<&'a Task> {
    let serves = |task: &&Task| {
        task.status == TaskStatus::Running
            && task.desired_status == TaskStatus::Running
            && task.health != Health::Unhealthy
    };
    world.tasks_of(&service.arn).filter(serves).collect()
}

/// An instance of a service of Cloud Map.
pub struct Instance {
    pub id: String,
    pub healthy: bool,
    pub attributes: Value,
}

impl Instance {
    /// A task that is registered as an entry of `serviceRegistries` says, with the attributes that ECS gives it ("Use service
    /// discovery", developer guide).
    fn of(world: &World, task: &Task, registry: &Value) -> Instance {
        let name = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
        let family = name(&task.task_definition);
        let service = task.service.as_deref().and_then(|arn| world.service(arn));
        let mut attributes = json!({
            "AVAILABILITY_ZONE": task.availability_zone.clone().unwrap_or_default(),
            "AWS_INIT_HEALTH_STATUS": "HEALTHY",
            "AWS_INSTANCE_IPV4": task.ip.clone().unwrap_or_default(),
            "ECS_CLUSTER_NAME": name(&task.cluster),
            "ECS_SERVICE_NAME": service.map(|it| it.name.clone()).unwrap_or_default(),
            "ECS_TASK_DEFINITION_FAMILY": family.split(':').next(),
            "REGION": task.region,
        });
        let port = ["containerPort", "port"].map(|name| registry[name].as_u64());
        if let Some(port) = port.into_iter().flatten().find(|port| *port > 0) {
            attributes["AWS_INSTANCE_PORT"] = port.to_string().into();
        }
        Instance {
            id: task.id.clone(),
            healthy: true,
            attributes,
        }
    }

    /// Its address within the network.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.attributes["AWS_INSTANCE_IPV4"].as_str()?.parse().ok()
    }

    /// The port that its SRV record names.
    pub fn port(&self) -> Option<u16> {
        self.attributes["AWS_INSTANCE_PORT"].as_str()?.parse().ok()
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
    fn an_answer_names_one_healthy_instance_or_up_to_eight() {
        let entry = |policy: &str| Entry {
            id: "srv-1".to_owned(),
            arn: String::new(),
            name: "web".to_owned(),
            namespace: "ns-1".to_owned(),
            description: None,
            dns: json!({"RoutingPolicy": policy, "DnsRecords": [{"Type": "SRV", "TTL": 10}]}),
            custom_health: Value::Null,
            created: 0,
        };
        let instances = |healthy: usize| -> Vec<Instance> {
            let one = |at: usize| Instance {
                id: at.to_string(),
                healthy: at < healthy,
                attributes: json!({"AWS_INSTANCE_PORT": "80"}),
            };
            (0..10).map(one).collect()
        };
        assert_eq!(routed(&entry("WEIGHTED"), instances(10)).len(), 1);
        assert_eq!(routed(&entry("MULTIVALUE"), instances(10)).len(), 8);
        let healthy = routed(&entry("MULTIVALUE"), instances(3));
        assert_eq!(healthy.len(), 3);
        assert!(healthy.iter().all(|it| it.healthy));
        assert_eq!(routed(&entry("MULTIVALUE"), instances(0)).len(), 8);
        assert!(has(&entry("MULTIVALUE"), "SRV") && !has(&entry("MULTIVALUE"), "A"));
    }
}
