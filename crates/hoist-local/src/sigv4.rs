//! Signature Version 4, the server's side: was this request signed with a key that we issued?
//!
//! Checked against the test vectors that AWS publishes ("Signature Version 4 test suite").

use std::borrow::Cow;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use crate::clock::{self, Millis};
use crate::keys::{Key, Keys};
use crate::state::StateError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A request may be this far off the server's clock.
const TOLERANCE: Millis = 5 * 60 * 1000;

/// What a valid signature says about a request.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The key it was signed with.
    pub key: Arc<Key>,
    /// The region of the credential scope.
    pub region: String,
    /// The signing name of the service, such as `ecs` or `elasticloadbalancing`.
    pub service: String,
}

/// Why a request is refused. The services word and number these differently; see [`crate::api::ApiError`].
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// No signature at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// A part of the signature is missing or not what it should be.
    #[error("{0}")]
    Incomplete(String),
    /// We did not issue this key, or the session token is not the key's.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session is over.
    #[error("The security token included in the request is expired")]
    Expired,
    /// The signature is not the one that the secret gives, or its time is off.
    #[error("{0}")]
    Mismatch(String),
    /// The keys cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                        Access Key and signing method. Consult the service documentation for details.";

/// The parts of a signature, from the `Authorization` header or from the query.
struct Claim<'a> {
    /// Key id, date, region, service and `aws4_request`, with slashes.
    credential: Cow<'a, str>,
    /// Their names in lower case, with semicolons.
    signed_headers: Cow<'a, str>,
    signature: Cow<'a, str>,
    time: Cow<'a, str>,
    token: Option<Cow<'a, str>>,
    /// How long a presigned request is good for, in seconds.
    lifetime: Option<i64>,
}

/// The parts of a credential.
struct Scope<'a> {
    key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl Claim<'_> {
    /// `None` if the credential is not of five parts, or not one of this algorithm.
    fn scope(&self) -> Option<Scope<'_>> {
        let mut parts = self.credential.split('/');
        let scope = Scope {
            key_id: parts.next()?,
            date: parts.next()?,
            region: parts.next()?,
            service: parts.next()?,
        };
        (parts.next() == Some("aws4_request") && parts.next().is_none()).then_some(scope)
    }
}

/// The credential scope of a request as it claims to be signed; nothing is verified. `(region, service)`.
pub fn scope(parts: &Parts) -> Option<(String, String)> {
    let claim = read_claim(parts).ok()?;
    let scope = claim.scope()?;
    Some((scope.region.to_owned(), scope.service.to_owned()))
}

/// Whether a request claims to be signed for that service; nothing is verified.
pub fn is_for(parts: &Parts, service: &str) -> bool {
    let claim = read_claim(parts).ok();
    claim.is_some_and(|claim| claim.scope().is_some_and(|it| it.service == service))
}

/// The region that the header of a request claims to be signed for; nothing is verified.
pub fn region(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(http::header::AUTHORIZATION)?;
    let (_, credential) = header.to_str().ok()?.split_once("Credential=")?;
    credential.split('/').nth(2)
}

/// Verifies the signature of a request with this body, at this time.
///
/// # Errors
/// When the request is not signed, or not with a key that we issued, or more than 5 minutes away from `now`.
pub fn verify(
    keys: &Keys,
    parts: &Parts,
    body: &[u8],
    now: Millis,
) -> Result<Signed, SignatureError> {
    let payload = hex_of(&Sha256::digest(body).into());
    let path = canonical_path(parts.uri.path());
    verified(keys, parts, &path, &payload, now)
}

/// The same for S3, which takes paths as they are, and the body's digest from a header, which may say that it is not signed.
///
/// # Errors
/// As those of [`verify`], or when the digest is not the body's.
pub fn verify_s3(
    keys: &Keys,
    parts: &Parts,
    body: &[u8],
    now: Millis,
) -> Result<Signed, SignatureError> {
    const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
    let header = parts.headers.get("x-amz-content-sha256");
    let payload = header
        .map_or(Some(UNSIGNED), |it| it.to_str().ok())
        .unwrap_or_default();
    let signed = payload != UNSIGNED && !payload.starts_with("STREAMING-");
    if signed && payload != hex::encode(Sha256::digest(body)) {
        let text = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return Err(SignatureError::Mismatch(text.to_owned()));
    }
    let decoded = |it: &str| percent_decode_str(it).collect::<Vec<u8>>();
    let path: Vec<String> = parts
        .uri
        .path()
        .split('/')
        .map(|it| encode(&decoded(it)))
        .collect();
    verified(keys, parts, &path.join("/"), payload, now)
}

