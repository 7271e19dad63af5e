//! One call on the wire: build, sign, send, read the answer, and send again when that is right.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::credentials::Chain;
use crate::endpoint::Endpoint;
use crate::query::{self, Lists};
use crate::rate::Buckets;
use crate::rest;
use crate::retry::{self, Next, Tries};
use crate::transport::{Http, Reply};
use crate::{AwsError, Config, ConfigError, Credentials, Protocol, Service, sigv4};

/// A call is not sent again once this much time has passed since it was first sent.
const PATIENCE: Duration = Duration::from_secs(150);

/// A clock that differs by more than this from the service's is corrected (signatures are refused from 5 minutes on).
const SKEW_TOLERANCE_SECONDS: i64 = 240;

/// An operation and its parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub service: Service,
    pub operation: &'a str,
    pub params: &'a Value,
}

/// What a call is signed with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Auth<'a> {
    /// Nothing: `AssumeRoleWithWebIdentity`.
    Unsigned,
    /// One key pair: `AssumeRole`.
    Keys(&'a Credentials),
    /// The credential chain.
    Chain(&'a Chain),
}

/// Connections, clock correction and rate limits.
#[derive(Debug)]
pub(crate) struct Wire {
    pub config: Config,
    pub http: Http,
    buckets: Buckets,
    /// Seconds to add to this machine's clock.
    skew: AtomicI64,
    calls: Mutex<BTreeMap<(Service, String), u64>>,
}

/// A failed attempt, with what its answer's headers say.
struct Failure {
    error: AwsError,
    retry_after: Option<Duration>,
    server_time: Option<Timestamp>,
}

impl From<AwsError> for Box<Failure> {
    fn from(error: AwsError) -> Self {
        Box::new(Failure {
            error,
            retry_after: None,
            server_time: None,
        })
    }
}

impl Wire {
    pub fn new(config: Config) -> Result<Wire, ConfigError> {
        let http = Http::new(config.trusted.as_deref(), config.tls.as_ref())?;
        Ok(Wire {
            config,
            http,
            buckets: Buckets::default(),
            skew: AtomicI64::new(0),
            calls: Mutex::default(),
        })
    }

    pub fn calls(&self) -> BTreeMap<(Service, String), u64> {
        self.calls
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// The time as AWS sees it.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.skew.load(Ordering::Relaxed))
    }

    /// The call as a boxed future: assuming a role is a call within the search for credentials, itself within a call.
    pub fn call_within<'a>(
        &'a self,
        call: &'a Call<'a>,
        auth: Auth<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Value, AwsError>> + Send + 'a>> {
        Box::pin(self.call(call, auth))
    }

    pub async fn call(&self, call: &Call<'_>, auth: Auth<'_>) -> Result<Value, AwsError> {
        let repeatable = retry::is_repeatable(call.service, call.operation, call.params);
        let endpoint = self.config.endpoint(call.service);
        let keeps_to_limits = self.config.keeps_to_limits(call.service);
        let started = Instant::now();
        let mut tries = Tries::default();
        let mut clock_corrected = false;
        let mut credentials_renewed = false;
        loop {
            if keeps_to_limits {
                let wait = self
                    .buckets
                    .take(call.service, call.operation, Instant::now());
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
            let keys = match auth {
                Auth::Unsigned => None,
                Auth::Keys(keys) => Some(keys.clone()),
                Auth::Chain(chain) => Some(chain.get().await?),
            };
            let skew = self.skew.load(Ordering::Relaxed);
            let failure = match self.attempt(call, &endpoint, keys.as_ref()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Failure {
                error,
                retry_after,
                server_time,
            } = *failure;
            tracing::debug!(service = %call.service, operation = call.operation, %error, "attempt failed");
            if !clock_corrected && self.correct_clock(&error, server_time, skew) {
                clock_corrected = true;
                continue;
            }
            if let (Auth::Chain(chain), Some(keys), false) = (auth, &keys, credentials_renewed)
                && error.is_expired_credentials()
            {
                credentials_renewed = true;
                if chain.renew(keys).await? {
                    continue;
                }
            }
            if error.is_throttling() && keeps_to_limits && self.config.retries.adaptive {
                self.buckets
                    .drain(call.service, call.operation, Instant::now());
            }
            match retry::decide(
                &self.config.retries,
                &mut tries,
                &error,
                repeatable,
                retry_after,
                fastrand::f64(),
            ) {
                Next::After(wait) if started.elapsed() + wait < PATIENCE => {
                    tokio::time::sleep(wait).await
                }
                _ => return Err(error),
            }
        }
    }

    /// Corrects the clock when the service refused a signature for its time. True when the correction is another one than `skew`, with which
    /// was signed: a call that was sent at the same time may have corrected it.
    fn correct_clock(&self, error: &AwsError, server_time: Option<Timestamp>, skew: i64) -> bool {
        let (Some(code), Some(message), Some(server)) =
            (error.code(), error.message(), server_time)
        else {
            return false;
        };
        let about_time =
            matches!(
                code,
                "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" | "AuthFailure"
            ) || (matches!(code, "InvalidSignatureException" | "SignatureDoesNotMatch")
                && ["expired", "not yet current", "skew", "Signature expired"]
                    .iter()
                    .any(|word| message.contains(word)));
        if !about_time {
            return false;
        }
        let seen = self.now().duration_until(server).as_secs();
        if seen.abs() <= SKEW_TOLERANCE_SECONDS {
            return self.skew.load(Ordering::Relaxed) != skew;
        }
        let offset = Timestamp::now().duration_until(server).as_secs();
        self.skew.store(offset, Ordering::Relaxed);
        tracing::warn!(
            seconds = offset,
            "this machine's clock is wrong; requests are signed with the time of AWS"
        );
        true
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        endpoint: &Endpoint,
        keys: Option<&Credentials>,
    ) -> Result<Value, Box<Failure>> {
        *self
            .calls
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry((call.service, call.operation.to_owned()))
            .or_default() += 1;
        let request = self.request(call, endpoint, keys)?;
        let reply = self
            .http
            .send(request, self.config.retries.attempt_timeout)
            .await
            .map_err(|lost| AwsError::Transport {
                service: call.service,
                operation: call.operation.to_owned(),
                endpoint: endpoint.url.clone(),
                kind: lost.kind,
                source: lost.source,
            })?;
        read(call, &reply)
    }

    fn request(
        &self,
        call: &Call<'_>,
        endpoint: &Endpoint,
        keys: Option<&Credentials>,
    ) -> Result<http::Request<Bytes>, AwsError> {
        let unusable = || {
            AwsError::Config(ConfigError::BadValue {
                setting: format!("the endpoint of {}", call.service),
                value: endpoint.url.clone(),
                expected: "an address that a request can be sent to",
            })
        };
        let uri: http::Uri = format!("{}/", endpoint.url)
            .parse()
            .map_err(|_| unusable())?;
        let host = uri.authority().ok_or_else(unusable)?.to_string();
        // HTTP clients leave out the port that the scheme implies, and the signature is over what they send.
        let host = match (uri.scheme_str(), uri.port_u16()) {
            (Some("https"), Some(443)) => host.trim_end_matches(":443").to_owned(),
            (Some("http"), Some(80)) => host.trim_end_matches(":80").to_owned(),
            _ => host,
        };
        let mut uri = uri;
        let mut method = http::Method::POST;
        let (content_type, target, body) = match call.service.protocol() {
            Protocol::Rest => {
                let route = rest::route(call.operation, call.params);
                uri = format!("{}{}", endpoint.url, route.target)
                    .parse()
                    .map_err(|_| unusable())?;
                method = route.method;
                ("application/json".to_owned(), None, route.body)
            }
            Protocol::Json {
                target_prefix,
                version,
            } => {
                let body = if call.params.is_null() {
                    "{}".to_owned()
                } else {
                    call.params.to_string()
                };
                (
                    format!("application/x-amz-json-{version}"),
                    Some(format!("{target_prefix}.{}", call.operation)),
                    body,
                )
            }
            Protocol::Query { version } => (
                FORM.to_owned(),
                None,
                query::form(call.operation, version, call.params, Lists::Member),
            ),
            Protocol::Ec2 { version } => (
                FORM.to_owned(),
                None,
                query::form(call.operation, version, call.params, Lists::Plain),
            ),
        };
        let scope = sigv4::Scope {
            region: &endpoint.signing_region,
            service: call.service.signing_name(),
            time: self.now(),
        };
        let date = scope.date_time();
        let mut headers: Vec<(&str, &str)> = vec![
            ("content-type", &content_type),
            ("host", &host),
            ("x-amz-date", &date),
        ];
        if let Some(target) = &target {
            headers.push(("x-amz-target", target));
        }
        let mut builder = http::Request::builder().method(&method).uri(uri.clone());
        if let Some(keys) = keys {
            if let Some(token) = &keys.session_token {
                headers.push(("x-amz-security-token", token));
            }
            let signed = sigv4::Request {
                method: method.as_str(),
                path: uri.path(),
                query: uri.query().unwrap_or_default(),
                headers: &headers,
                body: body.as_bytes(),
            };
            builder = builder.header("authorization", sigv4::authorization(&signed, &scope, keys));
        }
        for (name, value) in &headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Bytes::from(body)).map_err(|error| AwsError::Credentials {
            reason: format!("the keys cannot be sent in a header: {error}"),
            tried: Vec::new(),
            hint: Some("check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN for line breaks and stray characters".into()),
        })
    }
}

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

fn read(call: &Call<'_>, reply: &Reply) -> Result<Value, Box<Failure>> {
    let json = matches!(
        call.service.protocol(),
        Protocol::Json { .. } | Protocol::Rest
    );
    let text = String::from_utf8_lossy(&reply.body);
    if (200..300).contains(&reply.status) {
        let answer = if text.trim().is_empty() {
            Ok(Value::Object(serde_json::Map::new()))
        } else if json {
            serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))
        } else {
            query::answer(&text)
        };
        return answer.map_err(|reason| {
            Box::<Failure>::from(AwsError::Decode {
                service: call.service,
                operation: call.operation.to_owned(),
                reason,
            })
        });
    }
    let (code, message, request_id) = if json {
        json_error(reply, &text)
    } else {
        xml_error(&text)
    };
    let request_id = request_id
        .or_else(|| reply.header("x-amzn-requestid").map(str::to_owned))
        .or_else(|| reply.header("x-amz-request-id").map(str::to_owned));
    let error = AwsError::Service {
        service: call.service,
        operation: call.operation.to_owned(),
        code: code.unwrap_or_else(|| format!("HTTP {}", reply.status)),
        message: message.unwrap_or_else(|| plain(&text)),
        status: reply.status,
        request_id,
    };
    Err(Box::new(Failure {
        error,
        retry_after: retry_after(reply),
        server_time: reply.header("date").and_then(http_date),
    }))
}

