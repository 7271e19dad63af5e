//! HTTP without any knowledge of AWS: one request out, one answer or a classified failure back.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::{ConfigError, TransportKind};

/// A request that did not get an answer.
#[derive(Debug)]
pub(crate) struct Lost {
    pub kind: TransportKind,
    pub source: Box<dyn StdError + Send + Sync>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Two connection pools: through the proxy of the environment, and around it for this machine and the metadata services.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    outward: reqwest::Client,
    direct: reqwest::Client,
}

impl Http {
    /// `trusted` are further certificate authorities, in PEM: those of a proxy that looks into TLS, say. Without them, `tls` says how servers
    /// are checked.
    pub fn new(
        trusted: Option<&[u8]>,
        tls: Option<&rustls::ClientConfig>,
    ) -> Result<Http, ConfigError> {
        // reqwest asks for a process-wide provider; an installed one is kept.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let unusable = |error: reqwest::Error| ConfigError::Http(Box::new(error));
        let trusted = trusted
            .map(reqwest::Certificate::from_pem_bundle)
            .transpose()
            .map_err(unusable)?
            .unwrap_or_default();
        let builder = || {
            let builder = match tls.filter(|_| trusted.is_empty()) {
                Some(tls) => reqwest::Client::builder().tls_backend_preconfigured(tls.clone()),
                None => reqwest::Client::builder().tls_certs_merge(trusted.iter().cloned()),
            };
            builder
                .connect_timeout(Duration::from_secs(5))
                .pool_idle_timeout(Duration::from_secs(15))
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("hoist/", env!("CARGO_PKG_VERSION")))
        };
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(unusable);
        Ok(Http {
            outward: build(builder())?,
            direct: build(builder().no_proxy())?,
        })
    }

    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<Reply, Lost> {
        let host = request.uri().host().unwrap_or_default();
        let client = if is_near(host) {
            &self.direct
        } else {
            &self.outward
        };
        let mut request = reqwest::Request::try_from(request).map_err(lost)?;
        *request.timeout_mut() = Some(timeout);
        let response = client.execute(request).await.map_err(lost)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.map_err(lost)?;
        Ok(Reply {
            status,
            headers,
            body,
        })
    }
}

/// This machine, and the link-local addresses of the metadata services: no proxy can reach either.
fn is_near(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address
            .parse()
            .is_ok_and(|address: std::net::IpAddr| match address {
                std::net::IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
                std::net::IpAddr::V6(address) => {
                    address.is_loopback()
                        || address == std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
                }
            })
}

fn lost(error: reqwest::Error) -> Lost {
    let mut words = String::new();
    let mut cause: Option<&dyn StdError> = Some(&error);
    while let Some(error) = cause {
        words.push_str(&error.to_string());
        words.push('\n');
        cause = error.source();
    }
    let kind = if error.is_connect() {
        if words.contains("dns error") || words.contains("failed to lookup address") {
            TransportKind::Resolve
        } else {
            TransportKind::Connect
        }
    } else if error.is_timeout() {
        TransportKind::Timeout
    } else {
        TransportKind::Interrupted
    };
    Lost {
        kind,
        source: Box::new(error.without_url()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_authorities_must_be_certificates() {
        assert!(Http::new(None, None).is_ok());
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            Http::new(Some(broken), None),
            Err(ConfigError::Http(_))
        ));
    }

    #[test]
    fn this_machine_and_the_metadata_services_are_reached_without_a_proxy() {
        for near in [
            "localhost",
            "127.0.0.1",
            "127.8.0.3",
            "169.254.170.2",
            "[::1]",
            "[fd00:ec2::254]",
            "ecs.localhost",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in [
            "ecs.eu-central-1.amazonaws.com",
            "10.0.0.1",
            "localhost.example.com",
        ] {
            assert!(!is_near(far), "{far}");
        }
    }
}
