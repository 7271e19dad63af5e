//! The networks of containers that an engine on this machine made, entered by one of their processes.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::NetNs;
use super::egress::feed_nft;
pub(crate) use super::intercept::intercept;

/// Whether this process may enter other networks and change what is sent where in them; if not, why.
pub(crate) fn may_enter() -> Result<(), String> {
    let own = File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
    // Nothing changes by it, but it takes the same right.
    setns(own, CloneFlags::CLONE_NEWNET).map_err(|error| match error {
        Errno::EPERM => "only root may enter the networks of an engine's containers".to_owned(),
        other => other.desc().to_owned(),
    })?;
    feed_nft("")
}

/// The network of a process, which has this address.
pub(crate) async fn of_process(id: u32, address: Ipv4Addr) -> io::Result<NetNs> {
    let file = File::open(format!("/proc/{id}/ns/net"))?;
    let network = NetNs::from(OwnedFd::from(file));
    // An engine that counts its processes elsewhere means another one.
    network
        .within(move || TcpListener::bind((address, 0)).map(drop))
        .await?;
    Ok(network)
}

/// Leads what is sent from there to one address to another one.
pub(crate) async fn lead(network: &NetNs, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let rules = led(from, to);
    network
        .within(move || feed_nft(&rules).map_err(io::Error::other))
        .await
}

fn led(from: SocketAddr, to: SocketAddr) -> String {
    let (ip, port) = (from.ip(), from.port());
    format!(
        "table ip led {{ chain output {{ type nat hook output priority -100; ip daddr {ip} tcp dport {port} dnat to {to}; }}; }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_led_to_another() {
        let rules = led(
            "169.254.170.2:80".parse().unwrap(),
            "172.31.0.1:40001".parse().unwrap(),
        );
        assert!(rules.contains("ip daddr 169.254.170.2 tcp dport 80 dnat to 172.31.0.1:40001;"));
    }

    #[tokio::test]
    async fn the_network_of_a_process_has_its_address() {
        if may_enter().is_err() {
            // Without root there is none to enter.
            return;
        }
        let own = std::process::id();
        of_process(own, Ipv4Addr::LOCALHOST).await.unwrap();
        let error = of_process(own, Ipv4Addr::new(192, 0, 2, 1)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
