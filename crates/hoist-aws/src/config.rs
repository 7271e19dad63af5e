//! The AWS configuration: region, endpoints and retries, from the environment and the shared files.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::endpoint::{self, Endpoint, Variant};
use crate::profile::{Profiles, expand_home};
use crate::{ConfigError, Environment, Partition, Service};

/// What the caller knows better than the environment.
#[derive(Clone, Default)]
pub struct Overrides {
    /// The region, before AWS_REGION.
    pub region: Option<String>,
    /// The profile, before AWS_PROFILE. A profile named here is also preferred to keys in the environment, as `aws --profile` does.
    pub profile: Option<String>,
    /// One address for all services, before AWS_ENDPOINT_URL and its per-service forms.
    pub endpoint_url: Option<String>,
    /// Keys to use instead of the credential chain.
    pub credentials: Option<StaticCredentials>,
    /// A role to assume with the GitHub Actions identity token; needs `permissions: id-token: write`.
    pub github_role: Option<String>,
    /// Whether calls keep to the published rates. By default they do, except against a configured endpoint.
    pub keep_to_limits: Option<bool>,
}

/// A key pair given by the caller.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: String,
    /// The session token of a temporary pair.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// When and how often a failed call is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retries {
    /// How many times a call is sent at most, the first time included (1 to 100).
    pub max_attempts: u32,
    /// How many times at most when the service asks to slow down. Not below `max_attempts`, unless AWS_MAX_ATTEMPTS sets both.
    pub max_throttled_attempts: u32,
    /// The first back-off of a broken connection or a 5xx; doubled each time.
    pub base: Duration,
    /// The first back-off of a throttled call; doubled each time.
    pub throttled_base: Duration,
    /// The longest back-off.
    pub cap: Duration,
    /// The time for one attempt, answer included.
    pub attempt_timeout: Duration,
    /// Whether a throttled call also slows down the others of its kind (`AWS_RETRY_MODE=adaptive`, and the default here).
    pub adaptive: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            max_attempts: 8,
            max_throttled_attempts: 30,
            base: Duration::from_millis(50),
            throttled_base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(30),
            adaptive: true,
        }
    }
}

/// The AWS configuration.
#[derive(Debug, Clone)]
pub struct Config {
    region: String,
    pub(crate) profile: String,
    pub(crate) profile_is_explicit: bool,
    pub(crate) profiles: Profiles,
    pub(crate) env: Environment,
    pub(crate) credentials: Option<StaticCredentials>,
    pub(crate) github_role: Option<String>,
    variant: Variant,
    endpoint_for_all: Option<String>,
    endpoints: BTreeMap<Service, String>,
    keep_to_limits: Option<bool>,
    /// Further certificate authorities, in PEM.
    pub(crate) trusted: Option<Vec<u8>>,
    /// When and how often a failed call is sent again.
    pub retries: Retries,
    /// How servers are checked, unless `AWS_CA_BUNDLE` names authorities; else each client reads those of the machine anew.
    pub tls: Option<rustls::ClientConfig>,
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// No region, a profile that does not exist, or a setting that means nothing.
    pub fn load(overrides: Overrides) -> Result<Config, ConfigError> {
        Config::load_from(Environment::of_process(), overrides)
    }

