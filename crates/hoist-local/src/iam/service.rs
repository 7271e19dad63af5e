use std::sync::Arc;

use super::policies::Policy;
use super::providers::Provider;
use super::role::Role;
use super::trust::Caller;
use crate::state::{State, StateError, Table};

/// The IAM of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Iam {
    pub(super) roles: Table<Role>,
    pub(super) policies: Table<Policy>,
    pub(super) providers: Table<Provider>,
    /// Held while something changes.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
}

impl Iam {
    /// What `state` keeps of it.
    pub fn open(state: &State) -> Self {
        Self {
            roles: state.table("iam-roles"),
            policies: state.table("iam-policies"),
            providers: state.table("iam-oidc-providers"),
            changing: Arc::default(),
        }
    }

    /// The role of that name.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn role(&self, name: &str) -> Result<Option<Role>, StateError> {
        self.roles.get("", name)
    }

    /// The role of that ARN.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn role_by_arn(&self, arn: &str) -> Result<Option<Role>, StateError> {
        let name = arn.rsplit('/').next().unwrap_or_default();
        Ok(self.role(name)?.filter(|role| role.arn() == arn))
    }

    /// Whether there is a role of that ARN that a service of AWS, such as `scheduler.amazonaws.com`, may assume.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn trusts(&self, arn: &str, service: &str) -> Result<bool, StateError> {
        let role = self.role_by_arn(arn)?;
        Ok(role.is_some_and(|role| role.trusts(&Caller::Service(service))))
    }

    /// Whether an OIDC provider of that issuer exists, and for which audiences.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn audiences(&self, issuer: &str) -> Result<Option<Vec<String>>, StateError> {
        Ok(self
            .providers
            .get("", super::providers::bare(issuer))?
            .map(|provider| provider.client_ids))
    }
}
