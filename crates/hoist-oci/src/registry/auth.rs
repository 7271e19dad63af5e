//! Signing in: the dance of challenge and token, and where credentials come from.
//!
//! A registry answers 401 with `WWW-Authenticate`. `Basic` wants user and password with each request (ECR does); `Bearer`
//! names a service that gives out tokens for a scope, to users and often to anyone
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use super::transport::{Endpoint, Scope, asked, is_passing, lost};
use super::wait::{SILENT, answers};
use super::{Registry, RegistryError};

/// What a registry wants to see.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    /// Lower case: `basic`, `bearer`, ...
    scheme: String,
    parameters: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token, as docker keeps for some registries.
    Identity(String),
}

impl Registry {
    /// What to put into `Authorization`, as far as it is known. `Basic` serves every scope of its host.
    pub(super) fn token(&self, endpoint: &Endpoint, scope: &Scope) -> Option<HeaderValue> {
        let tokens = self
            .tokens
            .lock()
            .expect("nothing panics while it holds the lock");
        let find = |scope: String| tokens.get(&(endpoint.host.clone(), scope)).cloned();
        find(scope.key()).or_else(|| find(String::new()))
    }

    pub(super) fn has_token(&self, endpoint: &Endpoint, scope: &Scope) -> bool {
        self.token(endpoint, scope).is_some()
    }

