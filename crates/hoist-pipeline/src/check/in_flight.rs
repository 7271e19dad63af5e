//! A deployment that goes on already.

use super::{Check, Look, Outcome, Scene, Subject, warning};
use crate::parallel::Boxed;
use crate::service;
use crate::table::tail;

/// The check.
pub const CHECK: Check = Check {
    id: "in-flight",
    sentence: "No other deployment of the service is in flight",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let work = &subject.work;
        if subject.live.is_none() {
            return Ok(Vec::new());
        }
        // Why it could not be asked is told by the checks of credentials and permissions.
        let flying = service::in_flight(scene.aws, work.cluster(), work.name()).await;
        Ok(flying
            .ok()
            .flatten()
            .map(|flying| {
                let revision = flying.task_definition.as_deref().map_or("a revision", tail);
                warning(
                    format!("a deployment of {revision} is in flight ({})", flying.status),
                    "a deployment now would not be started: wait for its end, or take it back with `hoist rollback`",
                )
            })
            .into_iter()
            .collect())
    })
}
