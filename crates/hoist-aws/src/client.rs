//! The one client: signs, sends, retries, and hands back the whole answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::credentials::Chain;
use crate::wire::{Auth, Call, Wire};
use crate::{AwsError, Config, ConfigError, Credentials, Service};

/// A client for every service of one region. Cloning is cheap; clones share connections, credentials and rate limits.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wire: Arc<Wire>,
    chain: Chain,
    account: OnceCell<String>,
}

impl Client {
    /// Makes a client; nothing is sent until the first call.
    ///
    /// # Errors
    /// When the HTTPS client cannot be set up.
    pub fn new(config: Config) -> Result<Client, ConfigError> {
        let wire = Arc::new(Wire::new(config)?);
        Ok(Client {
            inner: Arc::new(Inner {
                chain: Chain::new(wire.clone()),
                wire,
                account: OnceCell::new(),
            }),
        })
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.inner.wire.config
    }

    /// The region that calls go to.
    pub fn region(&self) -> &str {
        self.config().region()
    }

    /// The account of the credentials, asked for once (`sts:GetCallerIdentity`).
    ///
    /// # Errors
    /// As any call.
    pub async fn account(&self) -> Result<String, AwsError> {
        let account = self.inner.account.get_or_try_init(|| async {
            let answer = self
                .query(Service::Sts, "GetCallerIdentity", &Value::Null)
                .await?;
            answer["Account"]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| AwsError::Decode {
                    service: Service::Sts,
                    operation: "GetCallerIdentity".into(),
                    reason: "it names no account".into(),
                })
        });
        account.await.cloned()
    }

    /// The credentials that calls are signed with, and where they come from.
    ///
    /// # Errors
    /// When no source has any.
    pub async fn credentials(&self) -> Result<Credentials, AwsError> {
        self.inner.chain.get().await
    }

    /// Calls an operation of a JSON service.
    ///
    /// A call that would make something twice (see [`AwsError::may_have_happened`]) is not repeated when its outcome is unknown;
    /// use [`Client::json_or_find`] for those.
    ///
    /// # Errors
    /// What the service answered, or why there is no answer.
    ///
    /// # Panics
    /// When the service does not speak JSON: a mistake of the programmer.
    pub async fn json(
        &self,
        service: Service,
        operation: &str,
        body: Value,
    ) -> Result<Value, AwsError> {
        assert!(
            matches!(
                service.protocol(),
                crate::Protocol::Json { .. } | crate::Protocol::Rest
            ),
            "{service} does not speak JSON"
        );
        self.call(service, operation, &body).await
    }

    /// Calls an action of a query service (AWS query or EC2 query, as the service speaks).
    ///
    /// Parameters are nested values with the names of the wire: `{"Subnets": ["subnet-1"]}` is sent as `Subnets.member.1`, for EC2
    /// `{"SubnetId": ["subnet-1"]}` as `SubnetId.1`. The answer's lists are arrays, its scalars are text.
    ///
    /// # Errors
    /// What the service answered, or why there is no answer.
    ///
    /// # Panics
    /// When the service does not speak a query protocol: a mistake of the programmer.
    pub async fn query(
        &self,
        service: Service,
        action: &str,
        params: &Value,
    ) -> Result<Value, AwsError> {
        assert!(
            matches!(
                service.protocol(),
                crate::Protocol::Query { .. } | crate::Protocol::Ec2 { .. }
            ),
            "{service} does not speak query"
        );
        self.call(service, action, params).await
    }

    /// Calls an operation that makes something new each time, and looks before it is sent again.
    ///
    /// Whenever the outcome of an attempt is unknown, `find` looks for what it would have made: found, that is the answer; not found, the
    /// call is sent once more, a few times at most.
    ///
    /// # Errors
    /// As [`Client::json`], and those of `find`.
    pub async fn json_or_find<F, Fut>(
        &self,
        service: Service,
        operation: &str,
        body: Value,
        find: F,
    ) -> Result<Value, AwsError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<Value>, AwsError>>,
    {
        let mut left = self.config().retries.max_attempts;
        loop {
            match self.json(service, operation, body.clone()).await {
                Err(error) if error.may_have_happened() && left > 1 => {
                    left -= 1;
                    tracing::debug!(%service, operation, %error, "the outcome is unknown; looking");
                    if let Some(found) = find().await? {
                        return Ok(found);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// How many requests were sent so far, by service and operation, repeated ones included.
    pub fn calls(&self) -> BTreeMap<(Service, String), u64> {
        self.inner.wire.calls()
    }

    /// Boxed: the whole of a call, credentials included, would otherwise be compiled again wherever one is awaited.
    fn call<'a>(
        &'a self,
        service: Service,
        operation: &'a str,
        params: &'a Value,
    ) -> Pin<Box<dyn Future<Output = Result<Value, AwsError>> + Send + 'a>> {
        Box::pin(async move {
            let call = Call {
                service,
                operation,
                params,
            };
            let auth = Auth::Chain(&self.inner.chain);
            self.inner.wire.call(&call, auth).await
        })
    }
}
