//! Connections to targets: plain, or in TLS where the protocol of their group is HTTPS or TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::dial::Dialer;
use super::prefixed::Prefixed;

/// Takes whatever certificate a target shows: "the load balancer does not validate these certificates" (Application Load Balancers
/// user guide, "Target groups").
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

static CONNECTOR: LazyLock<Result<TlsConnector, Error>> = LazyLock::new(|| {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
});

/// Connects to a target; the caller sets the time limit.
pub async fn reach(dialer: &dyn Dialer, to: SocketAddr, secure: bool) -> io::Result<Prefixed> {
    let stream = dialer.dial(to).await?;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(Prefixed::new(Vec::new(), stream));
    }
    let connector = CONNECTOR.as_ref().map_err(io::Error::other)?;
    let name = ServerName::IpAddress(to.ip().into());
    Ok(Prefixed::secure(connector.connect(name, stream).await?))
}
