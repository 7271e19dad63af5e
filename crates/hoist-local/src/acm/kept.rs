use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Millis;
use crate::state::{State, StateError, Table};
use crate::vault::Vault;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub arn: String,
    /// What it is for, the main name first.
    pub names: Vec<String>,
    /// PEM: the certificate itself.
    pub body: String,
    /// PEM: those behind it.
    pub chain: Option<String>,
    /// PEM, sealed.
    pub key: String,
    pub serial: Option<String>,
    pub imported: bool,
    /// `DNS` or `EMAIL`; nothing comes of it.
    pub validation: String,
    pub tags: Vec<Value>,
    pub token: Option<String>,
    pub created: Millis,
    pub ends: Millis,
}

/// The certificates of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Certificates {
    pub(super) table: Table<Certificate>,
    pub(super) vault: Vault,
}

impl Certificates {
    /// What `state` keeps of them; their keys are sealed with `vault`.
    pub fn open(state: &State, vault: Vault) -> Certificates {
        Certificates {
            table: state.table("acm-certificates"),
            vault,
        }
    }

    /// The certificate of that ARN.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn find(&self, arn: &str) -> Result<Option<Certificate>, StateError> {
        let region = arn.split(':').nth(3).unwrap_or_default();
        self.table.get(region, arn)
    }

    /// A certificate with its key, as a listener shows it; `None` if there is none of that ARN, or it cannot be used.
    pub fn served(&self, arn: &str) -> Option<(Vec<String>, Arc<CertifiedKey>)> {
        let found = self.find(arn).ok()??;
        let key = self.vault.unseal(arn, &found.key).ok()?;
        let ready = certified(&found.body, found.chain.as_deref(), &key).ok()?;
        Some((found.names, Arc::new(ready)))
    }
}

/// A certificate, its chain and its key, if they go together.
///
/// # Errors
/// Why they do not.
pub fn certified(body: &str, chain: Option<&str>, key: &str) -> Result<CertifiedKey, String> {
    let mut all = Vec::new();
    for text in [Some(body), chain].into_iter().flatten() {
        for one in CertificateDer::pem_slice_iter(text.as_bytes()) {
            all.push(one.map_err(|error| error.to_string())?);
        }
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
    CertifiedKey::from_der(all, key, &default_provider()).map_err(|error| error.to_string())
}
