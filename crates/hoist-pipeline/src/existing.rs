//! An image that exists already, to deploy without a build: a promotion, or a way back to an older build.

use hoist_aws::{Client, Service, read};
use hoist_oci::{Digest, ImageRef, Registry, RegistryOptions};
use hoist_project::Project;
use serde_json::json;

use crate::ecr;
use crate::failure::{Failure, Kind};
use crate::image::Published;
use crate::refusal::{has_code, refused};

/// Finds the image that `given` names: a tag or a digest in the project's repository, or any image reference.
///
/// # Errors
/// `Check` where there is no such image; AWS or the registry refused a call.
pub async fn find(aws: &Client, project: &Project, given: &str) -> Result<Published, Failure> {
    let ours = project.repository();
    let reference = parse(given, ours)?;
    let missing = || {
        Failure::new(Kind::Check, format!("there is no image {given}")).hint(format!(
            "`aws ecr describe-images --repository-name {ours}` lists those of this project"
        ))
    };
    let registry_of = |host: &str| host.contains(".dkr.ecr.");
    let repository = ecr::find(aws, &reference.repository).await;
    let in_ecr = match (&reference.registry, &repository) {
        (None, _) => true,
        (Some(host), Ok(Some(repository))) => *host == repository.host || registry_of(host),
        (Some(host), _) => registry_of(host),
    };
    if in_ecr {
        let repository = repository?.ok_or_else(missing)?;
        let id = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => json!({ "imageDigest": digest.to_string() }),
            (None, tag) => json!({ "imageTag": tag.as_deref().unwrap_or("latest") }),
        };
        let mut request = json!({ "repositoryName": reference.repository, "imageIds": [id] });
        if let Some(account) = reference
            .registry
            .as_deref()
            .filter(|host| registry_of(host))
        {
            request["registryId"] = json!(account.split('.').next());
        }
        let answer = match aws.json(Service::Ecr, "DescribeImages", request).await {
            Ok(answer) => answer,
            Err(error) if has_code(&error, "ImageNotFoundException") => return Err(missing()),
            Err(error) => return Err(refused(format!("failed to look up {given}"), &error)),
        };
        let image = &answer["imageDetails"][0];
        let digest: Digest = read::text(image, "imageDigest")
            .parse()
            .map_err(|_| missing())?;
        let tag = reference.tag.clone().or_else(|| commit_tag(image));
        let uri = match &reference.registry {
            Some(host) if registry_of(host) => format!("{host}/{}", reference.repository),
            _ => repository.uri,
        };
        return Ok(published(&uri, digest, tag));
    }
    let registry = Registry::new(RegistryOptions {
        mirrors: project.mirrors.clone(),
        ..RegistryOptions::default()
    });
    let found = registry.head(&reference).await.map_err(|error| {
        Failure::because(Kind::Push, format!("failed to look up {given}"), &error)
    })?;
    let digest = found.ok_or_else(missing)?.digest;
    let name = ImageRef {
        tag: None,
        digest: None,
        ..reference.clone()
    };
    Ok(published(&name.to_string(), digest, reference.tag))
}

fn published(uri: &str, digest: Digest, tag: Option<String>) -> Published {
    Published {
        reference: format!("{uri}@{digest}"),
        tag: tag.unwrap_or_else(|| digest.short().to_string()),
        digest,
        reused: true,
    }
}

/// The tag that names a commit, of those that an image has.
fn commit_tag(image: &serde_json::Value) -> Option<String> {
    read::list(image, "imageTags")
        .filter_map(|tag| tag.as_str())
        .find(|tag| !tag.starts_with("inputs-"))
        .map(str::to_owned)
}

/// A bare tag or digest is one of `ours`, and so is a name without a registry that is ours.
fn parse(given: &str, ours: &str) -> Result<ImageRef, Failure> {
    let wrong = |error: &dyn std::error::Error| {
        Failure::because(Kind::Configuration, format!("`{given}` names no image"), error)
            .hint("give a tag or a digest of the project's repository, or REPOSITORY:TAG, or REPOSITORY@sha256:...")
    };
    let own = |tag: Option<String>, digest: Option<Digest>| ImageRef {
        registry: None,
        repository: ours.to_owned(),
        tag,
        digest,
    };
    if given.starts_with("sha256:") {
        let digest = given.parse().map_err(|error| wrong(&error))?;
        return Ok(own(None, Some(digest)));
    }
    if !given.is_empty() && !given.contains(['/', ':', '@']) {
        return Ok(own(Some(given.to_owned()), None));
    }
    let mut reference: ImageRef = given.parse().map_err(|error| wrong(&error))?;
    if reference.registry.is_none() && reference.repository != ours {
        reference.registry = Some(reference.host().to_owned());
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_tag_or_digest_is_one_of_the_projects_repository() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (given, registry, repository, tag, by_digest) in [
            ("1a2b3c", None, "shop", Some("1a2b3c"), false),
            (digest.as_str(), None, "shop", None, true),
            ("shop:2", None, "shop", Some("2"), false),
            ("nginx:1", Some("docker.io"), "nginx", Some("1"), false),
            (
                "1.dkr.ecr.eu-central-1.amazonaws.com/other:3",
                Some("1.dkr.ecr.eu-central-1.amazonaws.com"),
                "other",
                Some("3"),
                false,
            ),
        ] {
            let found = parse(given, "shop").unwrap();
            assert_eq!(found.registry.as_deref(), registry, "{given}");
            assert!(found.repository.ends_with(repository), "{given}");
            assert_eq!(found.tag.as_deref(), tag, "{given}");
            assert_eq!(found.digest.is_some(), by_digest, "{given}");
        }
        assert_eq!(parse("", "shop").unwrap_err().kind, Kind::Configuration);
        assert_eq!(
            parse("sha256:zz", "shop").unwrap_err().kind,
            Kind::Configuration
        );
    }
}
