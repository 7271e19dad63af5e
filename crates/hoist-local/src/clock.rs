//! The time, as the services write it.

use serde_json::Value;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// The time now.
pub fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

/// A timestamp of the JSON protocols: seconds with a fraction.
///
/// ```
/// assert_eq!(hoist_local::clock::epoch_seconds(1_500).to_string(), "1.5");
/// ```
pub fn epoch_seconds(at: Millis) -> Value {
    if at % 1000 == 0 {
        Value::from(at / 1000)
    } else {
        Value::from(at as f64 / 1000.0)
    }
}

/// A timestamp of the XML protocols: `2026-11-22T22:16:12.345Z`.
///
/// ```
/// assert_eq!(hoist_local::clock::iso8601(1_500), "1970-01-01T00:00:01.500Z");
/// ```
pub fn iso8601(at: Millis) -> String {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A timestamp of HTTP: `Sun, 22 Nov 2026 22:16:12 GMT`.
pub fn http_date(at: Millis) -> String {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A timestamp of EventBridge: `2026-11-22T22:16:12Z`.
pub fn iso8601_seconds(at: Millis) -> String {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A timestamp of signatures: `20261122T221612Z`.
pub fn basic(at: Millis) -> String {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads a timestamp of a signature.
pub fn parse_basic(text: &str) -> Option<Millis> {
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(
        at.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_times_read_back() {
        let at = parse_basic("20150830T123600Z").unwrap();
        assert_eq!(at, 1_440_938_160_000);
        assert_eq!(basic(at), "20150830T123600Z");
        assert_eq!(parse_basic("2015-08-30"), None);
    }
}
