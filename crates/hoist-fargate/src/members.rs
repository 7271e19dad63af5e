//! The members of a request, shared by all that were made from it.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Members of a request, verbatim: reads as a map, and a copy costs nothing. The tasks of one launch share theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(Arc<Map<String, Value>>);

impl Members {
    /// A copy of those members alone that `which` picks.
    pub(crate) fn only(&self, which: impl Fn(&str) -> bool) -> Map<String, Value> {
        let picked = self.0.iter().filter(|(name, _)| which(name));
        picked
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The map, to change it; what shares it keeps it as it was.
    pub(crate) fn change(&mut self) -> &mut Map<String, Value> {
        Arc::make_mut(&mut self.0)
    }
}

impl Deref for Members {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Map<String, Value>> for Members {
    fn from(members: Map<String, Value>) -> Self {
        Members(Arc::new(members))
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Members::from)
    }
}
