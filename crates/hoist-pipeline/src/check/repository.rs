//! The repository.

use hoist_aws::Service;
use serde_json::json;

use super::{Check, Look, Outcome, Scene, error};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "repository",
    sentence: "The repository exists, or may be created",
    real_only: false,
    look: Look::All(look),
};

fn look<'a>(scene: &'a Scene<'a>) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let name = scene.project.repository();
        if scene.project.image.create_repository {
            return Ok(Vec::new());
        }
        let request = json!({ "repositoryNames": [name] });
        match scene
            .aws
            .json(Service::Ecr, "DescribeRepositories", request)
            .await
        {
            Ok(_) => Ok(Vec::new()),
            Err(failed) if failed.code() == Some("RepositoryNotFoundException") => Ok(vec![error(
                format!(
                    "the repository {name} does not exist in {}",
                    scene.aws.region()
                ),
                "create it, or set `image: { create-repository: true }`",
            )]),
            Err(failed) => Err(failed),
        }
    })
}
