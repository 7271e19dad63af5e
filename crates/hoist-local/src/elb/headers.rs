//! What the load balancer does to the headers of a request and a response.

use std::net::IpAddr;

use http::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// The protocol that the client asks to switch to, such as `websocket`.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let asked = asked
        .flat_map(|v| v.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    if asked {
        headers.get(UPGRADE).cloned()
    } else {
        None
    }
}

/// Removes what belongs to one connection and not to the message (RFC 9110, 7.6.1).
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| token.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Makes a client's request headers those that the target sees.
pub fn to_target(
    headers: &mut HeaderMap,
    client: IpAddr,
    scheme: &'static str,
    port: u16,
    upgrade: Option<HeaderValue>,
) {
    strip_hop_by_hop(headers);
    // The wait for `100 Continue` is over: this side has answered it by reading the body.
    headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    let mut chain = String::new();
    for before in headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|v| v.to_str().ok())
    {
        chain.push_str(before);
        chain.push_str(", ");
    }
    chain.push_str(&client.to_string());
    set(headers, FORWARDED_FOR, &chain);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(FORWARDED_PORT, HeaderValue::from(port));
    let traced = trace(headers.get(TRACE_ID).and_then(|v| v.to_str().ok()));
    set(headers, TRACE_ID, &traced);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The trace header for the target: a new root, or the client's root behind our own `Self` field.
pub fn trace(sent: Option<&str>) -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let id = format!("1-{seconds:08x}-{:024x}", fastrand::u128(..) >> 32);
    match sent {
        None | Some("") => format!("Root={id}"),
        Some(fields)
            if fields
                .split(';')
                .any(|field| field.trim().starts_with("Root=")) =>
        {
            let others = fields
                .split(';')
                .map(str::trim)
                .filter(|field| !field.starts_with("Self="));
            format!("Self={id};{}", others.collect::<Vec<_>>().join(";"))
        }
        Some(fields) => format!("Root={id};{fields}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut sent = headers(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
            ("x-forwarded-for", "1.1.1.1"),
        ]);
        to_target(&mut sent, "10.0.0.9".parse().unwrap(), "http", 8080, None);
        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "x-amzn-trace-id",
                "x-forwarded-for",
                "x-forwarded-port",
                "x-forwarded-proto"
            ]
        );
        assert_eq!(sent[FORWARDED_FOR], "1.1.1.1, 10.0.0.9");
        assert_eq!(sent[FORWARDED_PORT], "8080");
    }

    #[test]
    fn an_upgrade_is_asked_for_only_with_both_headers() {
        assert_eq!(
            upgrade(&headers(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket")
            ]))
            .unwrap(),
            "websocket"
        );
        assert_eq!(
            upgrade(&headers(&[
                ("connection", "keep-alive"),
                ("upgrade", "h2c")
            ])),
            None
        );
        assert_eq!(upgrade(&headers(&[("connection", "upgrade")])), None);
    }

    #[test]
    fn a_trace_keeps_its_root() {
        let new = trace(None);
        assert!(
            new.starts_with("Root=1-") && new.len() == "Root=1-".len() + 8 + 1 + 24,
            "{new}"
        );
        let kept = trace(Some(
            "Self=1-67891234-000000000000000000000000;Root=1-67891233-abcdef012345678912345678;CalledFrom=app",
        ));
        assert!(
            kept.starts_with("Self=1-")
                && kept.ends_with(";Root=1-67891233-abcdef012345678912345678;CalledFrom=app"),
            "{kept}"
        );
        assert!(trace(Some("CalledFrom=app")).ends_with(";CalledFrom=app"));
    }
}
