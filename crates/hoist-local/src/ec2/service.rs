use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::forward::Forward;
use super::interfaces::{Enis, Interface};
use super::loopback::Loopback;
use super::security_groups::SecurityGroup;
use super::vpc::Subnet;
use crate::elb::Dialer;
use crate::state::{State, StateError, Table};

/// The EC2 network of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Ec2(Arc<Inner>);

/// The parts of an [`Ec2`].
pub struct Inner {
    /// What identifiers are derived from, so that a home's default VPC has the same ones always.
    pub(super) seed: String,
    pub(super) subnets: Table<Subnet>,
    pub(super) groups: Table<SecurityGroup>,
    pub(super) interfaces: Table<Interface>,
    /// Tags of everything, by id.
    pub(super) tags: Table<BTreeMap<String, String>>,
    pub(super) loopback: Loopback,
    pub(super) dialer: Arc<dyn Dialer>,
    live: Mutex<Live>,
}

/// What is in use now.
#[derive(Default)]
pub(super) struct Live {
    /// Every private address. All regions have the same block and share one network underneath, so no address is given out twice.
    pub addresses: HashMap<Ipv4Addr, String>,
    /// Where the search for a free address goes on, by subnet: an address that was given back rests before it is used again.
    pub next: HashMap<String, u32>,
    pub forwards: HashMap<String, Vec<Forward>>,
}

impl Ec2 {
    /// The network kept in `state`. `seed` tells this home from others; connections to tasks go through `dialer`.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn open(
        state: &State,
        seed: &str,
        loopback: Loopback,
        dialer: Arc<dyn Dialer>,
    ) -> Result<Self, StateError> {
        let inner = Inner {
            seed: seed.to_owned(),
            subnets: state.table("ec2-subnets"),
            groups: state.table("ec2-security-groups"),
            interfaces: state.table("ec2-interfaces"),
            tags: state.table("ec2-tags"),
            loopback,
            dialer,
            live: Mutex::default(),
        };
        let taken = inner
            .interfaces
            .all()?
            .into_iter()
            .map(|(_, id, interface)| (interface.private_ip, id))
            .collect();
        let ec2 = Self(Arc::new(inner));
        ec2.live().addresses = taken;
        Ok(ec2)
    }

    /// The interfaces of tasks.
    pub fn enis(&self) -> Enis {
        Enis::new(self.clone())
    }

    /// An identifier such as `vpc-0a1b...` that is the same at every start.
    pub(super) fn stable_id(&self, prefix: &str, region: &str, what: &str) -> String {
        let hash = Sha256::digest(format!("{}\n{region}\n{prefix}\n{what}", self.seed));
        format!("{prefix}-0{}", &hex::encode(hash)[..16])
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Ec2 {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
