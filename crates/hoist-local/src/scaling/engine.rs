//! What scales: alarms that ring, and schedules that come due.

use std::collections::HashMap;
use std::time::Duration;

use hoist_fargate::Action;
use serde_json::{Map, Value, json};

use super::cron::Schedule;
use super::model::{Last, Policy, Target};
use crate::api::ApiError;
use crate::clock::{self, Millis};
use crate::ctx::Ctx;
use crate::driver::Crew;
use crate::metrics::{Alarm, Sampler};

/// Cluster and name of a service.
fn parts(resource: &str) -> (&str, &str) {
    let mut parts = resource.split('/').skip(1);
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

/// The desired number of tasks, and whether a deployment is in flight; `None` if there is no such service.
pub fn desired(ctx: &Ctx, region: &str, resource: &str) -> Option<(u32, bool)> {
    let (cluster, name) = parts(resource);
    ctx.driver.read(|world| {
        let cluster = world.find_cluster(region, Some(cluster)).ok()?;
        let service = world.find_service(cluster, name)?;
        Some((
            service.desired_count,
            service.current_service_deployment.is_some(),
        ))
    })
}

/// Sets the number of tasks and records it.
async fn set(ctx: &Ctx, region: &str, resource: &str, to: u32, cause: &str) {
    let (cluster, name) = parts(resource);
    let request: Map<String, Value> = Map::from_iter([
        ("cluster".to_owned(), json!(cluster)),
        ("service".to_owned(), json!(name)),
        ("desiredCount".to_owned(), json!(to)),
    ]);
    let result: Result<(), ApiError> = ctx
        .driver
        .call(region, Action::UpdateService, request)
        .await
        .map(drop);
    match &result {
        Ok(()) => tracing::info!(region, resource, to, "scaled"),
        Err(error) => tracing::warn!(region, resource, to, %error, "failed to scale"),
    }
    ctx.scaling
        .record(region, resource, to, cause, result.as_ref().copied());
}

/// Brings a service within its bounds.
pub async fn keep_within(ctx: &Ctx, region: &str, target: &Target) {
    let Some((now, _)) = desired(ctx, region, &target.resource) else {
        return;
    };
    if now < target.min {
        let cause = format!("minimum capacity was set to {}", target.min);
        set(ctx, region, &target.resource, target.min, &cause).await;
    } else if now > target.max {
        let cause = format!("maximum capacity was set to {}", target.max);
        set(ctx, region, &target.resource, target.max, &cause).await;
    }
}

/// Measures, judges and scales, once a minute, until the daemon stops.
pub async fn run(crew: Crew) {
    let ctx = crew.ctx.clone();
    let mut engine = Engine {
        ctx: ctx.clone(),
        last: HashMap::new(),
    };
    let mut sampler = Sampler::new(crew);
    let minute = Duration::from_millis(u64::try_from(ctx.metrics.minute()).unwrap_or(1000));
    let mut tick = tokio::time::interval(minute);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = ctx.stopping.cancelled() => return,
        }
        sampler.measure(&ctx.metrics).await;
        if let Err(error) = engine.once().await {
            tracing::warn!(%error, "failed to look after auto scaling");
        }
    }
}

struct Engine {
    ctx: Ctx,
    /// The last scale-out and scale-in of each policy.
    last: HashMap<(String, bool), Last>,
}

impl Engine {
    async fn once(&mut self) -> Result<(), ApiError> {
        let ringing = self.ctx.metrics.judge_all(clock::now())?;
        let _changing = self.ctx.scaling.changing.clone().lock_owned().await;
        for (region, alarm, value) in ringing {
            for action in &alarm.alarm_actions {
                self.ring(&region, action, &alarm, value).await?;
            }
        }
        self.schedules().await
    }

