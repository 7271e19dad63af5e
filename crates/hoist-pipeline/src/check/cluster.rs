//! The cluster.

use hoist_aws::{Service, read};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error, or_rather};
use crate::parallel::Boxed;
use crate::table::tail;

/// The check.
pub const CHECK: Check = Check {
    id: "cluster",
    sentence: "The cluster exists",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let cluster = subject.work.cluster();
        let request = json!({ "clusters": [cluster] });
        let seen = scene
            .aws
            .json(Service::Ecs, "DescribeClusters", request)
            .await?;
        if seen["clusters"][0]["status"] == "ACTIVE" {
            return Ok(Vec::new());
        }
        let listed = scene
            .aws
            .json(Service::Ecs, "ListClusters", json!({}))
            .await?;
        let names: Vec<&str> = read::list(&listed, "clusterArns")
            .filter_map(|arn| arn.as_str().map(tail))
            .collect();
        Ok(vec![error(
            format!(
                "the cluster {cluster} does not exist in {}",
                scene.aws.region()
            ),
            or_rather(tail(cluster), names),
        )])
    })
}
