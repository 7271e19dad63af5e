//! Takes what the containers of a task send to addresses of their own loopback network.
//!
//! A listener on the address itself would keep a container from listening on the same port of all its addresses, so `nft` leads what is
//! sent there to a port that nobody else asked for. Where there is no `nft`, the address itself has to do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::NetNs;
use super::egress::feed_nft;

/// One listener for each of these addresses, in their order.
pub async fn intercept(
    network: &NetNs,
    addresses: Vec<SocketAddr>,
) -> io::Result<Vec<tokio::net::TcpListener>> {
    let listeners = network.within(move || listen(&addresses)).await?;
    listeners
        .into_iter()
        .map(tokio::net::TcpListener::from_std)
        .collect()
}

fn listen(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    match led(addresses) {
        Ok(listeners) => Ok(listeners),
        Err(error) => {
            tracing::debug!(%error, "what a task sends to its proxy is taken at the address itself");
            addresses.iter().map(|address| bind(*address)).collect()
        }
    }
}

fn led(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners: Vec<TcpListener> = addresses
        .iter()
        .map(|_| bind(free))
        .collect::<io::Result<_>>()?;
    let ports: Vec<u16> = listeners
        .iter()
        .map(|it| it.local_addr().map(|at| at.port()))
        .collect::<io::Result<_>>()?;
    feed_nft(&table(addresses, &ports)).map_err(io::Error::other)?;
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Leads each address to a port of 127.0.0.1.
fn table(addresses: &[SocketAddr], ports: &[u16]) -> String {
    let rules: String = addresses
        .iter()
        .zip(ports)
        .map(|(address, port)| {
            let (ip, asked) = (address.ip(), address.port());
            format!("    ip daddr {ip} tcp dport {asked} dnat to 127.0.0.1:{port}\n")
        })
        .collect();
    format!(
        "table ip proxy\ndelete table ip proxy\ntable ip proxy {{\n  chain output {{\n    type nat hook output priority -100;\n{rules}  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_led_to_a_port_of_its_own() {
        let addresses = ["127.255.0.1:80", "127.255.0.2:5432"].map(|it| it.parse().unwrap());
        let rules = table(&addresses, &[40_001, 40_002]);
        assert!(rules.contains("ip daddr 127.255.0.1 tcp dport 80 dnat to 127.0.0.1:40001\n"));
        assert!(rules.contains("ip daddr 127.255.0.2 tcp dport 5432 dnat to 127.0.0.1:40002\n"));
    }
}
