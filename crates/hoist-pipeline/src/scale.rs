//! The number of tasks, set and awaited.

use std::time::{Duration, Instant};

use hoist_aws::read::{self, ServiceView};
use hoist_aws::{Client, Service as Aws};
use hoist_project::Service;
use serde_json::json;

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::refusal::refused;
use crate::select;

/// Sets the number of tasks of `service`, and waits until that many run.
///
/// # Errors
/// The service does not exist, AWS refused the call, or the time ran out.
pub async fn scale(
    aws: &Client,
    service: &Service,
    count: u32,
    pause: Duration,
    timeout: Duration,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let live = cancel.or(select::live(aws, service)).await?;
    let before = ServiceView::of(&live).desired();
    let step = events.start(
        Step::Deploy,
        format!("{} from {before} to {count} tasks", service.name),
    );
    bounds(aws, &live, count, events).await;
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

/// Says it where auto scaling would undo the count. Not being allowed to ask is no reason to stop.
async fn bounds(aws: &Client, live: &serde_json::Value, count: u32, events: &Events) {
    let view = ServiceView::of(live);
    let Some((_, id)) = view.arn().split_once(":service/") else {
        return;
    };
    let request = json!({ "ServiceNamespace": "ecs", "ResourceIds": [format!("service/{id}")], "ScalableDimension": "ecs:service:DesiredCount" });
    let Ok(answer) = aws
        .json(
            Aws::ApplicationAutoScaling,
            "DescribeScalableTargets",
            request,
        )
        .await
    else {
        return;
    };
    for target in read::list(&answer, "ScalableTargets") {
        let (min, max) = (
            read::number(target, "MinCapacity").unwrap_or(0),
            read::number(target, "MaxCapacity").unwrap_or(i64::MAX),
        );
        if !(min..=max).contains(&i64::from(count)) {
            events.warn(
                Step::Deploy,
                format!("auto scaling keeps {min} to {max} tasks and will undo this"),
            );
        }
    }
}
