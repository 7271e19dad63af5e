//! Keeps a rollout in view: looks, takes in what is new, judges, and says when to look again.
//!
//! It knows neither clock nor network but through [`Asks`], so that a simulation can drive it as AWS does.

use std::time::Duration;

use hoist_aws::{AwsError, Service, read};
use hoist_rollout::{
    ContainerFacts, Due, Intent, Observation, Progress, Rollout, Timing, Verdict, due, judge,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::observe::{Asks, FEW, Observer};

/// Time between two looks at the embedded AWS, which has no limits to keep.
const EMBEDDED: Duration = Duration::from_millis(150);
/// Time between two looks when the end may come at any moment: with the calls themselves, it is told within a second.
const NEAR: Duration = Duration::from_millis(850);
/// With more than [`FEW`] services, the time between two looks at each grows by this for each, so that their heartbeats (one call for ten of
/// them) take less than half of what ECS lets in a second (20).
const OF_MANY: Duration = Duration::from_millis(11);
/// The same for the embedded AWS, which has no limits but the machine's.
const EMBEDDED_OF_MANY: Duration = Duration::from_millis(3);
/// Time between two looks while things are on their way.
const SOON: Duration = Duration::from_secs(4);
/// The longest time between two looks, so that events are told as they happen.
const QUIET: Duration = Duration::from_secs(10);
/// How long a service that was just created or updated may be missing from what ECS describes, which is only eventually consistent.
const SETTLING: SignedDuration = SignedDuration::from_secs(30);
/// How long ECS lets a task without any health check run before it takes it for healthy.
const SETTLE: SignedDuration = SignedDuration::from_secs(40);

/// A rollout in view.
pub struct Lookout<'a, A> {
    aws: &'a A,
    rollout: Rollout,
    observer: Observer<'a, A>,
    is_embedded: bool,
    /// Whether ECS waits for a health check of a container, and not for a while to pass.
    has_checks: bool,
    failed: bool,
}

/// What a look brought.
pub struct Look {
    /// Each new fact, once.
    pub news: Vec<Progress>,
    /// What the rollout has come to.
    pub verdict: Verdict,
    /// Why the look is not whole, if a call failed.
    pub error: Option<AwsError>,
}

