//! Values that are more than words: lengths of time, sizes, pairs.

use std::path::PathBuf;

pub fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))
}

/// `OWNER/REPOSITORY`.
pub fn repository(text: &str) -> Result<String, String> {
    let fits = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match text.split_once('/') {
        Some((owner, name)) if fits(owner) && fits(name) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not of the form OWNER/REPOSITORY")),
    }
}

/// `default`, or `ID=SOCKET`.
pub fn agent(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((id, socket)) => Ok((id.to_owned(), socket.into())),
        None => match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) => Ok((text.to_owned(), socket.into())),
            None => Err(
                "SSH_AUTH_SOCK is not set: start ssh-agent, or name a socket with ID=SOCKET"
                    .to_owned(),
            ),
        },
    }
}

pub fn context(text: &str) -> Result<(String, hoist_image::NamedContext), String> {
    let (name, context) = pair(text)?;
    match context.parse() {
        Ok(context) => Ok((name, context)),
        Err(never) => match never {},
    }
}

/// `500M`, `20G`, or a plain number of bytes; units are powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        unit => return Err(format!("`{unit}` is no unit of size; use K, M, G or T")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is no size, such as 500M or 20G"))
}

/// As [`duration`], and nothing is a length too.
pub fn age(text: &str) -> Result<std::time::Duration, String> {
    match text {
        "0" | "0s" => Ok(std::time::Duration::ZERO),
        text => duration(text),
    }
}

/// `90s`, `20m`, `1h`; a plain number is seconds.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let (number, unit) = match text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) {
        number if number.len() == text.len() => (number, "s"),
        number => (number, &text[number.len()..]),
    };
    let factor = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(format!("`{unit}` is no unit of time; use s, m or h")),
    };
    match number.parse::<u64>() {
        Ok(number) if number > 0 => Ok(std::time::Duration::from_secs(
            number.saturating_mul(factor),
        )),
        _ => Err(format!(
            "`{text}` is no length of time; write `90s` or `20m`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(duration("90").unwrap().as_secs(), 90);
        assert_eq!(duration("20m").unwrap().as_secs(), 1200);
        assert_eq!(duration("1h").unwrap().as_secs(), 3600);
        assert!(duration("0s").is_err() && duration("5 parsecs").is_err() && duration("").is_err());
    }
}
