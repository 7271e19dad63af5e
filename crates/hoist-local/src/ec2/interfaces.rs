use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::filter::{by_id, filter, paged};
use super::forward::Forward;
use super::places::zone_id;
use super::service::Ec2;
use super::tags::shown_tags;
use super::vpc::Subnet;
use crate::api::{ApiError, Call};
use crate::ctx::ACCOUNT;
use crate::ids;

/// What a task needs of its network interface.
#[derive(Debug, Clone, Default)]
pub struct NewInterface {
    pub subnet: String,
    /// The region's default group if empty.
    pub security_groups: Vec<String>,
    /// Whether the task gets an address that can be reached from this machine.
    pub public: bool,
    /// Such as the ARN of the task's attachment.
    pub description: String,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub id: String,
    pub region: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub zone: String,
    pub private_ip: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    pub gateway: Ipv4Addr,
    pub mac: String,
    pub groups: Vec<String>,
    /// A loopback address of this machine that stands for the public one.
    pub public_ip: Option<Ipv4Addr>,
    /// Where the public address listens for each port of the task that is forwarded.
    #[serde(default)]
    pub forwarded: BTreeMap<u16, SocketAddr>,
    pub description: String,
    pub created: String,
}

/// The network interfaces of tasks.
#[derive(Clone)]
pub struct Enis(Ec2);

impl Enis {
    pub(super) fn new(ec2: Ec2) -> Self {
        Self(ec2)
    }

    /// Makes an interface with an address of the subnet that nobody else has.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`, `InvalidGroup.NotFound`, `InsufficientFreeAddressesInSubnet`, or when the state cannot be written.
    pub fn create(&self, region: &str, new: &NewInterface) -> Result<Interface, ApiError> {
        let ec2 = &self.0;
        let subnet = ec2.subnet(region, &new.subnet)?.ok_or_else(|| {
            ApiError::new(
                "InvalidSubnetID.NotFound",
                format!("The subnet ID '{}' does not exist", new.subnet),
            )
        })?;
        for group in &new.security_groups {
            if ec2.security_group(region, group)?.is_none() {
                return Err(ApiError::new(
                    "InvalidGroup.NotFound",
                    format!("The security group '{group}' does not exist"),
                ));
            }
        }
        let id = format!("eni-{}", ids::hex(17));
        let private_ip = self.allocate(&subnet, &id)?;
        let public_ip = if new.public {
            Some(ec2.loopback.take(&id)?)
        } else {
            None
        };
        let octets = private_ip.octets();
        let interface = Interface {
            region: region.to_owned(),
            subnet_id: subnet.subnet_id.clone(),
            vpc_id: subnet.vpc_id.clone(),
            zone: subnet.availability_zone.clone(),
            private_ip,
            prefix: subnet.prefix,
            gateway: subnet.gateway(),
            // Locally administered, and as unique as the address.
            mac: format!(
                "02:68:{:02x}:{:02x}:{:02x}:{:02x}",
                octets[0], octets[1], octets[2], octets[3]
            ),
            groups: match new.security_groups.as_slice() {
                [] => vec![ec2.default_security_group(region)],
                groups => groups.to_vec(),
            },
            public_ip,
            forwarded: BTreeMap::new(),
            description: new.description.clone(),
            created: crate::clock::iso8601(crate::clock::now()),
            id: id.clone(),
        };
        if let Err(error) = ec2.interfaces.put(region, &id, &interface) {
            ec2.live().addresses.remove(&private_ip);
            return Err(error.into());
        }
        Ok(interface)
    }

