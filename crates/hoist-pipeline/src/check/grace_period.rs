//! Time for a slow start.

use hoist_aws::read;

use super::{Check, Look, Outcome, Scene, Subject, warning};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "grace-period",
    sentence: "A task that starts slowly is not stopped for it",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(_: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        if read::list(&subject.service, "loadBalancers")
            .as_slice()
            .is_empty()
        {
            return Ok(Vec::new());
        }
        let grace = read::number(&subject.service, "healthCheckGracePeriodSeconds").unwrap_or(0);
        let slowest = read::list(&subject.definition, "containerDefinitions")
            .filter_map(|container| {
                let seconds = read::number(&container["healthCheck"], "startPeriod")?;
                Some((seconds, read::text(container, "name")))
            })
            .max();
        Ok(slowest
            .filter(|(seconds, _)| *seconds > grace)
            .map(|(seconds, name)| {
                warning(
                    format!("the container {name} may take {seconds} s to start, but the load balancer's checks count after {grace} s"),
                    format!("set `healthCheckGracePeriodSeconds` to {seconds} or more"),
                )
            })
            .into_iter()
            .collect())
    })
}
