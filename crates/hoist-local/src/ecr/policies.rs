//! Repository and lifecycle policies: kept and told as they were given; [`lifecycle`] says what the latter do.

use serde_json::{Value, json};

use super::lifecycle;
use super::words::{invalid, need, repository_name};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::registry::{Registry, Repository};

/// Which of the two policies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who may do what.
    Repository,
    /// What expires.
    Lifecycle,
}

impl Kind {
    fn member(self) -> &'static str {
        match self {
            Self::Repository => "policyText",
            Self::Lifecycle => "lifecyclePolicyText",
        }
    }

    fn of(self, repository: &mut Repository) -> &mut Option<String> {
        match self {
            Self::Repository => &mut repository.policy,
            Self::Lifecycle => &mut repository.lifecycle,
        }
    }

    fn missing(self, name: &str) -> ApiError {
        let (code, what) = match self {
            Self::Repository => ("RepositoryPolicyNotFoundException", "Repository policy"),
            Self::Lifecycle => ("LifecyclePolicyNotFoundException", "Lifecycle policy"),
        };
        let text = format!(
            "{what} does not exist for the repository with name '{name}' in the registry with id '{ACCOUNT}'"
        );
        ApiError::new(code, text)
    }
}

pub fn set(registry: &Registry, call: &Call, kind: Kind) -> Result<Value, ApiError> {
    let (name, text) = (repository_name(call)?, need(call, kind.member())?);
    let is_object = serde_json::from_str::<Value>(text).is_ok_and(|policy| policy.is_object());
    if !is_object {
        return Err(match kind {
            Kind::Repository => invalid("PolicyText", "Invalid repository policy provided"),
            Kind::Lifecycle => invalid(kind.member(), "Invalid JSON syntax"),
        });
    }
    if kind == Kind::Lifecycle {
        lifecycle::check(text)?;
    }
    registry.change_repository(&call.region, name, |repository| {
        *kind.of(repository) = Some(text.to_owned())
    })?;
    Ok(render(kind, name, text, false))
}

pub fn get(registry: &Registry, call: &Call, kind: Kind) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let mut repository = registry.repository(&call.region, name)?;
    let text = kind
        .of(&mut repository)
        .take()
        .ok_or_else(|| kind.missing(name))?;
    Ok(render(kind, name, &text, true))
}

pub fn delete(registry: &Registry, call: &Call, kind: Kind) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let text =
        registry.change_repository(&call.region, name, |repository| kind.of(repository).take())?;
    Ok(render(
        kind,
        name,
        &text.ok_or_else(|| kind.missing(name))?,
        true,
    ))
}

fn render(kind: Kind, name: &str, text: &str, evaluated: bool) -> Value {
    let mut answer = json!({"registryId": ACCOUNT, "repositoryName": name});
    answer[kind.member()] = text.into();
    if kind == Kind::Lifecycle && evaluated {
        answer["lastEvaluatedAt"] = clock::epoch_seconds(clock::now());
    }
    answer
}
