//! Secrets at rest: sealed with a key that lies beside the state, so that neither the state's file nor a copy of it tells them.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::api::ApiError;
use crate::settings::write_whole;

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<LessSafeKey>);

impl Vault {
    /// The vault whose key is the file at `path`, made if it is not there.
    ///
    /// # Errors
    /// When the file can neither be read nor written, or holds no key.
    pub fn open(path: &Path) -> std::io::Result<Vault> {
        let key = match std::fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut key = vec![0; AES_256_GCM.key_len()];
                SystemRandom::new()
                    .fill(&mut key)
                    .map_err(|_| std::io::Error::other("no random bytes"))?;
                write_whole(path, &key)?;
                key
            }
            Err(error) => return Err(error),
        };
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| {
            let text = format!("{} holds no key", path.display());
            std::io::Error::new(std::io::ErrorKind::InvalidData, text)
        })?;
        Ok(Vault(Arc::new(LessSafeKey::new(key))))
    }

    /// Seals `text`; it opens only under the same `name`.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn seal(&self, name: &str, text: &str) -> Result<String, ApiError> {
        let broken = |_| ApiError::internal("failed to seal a secret");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(broken)?;
        let mut sealed = text.as_bytes().to_vec();
        let fresh = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(fresh, Aad::from(name), &mut sealed)
            .map_err(broken)?;
        Ok(STANDARD.encode([&nonce, sealed.as_slice()].concat()))
    }

    /// Opens what [`seal`](Vault::seal) made.
    ///
    /// # Errors
    /// When it was not sealed under this name with this key.
    pub fn unseal(&self, name: &str, sealed: &str) -> Result<String, ApiError> {
        let opened = || {
            let mut bytes = STANDARD.decode(sealed).ok()?;
            let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let text = self.0.open_in_place(nonce, Aad::from(name), text).ok()?;
            String::from_utf8(text.to_vec()).ok()
        };
        opened().ok_or_else(|| {
            ApiError::internal(format!(
                "the secret {name} cannot be opened: its key is another one"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_name_and_with_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&folder.path().join("key")).unwrap();
        let sealed = vault.seal("one", "hush").unwrap();
        assert!(!sealed.contains("hush"));
        assert_ne!(sealed, vault.seal("one", "hush").unwrap());
        let again = Vault::open(&folder.path().join("key")).unwrap();
        assert_eq!(again.unseal("one", &sealed).unwrap(), "hush");
        assert!(again.unseal("two", &sealed).is_err());
        let other = Vault::open(&folder.path().join("other")).unwrap();
        assert!(other.unseal("one", &sealed).is_err());
    }
}
