//! Variables: which name has which value at which line.

use hoist_oci::spec::Platform;

use crate::dockerfile::expand::{self, Lookup, Style};
use crate::dockerfile::lines::{SourceText, Spanned};
use crate::error::{BuildError, BuildErrorKind, Result};

/// Arguments that need no `ARG`: they reach commands, but neither history nor cache keys (Dockerfile reference, "Predefined ARGs").
pub(crate) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments that have a value by themselves, once they are declared.
pub(crate) const AUTOMATIC: [&str; 9] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// The values that the platform arguments have by themselves.
pub(crate) fn platform_arguments(target: &Platform, stage: &str) -> Vec<(String, String)> {
    let mut arguments = Vec::new();
    for (prefix, platform) in [("BUILD", &Platform::host()), ("TARGET", target)] {
        let variant = platform.variant.clone().unwrap_or_default();
        arguments.push((format!("{prefix}PLATFORM"), platform.to_string()));
        arguments.push((format!("{prefix}OS"), platform.os.clone()));
        arguments.push((format!("{prefix}ARCH"), platform.architecture.clone()));
        arguments.push((format!("{prefix}VARIANT"), variant));
    }
    arguments.push((
        "TARGETSTAGE".into(),
        if stage.is_empty() {
            "default".into()
        } else {
            stage.into()
        },
    ));
    arguments
}

/// The variables at one point of a stage. `ENV` covers `ARG`.
pub(crate) struct Scope<'a> {
    pub source: &'a SourceText,
    pub escape: char,
    pub args: &'a [(String, String)],
    /// `NAME=value`.
    pub env: &'a [String],
}

impl Lookup for Scope<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let in_env = self.env.iter().rev().find_map(|pair| {
            pair.split_once('=')
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
        });
        in_env.or_else(|| {
            self.args
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        })
    }
}

impl Scope<'_> {
    /// Expands a word.
    pub(crate) fn expand(&self, word: &Spanned) -> Result<String> {
        self.expand_text(&word.text, word)
    }

    /// Expands a text that stands within a word of the file.
    pub(crate) fn expand_text(&self, text: &str, word: &Spanned) -> Result<String> {
        expand::word(text, self.escape, self, Style::default())
            .map_err(|error| self.failed(error, word))
    }

    /// Expands a text and splits it at white space.
    pub(crate) fn words(&self, word: &Spanned) -> Result<Vec<String>> {
        expand::words(&word.text, self.escape, self, Style::default())
            .map_err(|error| self.failed(error, word))
    }

    /// Expands the body of a heredoc: quotes mean nothing in it.
    pub(crate) fn body(&self, text: &str, word: &Spanned) -> Result<String> {
        let style = Style {
            skip_quotes: true,
            ..Style::default()
        };
        expand::word(text, '\\', self, style).map_err(|error| self.failed(error, word))
    }

    fn failed(&self, error: expand::ExpandError, word: &Spanned) -> BuildError {
        let start =
            (word.range.start + error.offset).min(word.range.end.max(word.range.start + 1) - 1);
        BuildError::new(BuildErrorKind::Dockerfile, error.message)
            .at(self.source.location(start..word.range.end))
    }
}
