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
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |digits: &str| {
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i16>().ok().filter(|_| whole)
    };
    let two = |from: usize| i8::try_from(number(time.get(from..from + 2)?)?).ok();
    let month = i8::try_from(number(date.get(4..6)?)?).ok()?;
    let day = i8::try_from(number(date.get(6..)?)?).ok()?;
    let year = number(date.get(..4)?)?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let at = jiff::civil::DateTime::new(year, month, day, two(0)?, two(2)?, two(4)?, 0).ok()?;
    Some(
        jiff::tz::Offset::UTC
            .to_timestamp(at)
            .ok()?
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
        for wrong in [
            "2015-08-30",
            "20150830T123600",
            "20151330T123600Z",
            "20150830T1236001Z",
            "2015083T123600Z",
            "+0150830T123600Z",
            "20150830T12360éZ",
        ] {
            assert_eq!(parse_basic(wrong), None, "{wrong}");
        }
    }
}
