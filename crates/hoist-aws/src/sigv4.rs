//! Signature Version 4, in headers.
//!
//! reqsign's own signer always signs for the present moment, so a machine whose clock is wrong could never be corrected; this one
//! takes the time. It is checked against the published test suite and against reqsign's.
//! See <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::Credentials;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is signed: a request as it goes on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path as sent, percent-encoded.
    pub path: &'a str,
    /// The query as sent, without the question mark.
    pub query: &'a str,
    /// Every header to be signed, `host` among them, in the order in which they are sent. Names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// Where a signature is valid.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The region of the endpoint.
    pub region: &'a str,
    /// The service's signing name.
    pub service: &'a str,
    /// The signing time.
    pub time: Timestamp,
}

impl Scope<'_> {
    /// The `x-amz-date` header: `20150830T123600Z`.
    pub fn date_time(&self) -> String {
        self.time.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    fn credential_scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.time.strftime("%Y%m%d"),
            self.region,
            self.service
        )
    }
}

/// Computes the `authorization` header. `x-amz-date` (and `x-amz-security-token`) must be among the headers.
pub fn authorization(
    request: &Request<'_>,
    scope: &Scope<'_>,
    credentials: &Credentials,
) -> String {
    let names = signed_names(request.headers);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{}\n{}",
        scope.date_time(),
        scope.credential_scope(),
        hex::encode(Sha256::digest(canonical_request(request)))
    );
    let mut key = hmac(
        format!("AWS4{}", credentials.secret_access_key).as_bytes(),
        &scope.time.strftime("%Y%m%d").to_string(),
    );
    for step in [scope.region, scope.service, "aws4_request"] {
        key = hmac(&key, step);
    }
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={}",
        credentials.access_key_id,
        scope.credential_scope(),
        hex::encode(hmac(&key, &to_sign))
    )
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn signed_names(headers: &[(&str, &str)]) -> String {
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    names.join(";")
}

fn canonical_request(request: &Request<'_>) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query)
    );
    let mut names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let values: Vec<String> = request
            .headers
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let _ = writeln!(text, "{name}:{}", values.join(","));
    }
    let _ = write!(
        text,
        "\n{}\n{}",
        names.join(";"),
        hex::encode(Sha256::digest(request.body))
    );
    text
}

/// Removes `.`, `..` and empty segments, then encodes each segment once more, as every service but S3 does.
fn canonical_path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut text = String::new();
    for segment in &kept {
        text.push('/');
        text.extend(utf8_percent_encode(segment, UNRESERVED));
    }
    if text.is_empty() || path.ends_with('/') {
        text.push('/');
    }
    text
}

