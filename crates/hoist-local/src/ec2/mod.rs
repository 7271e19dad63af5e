//! Elastic Compute Cloud, the network part: a default VPC in every region, its subnets and security groups, and the network
//! interfaces of tasks, with the addresses that stand for their public ones.

mod filter;
mod forward;
mod gateways;
mod guards;
mod handle;
mod interfaces;
mod loopback;
mod places;
mod security_groups;
mod service;
mod tags;
mod vpc;

pub use handle::handle;
pub use interfaces::{Enis, Interface, NewInterface};
pub use loopback::Loopback;
pub use security_groups::SecurityGroup;
pub use service::Ec2;
pub use vpc::Subnet;
