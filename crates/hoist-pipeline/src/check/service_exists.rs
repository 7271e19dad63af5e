//! The service.

use hoist_aws::{Service, read};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error, or_rather};
use crate::parallel::Boxed;
use crate::table::tail;

/// The check.
pub const CHECK: Check = Check {
    id: "service",
    sentence: "The service exists, or can be created",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let work = &subject.work;
        if subject.live.is_some() {
            return Ok(Vec::new());
        }
        let request = json!({ "cluster": work.cluster(), "services": [work.name()] });
        let answer = match scene
            .aws
            .json(Service::Ecs, "DescribeServices", request)
            .await
        {
            Ok(answer) => answer,
            // That is another check's.
            Err(failed) if failed.code() == Some("ClusterNotFoundException") => {
                return Ok(Vec::new());
            }
            Err(failed) => return Err(failed),
        };
        if answer["services"][0]["status"] == "DRAINING" {
            return Ok(vec![error(
                format!("the service {} is being deleted", work.name()),
                "deploy once it is gone: `aws ecs wait services-inactive` waits for that",
            )]);
        }
        if work.can_create {
            return Ok(Vec::new());
        }
        let request = json!({ "cluster": work.cluster(), "maxResults": 100 });
        let listed = scene
            .aws
            .json(Service::Ecs, "ListServices", request)
            .await?;
        let names: Vec<&str> = read::list(&listed, "serviceArns")
            .filter_map(|arn| arn.as_str().map(tail))
            .collect();
        Ok(vec![error(
            format!(
                "the service {} does not exist in the cluster {}, and there is no service definition to create it from",
                work.name(),
                tail(work.cluster())
            ),
            or_rather(work.name(), names),
        )])
    })
}
