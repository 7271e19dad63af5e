//! What instructions do to an image's configuration.

use std::path::Path;

use hoist_oci::spec::{Healthcheck, History, ImageConfig, Platform};

use crate::dockerfile::instruction::{self, Command};
use crate::ignore;

/// `PATH` of images that have none, as Docker sets it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The configuration that `FROM scratch` begins with.
pub(crate) fn scratch(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::empty(platform);
    config.config.working_dir = "/".into();
    complete(&mut config);
    config
}

/// Adds what every image has.
pub(crate) fn complete(config: &mut ImageConfig) {
    if !config
        .config
        .env
        .iter()
        .any(|pair| pair.starts_with("PATH="))
    {
        config.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
}

/// Sets an environment variable in its old place, or at the end.
pub(crate) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    match env
        .iter_mut()
        .find(|pair| pair.split_once('=').is_some_and(|(key, _)| key == name))
    {
        Some(old) => *old = pair,
        None => env.push(pair),
    }
}

/// The words of a command; its shell form is run by the image's shell.
pub(crate) fn command(config: &ImageConfig, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(line) => {
            let mut words = shell(config);
            words.push(line.clone());
            words
        }
    }
}

/// The shell of shell forms.
pub(crate) fn shell(config: &ImageConfig) -> Vec<String> {
    if config.config.shell.is_empty() {
        vec!["/bin/sh".into(), "-c".into()]
    } else {
        config.config.shell.clone()
    }
}

/// A working directory after another: an absolute one replaces it, a relative one goes on from it.
pub(crate) fn working_dir(current: &str, next: &str) -> String {
    let joined = if next.starts_with('/') {
        next.to_owned()
    } else {
        format!("/{current}/{next}")
    };
    ignore::clean(&joined)
}

/// An absolute destination of a copy; what its end says about being a folder stays.
pub(crate) fn destination(current: &str, dest: &str) -> String {
    let is_folder = dest.is_empty() || dest == "." || dest.ends_with('/') || dest.ends_with("/.");
    let mut path = working_dir(current, dest);
    if is_folder && !path.ends_with('/') {
        path.push('/');
    }
    path
}

pub(crate) fn healthcheck(check: &instruction::Healthcheck) -> Healthcheck {
    let test = match &check.command {
        None => vec!["NONE".into()],
        Some(Command::Exec(words)) => std::iter::once("CMD".to_owned())
            .chain(words.iter().cloned())
            .collect(),
        Some(Command::Shell(line)) => vec!["CMD-SHELL".into(), line.clone()],
    };
    Healthcheck {
        test,
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
        ..Healthcheck::default()
    }
}

/// Reads a port of `EXPOSE` into `port/protocol`; a range gives several.
pub(crate) fn ports(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!(
            "'{protocol}' is no protocol: it is tcp, udp or sctp"
        ));
    }
    // "8000:80" was once accepted; only the container's side meant anything.
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("'{text}' is no port: it is a number from 1 to 65535"))
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ports)?, number(ports)?),
    };
    if first > last {
        return Err(format!("the range {ports} ends before it begins"));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// Whether a text is a signal, by number or name.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    name.strip_prefix("RTMIN+")
        .or_else(|| name.strip_prefix("RTMAX-"))
        .is_some_and(|rest| rest.parse::<u8>().is_ok_and(|n| n <= 15))
        || matches!(name, "RTMIN" | "RTMAX")
        || format!("SIG{name}")
            .parse::<nix::sys::signal::Signal>()
            .is_ok()
}

/// A line of the history.
pub(crate) fn history(created: &str, created_by: String, empty_layer: bool) -> History {
    History {
        created: Some(created.into()),
        created_by: Some(created_by),
        comment: Some("hoist".into()),
        empty_layer,
        ..History::default()
    }
}

/// Seconds since 1970 as RFC 3339, in UTC.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The file that a path names in a message: as the user wrote it, without a leading `./`.
pub(crate) fn shown(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_directories_follow_each_other() {
        assert_eq!(working_dir("/a", "b/../c"), "/a/c");
        assert_eq!(working_dir("/a", "/b/"), "/b");
        assert_eq!(working_dir("", "b"), "/b");
        assert_eq!(working_dir("/", "../.."), "/");
    }

    #[test]
    fn destinations_keep_the_slash_at_their_end() {
        assert_eq!(destination("/w", "x"), "/w/x");
        assert_eq!(destination("/w", "x/"), "/w/x/");
        assert_eq!(destination("/w", "."), "/w/");
        assert_eq!(destination("/w", "/"), "/");
        assert_eq!(destination("/", "./"), "/");
        assert_eq!(destination("/w", "/a/."), "/a/");
    }

    #[test]
    fn ports_are_read_with_ranges_and_protocols() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(
            ports("8000-8002/tcp").unwrap(),
            ["8000/tcp", "8001/tcp", "8002/tcp"]
        );
        for wrong in ["", "x", "0", "70000", "5-3", "80/http"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals_are_known_by_name_and_number() {
        for right in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX"] {
            assert!(is_signal(right), "{right}");
        }
        for wrong in ["SIGNOPE", "0", "65", ""] {
            assert!(!is_signal(wrong), "{wrong}");
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }
}