    fn allocate(&self, subnet: &Subnet, id: &str) -> Result<Ipv4Addr, ApiError> {
        let mut live = self.0.live();
        let first = u32::from(subnet.network);
        // The first four and the last address are the VPC's own.
        let usable = subnet.size() - 5;
        let key = subnet.network.to_string();
        // A new daemon begins anywhere: targets at the addresses of its predecessor's tasks may still be draining.
        let start = live
            .next
            .get(&key)
            .copied()
            .unwrap_or_else(|| fastrand::u32(..usable));
        for step in 0..usable {
            let offset = (start + step) % usable;
            let address = Ipv4Addr::from(first + 4 + offset);
            if let std::collections::hash_map::Entry::Vacant(free) = live.addresses.entry(address) {
                free.insert(id.to_owned());
                live.next.insert(key, offset + 1);
                return Ok(address);
            }
        }
        Err(ApiError::new(
            "InsufficientFreeAddressesInSubnet",
            format!(
                "insufficient free addresses in subnet '{}'",
                subnet.subnet_id
            ),
        ))
    }

    /// Opens the public address of an interface for these ports of its task; returns where each is reached. Without a public address
    /// it opens none.
    ///
    /// # Errors
    /// When an address cannot be bound at all, or the state cannot be written.
    pub async fn forward(
        &self,
        interface: &Interface,
        ports: &[u16],
    ) -> Result<BTreeMap<u16, SocketAddr>, ForwardError> {
        let Some(public) = interface.public_ip else {
            return Ok(BTreeMap::new());
        };
        let (mut open, mut forwarded) = (Vec::new(), BTreeMap::new());
        for port in ports {
            let task = SocketAddr::from((interface.private_ip, *port));
            let forward = Forward::open(public, task, self.0.dialer.clone())
                .await
                .map_err(|source| ForwardError::Bind {
                    public,
                    port: *port,
                    source,
                })?;
            forwarded.insert(*port, forward.address);
            open.push(forward);
        }
        self.0.live().forwards.insert(interface.id.clone(), open);
        let kept = Interface {
            forwarded: forwarded.clone(),
            ..interface.clone()
        };
        self.0
            .interfaces
            .put(&interface.region, &interface.id, &kept)?;
        Ok(forwarded)
    }

    /// The interface of that id.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn get(&self, region: &str, id: &str) -> Result<Option<Interface>, ApiError> {
        Ok(self.0.interfaces.get(region, id)?)
    }

    /// Every interface of every region: what a restarted daemon looks through for those whose tasks are gone.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn all(&self) -> Result<Vec<Interface>, ApiError> {
        Ok(self
            .0
            .interfaces
            .all()?
            .into_iter()
            .map(|(_, _, interface)| interface)
            .collect())
    }

    /// Deletes an interface: its addresses are free again, its forwarded ports closed. One that is not there is no error.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn delete(&self, region: &str, id: &str) -> Result<(), ApiError> {
        let ec2 = &self.0;
        let forwards = ec2.live().forwards.remove(id);
        drop(forwards);
        let Some(interface) = ec2.interfaces.get(region, id)? else {
            return Ok(());
        };
        if let Some(public) = interface.public_ip {
            ec2.loopback.free(public)?;
        }
        ec2.interfaces.delete(region, id)?;
        ec2.tags.delete(region, id)?;
        ec2.live().addresses.remove(&interface.private_ip);
        Ok(())
    }
}

/// Why a public address could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("failed to listen on {public} for port {port} of the task")]
    Bind {
        public: Ipv4Addr,
        port: u16,
        source: io::Error,
    },
    #[error(transparent)]
    State(#[from] crate::state::StateError),
}

