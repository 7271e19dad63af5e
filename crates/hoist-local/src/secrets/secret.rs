use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::api::ApiError;
use crate::clock::Millis;
use crate::ctx::ACCOUNT;
use crate::state::{State, Table};
use crate::vault::Vault;

pub const CURRENT: &str = "AWSCURRENT";
pub const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret. A deleted one is kept until its date, so that it can be restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    /// With the six characters that Secrets Manager puts behind the name.
    pub arn: String,
    pub description: Option<String>,
    pub kms_key: Option<String>,
    pub created: Millis,
    pub changed: Millis,
    /// When it was deleted, and when it goes.
    pub deleted: Option<(Millis, Millis)>,
    pub tags: BTreeMap<String, String>,
    /// Oldest first.
    pub versions: Vec<Version>,
}

/// One value of a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    /// A UUID, or the client's token.
    pub id: String,
    /// Sealed.
    pub value: String,
    /// Whether the value is base64 of `SecretBinary`.
    pub binary: bool,
    pub stages: Vec<String>,
    pub created: Millis,
}

impl Secret {
    /// Puts a staging label on a version: it moves there, and AWSCURRENT leaves AWSPREVIOUS behind.
    pub fn stage(&mut self, label: &str, id: &str) {
        let holder = self
            .versions
            .iter()
            .find(|version| version.stages.iter().any(|it| it == label))
            .map(|version| version.id.clone());
        if holder.as_deref() == Some(id) {
            return;
        }
        for version in &mut self.versions {
            version.stages.retain(|it| it != label);
            if version.id == id {
                version.stages.push(label.to_owned());
            }
        }
        if let (CURRENT, Some(holder)) = (label, holder) {
            self.stage(PREVIOUS, &holder);
        }
    }

    /// Versions without a label are deprecated; the newest hundred of all are kept.
    pub fn prune(&mut self) {
        while self.versions.len() > 100 {
            let Some(at) = self.versions.iter().position(|it| it.stages.is_empty()) else {
                return;
            };
            self.versions.remove(at);
        }
    }
}

/// The secrets of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    pub(super) table: Table<Secret>,
    pub(super) vault: Vault,
    /// Held while something changes.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
}

/// `ResourceNotFoundException` in Secrets Manager's words.
pub fn not_found(what: &str) -> ApiError {
    let text = format!("Secrets Manager can't find the specified secret{what}.");
    ApiError::new("ResourceNotFoundException", text)
}

impl Secrets {
    /// What `state` keeps of them.
    pub fn open(state: &State, vault: Vault) -> Self {
        Self {
            table: state.table("secrets"),
            vault,
            changing: Arc::default(),
        }
    }

    /// The secret of that name, ARN, or ARN without the last six characters; deleted ones too.
    pub(super) fn any(&self, region: &str, id: &str) -> Result<Option<Secret>, ApiError> {
        let Some(rest) = id.strip_prefix("arn:") else {
            return Ok(self.table.get(region, id)?);
        };
        let name = rest.splitn(6, ':').nth(5).unwrap_or_default();
        let found = match name.rsplit_once('-') {
            Some((short, suffix)) if suffix.len() == 6 => self.table.get(region, short)?,
            _ => None,
        };
        let found = match found.filter(|secret| secret.arn == id) {
            None => self.table.get(region, name)?,
            found => found,
        };
        Ok(found.filter(|secret| secret.arn == id || secret.arn.len() == id.len() + 7))
    }

    /// The value of a secret for a container: by name or ARN, of a version or a stage or the current one.
    ///
    /// An ARN of another account means the secret of that name here, so that a definition written for a real account runs locally.
    ///
    /// # Errors
    /// `ResourceNotFoundException`, `InvalidRequestException` for a deleted one.
    pub fn value(
        &self,
        region: &str,
        id: &str,
        version: Option<&str>,
        stage: Option<&str>,
    ) -> Result<String, ApiError> {
        let foreign = id.starts_with("arn:") && id.split(':').nth(4) != Some(ACCOUNT);
        let id = match id.splitn(7, ':').nth(6) {
            Some(name) if foreign => match name.rsplit_once('-') {
                Some((short, suffix))
                    if suffix.len() == 6 && self.table.get(region, name)?.is_none() =>
                {
                    short
                }
                _ => name,
            },
            _ => id,
        };
        let secret = self.live(region, id)?;
        let version = chosen(&secret, version, stage)?;
        self.vault.unseal(&secret.arn, &version.value)
    }

    /// The secret that a call means, unless it is deleted.
    pub(super) fn live(&self, region: &str, id: &str) -> Result<Secret, ApiError> {
        let secret = self.any(region, id)?.ok_or_else(|| not_found(""))?;
        if secret.deleted.is_some() {
            return Err(ApiError::new(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            ));
        }
        Ok(secret)
    }
}

/// The version that is meant.
pub(super) fn chosen<'a>(
    secret: &'a Secret,
    id: Option<&str>,
    stage: Option<&str>,
) -> Result<&'a Version, ApiError> {
    let wanted = match (id, stage) {
        (None, None) => Some(CURRENT),
        (_, stage) => stage,
    };
    let found = secret.versions.iter().find(|version| {
        id.is_none_or(|id| version.id == id)
            && wanted.is_none_or(|stage| version.stages.iter().any(|it| it == stage))
    });
    found.ok_or_else(|| match (id, wanted) {
        (Some(id), None) => not_found(&format!(" value for VersionId: {id}")),
        (Some(_), Some(_)) => ApiError::new(
            "InvalidRequestException",
            "You provided a VersionStage that is not associated to the provided VersionId.",
        ),
        (None, stage) => not_found(&format!(
            " value for staging label: {}",
            stage.unwrap_or(CURRENT)
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_label_leaves_the_previous_one_behind() {
        let version = |id: &str| Version {
            id: id.into(),
            value: String::new(),
            binary: false,
            stages: Vec::new(),
            created: 0,
        };
        let mut secret = Secret {
            name: "s".into(),
            arn: "arn:s-abcdef".into(),
            description: None,
            kms_key: None,
            created: 0,
            changed: 0,
            deleted: None,
            tags: BTreeMap::new(),
            versions: vec![version("1"), version("2"), version("3")],
        };
        for id in ["1", "2", "3"] {
            secret.stage(CURRENT, id);
        }
        let stages: Vec<String> = secret
            .versions
            .iter()
            .map(|it| it.stages.join(","))
            .collect();
        assert_eq!(stages, ["", "AWSPREVIOUS", "AWSCURRENT"]);
        assert_eq!(chosen(&secret, None, None).unwrap().id, "3");
        assert_eq!(chosen(&secret, Some("1"), None).unwrap().id, "1");
        assert_eq!(
            chosen(&secret, Some("1"), Some(CURRENT)).unwrap_err().code,
            "InvalidRequestException"
        );
        assert_eq!(
            chosen(&secret, None, Some("X")).unwrap_err().message,
            "Secrets Manager can't find the specified secret value for staging label: X."
        );
    }
}
