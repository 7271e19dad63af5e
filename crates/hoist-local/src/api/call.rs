use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;
use super::services::Service;
use crate::keys::Key;

/// One request to one service, whatever protocol it came by.
#[derive(Clone, Debug)]
pub struct Call {
    /// The service.
    pub service: Service,
    /// The operation, such as `CreateCluster`.
    pub action: String,
    /// The region of the credential scope.
    pub region: String,
    /// What was sent: always an object. In the query protocols every leaf is a string, and lists are arrays.
    pub params: Value,
    /// The key the request was signed with.
    pub key: Arc<Key>,
    /// The id of this request, which the answer carries.
    pub request_id: String,
}

impl Call {
    /// The string parameter of that name; an empty string counts as absent.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.params
            .get(name)?
            .as_str()
            .filter(|text| !text.is_empty())
    }

    /// The strings of a list parameter; empty when it is absent.
    pub fn strings(&self, name: &str) -> Vec<&str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }

    /// A list parameter; empty when it is absent.
    pub fn list(&self, name: &str) -> &[Value] {
        self.params
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// An integer parameter, as a JSON number or (query protocols) a string of digits.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.params.get(name)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        }
    }

    /// A boolean parameter, as JSON or (query protocols) a string.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.params.get(name)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_bool(),
        }
    }

    /// All parameters as a type.
    ///
    /// # Errors
    /// `SerializationException` when a member has another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.params).map_err(|error| ApiError::serialization(error.to_string()))
    }
}