    /// Gets what a 401 asks for; `false` if there is nothing to try.
    ///
    /// Boxed: the whole dance would otherwise be compiled again with every request that may be refused.
    pub(super) fn answer_challenge<'a>(
        &'a self,
        response: &'a Response,
        endpoint: &'a Endpoint,
        scope: &'a Scope,
    ) -> Pin<Box<dyn Future<Output = Result<bool, RegistryError>> + Send + 'a>> {
        Box::pin(self.sign_in(response, endpoint, scope))
    }

    async fn sign_in(
        &self,
        response: &Response,
        endpoint: &Endpoint,
        scope: &Scope,
    ) -> Result<bool, RegistryError> {
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenges)
            .collect();
        let credentials = self.credentials(&endpoint.host).await?;
        let find = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme == scheme)
        };
        if let Some(challenge) = find("bearer") {
            let token = self
                .fetch_token(challenge, credentials.as_ref(), endpoint, scope)
                .await?;
            let value = header(format!("Bearer {token}"), endpoint)?;
            self.remember(endpoint, scope.key(), value);
            return Ok(true);
        }
        if let (Some(_), Some(Credentials::Password { user, password })) =
            (find("basic"), &credentials)
        {
            let value = header(basic(user, password), endpoint)?;
            // The same again would be refused again.
            if self.token(endpoint, scope).as_ref() == Some(&value) {
                return Ok(false);
            }
            self.remember(endpoint, String::new(), value);
            return Ok(true);
        }
        Ok(false)
    }

    fn remember(&self, endpoint: &Endpoint, scope: String, value: HeaderValue) {
        self.tokens
            .lock()
            .expect("nothing panics while it holds the lock")
            .insert((endpoint.host.clone(), scope), value);
    }

    async fn fetch_token(
        &self,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
        endpoint: &Endpoint,
        scope: &Scope,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(alias = "access_token")]
            token: String,
        }
        let doing = format!("get a token for {}", endpoint.host);
        let protocol = |what: String| RegistryError::Protocol {
            doing: doing.clone(),
            what,
        };
        let realm = challenge
            .parameters
            .get("realm")
            .ok_or_else(|| protocol("the challenge has no realm".to_owned()))?;
        let mut fields = Vec::new();
        if let Some(service) = challenge.parameters.get("service") {
            fields.push(("service", service.clone()));
        }
        fields.extend(scope.0.iter().map(|scope| ("scope", scope.clone())));
        let mut attempt = 1;
        let response = loop {
            let request = match credentials {
                Some(Credentials::Identity(token)) => {
                    let mut fields = fields.clone();
                    fields.extend([
                        ("grant_type", "refresh_token".to_owned()),
                        ("client_id", "hoist".to_owned()),
                        ("refresh_token", token.clone()),
                    ]);
                    self.client()?
                        .post(realm)
                        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                        .body(form(&fields))
                }
                _ => {
                    let separator = if realm.contains('?') { '&' } else { '?' };
                    let request = self
                        .client()?
                        .get(format!("{realm}{separator}{}", form(&fields)));
                    match credentials {
                        Some(Credentials::Password { user, password }) => {
                            request.basic_auth(user, Some(password))
                        }
                        _ => request,
                    }
                }
            };
            match request.timeout(self.options.silence).send().await {
                Ok(response) if !is_passing(response.status()) || attempt > self.patience() => {
                    break response;
                }
                Err(source) if source.is_builder() || attempt > self.options.retries => {
                    return Err(self.unreachable(&doing, endpoint, attempt, lost(source)));
                }
                answer => {
                    let trouble = match &answer {
                        Ok(response) => answers(response.status()),
                        Err(_) => SILENT.to_owned(),
                    };
                    let asked = answer.as_ref().ok().and_then(asked);
                    let pause = self.pause(attempt, asked);
                    // Tokens may come from elsewhere.
                    let url = reqwest::Url::parse(realm).ok();
                    let host = url.as_ref().and_then(|url| url.host_str());
                    self.wait(host.unwrap_or(&endpoint.host), trouble, attempt, pause)
                        .await;
                }
            }
            attempt += 1;
        };
        if !response.status().is_success() {
            return Err(
                super::error::refusal(response, &doing, endpoint, credentials.is_some()).await,
            );
        }
        let body = response
            .bytes()
            .await
            .map_err(|source| self.unreachable(&doing, endpoint, attempt, lost(source)))?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|error| protocol(format!("the answer holds no token: {error}")))?;
        Ok(token.token)
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, RegistryError> {
        if let Some((user, password)) = self.options.credentials.get(host) {
            return Ok(Some(Credentials::Password {
                user: user.clone(),
                password: password.clone(),
            }));
        }
        match &self.options.docker_config {
            Some(path) => from_docker_config(path, host).await,
            None => Ok(None),
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

fn header(text: String, endpoint: &Endpoint) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(&text).map_err(|_| RegistryError::Credentials {
        host: endpoint.host.clone(),
        what: "they hold characters that no HTTP header can".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn form(fields: &[(&str, String)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    pairs.join("&")
}

/// Reads `WWW-Authenticate`: schemes, each with `name=value` or `name="value"` parameters (RFC 9110, section 11).
fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        rest = rest[end..].trim_start_matches(' ');
        match rest.strip_prefix('=') {
            Some(after) => {
                let (value, left) = parameter_value(after.trim_start());
                rest = left;
                if let Some(challenge) = found.last_mut() {
                    challenge
                        .parameters
                        .insert(word.to_ascii_lowercase(), value);
                }
            }
            None if word.is_empty() => break,
            None => found.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: BTreeMap::new(),
            }),
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    found
}

fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Looks `host` up as docker does: its credential helper, then the common one, then the file itself.
async fn from_docker_config(path: &Path, host: &str) -> Result<Option<Credentials>, RegistryError> {
    let failed = |what: String| RegistryError::Credentials {
        host: host.to_owned(),
        what,
    };
    let json = match tokio::fs::read(path).await {
        Ok(json) => json,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(failed(format!(
                "failed to read {}: {error}",
                path.display()
            )));
        }
    };
    let config: DockerConfig = serde_json::from_slice(&json)
        .map_err(|error| failed(format!("failed to read {}: {error}", path.display())))?;
    let (key, auth) = match config
        .auths
        .into_iter()
        .find(|(key, _)| same_host(key, host))
    {
        Some((key, auth)) => (key, Some(auth)),
        None => (host.to_owned(), None),
    };
    let own_helper = config
        .cred_helpers
        .iter()
        .find(|(key, _)| same_host(key, host))
        .map(|(_, helper)| helper);
    if let Some(helper) = own_helper.or(config.creds_store.as_ref())
        && let Some(credentials) = ask_helper(helper, &key).await.map_err(failed)?
    {
        return Ok(Some(credentials));
    }
    let Some(auth) = auth else { return Ok(None) };
    if let Some(token) = auth.identitytoken.filter(|token| !token.is_empty()) {
        return Ok(Some(Credentials::Identity(token)));
    }
    if let Some(encoded) = auth.auth.filter(|encoded| !encoded.is_empty()) {
        let decoded = BASE64
            .decode(encoded.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or_else(|| {
            failed(format!(
                "the entry in {} is not base64 of user:password",
                path.display()
            ))
        })?;
        return Ok(Some(Credentials::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        }));
    }
    Ok(match (auth.username, auth.password) {
        (Some(user), Some(password)) => Some(Credentials::Password { user, password }),
        _ => None,
    })
}

/// Whether a key of docker's configuration (`host`, `https://host/v1/`) means `host`.
fn same_host(key: &str, host: &str) -> bool {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.split('/').next().unwrap_or_default();
    let is_hub = |host: &str| {
        matches!(
            host,
            "docker.io" | "index.docker.io" | "registry-1.docker.io"
        )
    };
    key == host || is_hub(key) && is_hub(host)
}

/// Runs `docker-credential-<helper> get`; `None` if it knows nothing of the host.
async fn ask_helper(helper: &str, host: &str) -> Result<Option<Credentials>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("failed to run {program}: {error}");
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input says why in its output.
        let _ = input.write_all(host.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if !output.status.success() {
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(format!("{program} failed: {}", said.trim()));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("failed to read the answer of {program}: {error}"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_quotes_commas_and_several_schemes() {
        let header = r#"Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push", Basic realm=x"#;
        let found = challenges(header);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(found[0].parameters["realm"], "https://auth.example/token");
        assert_eq!(
            (
                found[1].scheme.as_str(),
                found[1].parameters["realm"].as_str()
            ),
            ("basic", "x")
        );
        assert_eq!(challenges("Negotiate").len(), 1);
        assert_eq!(
            challenges(r#"Basic realm="a \"b\"""#)[0].parameters["realm"],
            "a \"b\""
        );
        assert_eq!(challenges("").len(), 0);
    }

    #[tokio::test]
    async fn dockers_configuration_is_searched_by_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(from_docker_config(&path, "a").await.unwrap(), None);
        let config = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": BASE64.encode("u:p:q")},
            "127.0.0.1:5000": {"username": "x", "password": "y"},
            "acr.example": {"auth": "", "identitytoken": "t"},
            "broken.example": {"auth": "?"},
        }});
        std::fs::write(&path, config.to_string()).unwrap();
        let password = |user: &str, password: &str| {
            Some(Credentials::Password {
                user: user.to_owned(),
                password: password.to_owned(),
            })
        };
        assert_eq!(
            from_docker_config(&path, "registry-1.docker.io")
                .await
                .unwrap(),
            password("u", "p:q")
        );
        assert_eq!(
            from_docker_config(&path, "127.0.0.1:5000").await.unwrap(),
            password("x", "y")
        );
        assert_eq!(
            from_docker_config(&path, "acr.example").await.unwrap(),
            Some(Credentials::Identity("t".to_owned()))
        );
        assert_eq!(from_docker_config(&path, "127.0.0.1").await.unwrap(), None);
        assert!(from_docker_config(&path, "broken.example").await.is_err());
    }
}
