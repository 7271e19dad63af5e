//! Keys that sign images, and what they sign: the "simple signing" of cosign, by key.
//!
//! The signature is ECDSA on P-256 with SHA-256 over a small JSON document that names the image's digest
//! (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};

use crate::Digest;

/// DER of what comes before the curve's private key in PKCS #8: version 0, and the algorithm "EC key on P-256".
const PKCS8_HEAD: [u8; 24] = [
    0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
    0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// A private key of P-256.
pub struct SigningKey {
    key: EcdsaKeyPair,
}

/// Why a key cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file cannot be read.
    #[error("failed to read the key {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no private key of P-256.
    #[error("failed to read the key {}: {what}", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The machine gave no random numbers.
    #[error("failed to sign: the machine gives no random numbers")]
    Random,
}

impl SigningError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Random => "look for /dev/urandom",
            _ => {
                "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out cosign.key`"
            }
        }
    }
}

impl SigningKey {
    /// Reads a private key from a PEM file: PKCS #8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`).
    ///
    /// # Errors
    /// Fails when the file cannot be read, or is no private key of P-256.
    pub fn read(path: &Path) -> Result<Self, SigningError> {
        let text = std::fs::read_to_string(path).map_err(|source| SigningError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|what| SigningError::NoKey {
            path: path.to_owned(),
            what,
        })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("ENCRYPTED") {
            return Err("it is encrypted, and only plain keys are read");
        }
        let der = if let Some(der) = block(text, "PRIVATE KEY") {
            der
        } else if let Some(key) = block(text, "EC PRIVATE KEY") {
            pkcs8(&key)
        } else {
            return Err("it holds no PEM block PRIVATE KEY or EC PRIVATE KEY");
        };
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &SystemRandom::new())
            .map(|key| Self { key })
            .map_err(|_| "it is no private key of P-256 with its public part")
    }

    /// Signs, and gives the signature in DER as base64.
    ///
    /// # Errors
    /// Fails when the machine has no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<String, SigningError> {
        let signature = self
            .key
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SigningError::Random)?;
        Ok(STANDARD.encode(signature))
    }

    /// Whether a signature in base64 is this key's for the message.
    pub fn made(&self, signature: &str, message: &[u8]) -> bool {
        let public =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key().as_ref());
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| public.verify(message, &signature).is_ok())
    }
}

/// What is signed: the image's digest, and the repository that it was pushed to.
pub fn payload(repository: &str, digest: &Digest) -> Vec<u8> {
    serde_json::json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

/// The content of the PEM block of that name.
fn block(text: &str, name: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {name}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {name}-----"))?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// A key of SEC 1 in the frame of PKCS #8 (RFC 5208).
fn pkcs8(key: &[u8]) -> Vec<u8> {
    let mut content = PKCS8_HEAD.to_vec();
    content.push(0x04);
    content.extend(length(key.len()));
    content.extend(key);
    let mut der = vec![0x30];
    der.extend(length(content.len()));
    der.extend(content);
    der
}

fn length(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => vec![0x82, (length >> 8) as u8, length as u8],
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn openssl(folder: &Path, arguments: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .output()
            .expect("the tests need openssl");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn openssl_verifies_what_its_keys_sign_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let make = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out a.pem";
        openssl(folder, &make.split(' ').collect::<Vec<_>>());
        openssl(
            folder,
            &"ec -in a.pem -out b.pem".split(' ').collect::<Vec<_>>(),
        );
        openssl(
            folder,
            &"pkey -in a.pem -pubout -out public.pem"
                .split(' ')
                .collect::<Vec<_>>(),
        );
        let text = std::fs::read_to_string(folder.join("b.pem")).unwrap();
        assert!(text.contains("BEGIN EC PRIVATE KEY"), "{text}");
        let message = payload("shop/web", &Digest::of(b"image"));
        std::fs::write(folder.join("message"), &message).unwrap();
        for name in ["a.pem", "b.pem"] {
            let key = SigningKey::read(&folder.join(name)).unwrap();
            let signature = key.sign(&message).unwrap();
            assert!(key.made(&signature, &message) && !key.made(&signature, b"other"));
            std::fs::write(
                folder.join("signature"),
                STANDARD.decode(&signature).unwrap(),
            )
            .unwrap();
            let said = openssl(
                folder,
                &"dgst -sha256 -verify public.pem -signature signature message"
                    .split(' ')
                    .collect::<Vec<_>>(),
            );
            assert_eq!(said.trim(), "Verified OK");
        }
    }

    #[test]
    fn what_is_no_key_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(SigningKey::read(&path).is_err());
        for (text, said) in [
            ("hello", "no PEM block"),
            (
                "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
                "encrypted",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "P-256",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = SigningKey::read(&path).err().unwrap();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
