use hoist_oci::{Digest, is_component};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalogue::Registry;
use super::manifests::ImageRecord;
use super::refusal::Refusal;
use crate::clock::Millis;
use crate::state::StateError;

/// A repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// The name, unique in its region.
    pub name: String,
    /// When it was made.
    pub created: Millis,
    /// Whether tags may move.
    pub mutability: Mutability,
    /// Tags that are of the other kind than `mutability` says: patterns with `*`.
    #[serde(default)]
    pub exclusions: Vec<String>,
    /// Whether images are scanned when they are pushed.
    #[serde(default)]
    pub scan_on_push: bool,
    /// As it was given.
    pub encryption: Value,
    /// `Key` and `Value`, as ECR writes them.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    /// The repository policy.
    #[serde(default)]
    pub policy: Option<String>,
    /// The lifecycle policy.
    #[serde(default)]
    pub lifecycle: Option<String>,
    /// The lifecycle policy that is tried.
    #[serde(default)]
    pub preview: Option<String>,
}

/// Whether a tag may move to another image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mutability {
    /// It may.
    #[default]
    Mutable,
    /// It may not.
    Immutable,
    /// It may not, but for the exclusions.
    ImmutableWithExclusion,
    /// It may, but for the exclusions.
    MutableWithExclusion,
}

impl Repository {
    /// Whether `tag` must stay where it is.
    pub fn holds_tag(&self, tag: &str) -> bool {
        let excluded = || {
            self.exclusions
                .iter()
                .any(|pattern| matches_pattern(pattern, tag))
        };
        match self.mutability {
            Mutability::Mutable => false,
            Mutability::Immutable => true,
            Mutability::ImmutableWithExclusion => !excluded(),
            Mutability::MutableWithExclusion => excluded(),
        }
    }
}

/// Whether `text` fits a pattern in which `*` stands for any text.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Whether a rule of the registry's scanning is about a repository.
pub fn rule_meets(rule: &Value, name: &str) -> bool {
    let filters = rule["repositoryFilters"].as_array().into_iter().flatten();
    let mut masks = filters.filter_map(|it| it["filter"].as_str());
    masks.any(|mask| matches_pattern(mask, name))
}

/// Whether `name` can name a repository: 2 to 256 characters, components as in image references.
pub fn is_name(name: &str) -> bool {
    (2..=256).contains(&name.len()) && name.split('/').all(is_component)
}

impl Registry {
    /// The repository of that name.
    pub fn repository(&self, region: &str, name: &str) -> Result<Repository, Refusal> {
        let found = self.inner().repositories.get(region, name)?;
        found.ok_or_else(|| Refusal::NoRepository(name.to_owned()))
    }

    /// All repositories of a region, by name.
    pub fn repositories(&self, region: &str) -> Result<Vec<Repository>, StateError> {
        let all = self.inner().repositories.list(region)?;
        Ok(all.into_iter().map(|(_, repository)| repository).collect())
    }

    /// All repositories of all regions, each with its region.
    pub fn all_repositories(&self) -> Result<Vec<(String, Repository)>, StateError> {
        let all = self.inner().repositories.all()?.into_iter();
        Ok(all
            .map(|(region, _, repository)| (region, repository))
            .collect())
    }

    /// When an image was scanned: when it was asked for, or at its push where the repository says so.
    pub fn scanned(
        &self,
        region: &str,
        name: &str,
        image: &ImageRecord,
    ) -> Result<Option<Millis>, Refusal> {
        let key = format!("{name}@{}", image.digest);
        if let Some(at) = self.inner().scans.get(region, &key)? {
            return Ok(Some(at));
        }
        Ok(self.scans_on_push(region, name)?.then_some(image.pushed))
    }

    /// Whether what comes into a repository is scanned at once: by its own setting, or by a rule of the registry.
    pub fn scans_on_push(&self, region: &str, name: &str) -> Result<bool, Refusal> {
        if self.repository(region, name)?.scan_on_push {
            return Ok(true);
        }
        let scanning = self.account().get(region, "scanning")?.unwrap_or_default();
        let rules = scanning["rules"].as_array().into_iter().flatten();
        let mut eager = rules.filter(|rule| rule["scanFrequency"] != "MANUAL");
        Ok(eager.any(|rule| rule_meets(rule, name)))
    }

