//! The rolling update: which tasks a service starts and stops next.
//!
//! Per cent of the desired count give two bounds: healthy tasks never fall below the minimum (rounded up) by what is decided here,
//! and tasks that are meant to run never exceed the maximum (rounded down). Tasks that drain or stop count for neither, as in the
//! documentation of `maximumPercent` ("in the RUNNING or PENDING state").

use std::ops::Range;

use crate::conclude::STEADY_AGAIN;
use crate::crew::{Crew, Seen, is_unhealthy_news};
use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{
    DeploymentStatus, Millis, RolloutState, Service, ServiceStatus, StopCode, TaskStatus, Traffic,
};

/// The least and the most tasks of a service: (healthy at least, meant to run at most).
pub(crate) fn bounds(desired: u32, minimum_percent: u32, maximum_percent: u32) -> (u32, u32) {
    let percent_of = |percent: u32| u64::from(desired) * u64::from(percent);
    let lower = percent_of(minimum_percent).div_ceil(100);
    let upper = percent_of(maximum_percent) / 100;
    (lower as u32, upper as u32)
}

impl Turn<'_> {
    /// Looks after a service: does what can be done now to bring it to what it should be.
    pub fn reconcile(&mut self, service: &mut Service) {
        self.announce_targets(service);
        let mut crew = self.crew(service);
        match service.status {
            ServiceStatus::Inactive => {}
            ServiceStatus::Draining => self.drain(service, &mut crew),
            ServiceStatus::Active if service.is_external() => self.keep_sets(service, &mut crew),
            ServiceStatus::Active => self.roll(service, &mut crew),
        }
        self.count(service, &crew);
    }

    /// When a service has something to do by itself, after now.
    pub fn service_alarm(&self, service: &Service) -> Option<Millis> {
        let launches = service.deployments.iter().filter_map(|it| it.launch_after);
        let course = self.course_alarm(service);
        let rolling = service
            .primary()
            .filter(|it| it.rollout_state == RolloutState::InProgress);
        let trip = rolling.and_then(|it| it.trips_at);
        let completion = rolling
            .and_then(|it| it.settled_at)
            .map(|at| self.completion(service, at));
        let forget = service
            .deleted_at
            .map(|at| at + self.world.settings.pace.keep_stopped);
        let steady = service.steady_at.filter(|_| service.steady);
        launches
            .chain(steady.map(|at| at + STEADY_AGAIN))
            .chain(trip)
            .chain(completion)
            .chain(forget)
            .chain(course)
            .chain(service.balance.due_at)
            .filter(|at| *at > self.now)
            .min()
    }

    fn drain(&mut self, service: &mut Service, crew: &mut Crew) {
        while !crew.tasks.is_empty() {
            self.stop_one(crew, 0, service);
        }
        self.announce_stopped(service, &crew.stopped_running, crew.stopped_pending);
        if !crew.has_stopping() {
            service.status = ServiceStatus::Inactive;
            service.deployments.clear();
            self.drop_sets(service);
            service.deleted_at = Some(self.now);
        }
    }

    fn roll(&mut self, service: &mut Service, crew: &mut Crew) {
        if crew.has_news {
            self.account(service);
        }
        self.count_what_waited(service);
        if self.trip(service) {
            *crew = self.crew(service);
        }
        if service.course.is_some() && self.pursue(service, crew) {
            *crew = self.crew(service);
        }
        self.go_on_moving(service, crew);
        self.stop_surplus(service, crew);
        self.launch_missing(service, crew);
        if crew.has_unhealthy_news {
            self.announce_unhealthy_tasks(service);
        }
        self.announce_stopped(service, &crew.stopped_running, crew.stopped_pending);
        self.announce_block(service, crew);
        self.announce_protected(service, crew);
        let deployments = service.deployments.len();
        retire(service, crew);
        if service.course.is_some() && service.deployments.len() < deployments {
            // A stage may have waited for that.
            self.queue_service(&service.arn);
        }
        self.conclude(service, crew);
        self.look_at_balance(service, crew);
    }

    pub fn stop_one(&mut self, crew: &mut Crew, index: usize, service: &Service) {
        let seen = crew.tasks.remove(index);
        crew.has_unhealthy_news |= seen.unhealthy;
        let Some(mut task) = self.world.tasks.take(seen.key) else {
            return;
        };
        let unhealthy_reason = task.unhealthy_reason.clone();
        let reason = unhealthy_reason.unwrap_or_else(|| {
            let deployment = service
                .deployments
                .get(seen.deployment)
                .or(service.primary())
                .map(|it| it.id.clone())
                .unwrap_or_default();
            [SCALING, &deployment, ")"].concat()
        });
        self.stop(&mut task, StopCode::ServiceSchedulerInitiated, reason);
        let id = task.id.clone();
        self.world.tasks.put(seen.key, task);
        crew.others.push((seen.deployment, seen.status));
        if seen.status == TaskStatus::Running {
            crew.stopped_running.push(id);
        } else {
            crew.stopped_pending += 1;
        }
    }

    /// Stops up to `most` tasks that `which` picks, the oldest first; of healthy ones only as many as the minimum allows, and of
    /// protected ones those that are unhealthy. Returns how many.
    fn stop_some(
        &mut self,
        service: &Service,
        crew: &mut Crew,
        most: u32,
        which: impl Fn(&Seen) -> bool,
    ) -> u32 {
        let (lower, _) = limits(service);
        let mut stopped = 0;
        let mut index = 0;
        while stopped < most && index < crew.tasks.len() {
            let seen = &crew.tasks[index];
            let spared = seen.protected && !seen.unhealthy;
            let may =
                !seen.healthy || (crew.healthy() > lower && !serves(service, crew, seen, lower));
            if which(seen) && !spared && may {
                self.stop_one(crew, index, service);
                stopped += 1;
            } else {
                index += 1;
            }
        }
        stopped
    }

    /// The newest task of the zone that has most of them.
    fn scale_in_victim(&self, crew: &Crew) -> Option<Key> {
        let zone = |it: &Seen| {
            self.world
                .tasks
                .at(it.key)
                .and_then(|it| it.availability_zone.as_deref())
        };
        let ours = |it: &&Seen| it.deployment == 0 && !it.unhealthy && !it.protected;
        let beside = |one: &Seen| {
            let its = zone(one);
            crew.tasks
                .iter()
                .filter(ours)
                .filter(|it| zone(it) == its)
                .count()
        };
        crew.tasks
            .iter()
            .filter(ours)
            .max_by_key(|it| (beside(it), it.created_at, it.key))
            .map(|it| it.key)
    }

    /// Whether the PRIMARY may launch now.
    pub fn may_launch(&self, service: &Service) -> bool {
        service.primary().is_some_and(|it| {
            it.rollout_state != RolloutState::Failed
                && it.launch_after.is_none_or(|at| at <= self.now)
                && self.is_resolved(&it.revision)
        })
    }

    /// How many tasks the PRIMARY lacks beyond what the maximum leaves room for.
    fn shortage(&self, service: &Service, crew: &Crew) -> u32 {
        let (_, upper) = limits(service);
        let room = upper.saturating_sub(crew.total());
        let short = missing(service, crew).saturating_sub(room);
        if short > 0 && self.may_launch(service) {
            short
        } else {
            0
        }
    }

    fn stop_surplus(&mut self, service: &mut Service, crew: &mut Crew) {
        let Some(primary) = service.primary() else {
            return;
        };
        let failed = primary.rollout_state == RolloutState::Failed;
        let desired = service.desired_count;
        let (lower, _) = limits(service);
        let new = |it: &Seen| it.deployment == 0;

        // Unhealthy tasks of the PRIMARY stay until as many others are healthy, or until their room is needed; what never was healthy
        // goes at once.
        if !failed {
            let all = crew.total();
            self.stop_some(service, crew, all, |it| {
                new(it) && it.unhealthy && !it.proved
            });
            let healthy = crew.count(|it| new(it) && it.healthy);
            let unhealthy = crew.count(|it| new(it) && it.unhealthy);
            let keep = desired
                .saturating_sub(healthy)
                .saturating_sub(self.shortage(service, crew));
            let surplus = unhealthy.saturating_sub(keep);
            self.stop_some(service, crew, surplus, |it| new(it) && it.unhealthy);
        }

        // Scaling in: what does not run yet goes first, then from the fullest zone, the newest first.
        let sound = crew.count(|it| new(it) && !it.unhealthy);
        let mut excess = sound.saturating_sub(desired + service.balance.extra());
        // While traffic is shifted, the other revision's health must not cost this one its healthy tasks.
        let shifts = service.course.is_some();
        excess -= self.stop_some(service, crew, excess, |it| {
            let expendable = it.status < TaskStatus::Running || (shifts && !it.healthy);
            new(it) && !it.unhealthy && expendable
        });
        while excess > 0 {
            let Some(key) = self.scale_in_victim(crew) else {
                break;
            };
            if self.stop_some(service, crew, 1, |it| it.key == key) == 0 {
                break;
            }
            excess -= 1;
        }

        if service.deployments.len() == 1 {
            return;
        }
        let olds = 1..service.deployments.len();
        if let Some(course) = service.course.clone() {
            // What has traffic keeps its tasks first.
            let share = |index: &usize| {
                let revision = &service.deployments[*index].revision;
                Traffic::of(&service.traffic.production, revision)
            };
            let mut in_order: Vec<usize> = olds.clone().collect();
            in_order.sort_by_key(|index| std::cmp::Reverse(share(index)));
            let mut places = desired;
            for index in in_order {
                self.stop_unhealthy(service, crew, index);
                let mut kept = service.kept_count(index, &course);
                if !service.stands(&service.deployments[index].revision) {
                    let has = crew.count(|it| it.deployment == index);
                    kept = kept.min(has).min(places);
                    places -= kept;
                }
                service.deployments[index].desired_count = kept;
            }
            self.stop_beyond(service, crew, olds);
            return;
        }

        // Older deployments. What is not healthy there makes room first.
        let mut to_free = self.shortage(service, crew);
        for index in olds.clone() {
            let freed = self.stop_some(service, crew, to_free, |it| {
                it.deployment == index && !it.healthy
            });
            let old = &mut service.deployments[index];
            old.desired_count = old.desired_count.saturating_sub(freed);
            to_free -= freed;
        }

        // They keep what the PRIMARY does not serve yet, less what it lacks room for, and never less than the minimum asks.
        if !failed {
            let healthy = crew.count(|it| new(it) && it.healthy);
            let shortage = self.shortage(service, crew);
            let serving = desired.saturating_sub(healthy);
            let mut keep = serving
                .saturating_sub(shortage)
                .max(lower.saturating_sub(healthy));
            let mut in_order: Vec<usize> = olds.clone().collect();
            // What was once completed is worth more than what never was.
            in_order
                .sort_by_key(|i| service.deployments[*i].rollout_state != RolloutState::Completed);
            for index in in_order {
                let old = &mut service.deployments[index];
                if old.rollout_state != RolloutState::Completed {
                    let healthy = crew.count(|it| it.deployment == index && it.healthy);
                    old.desired_count = old.desired_count.min(healthy);
                }
                old.desired_count = old.desired_count.min(keep);
                keep -= old.desired_count;
            }
        }
        self.stop_beyond(service, crew, olds);
    }

    /// Stops what is unhealthy of an older deployment: it need not wait for its replacement, another revision is there.
    fn stop_unhealthy(&mut self, service: &Service, crew: &mut Crew, index: usize) {
        let all = crew.total();
        self.stop_some(service, crew, all, |it| {
            it.deployment == index && it.unhealthy
        });
    }

    /// Stops what older deployments have beyond what they are to keep.
    fn stop_beyond(&mut self, service: &Service, crew: &mut Crew, olds: Range<usize>) {
        for index in olds {
            let old = &service.deployments[index];
            let wanted = old.desired_count;
            let theirs = |it: &Seen| it.deployment == index;
            let healthy = crew.count(|it| theirs(it) && it.healthy);
            let unhealthy = crew.count(|it| theirs(it) && it.unhealthy);
            let surplus = unhealthy.saturating_sub(wanted.saturating_sub(healthy));
            self.stop_some(service, crew, surplus, |it| theirs(it) && it.unhealthy);
            let sound = crew.count(|it| theirs(it) && !it.unhealthy);
            let mut excess = sound.saturating_sub(wanted);
            excess -= self.stop_some(service, crew, excess, |it| {
                theirs(it) && !it.unhealthy && !it.healthy
            });
            self.stop_some(service, crew, excess, |it| theirs(it) && !it.unhealthy);
        }
    }

    fn launch_missing(&mut self, service: &mut Service, crew: &mut Crew) {
        let (_, upper) = limits(service);
        let room = upper.saturating_sub(crew.total());
        let count = missing(service, crew).min(room);
        if count > 0 && self.may_launch(service) {
            self.launch_for(service, 0, count, crew);
        }
        for index in 1..service.deployments.len() {
            let old = &service.deployments[index];
            let goes_on =
                old.rollout_state == RolloutState::Completed || service.stands(&old.revision);
            if !goes_on || old.launch_after.is_some_and(|at| at > self.now) {
                continue;
            }
            let sound = crew.count(|it| it.deployment == index && !it.unhealthy);
            let room = upper.saturating_sub(crew.total());
            let count = old.desired_count.saturating_sub(sound).min(room);
            self.launch_for(service, index, count, crew);
        }
    }

    pub fn announce_unhealthy_tasks(&mut self, service: &mut Service) {
        let news: Vec<Key> = self
            .world
            .live_tasks_of(&service.arn)
            .filter(|(_, it)| is_unhealthy_news(it))
            .map(|(key, _)| key)
            .collect();
        for key in news {
            if let Some(mut task) = self.world.tasks.take(key) {
                self.announce_unhealthy(service, &task);
                task.unhealthy_announced = true;
                self.world.touch(Kind::Task, &task.arn);
                self.world.tasks.put(key, task);
            }
        }
    }

    /// Says so when the percentages leave no way to go on.
    fn announce_block(&mut self, service: &mut Service, crew: &Crew) {
        let (lower, upper) = limits(service);
        let blocked = missing(service, crew) > 0
            && crew.total() >= upper
            && crew.healthy() <= lower
            && crew.healthy() == crew.total()
            && !crew.has_stopping()
            && self.may_launch(service);
        if blocked {
            self.announce_condition(
                service,
                "blocked",
                "was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.",
            );
        } else {
            Self::resolve(service, "blocked");
        }
    }

    /// Says so when protected tasks keep a deployment from what it is to have: "was unable to reach steady state because …", from a
    /// public log.
    fn announce_protected(&mut self, service: &mut Service, crew: &Crew) {
        if !crew.tasks.iter().any(|it| it.protected) {
            Self::resolve(service, "protected");
            return;
        }
        for index in 0..service.deployments.len() {
            let ours = |it: &Seen| it.deployment == index && !it.unhealthy;
            let it = &service.deployments[index];
            let wanted = match it.status {
                DeploymentStatus::Primary => service.wanted_count() + service.balance.extra(),
                DeploymentStatus::Active => it.desired_count,
            };
            let (id, condition) = (it.id.clone(), format!("protected {}", it.id));
            let protected = crew.count(|it| ours(it) && it.protected);
            if protected > 0 && crew.count(ours) > wanted {
                let what = format!(
                    "was unable to reach steady state because (taskSet {id}) was unable to scale in due to (reason {protected} tasks under protection)"
                );
                self.announce_condition(service, &condition, &what);
            } else {
                Self::resolve(service, &condition);
            }
        }
    }
}

