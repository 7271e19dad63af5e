//! The process environment as a value, so that configuration can be read from any.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Environment variables and the home folder.
#[derive(Clone, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl Environment {
    /// Takes the environment of this process.
    pub fn of_process() -> Environment {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Environment {
            vars,
            home: std::env::home_dir(),
        }
    }

    /// Makes an environment of the given variables; `HOME` is the home folder.
    pub fn of<K: Into<String>, V: Into<String>>(
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Environment {
        let vars: BTreeMap<String, String> = vars
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let home = vars.get("HOME").map(PathBuf::from);
        Environment { vars, home }
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether a variable says `true` (any case).
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.var(name)
            .map(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The home folder.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(crate) fn all(&self) -> HashMap<String, String> {
        self.vars
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}
