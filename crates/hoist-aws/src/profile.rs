//! The shared configuration and credentials files (`~/.aws/config`, `~/.aws/credentials`).
//!
//! The format is that of <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>: sections, settings, comments that begin with
//! `#` or `;`, and settings nested by indentation under one with an empty value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{ConfigError, Environment};

/// The settings of one section; nested ones as `parent.child`.
pub type Settings = BTreeMap<String, String>;

/// Both files, read once.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    /// `[default]` and `[profile X]` of the configuration file, by X.
    pub config: BTreeMap<String, Settings>,
    /// The sections of the credentials file.
    pub credentials: BTreeMap<String, Settings>,
    /// `[sso-session X]`, by X.
    pub sso_sessions: BTreeMap<String, Settings>,
    /// `[services X]`, by X.
    pub services: BTreeMap<String, Settings>,
    /// Where the configuration file is, or would be.
    pub config_path: Option<PathBuf>,
    /// Where the credentials file is, or would be.
    pub credentials_path: Option<PathBuf>,
}

impl Profiles {
    /// Reads both files; a missing one is empty.
    ///
    /// # Errors
    /// When a file exists but cannot be read.
    pub fn load(env: &Environment) -> Result<Profiles, ConfigError> {
        let place = |variable: &str, name: &str| {
            env.var(variable)
                .map(|path| expand_home(env, path))
                .or_else(|| env.home().map(|home| home.join(".aws").join(name)))
        };
        let config_path = place("AWS_CONFIG_FILE", "config");
        let credentials_path = place("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let mut profiles = Profiles::default();
        if let Some(text) = read(config_path.as_deref())? {
            profiles.add_config(&text);
        }
        if let Some(text) = read(credentials_path.as_deref())? {
            profiles.credentials = sections(&text).into_iter().collect();
        }
        profiles.config_path = config_path;
        profiles.credentials_path = credentials_path;
        Ok(profiles)
    }

    fn add_config(&mut self, text: &str) {
        let mut plain_default = None;
        for (title, settings) in sections(text) {
            let (kind, name) = match title.split_once(char::is_whitespace) {
                Some((kind, name)) => (kind, unquote(name.trim())),
                None => ("", title.as_str()),
            };
            match (kind, name) {
                ("", "default") => plain_default = Some(settings),
                ("profile", name) => {
                    self.config.insert(name.to_owned(), settings);
                }
                ("sso-session", name) => {
                    self.sso_sessions.insert(name.to_owned(), settings);
                }
                ("services", name) => {
                    self.services.insert(name.to_owned(), settings);
                }
                _ => {}
            }
        }
        if let Some(settings) = plain_default {
            // `[profile default]` wins over `[default]`, as in every SDK.
            self.config.entry("default".to_owned()).or_insert(settings);
        }
    }

    /// Whether either file has the profile.
    pub fn has(&self, profile: &str) -> bool {
        self.config.contains_key(profile) || self.credentials.contains_key(profile)
    }

    /// The names of all profiles, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .config
            .keys()
            .chain(self.credentials.keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// A setting of a profile: from the configuration file, else from the credentials file.
    pub fn get(&self, profile: &str, setting: &str) -> Option<&str> {
        [&self.config, &self.credentials]
            .into_iter()
            .find_map(|file| file.get(profile)?.get(setting))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A setting of a section kept beside the profiles, such as an SSO session.
    pub fn sso(&self, session: &str, setting: &str) -> Option<&str> {
        Some(self.sso_sessions.get(session)?.get(setting)?.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The files' places in words, for messages.
    pub fn places(&self) -> String {
        [&self.config_path, &self.credentials_path]
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(" nor ")
    }
}

fn read(path: Option<&Path>) -> Result<Option<String>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(ConfigError::Unreadable {
            path: path.display().to_string(),
            source,
        }),
    }
}

/// Replaces a leading `~/` by the home folder.
pub(crate) fn expand_home(env: &Environment, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env.home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn unquote(name: &str) -> &str {
    let quoted = |quote| {
        name.strip_prefix(quote)
            .and_then(|rest: &str| rest.strip_suffix(quote))
    };
    quoted('"').or_else(|| quoted('\'')).unwrap_or(name)
}

/// Splits a file into its sections. Sections of the same title are merged, later settings win.
fn sections(text: &str) -> Vec<(String, Settings)> {
    let mut found: Vec<(String, Settings)> = Vec::new();
    let mut current: Option<usize> = None;
    let mut parent: Option<String> = None;
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if !indented && line.starts_with('[') {
            let Some(end) = line.find(']') else { continue };
            let title = line[1..end].trim().to_owned();
            parent = None;
            current = Some(match found.iter().position(|(known, _)| *known == title) {
                Some(at) => at,
                None => {
                    found.push((title, Settings::new()));
                    found.len() - 1
                }
            });
            continue;
        }
        let Some(settings) = current.map(|at| &mut found[at].1) else {
            continue;
        };
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim().to_ascii_lowercase();
        let value = without_comment(value).trim().to_owned();
        match (&parent, indented) {
            (Some(parent), true) => {
                settings.insert(format!("{parent}.{key}"), value);
            }
            _ => {
                parent = value.is_empty().then(|| key.clone());
                settings.insert(key, value);
            }
        }
    }
    found
}

/// Cuts a trailing comment: `#` or `;` after white space.
fn without_comment(value: &str) -> &str {
    let cut = value
        .char_indices()
        .zip(value.chars().skip(1))
        .find(|((_, before), next)| before.is_whitespace() && matches!(next, '#' | ';'));
    match cut {
        Some(((at, _), _)) => &value[..at],
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
# a comment
[default]
region = eu-west-1
s3 =
  max_concurrent_requests = 20
output=json   # trailing

[profile "with space"]
region=us-east-2
[profile prod]
role_arn = arn:aws:iam::1:role/deploy
source_profile=default
services = local

[sso-session corp]
sso_start_url = https://corp.awsapps.com/start#/
sso_region = us-east-1
[services local]
ecs =
  endpoint_url = http://127.0.0.1:1
elastic_load_balancing_v2 =
  endpoint_url = http://127.0.0.1:2
"#;

    #[test]
    fn sections_nested_settings_and_comments_are_understood() {
        let mut profiles = Profiles::default();
        profiles.add_config(CONFIG);
        assert_eq!(profiles.get("default", "region"), Some("eu-west-1"));
        assert_eq!(profiles.get("default", "output"), Some("json"));
        assert_eq!(
            profiles.get("default", "s3.max_concurrent_requests"),
            Some("20")
        );
        assert_eq!(profiles.get("with space", "region"), Some("us-east-2"));
        assert_eq!(profiles.get("prod", "source_profile"), Some("default"));
        assert_eq!(
            profiles.sso("corp", "sso_start_url"),
            Some("https://corp.awsapps.com/start#/")
        );
        assert_eq!(
            profiles.services["local"]["elastic_load_balancing_v2.endpoint_url"],
            "http://127.0.0.1:2"
        );
        assert_eq!(profiles.names(), ["default", "prod", "with space"]);
    }

    #[test]
    fn profile_default_wins_over_default() {
        let mut profiles = Profiles::default();
        profiles.add_config("[default]\nregion=a\n[profile default]\nregion=b\n");
        assert_eq!(profiles.get("default", "region"), Some("b"));
    }
}