/// Drops older deployments that have no tasks any more and want none.
fn retire(service: &mut Service, crew: &mut Crew) {
    let mut index = 0;
    while index < service.deployments.len() {
        let it = &service.deployments[index];
        let stays = it.status == DeploymentStatus::Primary
            || crew
                .statuses()
                .any(|(of, status)| of == index && status != TaskStatus::Stopped)
            || (it.desired_count > 0
                && (it.rollout_state == RolloutState::Completed || service.stands(&it.revision)));
        if stays {
            index += 1;
        } else {
            service.deployments.remove(index);
            crew.forget_deployment(index);
        }
    }
}

/// How the reason of a task begins that its service stops without anything being wrong with it; the deployment follows.
const SCALING: &str = "Scaling activity initiated by (deployment ";

/// (healthy at least, meant to run at most) of a service.
pub(crate) fn limits(service: &Service) -> (u32, u32) {
    let configuration = &service.configuration;
    let maximum = match service.course {
        // Two revisions side by side, whatever the maximum is for rolling; on the way back from a half-shifted step that was itself
        // superseded, as many as have traffic.
        Some(_) => configuration
            .maximum_percent
            .max(100 * (1 + service.serving_beside()).max(2)),
        None => configuration.maximum_percent,
    };
    bounds(
        service.desired_count,
        configuration.minimum_healthy_percent,
        maximum,
    )
}

/// Whether a healthy task is one of those that its revision's traffic needs while traffic is shifted: no other revision's health
/// makes up for them.
fn serves(service: &Service, crew: &Crew, seen: &Seen, lower: u32) -> bool {
    let Some(deployment) = service.deployments.get(seen.deployment) else {
        return false;
    };
    service.course.is_some()
        && Traffic::of(&service.traffic.production, &deployment.revision) > 0
        && crew.count(|it| it.deployment == seen.deployment && it.healthy) <= lower
}

/// How many sound tasks the PRIMARY lacks.
fn missing(service: &Service, crew: &Crew) -> u32 {
    let sound = crew.count(|it| it.deployment == 0 && !it.unhealthy);
    (service.wanted_count() + service.balance.extra()).saturating_sub(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_rounds_up_and_the_maximum_rounds_down() {
        assert_eq!(bounds(3, 50, 150), (2, 4));
        assert_eq!(bounds(3, 100, 125), (3, 3));
        assert_eq!(bounds(1, 100, 200), (1, 2));
        assert_eq!(bounds(0, 100, 200), (0, 0));
        assert_eq!(bounds(5_000, 100, 200), (5_000, 10_000));
    }
}
