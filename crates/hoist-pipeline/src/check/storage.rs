//! Room for the image.

use hoist_aws::Service;
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, warning};
use crate::parallel::Boxed;
use crate::status;

/// How much larger layers are on disk than in the registry, at least: the archive and what it unpacks to are there at the same time.
const UNPACKED: f64 = 3.0;
/// GiB that every task has.
const DEFAULT: f64 = 20.0;

/// The check.
pub const CHECK: Check = Check {
    id: "image-size",
    sentence: "The image fits into the task's storage",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        // The image that runs now tells what the next one is going to need.
        let Some(running) = subject
            .live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str())
        else {
            return Ok(Vec::new());
        };
        let Ok(described) = status::describe_definition(scene.aws, running).await else {
            return Ok(Vec::new());
        };
        let name = scene.project.repository();
        let digest = status::images(&described["taskDefinition"])
            .into_values()
            .filter(|image| image.contains(&format!("/{name}@")))
            .find_map(|image| image.split_once('@').map(|(_, digest)| digest.to_owned()));
        let Some(digest) = digest else {
            return Ok(Vec::new());
        };
        let request = json!({ "repositoryName": name, "imageIds": [{ "imageDigest": digest }] });
        let answer = match scene
            .aws
            .json(Service::Ecr, "DescribeImages", request)
            .await
        {
            Ok(answer) => answer,
            Err(failed) if failed.is_not_found() => return Ok(Vec::new()),
            Err(failed) => return Err(failed),
        };
        let bytes = answer["imageDetails"][0]["imageSizeInBytes"]
            .as_f64()
            .unwrap_or(0.0);
        let needed = bytes * UNPACKED / f64::from(1 << 30);
        let room = subject.definition["ephemeralStorage"]["sizeInGiB"]
            .as_f64()
            .unwrap_or(DEFAULT);
        if needed < room {
            return Ok(Vec::new());
        }
        Ok(vec![warning(
            format!(
                "the image that runs now needs about {needed:.0} GiB unpacked, and tasks have {room:.0}"
            ),
            "raise `ephemeralStorage: { sizeInGiB }` (21 to 200), or make the image smaller",
        )])
    })
}