fn shown(
    ec2: &Ec2,
    interface: &Interface,
    names: &BTreeMap<String, String>,
) -> Result<Value, ApiError> {
    let dns = |ip: Ipv4Addr| {
        format!(
            "ip-{}.{}.compute.internal",
            ip.to_string().replace('.', "-"),
            interface.region
        )
    };
    let association = interface.public_ip.map(|ip| {
        // This name can be opened only as the address that it stands for.
        json!({"ipOwnerId": "amazon", "publicDnsName": ip.to_string(), "publicIp": ip.to_string()})
    });
    let groups: Vec<Value> = interface
        .groups
        .iter()
        .map(|id| json!({"groupId": id, "groupName": names.get(id).map_or("", String::as_str)}))
        .collect();
    let mut tags = match shown_tags(ec2, &interface.region, &interface.id)? {
        Value::Array(tags) => tags,
        _ => Vec::new(),
    };
    // Where a port could not be had, this says where the task is reached instead.
    for (port, address) in interface
        .forwarded
        .iter()
        .filter(|(port, address)| address.port() != **port)
    {
        tags.push(json!({"key": format!("hoist:port:{port}"), "value": address.to_string()}));
    }
    let mut item = Map::from_iter([
        ("networkInterfaceId".to_owned(), json!(interface.id)),
        ("subnetId".to_owned(), json!(interface.subnet_id)),
        ("vpcId".to_owned(), json!(interface.vpc_id)),
        ("availabilityZone".to_owned(), json!(interface.zone)),
        (
            "availabilityZoneId".to_owned(),
            json!(zone_id(&interface.zone)),
        ),
        ("description".to_owned(), json!(interface.description)),
        ("ownerId".to_owned(), json!(ACCOUNT)),
        ("requesterId".to_owned(), json!("578734482556")),
        ("requesterManaged".to_owned(), json!(true)),
        ("status".to_owned(), json!("in-use")),
        ("macAddress".to_owned(), json!(interface.mac)),
        (
            "privateIpAddress".to_owned(),
            json!(interface.private_ip.to_string()),
        ),
        (
            "privateDnsName".to_owned(),
            json!(dns(interface.private_ip)),
        ),
        ("sourceDestCheck".to_owned(), json!(true)),
        ("interfaceType".to_owned(), json!("interface")),
        ("groupSet".to_owned(), json!(groups)),
        ("ipv6AddressesSet".to_owned(), json!([])),
        (
            "attachment".to_owned(),
            json!({
                "attachmentId": interface.id.replacen("eni-", "ela-attach-", 1),
                "attachTime": interface.created,
                "deleteOnTermination": false,
                "deviceIndex": 1,
                "networkCardIndex": 0,
                "instanceOwnerId": "578734482556",
                "status": "attached",
            }),
        ),
        (
            "privateIpAddressesSet".to_owned(),
            json!([{
                "primary": true,
                "privateIpAddress": interface.private_ip.to_string(),
                "privateDnsName": dns(interface.private_ip),
                "association": association,
            }]),
        ),
        ("tagSet".to_owned(), json!(tags)),
    ]);
    if let Some(association) = association {
        item.insert("association".to_owned(), association);
    }
    Ok(Value::Object(item))
}

pub fn describe(ec2: &Ec2, call: &Call) -> Result<Value, ApiError> {
    let mut names = BTreeMap::from([(
        ec2.default_security_group(&call.region),
        "default".to_owned(),
    )]);
    names.extend(
        ec2.groups
            .list(&call.region)?
            .into_iter()
            .map(|(id, group)| (id, group.name)),
    );
    let interfaces = ec2.interfaces.list(&call.region)?;
    let mut found = interfaces
        .iter()
        .map(|(_, interface)| shown(ec2, interface, &names))
        .collect::<Result<Vec<_>, _>>()?;
    by_id(
        call,
        "NetworkInterfaceId",
        &mut found,
        "networkInterfaceId",
        "InvalidNetworkInterfaceID.NotFound",
        "networkInterface",
    )?;
    let paths = &[
        ("network-interface-id", "networkInterfaceId"),
        ("subnet-id", "subnetId"),
        ("vpc-id", "vpcId"),
        ("availability-zone", "availabilityZone"),
        ("description", "description"),
        ("group-id", "groupSet.groupId"),
        ("group-name", "groupSet.groupName"),
        ("mac-address", "macAddress"),
        ("private-ip-address", "privateIpAddress"),
        (
            "addresses.private-ip-address",
            "privateIpAddressesSet.privateIpAddress",
        ),
        ("addresses.association.public-ip", "association.publicIp"),
        ("association.public-ip", "association.publicIp"),
        ("private-dns-name", "privateDnsName"),
        ("interface-type", "interfaceType"),
        ("status", "status"),
        ("attachment.status", "attachment.status"),
        ("owner-id", "ownerId"),
        ("requester-managed", "requesterManaged"),
    ];
    filter(call, &mut found, paths)?;
    paged(call, found, "networkInterfaceSet")
}
