//! The keys of an identity provider, fetched as OpenID Connect Discovery 1.0 says, and what they sign.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

use super::token::Token;
use crate::api::ApiError;

const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a provider may be asked without TLS: one on this machine's loopback, which tests have.
pub fn is_loopback(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Checks that the token's issuer signed it.
///
/// # Errors
/// `InvalidIdentityToken` when the issuer's keys cannot be had or none of them made the signature.
pub async fn verify(token: &Token) -> Result<(), ApiError> {
    let keys = keys(&token.issuer).await.map_err(|why| {
        tracing::info!(issuer = token.issuer, why, "no keys of the issuer");
        let text = "Couldn't retrieve verification key from your identity provider, please reference \
                    AssumeRoleWithWebIdentity documentation for requirements";
        ApiError::new("InvalidIdentityToken", text)
    })?;
    let named = |key: &&Value| {
        token.key.is_none() || key.get("kid").and_then(Value::as_str) == token.key.as_deref()
    };
    if keys.iter().filter(named).any(|key| signed_by(token, key)) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidIdentityToken",
        "The ID Token provided is not signed by a key of its issuer",
    ))
}

/// The issuer's JSON Web Key Set (RFC 7517). The error says why there is none.
async fn keys(issuer: &str) -> Result<Vec<Value>, String> {
    let loopback = is_loopback(issuer);
    let mut client = hoist_oci::http_client().timeout(PATIENCE);
    if loopback {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| error.to_string())?;
    let get = async |url: &str| -> Result<Value, String> {
        if !(url.starts_with("https://") || loopback && is_loopback(url)) {
            return Err(format!("{url} is not reached by TLS"));
        }
        let answer = client
            .get(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| error.to_string())?;
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    };
    let place = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let found = get(&place).await?;
    if found.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(format!("{place} is of another issuer"));
    }
    let url = found
        .get("jwks_uri")
        .and_then(Value::as_str)
        .ok_or_else(|| format!("{place} names no jwks_uri"))?;
    let set = get(url).await?;
    let keys = set.get("keys").and_then(Value::as_array);
    keys.cloned().ok_or_else(|| format!("{url} holds no keys"))
}

/// Whether `key` made the token's signature. The algorithms are those that IAM takes (RFC 7518: RS256, RS384, RS512, ES256, ES384).
fn signed_by(token: &Token, key: &Value) -> bool {
    let part = |name: &str| {
        let text = key.get(name)?.as_str()?;
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let rsa = |how: &'static RsaParameters| {
        let (Some(n), Some(e)) = (part("n"), part("e")) else {
            return false;
        };
        let key = RsaPublicKeyComponents { n, e };
        key.verify(how, token.signed.as_bytes(), &token.signature)
            .is_ok()
    };
    let ec = |how: &'static signature::EcdsaVerificationAlgorithm| {
        let (Some(x), Some(y)) = (part("x"), part("y")) else {
            return false;
        };
        // An uncompressed point (SEC 1, 2.3.3).
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        UnparsedPublicKey::new(how, point)
            .verify(token.signed.as_bytes(), &token.signature)
            .is_ok()
    };
    match token.algorithm.as_str() {
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "ES256" => ec(&signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => ec(&signature::ECDSA_P384_SHA384_FIXED),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    #[test]
    fn only_loopback_goes_without_tls() {
        assert!(is_loopback("http://127.0.0.1:80/x") && is_loopback("http://localhost:1"));
        for other in [
            "https://127.0.0.1",
            "http://example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn a_signature_is_good_for_its_key_and_its_text_only() {
        let random = SystemRandom::new();
        let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(how, document.as_ref(), &random).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let text = format!(
            "{}.{}",
            encode(br#"{"alg":"ES256","kid":"one"}"#),
            encode(br#"{"iss":"https://i","sub":"s","aud":"a","exp":5}"#)
        );
        let signature = pair.sign(&random, text.as_bytes()).unwrap();
        let token = Token::parse(&format!("{text}.{}", encode(signature.as_ref()))).unwrap();
        let point = pair.public_key().as_ref();
        let key = json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])});
        assert!(signed_by(&token, &key));
        let mut other = token.clone();
        other.signed.push('A');
        assert!(!signed_by(&other, &key));
        let mut other = token;
        other.algorithm = "RS256".to_owned();
        assert!(!signed_by(&other, &key));
    }
}
