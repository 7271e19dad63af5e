//! One request to a registry: where it goes, with which authorisation, and how often it is tried.

use std::pin::Pin;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::error::refusal;
use super::wait::{SILENT, answers};
use super::{Registry, RegistryError};
use crate::ImageRef;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why no answer came, or not all of it.
pub(super) type Lost = Box<dyn std::error::Error + Send + Sync>;

/// Nothing moved for too long.
#[derive(Debug, thiserror::Error)]
#[error("the registry was silent for {}", shown(.0))]
pub(super) struct Silent(pub Duration);

fn shown(time: &Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

/// The error without the URL, which may hold a signature and is in the message anyway.
pub(super) fn lost(error: reqwest::Error) -> Lost {
    Box::new(error.without_url())
}

/// What is wanted of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pull,
    Push,
}

/// A repository in a registry, as it is reached.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The reference that led here.
    pub image: ImageRef,
    /// `http` or `https`.
    scheme: &'static str,
    /// Host and port of requests.
    pub host: String,
    /// The repository's path there.
    pub repository: String,
}

impl Endpoint {
    /// The URL of something in the repository, such as `tags/list`.
    pub fn url(&self, what: &str) -> String {
        format!(
            "{}://{}/v2/{}/{what}",
            self.scheme, self.host, self.repository
        )
    }

    /// For messages: the repository with its host.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Whether `url` is on the same host, so that it may see the credentials.
    pub fn owns(&self, url: &reqwest::Url) -> bool {
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        url.scheme() == self.scheme
            && url
                .host_str()
                .is_some_and(|host| format!("{host}{port}") == self.host)
    }
}

/// What a token must allow: the repositories and the actions on each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope(pub Vec<String>);

impl Scope {
    pub fn pull(endpoint: &Endpoint) -> Self {
        Self(vec![format!("repository:{}:pull", endpoint.repository)])
    }

    /// Pushing, and mounting blobs from other repositories.
    pub fn push(endpoint: &Endpoint, mount_from: &[String]) -> Self {
        let mut scopes = vec![format!("repository:{}:pull,push", endpoint.repository)];
        scopes.extend(
            mount_from
                .iter()
                .map(|from| format!("repository:{from}:pull")),
        );
        Self(scopes)
    }

    pub fn key(&self) -> String {
        self.0.join(" ")
    }
}

/// The parts of an answer that outlive its body.
pub(super) struct Head {
    url: reqwest::Url,
    headers: HeaderMap,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next page, by `Link: <url>; rel="next"` (RFC 8288).
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let (url, parameters) = link.strip_prefix('<')?.split_once('>')?;
        if !parameters.contains("rel=\"next\"") && !parameters.contains("rel=next") {
            return None;
        }
        Some(self.url.join(url).ok()?.to_string())
    }
}

impl Registry {
    /// Where the repository of `image` is reached. Mirrors serve pulls only.
    pub(super) fn endpoint(&self, image: &ImageRef, action: Action) -> Endpoint {
        let whole = format!("{}/{}", image.host(), image.path());
        let mirror = self
            .options
            .mirrors
            .iter()
            .filter(|_| action == Action::Pull)
            .filter_map(|(from, to)| {
                let rest = whole.strip_prefix(from.trim_end_matches('/'))?;
                rest.starts_with('/').then_some((from.len(), rest, to))
            })
            .max_by_key(|(length, ..)| *length);
        let (scheme, host, repository) = match mirror {
            Some((_, rest, to)) => {
                let (scheme, place) =
                    match (to.strip_prefix("http://"), to.strip_prefix("https://")) {
                        (Some(place), _) => (Some("http"), place),
                        (_, Some(place)) => (Some("https"), place),
                        _ => (None, to.as_str()),
                    };
                let place = format!("{}{rest}", place.trim_end_matches('/'));
                let (host, path) = place.split_once('/').unwrap_or((&place, ""));
                (scheme, host.to_owned(), path.to_owned())
            }
            None if image.host() == crate::DOCKER_HUB => {
                (None, "registry-1.docker.io".to_owned(), image.path())
            }
            None => (None, image.host().to_owned(), image.path()),
        };
        let plain = is_loopback(&host) || self.options.plain_http.contains(&host);
        let scheme = scheme.unwrap_or(if plain { "http" } else { "https" });
        Endpoint {
            image: image.clone(),
            scheme,
            host,
            repository,
        }
    }

