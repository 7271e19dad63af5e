use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::ApiError;
use crate::clock::{self, Millis};
use crate::ctx::ACCOUNT;
use crate::state::{State, StateError, Table};
use crate::vault::Vault;

/// A parameter with all the versions that are kept: 100, as on the real service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    /// Oldest first.
    pub versions: Vec<Version>,
    pub tags: BTreeMap<String, String>,
}

/// One version of a parameter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub number: i64,
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// Sealed if it is a SecureString.
    pub value: String,
    pub key_id: Option<String>,
    pub description: Option<String>,
    pub pattern: Option<String>,
    pub tier: String,
    pub data_type: String,
    pub modified: Millis,
    /// Who wrote it.
    pub user: String,
    pub labels: Vec<String>,
}

/// The parameters of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Parameters {
    pub(super) table: Table<Parameter>,
    vault: Vault,
    /// Held while something changes.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
}

impl Parameters {
    /// What `state` keeps of them.
    pub fn open(state: &State, vault: Vault) -> Self {
        Self {
            table: state.table("ssm-parameters"),
            vault,
            changing: Arc::default(),
        }
    }

    /// The parameter and the version that `asked` means: a name or an ARN, with `:VERSION` or `:LABEL` behind it if not the newest.
    ///
    /// # Errors
    /// `ParameterNotFound`, `ParameterVersionNotFound`.
    pub(super) fn find(
        &self,
        region: &str,
        asked: &str,
    ) -> Result<(Parameter, usize, Option<String>), ApiError> {
        let (name, selector) = split(asked);
        let parameter = self
            .table
            .get(region, name)?
            .ok_or_else(|| ApiError::new("ParameterNotFound", ""))?;
        let at = match selector {
            None => parameter.versions.len().checked_sub(1),
            Some(selector) => parameter.versions.iter().position(|version| {
                version.number.to_string() == selector
                    || version.labels.iter().any(|label| label == selector)
            }),
        };
        let at = at.ok_or_else(|| {
            let selector = selector.unwrap_or_default();
            let text = format!(
                "Systems Manager could not find version {selector} of {name}. Verify the version and try again."
            );
            ApiError::new("ParameterVersionNotFound", text)
        })?;
        Ok((parameter, at, selector.map(|it| format!(":{it}"))))
    }

    /// The decrypted value of the newest version; `None` if there is no such parameter.
    ///
    /// # Errors
    /// When the state cannot be read or the value not be opened.
    pub fn value(&self, region: &str, asked: &str) -> Result<Option<String>, ApiError> {
        match self.find(region, asked) {
            Ok((parameter, at, _)) => self
                .open_value(&parameter.name, &parameter.versions[at])
                .map(Some),
            Err(error) if error.code.starts_with("Parameter") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn seal(&self, name: &str, kind: &str, value: &str) -> Result<String, ApiError> {
        if kind == "SecureString" {
            self.vault.seal(name, value)
        } else {
            Ok(value.to_owned())
        }
    }

    pub(super) fn open_value(&self, name: &str, version: &Version) -> Result<String, ApiError> {
        if version.kind == "SecureString" {
            self.vault.unseal(name, &version.value)
        } else {
            Ok(version.value.clone())
        }
    }

    /// A version as GetParameter shows it.
    pub(super) fn shown(
        &self,
        region: &str,
        name: &str,
        version: &Version,
        selector: Option<&str>,
        decrypt: bool,
    ) -> Result<Value, ApiError> {
        let value = if decrypt {
            self.open_value(name, version)?
        } else {
            version.value.clone()
        };
        let mut shown = Map::from_iter([
            ("Name".to_owned(), json!(name)),
            ("Type".to_owned(), json!(version.kind)),
            ("Value".to_owned(), json!(value)),
            ("Version".to_owned(), json!(version.number)),
            (
                "LastModifiedDate".to_owned(),
                clock::epoch_seconds(version.modified),
            ),
            ("ARN".to_owned(), json!(arn(region, name))),
            ("DataType".to_owned(), json!(version.data_type)),
        ]);
        if let Some(selector) = selector {
            shown.insert("Selector".to_owned(), json!(selector));
        }
        Ok(Value::Object(shown))
    }

    /// All parameters of a region, by name.
    pub(super) fn all(&self, region: &str) -> Result<Vec<Parameter>, StateError> {
        Ok(self
            .table
            .list(region)?
            .into_iter()
            .map(|(_, it)| it)
            .collect())
    }
}

/// A name without a slash in front has one put there in its ARN.
pub fn arn(region: &str, name: &str) -> String {
    format!(
        "arn:aws:ssm:{region}:{ACCOUNT}:parameter/{}",
        name.trim_start_matches('/')
    )
}

/// The name in a name or an ARN, and what is selected of it.
fn split(asked: &str) -> (&str, Option<&str>) {
    let rest = match asked.strip_prefix("arn:") {
        // The parameter's own slash is that of its path, unless it has only one level.
        Some(arn) => arn
            .splitn(5, ':')
            .nth(4)
            .and_then(|it| it.strip_prefix("parameter"))
            .unwrap_or(asked),
        None => asked,
    };
    let (name, selector) = match rest.split_once(':') {
        Some((name, selector)) => (name, Some(selector)),
        None => (rest, None),
    };
    let one_level = rest.len() != asked.len() && name.matches('/').count() == 1;
    (
        if one_level {
            name.trim_start_matches('/')
        } else {
            name
        },
        selector,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_arns_versions_and_labels_are_told_apart() {
        assert_eq!(split("/a/b"), ("/a/b", None));
        assert_eq!(split("/a/b:3"), ("/a/b", Some("3")));
        assert_eq!(split("plain:live"), ("plain", Some("live")));
        assert_eq!(
            split("arn:aws:ssm:r:1:parameter/a/b:3"),
            ("/a/b", Some("3"))
        );
        assert_eq!(split("arn:aws:ssm:r:1:parameter/plain"), ("plain", None));
        assert_eq!(arn("r", "/a/b"), arn("r", "a/b"));
    }
}