fn verified(
    keys: &Keys,
    parts: &Parts,
    path: &str,
    payload: &str,
    now: Millis,
) -> Result<Signed, SignatureError> {
    let claim = read_claim(parts)?;
    let scope = claim.scope().ok_or_else(|| no_scope(&claim.credential))?;
    let time = clock::parse_basic(&claim.time).ok_or_else(|| {
        SignatureError::Incomplete("Date must be in ISO-8601 'basic format'".to_owned())
    })?;
    if !claim.time.starts_with(scope.date) {
        return Err(SignatureError::Mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}'",
            scope.date,
            claim.time.get(..8).unwrap_or_default()
        )));
    }
    check_time(&claim, time, now)?;
    let key = keys.find(scope.key_id)?.ok_or(SignatureError::UnknownKey)?;
    if key.session_token.as_deref() != claim.token.as_deref() {
        return Err(SignatureError::UnknownKey);
    }
    let signing = keys.signing(&claim.credential, || signing_key(&key.secret, &scope));
    let ours = signature(
        &signing,
        &scope,
        &claim.time,
        &canonical_request(parts, &claim.signed_headers, path, payload),
    );
    if !same(ours.as_bytes(), claim.signature.as_bytes()) {
        return Err(SignatureError::Mismatch(MISMATCH.to_owned()));
    }
    if key.expires.is_some_and(|end| end <= now) {
        return Err(SignatureError::Expired);
    }
    Ok(Signed {
        key,
        region: scope.region.to_owned(),
        service: scope.service.to_owned(),
    })
}

fn check_time(claim: &Claim<'_>, time: Millis, now: Millis) -> Result<(), SignatureError> {
    let oldest = match claim.lifetime {
        Some(seconds) => now - seconds * 1000,
        None => now - TOLERANCE,
    };
    let said = |text: String| Err(SignatureError::Mismatch(text));
    if time < oldest {
        let (at, now, limit) = (&claim.time, clock::basic(now), clock::basic(oldest));
        return said(format!(
            "Signature expired: {at} is now earlier than {limit} ({now} - 5 min.)"
        ));
    }
    if time > now + TOLERANCE {
        let (at, limit, now) = (
            &claim.time,
            clock::basic(now + TOLERANCE),
            clock::basic(now),
        );
        return said(format!(
            "Signature not yet current: {at} is still later than {limit} ({now} + 5 min.)"
        ));
    }
    Ok(())
}

fn read_claim(parts: &Parts) -> Result<Claim<'_>, SignatureError> {
    match parts.headers.get(http::header::AUTHORIZATION) {
        Some(value) => from_header(parts, value.to_str().unwrap_or_default()),
        None => from_query(parts),
    }
}

fn from_header<'a>(parts: &'a Parts, authorization: &'a str) -> Result<Claim<'a>, SignatureError> {
    let incomplete = |text: String| SignatureError::Incomplete(text);
    let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(|| {
        let word = authorization.split(' ').next().unwrap_or_default();
        incomplete(format!("Unsupported AWS 'algorithm': '{word}'."))
    })?;
    let field = |name: &str| {
        let found = fields
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| {
            incomplete(format!(
                "Authorization header requires '{name}' parameter. Authorization={authorization}"
            ))
        })
    };
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let (credential, signed, signature) = (
        field("Credential")?,
        field("SignedHeaders")?,
        field("Signature")?,
    );
    let time = header("x-amz-date").ok_or_else(|| {
        incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
                .to_owned(),
        )
    })?;
    checked(Claim {
        credential: credential.into(),
        signed_headers: signed.into(),
        signature: signature.into(),
        time: time.into(),
        token: header("x-amz-security-token").map(Cow::from),
        lifetime: None,
    })
}

fn from_query(parts: &Parts) -> Result<Claim<'_>, SignatureError> {
    let query = parts.uri.query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let find = |name: &str| {
        let pair = pairs.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.clone())
    };
    if find("X-Amz-Signature").is_none() && find("X-Amz-Algorithm").is_none() {
        return Err(SignatureError::Missing);
    }
    let need = |name: &str| {
        find(name).ok_or_else(|| {
            SignatureError::Incomplete(format!(
                "AWS query-string parameters must include '{name}'."
            ))
        })
    };
    if need("X-Amz-Algorithm")? != ALGORITHM {
        return Err(SignatureError::Incomplete(format!(
            "Unsupported AWS 'algorithm': '{}'.",
            need("X-Amz-Algorithm")?
        )));
    }
    let lifetime = find("X-Amz-Expires")
        .and_then(|text| text.parse().ok())
        .unwrap_or(300);
    checked(Claim {
        credential: need("X-Amz-Credential")?,
        signed_headers: need("X-Amz-SignedHeaders")?,
        signature: need("X-Amz-Signature")?,
        time: need("X-Amz-Date")?,
        token: find("X-Amz-Security-Token"),
        lifetime: Some(lifetime),
    })
}

