//! The members of a request, shared by all that were made from it.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Members of a request, or of an object in it, verbatim: reads as a map, and a copy costs nothing. The tasks of one launch share theirs.
#[derive(Clone, Debug, Default)]
pub struct Members {
    all: Arc<Map<String, Value>>,
    /// The name of the object that is meant, where it is not the whole.
    part: Option<&'static str>,
}

static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

impl Members {
    /// A copy of those members alone that `which` picks.
    pub(crate) fn only(&self, which: impl Fn(&str) -> bool) -> Map<String, Value> {
        let picked = self.iter().filter(|(name, _)| which(name));
        picked
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The object of that name among them; none has no members.
    pub(crate) fn part(&self, name: &'static str) -> Members {
        match self.part {
            None => Members {
                all: self.all.clone(),
                part: Some(name),
            },
            Some(_) => {
                let object = self.get(name).and_then(Value::as_object);
                object.cloned().unwrap_or_default().into()
            }
        }
    }

    /// The map, to change it; what shares it keeps it as it was.
    pub(crate) fn change(&mut self) -> &mut Map<String, Value> {
        if self.part.is_some() {
            *self = Map::clone(self).into();
        }
        Arc::make_mut(&mut self.all)
    }
}

impl Deref for Members {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        match self.part {
            None => &self.all,
            Some(name) => self
                .all
                .get(name)
                .and_then(Value::as_object)
                .unwrap_or(&NONE),
        }
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<Map<String, Value>> for Members {
    fn from(members: Map<String, Value>) -> Self {
        Members {
            all: Arc::new(members),
            part: None,
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Members::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_as_the_object_and_is_changed_apart() {
        let whole: Map<String, Value> = serde_json::from_str(r#"{"a": {"b": 1}, "c": 2}"#).unwrap();
        let whole = Members::from(whole);
        let mut part = whole.part("a");
        assert_eq!(serde_json::to_string(&part).unwrap(), r#"{"b":1}"#);
        part.change().insert("d".to_owned(), Value::Null);
        assert_eq!((part.len(), whole.part("a").len(), whole.len()), (2, 1, 2));
        assert!(whole.part("c").is_empty() && whole.part("none").is_empty());
    }
}