    pub(super) fn client(&self) -> Result<&Client, RegistryError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client().map_err(RegistryError::Client)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Sends a request that may be repeated, until something else than a passing trouble comes back; errors other than
    /// those of authorisation are the caller's to read.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        doing: &str,
        request: impl Fn(&Client) -> RequestBuilder + Sync,
    ) -> Result<Response, RegistryError> {
        self.send_any(endpoint, scope, doing, &request).await
    }

    /// [`send`](Self::send), compiled once for all requests.
    fn send_any<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        scope: &'a Scope,
        doing: &'a str,
        request: &'a (dyn Fn(&Client) -> RequestBuilder + Sync),
    ) -> Pin<Box<dyn Future<Output = Result<Response, RegistryError>> + Send + 'a>> {
        Box::pin(self.until_it_passes(endpoint, scope, doing, request))
    }

    async fn until_it_passes(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        doing: &str,
        request: &(dyn Fn(&Client) -> RequestBuilder + Sync),
    ) -> Result<Response, RegistryError> {
        let client = self.client()?;
        let mut attempt = 1;
        let mut refused = 0;
        let mut authorised = 0;
        loop {
            let built = request(client).build();
            let mut request =
                built.map_err(|error| self.unreachable(doing, endpoint, attempt, lost(error)))?;
            if let (true, Some(token)) = (endpoint.owns(request.url()), self.token(endpoint, scope))
            {
                request.headers_mut().insert(AUTHORIZATION, token);
            }
            let silence = self.options.silence;
            let answer = match tokio::time::timeout(silence, client.execute(request)).await {
                Ok(answer) => answer.map_err(lost),
                Err(_) => Err(Silent(silence).into()),
            };
            let pause = match answer {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    // The second time covers a token that ran out between two requests.
                    if authorised == 2 || !self.answer_challenge(&response, endpoint, scope).await?
                    {
                        let with_credentials = self.has_token(endpoint, scope);
                        return Err(refusal(response, doing, endpoint, with_credentials).await);
                    }
                    authorised += 1;
                    continue;
                }
                Ok(response) if is_passing(response.status()) && refused < self.patience() => {
                    refused += 1;
                    tracing::debug!(
                        doing,
                        status = response.status().as_u16(),
                        refused,
                        "trying again"
                    );
                    let pause = self.pause(refused, asked(&response));
                    let trouble = answers(response.status());
                    self.wait(&endpoint.host, trouble, refused, pause).await;
                    continue;
                }
                Ok(response) => return Ok(response),
                Err(source) if attempt > self.options.retries => {
                    return Err(self.unreachable(doing, endpoint, attempt, source));
                }
                Err(error) => {
                    tracing::debug!(doing, %error, attempt, "trying again");
                    self.pause(attempt, None)
                }
            };
            self.wait(&endpoint.host, SILENT, attempt, pause).await;
            attempt += 1;
        }
    }

    /// As [`send`](Self::send) for answers that are small and must be successes; a drop within the body counts as one more attempt.
    pub(super) async fn send_and_read(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        doing: &str,
        request: impl Fn(&Client) -> RequestBuilder + Sync,
    ) -> Result<(Head, Vec<u8>), RegistryError> {
        let mut attempt = 1;
        loop {
            let response = super::error::accept(
                self.send(endpoint, scope, doing, &request).await?,
                doing,
                endpoint,
            )
            .await?;
            let head = Head {
                url: response.url().clone(),
                headers: response.headers().clone(),
            };
            let silence = self.options.silence;
            let body = match tokio::time::timeout(silence, response.bytes()).await {
                Ok(body) => body.map_err(lost),
                Err(_) => Err(Silent(silence).into()),
            };
            match body {
                Ok(body) => return Ok((head, body.into())),
                Err(source) if attempt > self.options.retries => {
                    return Err(self.unreachable(doing, endpoint, attempt, source));
                }
                Err(_) => {
                    let pause = self.pause(attempt, None);
                    self.wait(&endpoint.host, SILENT, attempt, pause).await;
                }
            }
            attempt += 1;
        }
    }

    /// Adds the authorisation that is known for the scope.
    pub(super) fn authorise(
        &self,
        request: RequestBuilder,
        endpoint: &Endpoint,
        scope: &Scope,
    ) -> RequestBuilder {
        match self.token(endpoint, scope) {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    pub(super) fn unreachable(
        &self,
        doing: &str,
        endpoint: &Endpoint,
        attempts: u32,
        source: Lost,
    ) -> RegistryError {
        RegistryError::Unreachable {
            doing: doing.to_owned(),
            host: endpoint.host.clone(),
            attempts,
            source,
        }
    }

    /// How often what a registry answered with a passing trouble is tried again: it is there, and works through its own.
    pub(super) fn patience(&self) -> u32 {
        self.options.retries.saturating_mul(2)
    }

    /// How long to wait after a failed attempt (counted from 1): what the registry asks for, else twice as long each time.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        if let Some(asked) = asked {
            return asked.min(LONGEST_PAUSE);
        }
        let full = Duration::from_millis(
            self.options
                .pause_millis
                .saturating_mul(1 << attempt.saturating_sub(1).min(10)),
        )
        .min(LONGEST_PAUSE);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// How long the registry asks to wait (`Retry-After` in seconds).
pub(super) fn asked(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Whether an answer may be another one soon.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        && status != StatusCode::NOT_IMPLEMENTED
        && status != StatusCode::INSUFFICIENT_STORAGE
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => &host[..colon],
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// A client of registries, and of what `ADD` names.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    crate::http_client()
        .connect_timeout(Duration::from_secs(15))
        .build()
}

#[cfg(test)]
mod tests {
    use super::super::RegistryOptions;
    use super::*;

    fn registry(mirrors: &[(&str, &str)]) -> Registry {
        let mirrors = mirrors
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect();
        Registry::new(RegistryOptions {
            mirrors,
            ..RegistryOptions::default()
        })
    }

    #[test]
    fn loopback_speaks_plain_http_and_everyone_else_tls() {
        let registry = registry(&[]);
        for (image, url) in [
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/x"),
            ("localhost/a/b", "http://localhost/v2/a/b/x"),
            (
                "busybox",
                "https://registry-1.docker.io/v2/library/busybox/x",
            ),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/x"),
        ] {
            assert_eq!(
                registry
                    .endpoint(&image.parse().unwrap(), Action::Pull)
                    .url("x"),
                url
            );
        }
    }

    #[test]
    fn the_longest_mirror_takes_the_place_of_its_prefix_for_pulls_only() {
        let registry = registry(&[
            ("docker.io", "http://127.0.0.1:5000/hub/"),
            ("docker.io/library", "https://mirror.example"),
            ("quay.io/a", "127.0.0.1:5001"),
        ]);
        let url = |image: &str, action| registry.endpoint(&image.parse().unwrap(), action).url("x");
        assert_eq!(
            url("grafana/loki", Action::Pull),
            "http://127.0.0.1:5000/v2/hub/grafana/loki/x"
        );
        assert_eq!(
            url("busybox", Action::Pull),
            "https://mirror.example/v2/busybox/x"
        );
        assert_eq!(
            url("quay.io/a/b", Action::Pull),
            "http://127.0.0.1:5001/v2/b/x"
        );
        assert_eq!(
            url("quay.io/ab/c", Action::Pull),
            "https://quay.io/v2/ab/c/x"
        );
        assert_eq!(
            url("busybox", Action::Push),
            "https://registry-1.docker.io/v2/library/busybox/x"
        );
    }

    #[test]
    fn credentials_stay_with_the_host_and_scheme() {
        let endpoint = registry(&[]).endpoint(&"127.0.0.1:5000/a".parse().unwrap(), Action::Push);
        let owns = |url: &str| endpoint.owns(&url.parse().unwrap());
        assert!(owns("http://127.0.0.1:5000/v2/a/blobs/uploads/1"));
        assert!(!owns("http://127.0.0.1:5001/v2/a/blobs/uploads/1"));
        assert!(!owns("https://127.0.0.1:5000/v2/a/blobs/uploads/1"));
    }

    #[test]
    fn pauses_grow_and_end() {
        let registry = registry(&[]);
        for attempt in 1..=40 {
            let full = Duration::from_millis(250 << (attempt - 1).min(10)).min(LONGEST_PAUSE);
            let pause = registry.pause(attempt, None);
            assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
        }
    }
}
