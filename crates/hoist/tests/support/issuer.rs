//! GitHub's token service on loopback: gives a job its identity token, and shows the keys that sign it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};

use super::sandbox::tool;

/// What a job must show to be given a token.
pub const BEARER: &str = "the-secret-of-the-job";

/// An issuer; it answers until the test ends.
pub struct Issuer {
    url: String,
    subject: Arc<Mutex<String>>,
}

impl Issuer {
    /// An issuer whose tokens say that the job is `subject`.
    pub fn start(subject: &str) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let subject = Arc::new(Mutex::new(subject.to_owned()));
        let (key, issuer, whose) = (key(), url.clone(), Arc::clone(&subject));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let subject = whose.lock().unwrap().clone();
                // A client that goes away is its own business.
                let _ = answer(stream, &key, &issuer, &subject);
            }
        });
        Issuer { url, subject }
    }

    /// Where it is: also its name in tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whose tokens it makes from now on.
    pub fn set_subject(&self, subject: &str) {
        subject.clone_into(&mut self.subject.lock().unwrap());
    }

    /// What the runner sets for a job with `id-token: write`.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            (
                "ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(),
                format!("{}/token?job=1", self.url),
            ),
            (
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(),
                BEARER.to_owned(),
            ),
        ]
    }
}

/// A new key of GitHub's kind: RSA with 2048 bits.
fn key() -> RsaKeyPair {
    let script = "from cryptography.hazmat.primitives.asymmetric import rsa\n\
                  from cryptography.hazmat.primitives import serialization as s\n\
                  import base64\n\
                  key = rsa.generate_private_key(65537, 2048)\n\
                  der = key.private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())\n\
                  print(base64.b64encode(der).decode())";
    let output = Command::new(tool("python3"))
        .args(["-c", script])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(text.trim()).unwrap()).unwrap()
}

fn answer(
    mut stream: TcpStream,
    key: &RsaKeyPair,
    issuer: &str,
    subject: &str,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut authorised = false;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        authorised |= line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value.trim() == format!("bearer {BEARER}")
        });
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let found = match path.split('?').next().unwrap_or_default() {
        "/.well-known/openid-configuration" => {
            Some(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
        }
        "/keys" => Some(json!({"keys": [public(key)]})),
        "/token" if authorised => {
            let audience = path.split("audience=").nth(1).unwrap_or_default();
            Some(json!({"value": token(key, issuer, subject, audience)}))
        }
        _ => None,
    };
    let (status, body) = match found {
        Some(body) => ("200 OK", body.to_string()),
        None => ("403 Forbidden", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn public(key: &RsaKeyPair) -> Value {
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "n": encode(&n), "e": encode(&e)})
}

fn token(key: &RsaKeyPair, issuer: &str, subject: &str, audience: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = json!({
        "iss": issuer, "sub": subject, "aud": audience, "iat": now, "exp": now + 300,
        "repository": "acme/shop", "ref": "refs/heads/main",
    });
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "one"});
    let text = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let mut signature = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
        .unwrap();
    format!("{text}.{}", encode(&signature))
}
