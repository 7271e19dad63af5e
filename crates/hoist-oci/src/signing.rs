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
use crate::sealed;

/// DER of what comes before the curve's private key in PKCS #8: version 0, and the algorithm "EC key on P-256".
const PKCS8_HEAD: [u8; 24] = [
    0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
    0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// PEM blocks of keys under a password: the name that cosign gives them, and the one that it gave them before.
const SEALED: [&str; 2] = [
    "ENCRYPTED SIGSTORE PRIVATE KEY",
    "ENCRYPTED COSIGN PRIVATE KEY",
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
    /// The key is encrypted, and no password was given.
    #[error("failed to read the key {}: it is encrypted, and there is no password", path.display())]
    NoPassword {
        /// Which file.
        path: PathBuf,
    },
    /// The key is encrypted, and cannot be opened.
    #[error("failed to open the key {}: {what}", path.display())]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Why.
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
            Self::NoPassword { .. } => {
                "set COSIGN_PASSWORD, or COSIGN_PASSWORD_FILE to a file that holds it"
            }
            Self::Sealed { .. } => {
                "it must be a key of `cosign generate-key-pair`, and COSIGN_PASSWORD its password"
            }
            _ => {
                "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out cosign.key`"
            }
        }
    }
}

impl SigningKey {
    /// Reads a private key from a PEM file: PKCS #8 (`PRIVATE KEY`), SEC 1 (`EC PRIVATE KEY`), or under a password, as cosign makes them.
    ///
    /// The password is `COSIGN_PASSWORD`, or the first line of the file that `COSIGN_PASSWORD_FILE` names.
    ///
    /// # Errors
    /// Fails when a file cannot be read, is no private key of P-256, or the password is missing or wrong.
    pub fn read(path: &Path) -> Result<Self, SigningError> {
        let text = read(path)?;
        let refused = |what| SigningError::NoKey {
            path: path.to_owned(),
            what,
        };
        let Some(sealed) = SEALED.iter().find_map(|name| block(&text, name)) else {
            return Self::parse(&text).map_err(refused);
        };
        let password = password(path)?;
        let opened = sealed::open(&sealed, &password).map_err(|what| SigningError::Sealed {
            path: path.to_owned(),
            what,
        })?;
        Self::of(&opened).map_err(refused)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("ENCRYPTED") {
            return Err("it is encrypted in another way than cosign does it");
        }
        let der = if let Some(der) = block(text, "PRIVATE KEY") {
            der
        } else if let Some(key) = block(text, "EC PRIVATE KEY") {
            pkcs8(&key)
        } else {
            return Err("it holds no PEM block PRIVATE KEY or EC PRIVATE KEY");
        };
        Self::of(&der)
    }

    fn of(pkcs8: &[u8]) -> Result<Self, &'static str> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new())
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

fn read(path: &Path) -> Result<String, SigningError> {
    std::fs::read_to_string(path).map_err(|source| SigningError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The password for the key in `key`. An empty one is one too.
fn password(key: &Path) -> Result<Vec<u8>, SigningError> {
    if let Some(password) = std::env::var_os("COSIGN_PASSWORD") {
        return Ok(password.into_encoded_bytes());
    }
    let Some(file) = std::env::var_os("COSIGN_PASSWORD_FILE") else {
        return Err(SigningError::NoPassword {
            path: key.to_owned(),
        });
    };
    let text = read(Path::new(&file))?;
    Ok(text.lines().next().unwrap_or_default().into())
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
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "in another way than cosign",
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

    /// No test of its own: the one below runs it with passwords in the environment.
    #[test]
    #[allow(clippy::print_stdout, reason = "read by the one below")]
    fn a_key_is_read_when_the_environment_names_one() {
        let Some(key) = std::env::var_os("HOIST_TEST_KEY") else {
            return;
        };
        match SigningKey::read(Path::new(&key)) {
            Ok(key) => println!("signed {}", key.sign(b"message").unwrap()),
            Err(error) => println!("refused: {error} ({})", error.hint()),
        }
    }

    #[test]
    fn keys_that_others_made_in_cosigns_form_sign_with_their_password_and_with_no_other() {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "open sesame\n").unwrap();
        std::fs::write(folder.path().join("message"), "message").unwrap();
        let read = |key: &Path, environment: &[(&str, &str)]| {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("signing::tests::a_key_is_read_when_the_environment_names_one")
                .env_remove("COSIGN_PASSWORD")
                .env("HOIST_TEST_KEY", key)
                .envs(environment.iter().copied())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let (key, file) = (keys.join("cosign.key"), file.display().to_string());
        for (key, environment) in [
            (&key, ("COSIGN_PASSWORD", "open sesame")),
            (&key, ("COSIGN_PASSWORD_FILE", &file)),
            (&keys.join("old.key"), ("COSIGN_PASSWORD", "")),
        ] {
            let said = read(key, &[environment]);
            let (_, signature) = said.split_once("signed ").expect(&said);
            let signature = STANDARD.decode(signature.lines().next().unwrap()).unwrap();
            std::fs::write(folder.path().join("signature"), signature).unwrap();
            let public = keys.join("cosign.pub").display().to_string();
            let mut verify = vec!["dgst", "-sha256", "-verify", &public];
            verify.extend(["-signature", "signature", "message"]);
            assert_eq!(openssl(folder.path(), &verify).trim(), "Verified OK");
        }
        let said = read(&key, &[("COSIGN_PASSWORD", "sesame")]);
        assert!(said.contains("the password does not open it"), "{said}");
        let said = read(&key, &[]);
        assert!(
            said.contains("there is no password (set COSIGN_PASSWORD"),
            "{said}"
        );
    }

    #[test]
    fn a_sealed_key_that_is_damaged_or_asks_for_too_much_is_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/cosign.key");
        let text = std::fs::read_to_string(path).unwrap();
        let sealed = String::from_utf8(block(&text, SEALED[0]).unwrap()).unwrap();
        assert!(sealed::open(sealed.as_bytes(), b"open sesame").is_ok());
        for (from, to, said) in [
            ("\"N\":32768", "\"N\":1073741824", "parameters of scrypt"),
            ("\"N\":32768", "\"N\":32767", "parameters of scrypt"),
            ("\"r\":8", "\"r\":0", "parameters of scrypt"),
            ("secretbox", "otherbox", "otherwise than by"),
            ("\"nonce\":\"", "\"nonce\":\"AAAA", "incomplete"),
            (
                "\"ciphertext\":\"",
                "\"ciphertext\":\"AAAA",
                "does not open",
            ),
            ("{\"kdf\"", "[\"kdf\"", "no JSON"),
        ] {
            let changed = sealed.replacen(from, to, 1);
            assert_ne!(changed, sealed);
            let error = sealed::open(changed.as_bytes(), b"open sesame").unwrap_err();
            assert!(error.contains(said), "{changed}: {error}");
        }
    }
}
