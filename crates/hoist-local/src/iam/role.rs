use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ctx::ACCOUNT;

/// A role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    pub path: String,
    /// `AROA...`.
    pub id: String,
    pub created: String,
    /// Who may assume it: a JSON document, as it was sent.
    pub trust: String,
    pub description: Option<String>,
    /// 3600-43200 s.
    pub max_session: i64,
    pub boundary: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// ARNs of managed policies.
    pub attached: Vec<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, String>,
}

impl Role {
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{}", self.path, self.name)
    }

    /// Made by and for a service.
    pub fn service_linked(&self) -> bool {
        self.path.starts_with("/aws-service-role/")
    }

    /// The role as answers show it; lists of roles leave out what GetRole has besides.
    pub fn shown(&self, whole: bool) -> Value {
        let mut shown = Map::from_iter([
            ("Path".to_owned(), json!(self.path)),
            ("RoleName".to_owned(), json!(self.name)),
            ("RoleId".to_owned(), json!(self.id)),
            ("Arn".to_owned(), json!(self.arn())),
            ("CreateDate".to_owned(), json!(self.created)),
            (
                "AssumeRolePolicyDocument".to_owned(),
                json!(encoded(&self.trust)),
            ),
            ("MaxSessionDuration".to_owned(), json!(self.max_session)),
        ]);
        if let Some(description) = &self.description {
            shown.insert("Description".to_owned(), json!(description));
        }
        if whole {
            shown.insert("RoleLastUsed".to_owned(), json!({}));
            if !self.tags.is_empty() {
                shown.insert("Tags".to_owned(), tags(&self.tags));
            }
            if let Some(arn) = &self.boundary {
                let boundary =
                    json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn});
                shown.insert("PermissionsBoundary".to_owned(), boundary);
            }
        }
        Value::Object(shown)
    }
}

/// Tags as answers show them.
pub fn tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Policy documents are answered percent-encoded (RFC 3986).
pub fn encoded(document: &str) -> String {
    utf8_percent_encode(document, UNRESERVED).to_string()
}
