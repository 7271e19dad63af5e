//! Following schedules.

use serde_json::Value;

use super::model::Schedule;
use super::zone;
use crate::api::ApiError;
use crate::clock::{self, Millis};
use crate::ctx::Ctx;
use crate::events::{Order, run_task};
use crate::scaling;

/// Does what is due, and says when to look again.
///
/// # Errors
/// When the schedules cannot be read or written.
pub(crate) async fn once(ctx: &Ctx) -> Result<Option<Millis>, ApiError> {
    let mut soonest = None;
    for (region, key, schedule) in ctx.scheduler.schedules.all()? {
        let next = follow(ctx, &region, &key, schedule).await?;
        soonest = soonest.into_iter().chain(next).min();
    }
    Ok(soonest)
}

fn date(schedule: &Schedule, name: &str) -> Option<Millis> {
    let seconds = schedule.request.get(name)?.as_f64()?;
    Some((seconds * 1000.0) as Millis)
}

async fn follow(
    ctx: &Ctx,
    region: &str,
    key: &str,
    it: Schedule,
) -> Result<Option<Millis>, ApiError> {
    let text = |name: &str| it.request.get(name).and_then(Value::as_str);
    if text("State") == Some("DISABLED") {
        return Ok(None);
    }
    let zone = zone::find(text("ScheduleExpressionTimezone").unwrap_or("UTC"));
    let expression = text("ScheduleExpression").unwrap_or_default();
    let Some(plan) = zone.and_then(|zone| scaling::Schedule::parse_in(expression, &zone)) else {
        return Ok(None);
    };
    let (start, end) = (date(&it, "StartDate"), date(&it, "EndDate"));
    let begins = start.unwrap_or(it.changed);
    let next = |after: Millis| {
        let due = match &plan {
            // A time that has passed when the schedule is made is never due.
            scaling::Schedule::At(_) => plan.next(it.changed, after),
            // A rate begins at once, or at its start date (user guide, "Rate-based schedules").
            scaling::Schedule::Every(_) if it.done.is_none() && after < begins => Some(begins),
            _ => plan.next(begins, after.max(begins - 1)),
        };
        due.filter(|at| end.is_none_or(|end| *at <= end))
    };
    let now = clock::now();
    let after = it.done.unwrap_or(it.changed - 1);
    let Some(due) = next(after) else {
        return finish(ctx, region, key, &it, text("ActionAfterCompletion"));
    };
    if due > now {
        return Ok(Some(due));
    }
    let target = &it.request["Target"];
    let order = Order {
        cluster: target["Arn"].as_str().unwrap_or_default(),
        parameters: &target["EcsParameters"],
        input: target["Input"].as_str().map(str::to_owned),
        started_by: format!("chronos-schedule/{}", it.name),
        once: format!("{} {due}", it.arn),
    };
    if let Err(error) = run_task(ctx, region, order).await {
        tracing::warn!(schedule = it.arn, %error, "a schedule cannot run its task");
    }
    // It may have been changed or deleted meanwhile.
    if let Some(mut newest) = ctx.scheduler.schedules.get(region, key)?
        && newest.changed == it.changed
    {
        // What was missed while the daemon was down is done once.
        newest.done = Some(now);
        ctx.scheduler.schedules.put(region, key, &newest)?;
        return match next(now) {
            Some(at) => Ok(Some(at)),
            None => finish(ctx, region, key, &newest, text("ActionAfterCompletion")),
        };
    }
    Ok(Some(now))
}

/// Removes a schedule that is never due again, if it asks for that.
fn finish(
    ctx: &Ctx,
    region: &str,
    key: &str,
    it: &Schedule,
    then: Option<&str>,
) -> Result<Option<Millis>, ApiError> {
    if then == Some("DELETE") && it.done.is_some() {
        ctx.scheduler.schedules.delete(region, key)?;
    }
    Ok(None)
}
