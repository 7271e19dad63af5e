//! The key pairs that this instance issued: the root pair of the home, and those of IAM users and STS sessions.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::ctx::ACCOUNT;
use crate::home::Home;
use crate::ids;
use crate::settings::write_whole;
use crate::state::{State, StateError, Table};

/// A key pair and whom it speaks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `AKIA...` of a user, `ASIA...` of a session.
    pub id: String,
    /// The secret that requests are signed with.
    pub secret: String,
    /// What a session must send as `X-Amz-Security-Token`.
    #[serde(default)]
    pub session_token: Option<String>,
    /// The principal, as `GetCallerIdentity` answers it.
    pub arn: String,
    /// The principal's unique id, as `GetCallerIdentity` answers it.
    pub user_id: String,
    /// When a session ends.
    #[serde(default)]
    pub expires: Option<Millis>,
}

/// Every key that requests may be signed with.
#[derive(Clone)]
pub struct Keys {
    root: Arc<Key>,
    issued: Table<Key>,
    /// By the credential that they are derived for: key id, date, region, service.
    signing: Arc<RwLock<HashMap<String, [u8; 32]>>>,
}

/// So many signing keys are remembered at most.
const REMEMBERED: usize = 256;

impl Keys {
    /// The keys of a home; makes the root pair if there is none.
    ///
    /// # Errors
    /// When the root pair can neither be read nor written.
    pub fn open(home: &Home, state: &State) -> std::io::Result<Keys> {
        Ok(Keys {
            root: Arc::new(root(home)?),
            issued: state.table("keys"),
            signing: Arc::default(),
        })
    }

    /// The root pair.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// The key of that id.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<Arc<Key>>, StateError> {
        if id == self.root.id {
            return Ok(Some(Arc::clone(&self.root)));
        }
        Ok(self.issued.get("", id)?.map(Arc::new))
    }

    /// The signing key of that credential, derived once: an id has the same secret for ever.
    pub fn signing(&self, credential: &str, derive: impl FnOnce() -> [u8; 32]) -> [u8; 32] {
        let known = self.signing.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(signing) = known.get(credential) {
            return *signing;
        }
        drop(known);
        let signing = derive();
        let mut known = self.signing.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(credential.to_owned(), signing);
        signing
    }

    /// Makes a key for a user: it has no end and no session token.
    ///
    /// # Errors
    /// When the random source or the state fails.
    pub fn issue(&self, arn: &str, user_id: &str) -> Result<Key, IssueError> {
        let key = Key {
            id: format!("AKIA{}", ids::upper(16)),
            secret: ids::secret(40)?,
            session_token: None,
            arn: arn.to_owned(),
            user_id: user_id.to_owned(),
            expires: None,
        };
        self.issued.put("", &key.id, &key)?;
        Ok(key)
    }

    /// Makes a key for a session that ends at `expires`.
    ///
    /// # Errors
    /// When the random source or the state fails.
    pub fn issue_session(
        &self,
        arn: &str,
        user_id: &str,
        expires: Millis,
    ) -> Result<Key, IssueError> {
        let key = Key {
            id: format!("ASIA{}", ids::upper(16)),
            secret: ids::secret(40)?,
            session_token: Some(ids::secret(240)?),
            arn: arn.to_owned(),
            user_id: user_id.to_owned(),
            expires: Some(expires),
        };
        self.issued.put("", &key.id, &key)?;
        Ok(key)
    }

    /// Takes a key back; true if it was there.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn revoke(&self, id: &str) -> Result<bool, StateError> {
        self.issued.delete("", id)
    }
}

/// Why no key could be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No random bytes.
    #[error("failed to read random bytes")]
    Random(#[from] std::io::Error),
    /// The key could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The root pair of a home, made at the first call and kept in `local/root-key.json`.
///
/// # Errors
/// When the file can neither be read nor written.
pub fn root(home: &Home) -> std::io::Result<Key> {
    let path = home.file("root-key.json");
    match std::fs::read(&path) {
        Ok(bytes) => return Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let key = Key {
        id: format!("AKIA{}", ids::upper(16)),
        secret: ids::secret(40)?,
        session_token: None,
        arn: format!("arn:aws:iam::{ACCOUNT}:root"),
        user_id: ACCOUNT.to_owned(),
        expires: None,
    };
    std::fs::create_dir_all(home.local())?;
    write_whole(&path, &serde_json::to_vec_pretty(&key)?)?;
    Ok(key)
}
