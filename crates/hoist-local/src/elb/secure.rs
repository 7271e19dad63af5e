//! TLS in front of a listener: which certificate a client is shown.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// A certificate, and the names that it is for.
pub type Shown = (Vec<String>, Arc<CertifiedKey>);

/// The certificates of a listener, the default one first. They can be exchanged while it works.
#[derive(Debug, Default)]
pub struct Wardrobe(RwLock<Vec<Shown>>);

impl Wardrobe {
    /// From now on these are shown.
    pub fn set(&self, certificates: Vec<Shown>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// What a client that asks for `name` is shown: the most exact match, else the default.
    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = name.and_then(|name| {
            let exact = |names: &[String]| names.iter().any(|it| it.eq_ignore_ascii_case(name));
            let (_, parent) = name.split_once('.').unwrap_or_default();
            let wild = |names: &[String]| {
                let mut masks = names.iter().filter_map(|it| it.strip_prefix("*."));
                masks.any(|mask| mask.eq_ignore_ascii_case(parent))
            };
            let exactly = all.iter().find(|(names, _)| exact(names));
            exactly.or_else(|| all.iter().find(|(names, _)| wild(names)))
        });
        Some(found.or_else(|| all.first())?.1.clone())
    }
}

impl ResolvesServerCert for Wardrobe {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

/// Takes TLS connections, with these certificates; these protocols are offered, the best first.
///
/// # Errors
/// When the cryptography knows no version of TLS, which it does.
pub fn acceptor(wardrobe: Arc<Wardrobe>, offered: &[&str]) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(wardrobe);
    config.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}