    /// An alarm calls a policy.
    async fn ring(
        &mut self,
        region: &str,
        arn: &str,
        alarm: &Alarm,
        value: f64,
    ) -> Result<(), ApiError> {
        let policies = self.ctx.scaling.policies.list(region)?;
        let Some((_, policy)) = policies.into_iter().find(|(_, it)| it.arn == arn) else {
            return Ok(());
        };
        let Some(target) = self.ctx.scaling.targets.get(region, &policy.resource)? else {
            return Ok(());
        };
        let Some((now, deploying)) = desired(&self.ctx, region, &policy.resource) else {
            return Ok(());
        };
        let tracking = policy.kind == "TargetTrackingScaling";
        let at = clock::now();
        let out = |grow: bool| self.last.get(&(policy.arn.clone(), grow)).copied();
        let wanted = if tracking {
            track(&policy, alarm, value, now, out(true), at)
        } else {
            step(&policy, alarm, value, now)
        };
        let wanted = wanted.clamp(target.min, target.max);
        let grow = wanted > now;
        // Target tracking looks at its cooldown of growth itself.
        let cooldown = match (tracking, grow) {
            (true, true) => 0,
            (true, false) => policy.cooldown("ScaleInCooldown"),
            (false, _) => policy.cooldown("Cooldown"),
        };
        let cooling = out(grow).is_some_and(|last| at < last.at + cooldown);
        let suspended = target.is_suspended(if grow {
            "DynamicScalingOutSuspended"
        } else {
            "DynamicScalingInSuspended"
        });
        // While a service is deployed, nothing is taken from it (ECS developer guide, "Target tracking scaling policies").
        if wanted == now || cooling || suspended || (!grow && deploying) {
            return Ok(());
        }
        let cause = format!(
            "monitor alarm {} in state ALARM triggered policy {}",
            alarm.name, policy.name
        );
        set(&self.ctx, region, &policy.resource, wanted, &cause).await;
        self.last.insert((policy.arn, grow), Last { at, from: now });
        Ok(())
    }

    /// Does what has come due since it was last looked.
    async fn schedules(&self) -> Result<(), ApiError> {
        let (scaling, now) = (&self.ctx.scaling, clock::now());
        for (region, key, mut action) in scaling.scheduled.all()? {
            let Some(schedule) = Schedule::parse(&action.schedule) else {
                continue;
            };
            let begins = action.start.unwrap_or(action.created);
            let since = action.done.unwrap_or(begins);
            let due = schedule.next(begins, since).filter(|at| *at <= now);
            let Some(due) = due.filter(|at| action.end.is_none_or(|end| *at <= end)) else {
                continue;
            };
            // One that was missed while the daemon was down is done once.
            action.done = Some(now.max(due));
            scaling.scheduled.put(&region, &key, &action)?;
            let Some(mut target) = scaling.targets.get(&region, &action.resource)? else {
                continue;
            };
            if target.is_suspended("ScheduledScalingSuspended") {
                continue;
            }
            target.min = action.min.unwrap_or(target.min);
            target.max = action.max.unwrap_or(target.max).max(target.min);
            scaling.targets.put(&region, &action.resource, &target)?;
            keep_within(&self.ctx, &region, &target).await;
        }
        Ok(())
    }
}

/// The number of tasks that would bring the metric to its target. While the last growth cools down, the metric is taken for that of
/// the number of tasks before it.
fn track(
    policy: &Policy,
    alarm: &Alarm,
    value: f64,
    now: u32,
    grown: Option<Last>,
    at: Millis,
) -> u32 {
    let target = policy.configuration["TargetValue"]
        .as_f64()
        .unwrap_or(f64::MAX);
    let high = alarm.comparison.starts_with("Greater");
    let cooling = grown.filter(|last| at < last.at + policy.cooldown("ScaleOutCooldown"));
    let base = match cooling {
        Some(last) if high => last.from,
        _ => now,
    };
    let wanted = (f64::from(base.max(1)) * value / target)
        .ceil()
        .clamp(0.0, 5000.0) as u32;
    if high {
        wanted.max(now)
    } else {
        wanted.min(now)
    }
}