    /// Reads the configuration from a given environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(env: Environment, overrides: Overrides) -> Result<Config, ConfigError> {
        let profiles = Profiles::load(&env)?;
        let explicit = overrides.profile.clone();
        let named = explicit
            .clone()
            .or_else(|| env.var("AWS_PROFILE").map(str::to_owned))
            .or_else(|| env.var("AWS_DEFAULT_PROFILE").map(str::to_owned));
        if let Some(profile) = &named
            && !profiles.has(profile)
            && overrides.credentials.is_none()
        {
            return Err(ConfigError::UnknownProfile {
                profile: profile.clone(),
                files: profiles.places(),
                known: profiles.names(),
            });
        }
        let profile = named.unwrap_or_else(|| "default".to_owned());
        let region = overrides
            .region
            .clone()
            .or_else(|| env.var("AWS_REGION").map(str::to_owned))
            .or_else(|| env.var("AWS_DEFAULT_REGION").map(str::to_owned))
            .or_else(|| profiles.get(&profile, "region").map(str::to_owned))
            .ok_or_else(|| ConfigError::NoRegion {
                tried: vec![
                    "AWS_REGION".into(),
                    "AWS_DEFAULT_REGION".into(),
                    format!("`region` of the profile `{profile}`"),
                ],
            })?;
        let plausible = !region.is_empty()
            && region
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plausible {
            return Err(ConfigError::BadValue {
                setting: "the region".into(),
                value: region,
                expected: "a region's name, such as eu-central-1",
            });
        }
        let flag = |variable: &str, setting: &str| {
            env.flag(variable)
                .or_else(|| {
                    profiles
                        .get(&profile, setting)
                        .map(|value| value.eq_ignore_ascii_case("true"))
                })
                .unwrap_or(false)
        };
        let variant = Variant {
            fips: flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dual_stack: flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
        };
        let ignore_configured = flag(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        );
        let mut endpoints = BTreeMap::new();
        let mut endpoint_for_all = None;
        if let Some(url) = &overrides.endpoint_url {
            endpoint_for_all = Some(checked_url("the endpoint", url)?);
        } else if !ignore_configured {
            let section = profiles
                .get(&profile, "services")
                .and_then(|name| profiles.services.get(name));
            let global_in_env = env.var("AWS_ENDPOINT_URL").is_some();
            for service in Service::ALL {
                let key = service.config_key();
                let variable = format!("AWS_ENDPOINT_URL_{}", key.to_ascii_uppercase());
                let setting = format!("{key}.endpoint_url");
                let found = match env.var(&variable) {
                    Some(url) => Some((variable, url)),
                    // AWS_ENDPOINT_URL comes before the files.
                    None if global_in_env => None,
                    None => section.and_then(|section| {
                        Some((setting.clone(), section.get(&setting)?.as_str()))
                    }),
                };
                if let Some((setting, url)) = found {
                    endpoints.insert(service, checked_url(&setting, url)?);
                }
            }
            endpoint_for_all = match (
                env.var("AWS_ENDPOINT_URL"),
                profiles.get(&profile, "endpoint_url"),
            ) {
                (Some(url), _) => Some(checked_url("AWS_ENDPOINT_URL", url)?),
                (None, Some(url)) => Some(checked_url("endpoint_url", url)?),
                (None, None) => None,
            };
        }
        let retries = retries(&env, &profiles, &profile)?;
        let bundle = env
            .var("AWS_CA_BUNDLE")
            .or_else(|| profiles.get(&profile, "ca_bundle"))
            .map(|path| expand_home(&env, path));
        let trusted = match bundle {
            Some(path) => Some(
                std::fs::read(&path).map_err(|source| ConfigError::Unreadable {
                    path: path.display().to_string(),
                    source,
                })?,
            ),
            None => None,
        };
        Ok(Config {
            region,
            profile,
            profile_is_explicit: explicit.is_some(),
            profiles,
            env,
            credentials: overrides.credentials,
            github_role: overrides.github_role,
            variant,
            endpoint_for_all,
            endpoints,
            keep_to_limits: overrides.keep_to_limits,
            trusted,
            retries,
            tls: None,
        })
    }

    /// The region that calls go to.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The partition of the region.
    pub fn partition(&self) -> Partition {
        Partition::of(&self.region)
    }

    /// The profile in use.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The same configuration for another region.
    pub fn with_region(mut self, region: &str) -> Config {
        self.region = region.to_owned();
        self
    }

    /// Where a service answers.
    pub fn endpoint(&self, service: Service) -> Endpoint {
        let derived = endpoint::of_region(service, &self.region, self.variant);
        match self
            .endpoints
            .get(&service)
            .or(self.endpoint_for_all.as_ref())
        {
            Some(url) => Endpoint {
                url: url.clone(),
                custom: true,
                ..derived
            },
            None => derived,
        }
    }

    /// Whether calls to a service keep to the published rates.
    pub fn keeps_to_limits(&self, service: Service) -> bool {
        self.keep_to_limits
            .unwrap_or_else(|| !self.endpoint(service).custom)
    }
}

