//! Security groups, worked out to the addresses of tasks.

use std::net::Ipv4Addr;

use hoist_runtime::{Guard, Passage};

use super::interfaces::Interface;
use super::security_groups::{Peer, Permission};
use super::service::Ec2;
use crate::state::StateError;

impl Ec2 {
    /// What may pass to and from every interface there is.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn guards(&self) -> Result<Vec<Guard>, StateError> {
        let interfaces: Vec<Interface> = self
            .interfaces
            .all()?
            .into_iter()
            .map(|(_, _, interface)| interface)
            .collect();
        let mut guards = Vec::new();
        for interface in &interfaces {
            let (mut ingress, mut egress) = (Vec::new(), Vec::new());
            for id in &interface.groups {
                if let Some(group) = self.security_group(&interface.region, id)? {
                    ingress.extend(group.ingress.iter().map(|rule| passage(rule, &interfaces)));
                    egress.extend(group.egress.iter().map(|rule| passage(rule, &interfaces)));
                }
            }
            guards.push(Guard {
                ip: interface.private_ip,
                ingress,
                egress,
            });
        }
        Ok(guards)
    }
}

fn passage(rule: &Permission, interfaces: &[Interface]) -> Passage {
    let protocol = match rule.protocol.as_str() {
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp" => Some(1),
        number => number.parse().ok(),
    };
    let port = |port: i32| u16::try_from(port).ok();
    let ports = rule
        .ports
        .and_then(|(first, last)| Some((port(first)?, port(last)?)));
    let peers = match &rule.peer {
        Peer::Ipv4(block) => block_of(block).into_iter().collect(),
        // Tasks have no such addresses here.
        Peer::Ipv6(_) => Vec::new(),
        Peer::Group(id) => interfaces
            .iter()
            .filter(|interface| interface.groups.contains(id))
            .map(|interface| (interface.private_ip, 32))
            .collect(),
    };
    Passage {
        protocol,
        ports,
        peers,
    }
}

fn block_of(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((address.parse().ok()?, prefix))
}