fn no_scope(credential: &str) -> SignatureError {
    SignatureError::Incomplete(format!(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
    ))
}

fn checked(mut claim: Claim<'_>) -> Result<Claim<'_>, SignatureError> {
    if claim.scope().is_none() {
        return Err(no_scope(&claim.credential));
    }
    if claim
        .signed_headers
        .bytes()
        .any(|byte| byte.is_ascii_uppercase())
    {
        claim.signed_headers = claim.signed_headers.to_ascii_lowercase().into();
    }
    if !claim.signed_headers.split(';').any(|name| name == "host") {
        return Err(SignatureError::Mismatch(
            "'Host' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
        ));
    }
    Ok(claim)
}

fn canonical_request(parts: &Parts, signed_headers: &str, path: &str, payload: &str) -> String {
    let mut text = String::with_capacity(512);
    for part in [parts.method.as_str(), "\n", path, "\n"] {
        text.push_str(part);
    }
    text.push_str(&canonical_query(parts.uri.query().unwrap_or_default()));
    text.push('\n');
    for name in signed_headers.split(';') {
        text.push_str(name);
        text.push(':');
        for (index, value) in parts.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            push_trimmed(&mut text, value.as_bytes());
        }
        text.push('\n');
    }
    for part in ["\n", signed_headers, "\n", payload] {
        text.push_str(part);
    }
    text
}

/// A header's value without spaces around it and with runs of spaces made one.
fn push_trimmed(text: &mut String, value: &[u8]) {
    let value = String::from_utf8_lossy(value);
    for (index, word) in value.split_ascii_whitespace().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
}

/// The path, normalised (`.`, `..`, `//`), each segment encoded once more, as every service but S3 does.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut out = String::from("/");
    out.push_str(
        &segments
            .iter()
            .map(|segment| encode(segment.as_bytes()))
            .collect::<Vec<_>>()
            .join("/"),
    );
    if path.ends_with('/') && out.len() > 1 {
        out.push('/');
    }
    out
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = |text: &str| encode(&percent_decode_str(text).collect::<Vec<u8>>());
            (again(name), again(value))
        })
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The key of a scope, which is good for its day.
fn signing_key(secret: &str, scope: &Scope<'_>) -> [u8; 32] {
    let first = hmac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
    [scope.region, scope.service, "aws4_request"]
        .iter()
        .fold(first, |key, part| hmac(&key, part.as_bytes()))
}

fn signature(signing: &[u8; 32], scope: &Scope<'_>, time: &str, canonical: &str) -> String {
    let digest = hex_of(&Sha256::digest(canonical.as_bytes()).into());
    let Scope {
        date,
        region,
        service,
        ..
    } = scope;
    let to_sign = format!("{ALGORITHM}\n{time}\n{date}/{region}/{service}/aws4_request\n{digest}");
    hex_of(&hmac(signing, to_sign.as_bytes()))
}

