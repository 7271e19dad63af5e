//! Image references, by the rules of the `docker` command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError};

/// The registry that a reference without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// A reference to an image: `[registry/]repository[:tag][@digest]`.
///
/// The grammar is that of the distribution project (<https://pkg.go.dev/github.com/distribution/reference>). The first
/// component is a registry when it holds a dot or a colon, or is `localhost`; else the image is on Docker Hub, where a
/// name of one component lies under `library/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// Host and optional port, as written; absent means Docker Hub.
    pub registry: Option<String>,
    /// The repository, as written: slash-separated lower-case components.
    pub repository: String,
    /// The tag, as written.
    pub tag: Option<String>,
    /// The digest; where it is there, it says which image and the tag is only a remark.
    pub digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is nothing before the tag or the digest.
    #[error("failed to read the image reference {0:?}: it names no repository")]
    Empty(String),
    /// A repository component breaks the grammar.
    #[error(
        "failed to read the image reference {text:?}: {component:?} is no repository component \
         (lower-case letters and digits, separated by one of `.`, `_`, `__` or dashes)"
    )]
    Component {
        /// The whole reference.
        text: String,
        /// The offending component.
        component: String,
    },
    /// The registry breaks the grammar.
    #[error(
        "failed to read the image reference {text:?}: {registry:?} is no host with an optional port"
    )]
    Registry {
        /// The whole reference.
        text: String,
        /// The offending host.
        registry: String,
    },
    /// The tag breaks the grammar.
    #[error(
        "failed to read the image reference {text:?}: {tag:?} is no tag (up to 128 letters, digits, `_`, `.` and `-`, \
         not starting with `.` or `-`)"
    )]
    Tag {
        /// The whole reference.
        text: String,
        /// The offending tag.
        tag: String,
    },
    /// The part after `@` is no digest.
    #[error("failed to read the image reference {text:?}")]
    Digest {
        /// The whole reference.
        text: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
}

impl ReferenceError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "write it as [registry/]repository[:tag][@sha256:digest], for example 127.0.0.1:5000/shop/web:v1"
    }
}

impl ImageRef {
    /// A reference to `repository` in `registry`, with neither tag nor digest.
    pub fn new(registry: impl Into<String>, repository: impl Into<String>) -> Self {
        Self {
            registry: Some(registry.into()),
            repository: repository.into(),
            tag: None,
            digest: None,
        }
    }

    /// The registry's host and optional port; `docker.io` where the reference names none.
    pub fn host(&self) -> &str {
        self.registry.as_deref().unwrap_or(DOCKER_HUB)
    }

    /// The repository's path in the registry: `library/` is put before Docker Hub's names of one component.
    pub fn path(&self) -> String {
        if self.is_docker_hub() && !self.repository.contains('/') {
            format!("library/{}", self.repository)
        } else {
            self.repository.clone()
        }
    }

    /// The tag or digest that a registry is asked for: the digest where there is one, else the tag, else `latest`.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, with this tag and no digest.
    pub fn with_tag(&self, tag: impl Into<String>) -> Self {
        Self {
            tag: Some(tag.into()),
            digest: None,
            ..self.clone()
        }
    }

    /// The same repository, with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository, with neither tag nor digest.
    pub fn bare(&self) -> Self {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    fn is_docker_hub(&self) -> bool {
        matches!(
            self.host(),
            DOCKER_HUB | "index.docker.io" | "registry-1.docker.io"
        )
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    text: text.to_owned(),
                    source,
                })?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last..].find(':') {
            // A lone `host:port` cannot be told from `name:tag`; docker reads it as the latter.
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag {
                text: text.to_owned(),
                tag: tag.to_owned(),
            });
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':', '[']) || first == "localhost" => {
                (Some(first), rest)
            }
            _ => (None, name),
        };
        if let Some(registry) = registry.filter(|registry| !is_host(registry)) {
            return Err(ReferenceError::Registry {
                text: text.to_owned(),
                registry: registry.to_owned(),
            });
        }
        if repository.is_empty() {
            return Err(ReferenceError::Empty(text.to_owned()));
        }
        if let Some(component) = repository
            .split('/')
            .find(|component| !is_component(component))
        {
            return Err(ReferenceError::Component {
                text: text.to_owned(),
                component: component.to_owned(),
            });
        }
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether `text` can be a tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether `text` can be one component of a repository name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
pub fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric)
        || !bytes.last().copied().is_some_and(alphanumeric)
    {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let host_fits = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    port_fits && host_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    #[test]
    fn a_short_name_means_docker_hubs_library() {
        let image = parse("busybox");
        assert_eq!(
            (image.host(), image.path().as_str()),
            ("docker.io", "library/busybox")
        );
        assert_eq!(image.reference(), "latest");
        assert_eq!(image.to_string(), "busybox");
        assert_eq!(parse("grafana/loki:3").path(), "grafana/loki");
        assert_eq!(parse("docker.io/alpine").path(), "library/alpine");
    }

    #[test]
    fn a_dot_a_port_or_localhost_makes_the_first_component_a_registry() {
        for (text, host, path) in [
            ("127.0.0.1:5000/x", "127.0.0.1:5000", "x"),
            ("localhost/shop/web", "localhost", "shop/web"),
            ("[::1]:5000/x", "[::1]:5000", "x"),
            (
                "000000000000.dkr.ecr.eu-central-1.amazonaws.com/a/b",
                "000000000000.dkr.ecr.eu-central-1.amazonaws.com",
                "a/b",
            ),
        ] {
            let image = parse(text);
            assert_eq!((image.host(), image.path().as_str()), (host, path));
            assert_eq!(image.to_string(), text);
        }
    }

    #[test]
    fn tag_and_digest_are_told_apart_and_the_digest_wins() {
        let digest = Digest::of(b"x");
        let image = parse(&format!("localhost:5000/a/b:v1.2_3-x@{digest}"));
        assert_eq!(image.tag.as_deref(), Some("v1.2_3-x"));
        assert_eq!(image.digest, Some(digest));
        assert_eq!(image.reference(), digest.to_string());
        assert_eq!(image.with_tag("v2").to_string(), "localhost:5000/a/b:v2");
        assert_eq!(image.bare().to_string(), "localhost:5000/a/b");
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_and_named() {
        for text in [
            "",
            ":v1",
            "a//b",
            "UPPER/case",
            "a_-b",
            "a___b",
            "-a",
            "a.",
            "x:",
            "x:-a",
            "x@sha256:00",
            "a..b",
            "ho_st.x/a",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text:?} was accepted");
        }
        let error = "shop/Web:v1".parse::<ImageRef>().unwrap_err();
        assert!(error.to_string().contains("\"Web\""), "{error}");
        assert!("a__b/c--d/e.f_g".parse::<ImageRef>().is_ok());
        assert!(
            format!("x:{}", "a".repeat(129))
                .parse::<ImageRef>()
                .is_err()
        );
    }
}
