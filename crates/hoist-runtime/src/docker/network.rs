//! The network of an engine's tasks, and what this process does in it where the engine is on this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, UdpSocket};

use super::{Docker, LABEL};
use crate::{NetNs, RuntimeError, inside};

impl Docker {
    /// Listens at the router of the tasks, which is an address of this machine where the engine is on this machine; the error says why
    /// that cannot be.
    pub(super) async fn at_router(&self, port: u16) -> Result<TcpListener, String> {
        if self.config.publish {
            return Err("the Docker Engine runs on a machine of its own".to_owned());
        }
        let Some((router, _)) = self.config.subnets.first() else {
            return Err("tasks have no router".to_owned());
        };
        let bound = TcpListener::bind((*router, port)).await;
        bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrNotAvailable => {
                format!("{router} is not on this machine, so the Docker Engine is not either")
            }
            io::ErrorKind::PermissionDenied => format!("only root may listen at {router}:{port}"),
            _ => format!("{router}:{port} cannot be listened at: {error}"),
        })
    }

    /// Lets the resolver answer at the router, which the engine's own resolver asks for every name that it does not know.
    pub(super) async fn answer(&self) -> Result<(), String> {
        let listener = self.at_router(53).await?;
        let at = listener.local_addr().map_err(|error| error.to_string())?;
        let socket = UdpSocket::bind(at).await;
        self.resolver
            .serve(listener, socket.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The tasks' network, unless it is there.
    pub(super) async fn make_network(&self) -> Result<(), RuntimeError> {
        let network = self.network();
        if self
            .cli
            .run(&["network", "inspect", &network])
            .await
            .is_ok()
        {
            return Ok(());
        }
        let (subnet, gateway) = span(&self.config.subnets);
        let label = self.label();
        let mut args = vec!["network", "create", "--label", &label];
        if let (Some(subnet), Some(gateway)) = (&subnet, &gateway) {
            args.extend(["--subnet", subnet, "--gateway", gateway]);
        }
        args.push(&network);
        match self.cli.run(&args).await {
            Err(RuntimeError::Docker { problem, .. }) if problem.contains("overlaps") => {
                // Most likely the network of a home that is no more. One that is in use stays.
                let filter = format!("label={LABEL}");
                let prune = ["network", "prune", "--force", "--filter", &filter];
                self.cli.run(&prune).await?;
                self.cli.run(&args).await.map(drop)
            }
            made => made.map(drop),
        }
    }

    /// The network of a sleeping container, in which what is led elsewhere is led there.
    pub(super) async fn enter(&self, name: &str, ip: Ipv4Addr) -> Result<NetNs, RuntimeError> {
        let process = self
            .cli
            .run(&["inspect", "--format={{.State.Pid}}", name])
            .await?;
        let failed = |error| RuntimeError::System {
            action: format!("enter the network of the container {name}"),
            source: error,
        };
        let process = process.trim().parse().map_err(io::Error::other);
        let network = inside::of_process(process.map_err(failed)?, ip)
            .await
            .map_err(failed)?;
        if let Some((from, to)) = self.led.get() {
            inside::lead(&network, *from, *to).await.map_err(failed)?;
        }
        Ok(network)
    }

    pub(super) fn network_of(&self, task: &str) -> io::Result<NetNs> {
        let tasks = self.tasks();
        let found = tasks.get(task).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the task {task} is gone"))
        })?;
        found.network.clone().ok_or_else(|| {
            let why = self.enters.clone().err().unwrap_or_default();
            io::Error::new(io::ErrorKind::Unsupported, why)
        })
    }
}

/// The smallest subnet that holds all these, and its router: the first of them.
fn span(subnets: &[(Ipv4Addr, u8)]) -> (Option<String>, Option<String>) {
    let Some((gateway, prefix)) = subnets.first() else {
        return (None, None);
    };
    let first = u32::from(*gateway);
    let prefix = subnets
        .iter()
        .map(|(address, prefix)| {
            (first ^ u32::from(*address))
                .leading_zeros()
                .min(u32::from(*prefix))
        })
        .min()
        .unwrap_or(u32::from(*prefix));
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    (
        Some(format!("{}/{prefix}", Ipv4Addr::from(first & mask))),
        Some(gateway.to_string()),
    )
}

/// Reads a line of `docker port`, such as `8080/tcp -> 127.0.0.1:32768`.
pub(super) fn published_port(line: &str) -> Option<(u16, SocketAddr)> {
    let (port, address) = line.split_once(" -> ")?;
    Some((
        port.strip_suffix("/tcp")?.parse().ok()?,
        address.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_spans_all_subnets() {
        let subnets: Vec<_> = (0..16)
            .map(|block| (Ipv4Addr::new(172, 31, block * 16, 1), 20))
            .collect();
        assert_eq!(
            span(&subnets),
            (Some("172.31.0.0/16".into()), Some("172.31.0.1".into()))
        );
        assert_eq!(
            span(&subnets[..1]),
            (Some("172.31.0.0/20".into()), Some("172.31.0.1".into()))
        );
        assert_eq!(span(&[]), (None, None));
    }

    #[test]
    fn published_ports_are_read_back() {
        assert_eq!(
            published_port("8080/tcp -> 127.0.0.1:32768"),
            Some((8080, "127.0.0.1:32768".parse().unwrap()))
        );
        assert_eq!(published_port("53/udp -> 127.0.0.1:32768"), None);
    }
}