    /// Remembers that an image was scanned.
    pub fn set_scanned(
        &self,
        region: &str,
        name: &str,
        image: &ImageRecord,
        at: Millis,
    ) -> Result<(), StateError> {
        let key = format!("{name}@{}", image.digest);
        self.inner().scans.put(region, &key, &at)
    }

    /// Makes a repository.
    ///
    /// # Errors
    /// [`Refusal::RepositoryExists`], [`Refusal::BadName`].
    pub fn create_repository(&self, region: &str, repository: &Repository) -> Result<(), Refusal> {
        let _changing = self.changing();
        let name = &repository.name;
        if !is_name(name) {
            return Err(Refusal::BadName(name.clone()));
        }
        if self.inner().repositories.get(region, name)?.is_some() {
            return Err(Refusal::RepositoryExists(name.clone()));
        }
        Ok(self.inner().repositories.put(region, name, repository)?)
    }

    /// Changes what is kept of a repository.
    ///
    /// # Errors
    /// [`Refusal::NoRepository`], or what `change` returns.
    pub fn change_repository<T>(
        &self,
        region: &str,
        name: &str,
        change: impl FnOnce(&mut Repository) -> T,
    ) -> Result<T, Refusal> {
        let _changing = self.changing();
        let mut repository = self.repository(region, name)?;
        let result = change(&mut repository);
        self.inner().repositories.put(region, name, &repository)?;
        Ok(result)
    }

    /// Removes a repository with all its images.
    ///
    /// # Errors
    /// [`Refusal::NoRepository`], and [`Refusal::NotEmpty`] if it holds images and `force` is not set.
    pub fn delete_repository(
        &self,
        region: &str,
        name: &str,
        force: bool,
    ) -> Result<Repository, Refusal> {
        let repository = {
            let _changing = self.changing();
            let inner = self.inner();
            let repository = self.repository(region, name)?;
            let images = self.images(region, name)?;
            if !images.is_empty() && !force {
                return Err(Refusal::NotEmpty(name.to_owned()));
            }
            let tags = self.tags(region, name)?;
            let blobs = inner.blobs.list(region)?;
            inner.state.write::<StateError>(|batch| {
                for image in &images {
                    batch.delete(&inner.images, region, &format!("{name}@{}", image.digest));
                }
                for (tag, _) in &tags {
                    batch.delete(&inner.tags, region, &format!("{name}:{tag}"));
                }
                for (key, _) in blobs
                    .iter()
                    .filter(|(key, _)| key.starts_with(&format!("{name}@")))
                {
                    batch.delete(&inner.blobs, region, key);
                }
                batch.delete(&inner.repositories, region, name);
                Ok(())
            })?;
            let linked = blobs
                .iter()
                .filter_map(|(key, _)| key.strip_prefix(&format!("{name}@")));
            let linked = linked.filter_map(|digest| digest.parse().ok());
            let content: Vec<Digest> = images
                .iter()
                .map(|image| image.digest)
                .chain(linked)
                .collect();
            self.drop_content(content)?;
            repository
        };
        Ok(repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_turn_mutability_round() {
        let mut repository = Repository {
            name: "shop".to_owned(),
            created: 0,
            mutability: Mutability::ImmutableWithExclusion,
            exclusions: vec!["buildcache*".to_owned(), "*-dev-*x".to_owned()],
            scan_on_push: false,
            encryption: Value::Null,
            tags: Vec::new(),
            policy: None,
            lifecycle: None,
            preview: None,
        };
        let held = |repository: &Repository| {
            [
                "v1",
                "buildcache",
                "buildcache-a",
                "a-dev-bx",
                "a-dev-b",
                "x",
            ]
            .map(|tag| repository.holds_tag(tag))
        };
        assert_eq!(held(&repository), [true, false, false, false, true, true]);
        repository.mutability = Mutability::MutableWithExclusion;
        assert_eq!(held(&repository), [false, true, true, true, false, false]);
        repository.mutability = Mutability::Immutable;
        assert_eq!(held(&repository), [true; 6]);
        repository.mutability = Mutability::Mutable;
        assert_eq!(held(&repository), [false; 6]);
    }

    #[test]
    fn names_follow_ecrs_pattern() {
        for good in ["ab", "a1/b-c/d_e.f"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a", "A/b", "a//b", "/ab", "ab/", "-ab", "a..b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