fn retries(env: &Environment, profiles: &Profiles, profile: &str) -> Result<Retries, ConfigError> {
    let mut retries = Retries::default();
    let setting = |variable: &'static str, name: &'static str| {
        env.var(variable)
            .map(|value| (variable, value))
            .or_else(|| profiles.get(profile, name).map(|value| (name, value)))
    };
    if let Some((name, value)) = setting("AWS_MAX_ATTEMPTS", "max_attempts") {
        let attempts = value
            .parse()
            .ok()
            .filter(|attempts| (1..=100).contains(attempts))
            .ok_or_else(|| ConfigError::BadValue {
                setting: name.into(),
                value: value.into(),
                expected: "a number from 1 to 100",
            })?;
        retries.max_attempts = attempts;
        retries.max_throttled_attempts = attempts;
    }
    if let Some((name, value)) = setting("AWS_RETRY_MODE", "retry_mode") {
        retries.adaptive = match value.to_ascii_lowercase().as_str() {
            "adaptive" => true,
            "standard" | "legacy" => false,
            _ => {
                return Err(ConfigError::BadValue {
                    setting: name.into(),
                    value: value.into(),
                    expected: "standard, adaptive or legacy",
                });
            }
        };
    }
    Ok(retries)
}

fn checked_url(setting: &str, url: &str) -> Result<String, ConfigError> {
    let url = url.trim().trim_end_matches('/');
    let uri: Option<http::Uri> = url.parse().ok();
    match uri {
        Some(uri)
            if matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none() =>
        {
            Ok(url.to_owned())
        }
        _ => Err(ConfigError::BadValue {
            setting: setting.into(),
            value: url.into(),
            expected: "an address such as https://host or http://127.0.0.1:4566",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(vars: &[(&str, &str)], overrides: Overrides) -> Result<Config, ConfigError> {
        Config::load_from(Environment::of(vars.iter().copied()), overrides)
    }

    fn home(config: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        home
    }

    #[test]
    fn the_region_comes_from_the_first_that_names_one() {
        let home = home("[default]\nregion = eu-west-3\n[profile other]\nregion = us-west-2\n");
        let path = home.path().to_str().unwrap();
        let region = |vars: &[(&str, &str)], overrides: Overrides| {
            load(vars, overrides).unwrap().region().to_owned()
        };
        assert_eq!(region(&[("HOME", path)], Overrides::default()), "eu-west-3");
        assert_eq!(
            region(
                &[("HOME", path), ("AWS_PROFILE", "other")],
                Overrides::default()
            ),
            "us-west-2"
        );
        assert_eq!(
            region(
                &[("HOME", path), ("AWS_DEFAULT_REGION", "b-1")],
                Overrides::default()
            ),
            "b-1"
        );
        assert_eq!(
            region(
                &[
                    ("HOME", path),
                    ("AWS_DEFAULT_REGION", "b-1"),
                    ("AWS_REGION", "a-1")
                ],
                Overrides::default()
            ),
            "a-1"
        );
        let given = Overrides {
            region: Some("g-1".into()),
            ..Overrides::default()
        };
        assert_eq!(
            region(&[("HOME", path), ("AWS_REGION", "a-1")], given),
            "g-1"
        );
    }

    #[test]
    fn no_region_says_where_it_was_looked_for() {
        let error = load(&[], Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("AWS_REGION"), "{error}");
        assert!(error.hint().unwrap().contains("hoist.yaml"));
    }

    #[test]
    fn an_unknown_profile_lists_the_known_ones() {
        let home = home("[profile prod]\nregion = eu-west-3\n");
        let error = load(
            &[
                ("HOME", home.path().to_str().unwrap()),
                ("AWS_PROFILE", "prd"),
            ],
            Overrides::default(),
        )
        .unwrap_err();
        assert!(
            matches!(&error, ConfigError::UnknownProfile { known, .. } if known == &["prod"]),
            "{error}"
        );
    }

    #[test]
    fn endpoints_follow_the_published_order() {
        let home = home(
            "[default]\nregion=eu-west-1\nendpoint_url=http://file:1\nservices=here\n[services here]\necs =\n  endpoint_url=http://file-ecs:2\n",
        );
        let path = home.path().to_str().unwrap();
        let url = |vars: &[(&str, &str)], service| {
            let vars: Vec<_> = [("HOME", path)]
                .into_iter()
                .chain(vars.iter().copied())
                .collect();
            load(&vars, Overrides::default())
                .unwrap()
                .endpoint(service)
                .url
        };
        assert_eq!(url(&[], Service::Ecs), "http://file-ecs:2");
        assert_eq!(url(&[], Service::Ecr), "http://file:1");
        assert_eq!(
            url(&[("AWS_ENDPOINT_URL", "http://env:3/")], Service::Ecs),
            "http://env:3"
        );
        assert_eq!(
            url(
                &[
                    ("AWS_ENDPOINT_URL", "http://env:3"),
                    ("AWS_ENDPOINT_URL_ECS", "http://env-ecs:4")
                ],
                Service::Ecs
            ),
            "http://env-ecs:4"
        );
        assert_eq!(
            url(
                &[("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", "http://elb:5")],
                Service::Elbv2
            ),
            "http://elb:5"
        );
        assert_eq!(
            url(
                &[
                    ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
                    ("AWS_ENDPOINT_URL", "http://env:3")
                ],
                Service::Ecs
            ),
            "https://ecs.eu-west-1.amazonaws.com"
        );
        let given = Overrides {
            endpoint_url: Some("http://given:6".into()),
            ..Overrides::default()
        };
        let vars = [("HOME", path), ("AWS_ENDPOINT_URL_ECS", "http://env-ecs:4")];
        assert_eq!(
            load(&vars, given).unwrap().endpoint(Service::Ecs).url,
            "http://given:6"
        );
    }

    #[test]
    fn variants_and_retries_come_from_environment_and_profile() {
        let home = home(
            "[default]\nregion=us-east-1\nuse_fips_endpoint=true\nmax_attempts=4\nretry_mode=standard\n",
        );
        let path = home.path().to_str().unwrap();
        let config = load(
            &[
                ("HOME", path),
                ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
                ("AWS_MAX_ATTEMPTS", "2"),
            ],
            Overrides::default(),
        )
        .unwrap();
        assert_eq!(
            config.endpoint(Service::Logs).url,
            "https://logs-fips.us-east-1.api.aws"
        );
        assert_eq!(
            (config.retries.max_attempts, config.retries.adaptive),
            (2, false)
        );
        let error = load(
            &[("HOME", path), ("AWS_MAX_ATTEMPTS", "many")],
            Overrides::default(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "AWS_MAX_ATTEMPTS is `many`, but must be a number from 1 to 100"
        );
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused() {
        for bad in ["localhost:4566", "ftp://x", "http://", "not a url"] {
            let overrides = Overrides {
                endpoint_url: Some(bad.into()),
                region: Some("a-1".into()),
                ..Overrides::default()
            };
            assert!(
                matches!(load(&[], overrides), Err(ConfigError::BadValue { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_bundle_of_authorities_is_read_or_its_path_is_named() {
        let home = home("[default]\nregion=a-1\nca_bundle=~/authorities.pem\n");
        let path = home.path().to_str().unwrap();
        let error = load(&[("HOME", path)], Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("authorities.pem"), "{error}");
        std::fs::write(home.path().join("authorities.pem"), "pem").unwrap();
        let config = load(&[("HOME", path)], Overrides::default()).unwrap();
        assert_eq!(config.trusted.as_deref(), Some(&b"pem"[..]));
    }

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let keys = StaticCredentials {
            access_key_id: "AKID".into(),
            secret_access_key: "sesame".into(),
            session_token: Some("tok".into()),
        };
        let shown = format!(
            "{keys:?} {:?}",
            Environment::of([("AWS_SECRET_ACCESS_KEY", "sesame")])
        );
        assert!(
            shown.contains("AKID") && !shown.contains("sesame") && !shown.contains("tok\""),
            "{shown}"
        );
    }
}