/// What to show of an answer that is no error of AWS: of a page, only that it is one.
fn plain(text: &str) -> String {
    match text.trim() {
        page if page.starts_with('<') => "a page, not an answer of AWS".to_owned(),
        other => other.chars().take(300).collect(),
    }
}

type ErrorParts = (Option<String>, Option<String>, Option<String>);

fn json_error(reply: &Reply, text: &str) -> ErrorParts {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| body.get(*name)?.as_str())
            .map(str::to_owned)
    };
    let code = reply
        .header("x-amzn-errortype")
        .map(str::to_owned)
        .or_else(|| field(&["__type", "code", "Code"]));
    let message = field(&["message", "Message", "errorMessage"])
        .or_else(|| body.is_object().then(String::new));
    // `com.amazonaws.ecs#ClientException:http://...` is `ClientException`.
    let code = code.map(|code| {
        let code = code.split(':').next().unwrap_or_default();
        code.rsplit('#').next().unwrap_or_default().to_owned()
    });
    (code.filter(|code| !code.is_empty()), message, None)
}

fn xml_error(text: &str) -> ErrorParts {
    let found = query::error_answer(text);
    let message = found
        .message
        .or_else(|| found.code.is_some().then(String::new));
    (found.code, message, found.request_id)
}

fn retry_after(reply: &Reply) -> Option<Duration> {
    if let Some(millis) = reply
        .header("x-amz-retry-after")
        .and_then(|value| value.trim().parse().ok())
    {
        return Some(Duration::from_millis(millis));
    }
    let value = reply.header("retry-after")?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let until = Timestamp::now().duration_until(http_date(value)?);
            Some(until.try_into().unwrap_or(Duration::ZERO))
        }
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|zoned| zoned.timestamp())
}
