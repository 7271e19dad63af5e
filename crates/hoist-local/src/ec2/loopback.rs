use std::net::Ipv4Addr;

use sha2::{Digest as _, Sha256};

use crate::state::{State, StateError, Table};

/// Loopback addresses that stand for public ones: each load balancer and each task with a public IP has its own, so that many can
/// listen on one port. An owner keeps its address until it is given back, over restarts too.
#[derive(Clone)]
pub struct Loopback {
    seed: String,
    taken: Table<String>,
}

impl Loopback {
    /// The addresses of the instance with that `seed`. Two instances begin at different places, so that they seldom meet.
    pub fn open(state: &State, seed: &str) -> Self {
        Self {
            seed: seed.to_owned(),
            taken: state.table("loopback-addresses"),
        }
    }

    /// The address of `owner`, taken now if it has none. Outside Linux, where only 127.0.0.1 exists, everybody has that.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn take(&self, owner: &str) -> Result<Ipv4Addr, StateError> {
        if !cfg!(target_os = "linux") {
            return Ok(Ipv4Addr::LOCALHOST);
        }
        for round in 0_u32.. {
            let candidate = self.candidate(owner, round);
            match self.taken.get("", &candidate.to_string())? {
                Some(other) if other != owner => {}
                Some(_) => return Ok(candidate),
                None => {
                    self.taken
                        .put("", &candidate.to_string(), &owner.to_owned())?;
                    return Ok(candidate);
                }
            }
        }
        Ok(Ipv4Addr::LOCALHOST)
    }

    /// Gives an address back.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn free(&self, address: Ipv4Addr) -> Result<(), StateError> {
        self.taken.delete("", &address.to_string()).map(drop)
    }

    /// 127.16.0.1 to 127.250.255.254: clear of 127.0.0.0/16, where resolvers and others live.
    fn candidate(&self, owner: &str, round: u32) -> Ipv4Addr {
        let hash = Sha256::digest(format!("{}\n{owner}\n{round}", self.seed));
        Ipv4Addr::new(127, 16 + hash[0] % 235, hash[1], 1 + hash[2] % 254)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_keeps_its_address_and_nobody_else_has_it() {
        let state = State::in_memory().unwrap();
        let loopback = Loopback::open(&state, "home");
        let mut seen = std::collections::BTreeSet::new();
        for owner in 0..200 {
            let address = loopback.take(&owner.to_string()).unwrap();
            assert!(address.is_loopback() && address.octets()[1] >= 16);
            assert!(seen.insert(address));
            assert_eq!(loopback.take(&owner.to_string()).unwrap(), address);
        }
        assert_eq!(
            Loopback::open(&state, "home").take("7").unwrap(),
            loopback.take("7").unwrap()
        );
    }
}