/// The number of tasks by the step that the breach lies in.
fn step(policy: &Policy, alarm: &Alarm, value: f64, now: u32) -> u32 {
    let breach = value - alarm.threshold;
    let steps = policy.configuration["StepAdjustments"].as_array();
    // Lower bounds are inclusive above the threshold, upper bounds below it.
    let above = breach >= 0.0;
    let within = |step: &&Value| {
        let low = step["MetricIntervalLowerBound"].as_f64();
        let high = step["MetricIntervalUpperBound"].as_f64();
        if above {
            low.is_none_or(|low| breach >= low) && high.is_none_or(|high| breach < high)
        } else {
            low.is_none_or(|low| breach > low) && high.is_none_or(|high| breach <= high)
        }
    };
    let Some(adjustment) = steps
        .into_iter()
        .flatten()
        .find(within)
        .and_then(|it| it["ScalingAdjustment"].as_i64())
    else {
        return now;
    };
    let current = i64::from(now);
    let wanted = match policy.configuration["AdjustmentType"].as_str() {
        Some("ExactCapacity") => adjustment,
        Some("PercentChangeInCapacity") => {
            let change = current as f64 * adjustment as f64 / 100.0;
            // Between 0 and 1 it is 1, else rounded towards 0 (user guide, "Scaling adjustment types").
            let change = if change.abs() < 1.0 {
                change.signum()
            } else {
                change.trunc()
            } as i64;
            let least = policy.configuration["MinAdjustmentMagnitude"]
                .as_i64()
                .unwrap_or(0);
            current + change.signum() * change.abs().max(least)
        }
        _ => current + adjustment,
    };
    u32::try_from(wanted.clamp(0, 5000)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{AlarmState, Series};

    fn policy(configuration: Value) -> Policy {
        Policy {
            resource: "service/c/s".into(),
            name: "p".into(),
            arn: "arn".into(),
            kind: String::new(),
            configuration,
            alarms: Vec::new(),
            created: 0,
        }
    }

    fn alarm(comparison: &str, threshold: f64) -> Alarm {
        Alarm {
            name: "a".into(),
            arn: String::new(),
            description: None,
            series: Series::new("N", "M", &[]),
            statistic: "Average".into(),
            period: 60,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            threshold,
            comparison: comparison.into(),
            missing: "missing".into(),
            actions_enabled: true,
            alarm_actions: Vec::new(),
            ok_actions: Vec::new(),
            insufficient_actions: Vec::new(),
            updated: 0,
            state: AlarmState::Alarm,
            reason: String::new(),
            state_updated: 0,
            tags: Default::default(),
        }
    }

    #[test]
    fn target_tracking_asks_for_as_many_as_bring_the_metric_to_its_target() {
        let policy = policy(json!({"TargetValue": 50.0, "ScaleOutCooldown": 60}));
        let (high, low) = (
            alarm("GreaterThanThreshold", 50.0),
            alarm("LessThanThreshold", 45.0),
        );
        assert_eq!(track(&policy, &high, 80.0, 2, None, 0), 4);
        assert_eq!(track(&policy, &low, 10.0, 4, None, 0), 1);
        // Two grew to four a moment ago: what is measured is still of two.
        let grown = Some(Last { at: 0, from: 2 });
        assert_eq!(track(&policy, &high, 80.0, 4, grown, 1_000), 4);
        assert_eq!(track(&policy, &high, 150.0, 4, grown, 1_000), 6);
        assert_eq!(track(&policy, &high, 80.0, 4, grown, 61_000), 7);
    }

    #[test]
    fn a_step_is_chosen_by_the_size_of_the_breach() {
        let steps = |kind: &str| {
            policy(json!({"AdjustmentType": kind, "StepAdjustments": [
                {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 10.0, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 10.0, "ScalingAdjustment": 30},
            ]}))
        };
        let high = alarm("GreaterThanThreshold", 60.0);
        assert_eq!(step(&steps("ChangeInCapacity"), &high, 65.0, 4), 5);
        assert_eq!(step(&steps("ChangeInCapacity"), &high, 70.0, 4), 34);
        assert_eq!(step(&steps("ExactCapacity"), &high, 90.0, 4), 30);
        assert_eq!(step(&steps("PercentChangeInCapacity"), &high, 90.0, 10), 13);
        assert_eq!(step(&steps("PercentChangeInCapacity"), &high, 65.0, 10), 11);
    }
}
