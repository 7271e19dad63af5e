//! Whom this machine trusts.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Installs ring as the process' provider of TLS, for those who build their own HTTP clients. Once is enough; more does no
/// harm. What this crate makes does not depend on it.
pub fn install_tls() {
    // It fails only when there is a provider already.
    let _ = ring::default_provider().install_default();
}

/// TLS with the machine's own certificate authorities, checked with ring.
///
/// The authorities are read at the first handshake of the process and kept: there are some three hundred files of them, which a command that
/// speaks to loopback only, or to several services, need not read or need read but once.
pub fn tls() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Machine(provider)))
        .with_no_client_auth()
}

/// The beginning of an HTTP client with [`tls`].
pub fn http_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls())
        .user_agent(concat!("hoist/", env!("CARGO_PKG_VERSION")))
}

/// Asks the machine's own verifier, which is made when it is first asked.
#[derive(Debug)]
struct Machine(Arc<CryptoProvider>);

impl Machine {
    /// A machine that has no authorities (a bare container) can still speak plain HTTP: there, every TLS handshake fails.
    fn verifier(&self) -> Result<&'static Verifier, Error> {
        static VERIFIER: OnceLock<Option<Verifier>> = OnceLock::new();
        let verifier = VERIFIER.get_or_init(|| match Verifier::new(Arc::clone(&self.0)) {
            Ok(verifier) => Some(verifier),
            Err(error) => {
                tracing::warn!(%error, "no certificate authorities found on this machine");
                None
            }
        });
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        verifier.as_ref().ok_or(unknown)
    }
}

impl ServerCertVerifier for Machine {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_refused() {
        let config = tls();
        let verifier = Machine(Arc::new(ring::default_provider()));
        assert!(!verifier.supported_verify_schemes().is_empty());
        // A certificate of its own making, in DER, is enough: it is not one of this machine's authorities.
        let own = CertificateDer::from(&include_bytes!("../tests/data/self-signed.der")[..]);
        let name = ServerName::try_from("localhost").unwrap();
        let refused = verifier.verify_server_cert(&own, &[], &name, &[], UnixTime::now());
        assert!(
            matches!(refused, Err(Error::InvalidCertificate(_))),
            "{refused:?}"
        );
        assert!(config.alpn_protocols.is_empty());
    }
}