fn canonical_query(query: &str) -> String {
    let normal = |text: &str| {
        let decoded = percent_decode_str(text).collect::<Vec<u8>>();
        percent_encoding::percent_encode(&decoded, UNRESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (normal(key), normal(value))
        })
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example_keys() -> Credentials {
        Credentials::fixed(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            None,
        )
    }

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> String {
        let mut headers = vec![("host", "example.amazonaws.com")];
        headers.extend_from_slice(more);
        headers.push(("x-amz-date", "20150830T123600Z"));
        let request = Request {
            method,
            path,
            query,
            headers: &headers,
            body: body.as_bytes(),
        };
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            time: "2015-08-30T12:36:00Z".parse().unwrap(),
        };
        let header = authorization(&request, &scope, &example_keys());
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// The suite that AWS published as `aws4_testsuite` ("aws-sig-v4-test-suite"); each line is a folder of it.
    #[test]
    fn signatures_agree_with_the_published_test_suite() {
        let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let post_vanilla = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let cases = [
            ("get-vanilla", signature("GET", "/", "", &[], ""), vanilla),
            (
                "get-vanilla-query",
                signature("GET", "/", "", &[], ""),
                vanilla,
            ),
            (
                "get-vanilla-query-order-key-case",
                signature("GET", "/", "Param2=value2&Param1=value1", &[], ""),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-empty-query-key",
                signature("GET", "/", "Param1=value1", &[], ""),
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "get-vanilla-query-unreserved",
                signature("GET", "/", &format!("{unreserved}={unreserved}"), &[], ""),
                "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ),
            (
                "get-vanilla-utf8-query",
                signature("GET", "/", "%E1%88%B4=bar", &[], ""),
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            (
                "get-unreserved",
                signature("GET", &format!("/{unreserved}"), "", &[], ""),
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (
                "get-relative",
                signature("GET", "/example/..", "", &[], ""),
                vanilla,
            ),
            (
                "get-relative-relative",
                signature("GET", "/example1/example2/../..", "", &[], ""),
                vanilla,
            ),
            ("get-slash", signature("GET", "//", "", &[], ""), vanilla),
            (
                "get-slash-dot-slash",
                signature("GET", "/./", "", &[], ""),
                vanilla,
            ),
            (
                "get-slash-pointless-dot",
                signature("GET", "/./example", "", &[], ""),
                "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
            ),
            (
                "get-slashes",
                signature("GET", "//example//", "", &[], ""),
                "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
            ),
            (
                "get-header-key-duplicate",
                signature(
                    "GET",
                    "/",
                    "",
                    &[
                        ("my-header1", "value2"),
                        ("my-header1", "value2"),
                        ("my-header1", "value1"),
                    ],
                    "",
                ),
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
            (
                "get-header-value-order",
                signature(
                    "GET",
                    "/",
                    "",
                    &[
                        ("my-header1", "value4"),
                        ("my-header1", "value1"),
                        ("my-header1", "value3"),
                        ("my-header1", "value2"),
                    ],
                    "",
                ),
                "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
            ),
            (
                "get-header-value-trim",
                signature(
                    "GET",
                    "/",
                    "",
                    &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                    "",
                ),
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "post-vanilla",
                signature("POST", "/", "", &[], ""),
                post_vanilla,
            ),
            (
                "post-vanilla-query",
                signature("POST", "/", "Param1=value1", &[], ""),
                "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
            ),
            (
                "post-header-key-case",
                signature("POST", "/", "", &[], ""),
                post_vanilla,
            ),
            (
                "post-header-key-sort",
                signature("POST", "/", "", &[("my-header1", "value1")], ""),
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-header-value-case",
                signature("POST", "/", "", &[("my-header1", "VALUE1")], ""),
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
            (
                "post-x-www-form-urlencoded",
                signature("POST", "/", "", &form, "Param1=value1"),
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        for (name, ours, theirs) in cases {
            assert_eq!(ours, theirs, "{name}");
        }
    }

    #[test]
    fn a_session_token_is_signed_as_the_suite_says() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        assert_eq!(
            signature("POST", "/", "", &[("x-amz-security-token", token)], ""),
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            "post-sts-header-before"
        );
    }

    #[tokio::test]
    async fn a_signature_agrees_with_the_one_of_reqsign() {
        use reqsign::SignRequest as _;
        let body = r#"{"cluster":"default"}"#;
        let keys = reqsign::aws::Credential {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: Some("a/token+==".into()),
            expires_in: None,
        };
        let digest = hex::encode(Sha256::digest(body));
        let (mut parts, ()) = http::Request::post("https://ecs.eu-central-1.amazonaws.com/")
            .header("content-type", "application/x-amz-json-1.1")
            .header(
                "x-amz-target",
                "AmazonEC2ContainerServiceV20141113.ListServices",
            )
            .header("x-amz-content-sha256", &digest)
            .body(())
            .unwrap()
            .into_parts();
        reqsign::aws::RequestSigner::new("ecs", "eu-central-1")
            .sign_request(&reqsign::Context::new(), &mut parts, Some(&keys), None)
            .await
            .unwrap();
        let theirs = parts.headers["authorization"].to_str().unwrap();
        let date = parts.headers["x-amz-date"].to_str().unwrap().to_owned();
        let mut headers: Vec<(&str, &str)> = parts
            .headers
            .iter()
            .filter(|(name, _)| *name != "authorization")
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        headers.push(("host", "ecs.eu-central-1.amazonaws.com"));
        headers.sort();
        headers.dedup();
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &date)
            .unwrap()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .unwrap();
        let ours = authorization(
            &Request {
                method: "POST",
                path: "/",
                query: "",
                headers: &headers,
                body: body.as_bytes(),
            },
            &Scope {
                region: "eu-central-1",
                service: "ecs",
                time: time.timestamp(),
            },
            &Credentials::fixed(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                Some("a/token+=="),
            ),
        );
        assert_eq!(ours, theirs);
    }
}
