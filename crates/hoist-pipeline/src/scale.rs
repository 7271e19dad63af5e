//! The number of tasks, set and awaited, and the bounds between which auto scaling keeps it.

use std::time::{Duration, Instant};

use hoist_aws::read::ServiceView;
use hoist_aws::{Client, Service as Aws};
use hoist_project::Service;
use serde_json::json;

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::refused;
use crate::{scaling, select};

/// What is wanted of a service; at least one of these.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    /// How many there are to be.
    pub count: Option<u32>,
    /// The fewest that auto scaling leaves.
    pub min: Option<u32>,
    /// The most that it makes.
    pub max: Option<u32>,
}

/// Sets the bounds of auto scaling and the number of tasks of `service`, as wanted, and waits until that many run.
///
/// # Errors
/// The service does not exist, the bounds make no sense, AWS refused the call, or the time ran out.
pub async fn scale(
    aws: &Client,
    service: &Service,
    wanted: Scale,
    pause: Duration,
    timeout: Duration,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let live = cancel.or(select::live(aws, service)).await?;
    let Scale { count, min, max } = wanted;
    if min.is_some() || max.is_some() {
        let set = scaling::bound(aws, &service.cluster, &service.name, (min, max), events);
        cancel.or(set).await?;
        if service.scaling.is_some() {
            events.warn(
                Step::Deploy,
                format!(
                    "the next deployment of {} sets the bounds that `scaling` in hoist.yaml names",
                    service.name
                ),
            );
        }
    }
    let Some(count) = count else { return Ok(()) };
    let before = ServiceView::of(&live).desired();
    let step = events.start(
        Step::Deploy,
        format!("{} from {before} to {count} tasks", service.name),
    );
    // Not being allowed to ask is no reason to stop.
    if let Ok(Some((min, max))) = scaling::bounds(aws, &service.cluster, &service.name).await
        && !(min..=max).contains(&i64::from(count))
    {
        events.warn(
            Step::Deploy,
            format!("auto scaling keeps {min} to {max} tasks and will undo this"),
        );
    }
    let request =
        json!({ "cluster": service.cluster, "service": service.name, "desiredCount": count });
    let asked = async {
        aws.json(Aws::Ecs, "UpdateService", request)
            .await
            .map_err(|error| refused(format!("failed to scale {}", service.name), &error))
    };
    cancel.or(asked).await?;
    let began = Instant::now();
    let mut last = None;
    loop {
        let live = cancel.or(select::live(aws, service)).await?;
        let view = ServiceView::of(&live);
        let (running, pending) = (view.running(), view.pending());
        if view.desired() != i64::from(count) {
            return Err(Failure::new(
                Kind::Superseded,
                format!(
                    "something else set the number of tasks of {} to {}",
                    service.name,
                    view.desired()
                ),
            )
            .hint("auto scaling sets it too: see `scaling` in hoist.yaml"));
        }
        if running == i64::from(count) && pending == 0 {
            step.finish(format!("{running} tasks run"));
            return Ok(());
        }
        if last.replace((running, pending)) != Some((running, pending)) {
            events.note(
                Step::Deploy,
                format!("{running} run, {pending} on their way"),
            );
        }
        if began.elapsed() > timeout {
            return Err(Failure::new(
                Kind::TimedOut,
                format!(
                    "{} has {running} of {count} tasks after {} s",
                    service.name,
                    timeout.as_secs()
                ),
            )
            .hint("`hoist events` and `hoist tasks --all` say why"));
        }
        let wait = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        cancel.or(wait).await?;
    }
}