impl<'a, A: Asks> Lookout<'a, A> {
    /// Begins to look at a service for what `intent` is to bring about. `definition` is our task definition.
    pub fn new(
        aws: &'a A,
        cluster: &'a str,
        service: &'a str,
        definition: &'a Value,
        intent: Intent,
        is_embedded: bool,
    ) -> Lookout<'a, A> {
        Lookout {
            aws,
            rollout: Rollout::new(intent),
            observer: Observer::new(aws, cluster, service, definition),
            is_embedded,
            has_checks: read::list(definition, "containerDefinitions")
                .any(|one| one["healthCheck"].is_object()),
            failed: false,
        }
    }

    /// Expects ECS to take a task without health checks for healthy at once, as the embedded one does at its own pace.
    #[must_use]
    pub fn without_settling(mut self) -> Lookout<'a, A> {
        self.has_checks = true;
        self
    }

    /// All that was seen so far.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Looks once.
    pub async fn look(&mut self) -> Look {
        let mut seen = Vec::new();
        let error = self.observer.look(&self.rollout, &mut seen).await.err();
        let is_settling = self.rollout.intent.started.duration_until(self.aws.now()) < SETTLING;
        if self.rollout.service().is_none() && is_settling {
            seen.retain(|seen| !matches!(seen, Observation::ServiceMissing { .. }));
        }
        let mut news = self.rollout.see(&seen);
        for (task, containers) in self.rollout.wants_logs() {
            let logs = self.observer.logs(&task, &containers).await;
            news.extend(self.rollout.see(&logs));
        }
        // The embedded AWS is looked at all the time: nothing is to be learnt for that.
        if self.rollout.timing.is_none() && !self.is_embedded && self.rollout.service().is_some() {
            self.rollout.timing = Some(self.learn().await);
        }
        self.failed = error.is_some();
        let verdict = match judge(&self.rollout, self.aws.now()) {
            // What it would be believed with may be of an earlier look.
            Verdict::Succeeded if self.failed => self.unsure(),
            verdict => verdict,
        };
        Look {
            news,
            verdict,
            error,
        }
    }

    /// What a success has come to that was not seen whole.
    fn unsure(&self) -> Verdict {
        let waiting_for = vec!["a look at the service of which no call fails".to_owned()];
        let intent = &self.rollout.intent;
        if intent.started.duration_until(self.aws.now()) >= intent.timeout {
            return Verdict::TimedOut { waiting_for };
        }
        Verdict::InProgress {
            waiting_for,
            rolling_back: false,
            hopeless: None,
        }
    }

    /// How long to wait before the next look.
    pub fn pause(&self) -> Duration {
        let now = self.aws.now();
        let left = self.rollout.intent.started + self.rollout.intent.timeout;
        let watching = self.aws.watching();
        let near = self.near(watching);
        let pause = match due(&self.rollout, now) {
            _ if self.is_embedded => near,
            _ if self.failed => SOON.max(near),
            Due::Near => near,
            Due::Soon => SOON.max(near),
            Due::After(time) => Duration::try_from(time)
                .unwrap_or(near)
                .clamp(near, QUIET.max(near)),
        };
        let pause = if watching > 1 {
            together(now, pause, near)
        } else {
            pause
        };
        // The end of the time is an end like any other.
        let left = Duration::try_from(now.duration_until(left)).unwrap_or_default();
        pause.min(left.max(Duration::from_millis(1)))
    }

    /// Time between two looks when the end may come at any moment, and so many watch.
    fn near(&self, watching: usize) -> Duration {
        let watching = u32::try_from(watching).unwrap_or(u32::MAX);
        if self.is_embedded {
            EMBEDDED.max(EMBEDDED_OF_MANY.saturating_mul(watching))
        } else if watching as usize > FEW {
            NEAR.max(OF_MANY.saturating_mul(watching))
        } else {
            NEAR
        }
    }

    /// Asks for the settings that decide how long things take. What cannot be had is taken to take no time.
    async fn learn(&self) -> Timing {
        let (bake, groups) = self.rollout.service().map_or((0, Vec::new()), |service| {
            (service.bake_minutes, service.groups())
        });
        let mut drain = SignedDuration::ZERO;
        for group in groups {
            let request = json!({ "TargetGroupArn": group });
            let asked = self
                .aws
                .query(Service::Elbv2, "DescribeTargetGroupAttributes", request);
            let answer = asked.await.unwrap_or_default();
            let delay = read::list(&answer, "Attributes")
                .find(|one| one["Key"] == "deregistration_delay.timeout_seconds")
                .and_then(|one| read::number(one, "Value"));
            drain = drain.max(SignedDuration::from_secs(delay.unwrap_or_default()));
        }
        Timing {
            drain,
            bake: SignedDuration::from_mins(bake),
            settle: if self.has_checks {
                SignedDuration::ZERO
            } else {
                SETTLE
            },
        }
    }

    /// Asks for the path of the health check, which a diagnosis may name; without an answer it does without.
    pub async fn learn_health_path(&mut self) {
        let is_known = |one: &ContainerFacts| one.health_path.is_some();
        let group = self
            .rollout
            .service()
            .and_then(|service| service.groups().into_iter().next());
        let Some(group) = group.filter(|_| !self.rollout.intent.containers.iter().all(is_known))
        else {
            return;
        };
        let request = json!({ "TargetGroupArns": [group] });
        let asked = self
            .aws
            .query(Service::Elbv2, "DescribeTargetGroups", request);
        let answer = asked.await.unwrap_or_default();
        let path = read::target_groups(&answer)
            .next()
            .map(|group| group.health_path().to_owned())
            .filter(|path| !path.is_empty());
        for container in &mut self.rollout.intent.containers {
            container.health_path.clone_from(&path);
        }
    }
}

/// A pause that ends at one of the moments at which all look, so that they can ask in one call: those are `tick` apart. It is never longer
/// than `pause` unless that ends before the next of them.
fn together(now: Timestamp, pause: Duration, tick: Duration) -> Duration {
    let (now, pause, tick) = (
        u128::try_from(now.as_millisecond()).unwrap_or_default(),
        pause.as_millis(),
        tick.as_millis().max(1),
    );
    let next = (now / tick + 1) * tick;
    let then = ((now + pause) / tick * tick).max(next);
    Duration::from_millis(u64::try_from(then - now).unwrap_or_default())
}

/// What UpdateService or CreateService answered, read into what is looked for: the deployment's id, and when it was made.
pub fn note_answer(intent: &mut Intent, answer: &Value) {
    let primary =
        read::list(answer, "deployments").find(|deployment| deployment["status"] == "PRIMARY");
    if let Some(primary) = primary {
        intent.deployment_id = primary["id"].as_str().map(str::to_owned);
        // By the clock of ECS: ours may be wrong.
        intent.made_at = read::moment(primary, "createdAt");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_look_together_look_at_the_same_moments() {
        let at = |millis: i64| Timestamp::from_millisecond(1_764_000_000_000 + millis).unwrap();
        let pause = |now, millis| {
            let pause = Duration::from_millis(millis);
            together(at(now), pause, Duration::from_millis(750)).as_millis()
        };
        assert_eq!(
            (pause(0, 750), pause(1, 750), pause(749, 750)),
            (750, 749, 1)
        );
        assert_eq!((pause(0, 4_000), pause(740, 4_000)), (3_750, 3_760));
        assert_eq!(pause(100, 10), 650);
    }
}