/// In hexadecimal digits; `hex::encode` makes its text digit by digit, which is seen in every request.
fn hex_of(bytes: &[u8; 32]) -> String {
    let mut digits = vec![0; 64];
    hex::encode_to_slice(bytes, &mut digits).expect("two digits for each byte");
    String::from_utf8(digits).expect("digits are ASCII")
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Compares without telling by its time where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use crate::state::State;

    const SUITE: &str = include_str!("../testdata/sigv4.txt");
    /// 20150830T123600Z, when every request of the suite was made.
    const THEN: Millis = 1_440_938_160_000;

    fn example_key(token: Option<&str>) -> Key {
        Key {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: token.map(str::to_owned),
            arn: "arn:aws:iam::000000000000:user/example".to_owned(),
            user_id: "AIDAEXAMPLE".to_owned(),
            expires: None,
        }
    }

    fn keys(key: &Key) -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::in_memory().unwrap();
        state.table("keys").put("", &key.id, key).unwrap();
        let keys = Keys::open(&Home::at(folder.path()), &state).unwrap();
        (folder, keys)
    }

    /// A request of the suite, as a server would get it, and its body.
    fn request(text: &str, authorization: &str) -> (Parts, Vec<u8>) {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.trim_end().lines();
        let line = lines.next().unwrap();
        let (method, rest) = line.split_once(' ').unwrap();
        let (uri, _) = rest.rsplit_once(' ').unwrap();
        let mut request = http::Request::builder().method(method).uri(uri);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            request = request.header(name, value.trim());
        }
        let (parts, ()) = request
            .header("authorization", authorization)
            .body(())
            .unwrap()
            .into_parts();
        (parts, body.trim_end_matches('\n').as_bytes().to_vec())
    }

    #[test]
    fn every_request_of_the_published_suite_is_accepted_and_no_changed_one() {
        let mut count = 0;
        for case in SUITE.split("\n=== ").skip(1) {
            let (name, rest) = case.split_once('\n').unwrap();
            let (authorization, text) = rest.split_once("\n---\n").unwrap();
            let (parts, mut body) = request(text, authorization);
            let token = parts
                .headers
                .get("x-amz-security-token")
                .map(|it| it.to_str().unwrap().to_owned());
            let (_folder, keys) = keys(&example_key(token.as_deref()));
            let signed = verify(&keys, &parts, &body, THEN)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(
                (signed.region.as_str(), signed.service.as_str()),
                ("us-east-1", "service"),
                "{name}"
            );
            body.push(b'!');
            let changed = verify(&keys, &parts, &body, THEN);
            assert!(
                matches!(changed, Err(SignatureError::Mismatch(_))),
                "{name}: {changed:?}"
            );
            count += 1;
        }
        assert_eq!(count, 31);
    }

    const GET: &str = "GET / HTTP/1.1\nHost:example.amazonaws.com\nX-Amz-Date:20150830T123600Z\n";
    const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    #[test]
    fn a_request_more_than_five_minutes_off_is_refused() {
        let (_folder, keys) = keys(&example_key(None));
        let (parts, body) = request(GET, AUTHORIZATION);
        for off in [-300_000, 0, 300_000] {
            verify(&keys, &parts, &body, THEN + off).unwrap();
        }
        let late = verify(&keys, &parts, &body, THEN + 301_000)
            .unwrap_err()
            .to_string();
        assert_eq!(
            late,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
        );
        let early = verify(&keys, &parts, &body, THEN - 301_000)
            .unwrap_err()
            .to_string();
        assert_eq!(
            early,
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"
        );
    }

    #[test]
    fn unknown_keys_wrong_tokens_and_ended_sessions_are_told_apart() {
        let (parts, body) = request(GET, AUTHORIZATION);
        let (_folder, none) = keys(&Key {
            id: "AKIDOTHER".to_owned(),
            ..example_key(None)
        });
        assert!(matches!(
            verify(&none, &parts, &body, THEN),
            Err(SignatureError::UnknownKey)
        ));
        let (_folder, session) = keys(&example_key(Some("token")));
        assert!(matches!(
            verify(&session, &parts, &body, THEN),
            Err(SignatureError::UnknownKey)
        ));
        let (_folder, ended) = keys(&Key {
            expires: Some(THEN),
            ..example_key(None)
        });
        assert!(matches!(
            verify(&ended, &parts, &body, THEN),
            Err(SignatureError::Expired)
        ));
        let (mut unsigned, body) = request(GET, "");
        unsigned.headers.remove("authorization");
        assert!(matches!(
            verify(&ended, &unsigned, &body, THEN),
            Err(SignatureError::Missing)
        ));
    }

    #[test]
    fn a_presigned_request_is_good_for_as_long_as_it_says() {
        // The query-string example of the S3 reference with an empty body, for a service that hashes the body.
        let key = example_key(None);
        let (_folder, keys) = keys(&key);
        let query = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
                     AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60\
                     &X-Amz-SignedHeaders=host";
        let request = |query: &str| {
            let uri = format!("/?{query}");
            let request = http::Request::builder()
                .uri(uri)
                .header("host", "sts.amazonaws.com")
                .body(())
                .unwrap();
            request.into_parts().0
        };
        // The signature leaves itself out, so it can be computed from the unsigned request.
        let bare = request(&format!("{query}&X-Amz-Signature=x"));
        let claim = read_claim(&bare).unwrap();
        let scope = claim.scope().unwrap();
        let signature = signature(
            &signing_key(&key.secret, &scope),
            &scope,
            &claim.time,
            &canonical_request(
                &bare,
                &claim.signed_headers,
                "/",
                &hex::encode(Sha256::digest(b"")),
            ),
        );
        let parts = request(&format!("{query}&X-Amz-Signature={signature}"));
        verify(&keys, &parts, b"", THEN + 60_000).unwrap();
        assert!(matches!(
            verify(&keys, &parts, b"", THEN + 61_000),
            Err(SignatureError::Mismatch(_))
        ));
    }
}
