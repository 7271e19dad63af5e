//! What is due: rules with a schedule, and the schedules of EventBridge Scheduler.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::emit::Teller;
use super::send::send;
use crate::api::ApiError;
use crate::clock::{self, Millis};
use crate::ctx::{ACCOUNT, Ctx};
use crate::ids;
use crate::scaling::Schedule;
use crate::scheduler;

/// The clock may jump; it is looked at again at least so often.
const LONGEST: Millis = 60_000;

/// Tells of what the scheduler of ECS writes, and does what is due, until the daemon stops.
pub async fn run(ctx: Ctx) {
    if let Some(mut inbox) = ctx.events.inbox() {
        let mut teller = Teller::new(ctx.clone());
        tokio::spawn(async move {
            while let Some(written) = inbox.recv().await {
                teller.tell(written).await;
            }
        });
    }
    loop {
        let next = match once(&ctx).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "failed to look after schedules");
                None
            }
        };
        let pause = next.map_or(LONGEST, |at| (at - clock::now()).clamp(0, LONGEST));
        let pause = Duration::from_millis(u64::try_from(pause).unwrap_or(0));
        tokio::select! {
            () = ctx.stopping.cancelled() => return,
            () = ctx.events.changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Does what is due, and says when to look again.
async fn once(ctx: &Ctx) -> Result<Option<Millis>, ApiError> {
    let of_rules = rules(ctx).await?;
    let of_schedules = scheduler::once(ctx).await?;
    Ok(of_rules.into_iter().chain(of_schedules).min())
}

async fn rules(ctx: &Ctx) -> Result<Option<Millis>, ApiError> {
    let mut soonest = None;
    for (region, key, mut rule) in ctx.events.rules.all()? {
        let Some(schedule) = rule.schedule.as_deref().and_then(Schedule::parse) else {
            continue;
        };
        if !rule.enabled {
            continue;
        }
        let now = clock::now();
        let after = rule.done.unwrap_or(rule.created);
        let Some(due) = schedule.next(rule.created, after) else {
            continue;
        };
        let mut next = Some(due);
        if due <= now {
            // The same event again, should this daemon be killed before it has written that it is done.
            let digest = hex::encode(Sha256::digest(format!("{} {due}", rule.arn)));
            let event = json!({
                "version": "0", "id": ids::uuid_of(&digest), "detail-type": "Scheduled Event", "source": "aws.events", "account": ACCOUNT,
                "time": clock::iso8601_seconds(due), "region": region, "resources": [rule.arn], "detail": {},
            });
            send(ctx, &region, &rule, &event).await;
            // What was missed while the daemon was down is done once.
            next = schedule.next(rule.created, now);
            // The rule may have been changed meanwhile.
            if let Some(mut newest) = ctx.events.rules.get(&region, &key)? {
                newest.done = Some(now);
                rule = newest;
                ctx.events.rules.put(&region, &key, &rule)?;
            }
        }
        soonest = soonest.into_iter().chain(next).min();
    }
    Ok(soonest)
}
