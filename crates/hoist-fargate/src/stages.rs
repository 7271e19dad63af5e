//! Blue/green, linear and canary: how a deployment goes from stage to stage.
//!
//! The new revision (green) comes up beside the one that serves (blue) in the other of two target groups; then the weights of
//! listener rules are shifted, at once or in steps; then blue goes. A rollback brings blue up again if need be, shifts the weights
//! back and puts green away. Stages and their order: facts, "Blue/green, linear, canary".

use crate::course::ALL_TRAFFIC;
use crate::crew::{Crew, Seen};
use crate::given_up::GivenUp;
use crate::step::Turn;
use crate::world::Kind;
use crate::{
    Arn, Command, Course, Deployment, HookAction, HookAnswer, HookRun, HookStatus, LifecycleStage,
    Millis, Refusal, RolloutState, RuleWeights, Service, ServiceDeploymentStatus, Share, Shift,
    Strategy, Traffic,
};

/// "Each lifecycle stage can last up to 24 hours", and each step of the production traffic shift; "for pause hooks, you can configure
/// the timeout up to 20,160 minutes (14 days). The overall deployment timeout is 30 days"
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html>).
const LONGEST_STAGE: Millis = 24 * 3_600_000;
const LONGEST_DEPLOYMENT: Millis = 30 * LONGEST_STAGE;

/// What ContinueServiceDeployment says where nothing waits under that id (developer guide, troubleshooting blue/green deployments).
pub(crate) const NOT_PAUSED: &str = "Provided hookId is either completed, unavailable, or not associated with the given Resource ARN";

/// A rule that could not be changed on the way back is tried again after this time.
const TRY_AGAIN: Millis = 30_000;

impl Turn<'_> {
    /// Goes on with the course of a deployment that shifts traffic, as far as it goes now. Returns whether it was given up, and so
    /// the deployments changed their places.
    pub fn pursue(&mut self, service: &mut Service, crew: &Crew) -> bool {
        let primary = service.current_revision.clone();
        while service.course.is_some() {
            if self.is_done(service, crew) {
                self.enter_next_stage(service);
                continue;
            }
            let overdue = service.course.as_ref().filter(|it| self.now >= it.limit());
            match overdue.map(|it| it.back) {
                Some(false) => self.give_up(service, GivenUp::Timeout),
                // There is nowhere else to go: the deployment has ended, and the service goes on trying.
                Some(true) => self.end_in_flight(
                    service,
                    ServiceDeploymentStatus::RollbackFailed,
                    "The service deployment failed, and rolling it back took too long.",
                ),
                None => {}
            }
            break;
        }
        service.current_revision != primary
    }

    /// When the course has something to do by itself.
    pub fn course_alarm(&self, service: &Service) -> Option<Millis> {
        let course = service.course.as_ref()?;
        let hooks = course
            .hooks
            .iter()
            .filter(|it| it.is_open())
            .flat_map(|it| [Some(it.expires_at), it.call_at]);
        hooks
            .flatten()
            .chain(course.bake_until)
            .chain(course.try_again_at)
            .chain([course.limit()])
            .filter(|at| *at > self.now)
            .min()
    }

    /// Does what the current stage asks for; returns whether it is done.
    fn is_done(&mut self, service: &mut Service, crew: &Crew) -> bool {
        let Some(course) = &service.course else {
            return false;
        };
        let (stage, back) = (course.stage, course.back);
        match stage {
            LifecycleStage::ReconcileService => {
                let standing = course.standing.clone();
                // Where nothing stands any more, the next revision comes in its place.
                let holder = standing.clone().or(service.traffic.holder().cloned());
                is_standing_up(service, crew)
                    && self.shift_to(service, holder.as_deref())
                    && is_alone(service, standing.as_ref())
                    && self.hooks_allow(service)
            }
            LifecycleStage::ScaleUp => is_scaled_up(service, crew),
            LifecycleStage::TestTrafficShift => {
                self.shift_test(service) && self.hooks_allow(service)
            }
            LifecycleStage::ProductionTrafficShift if back => {
                let target = service.current_revision.clone();
                self.shift_to(service, Some(&target))
            }
            LifecycleStage::ProductionTrafficShift => {
                self.shift_step(service) && self.hooks_allow(service) && self.is_baked(service)
            }
            LifecycleStage::BakeTime => self.is_baked(service),
            // The end of it is the end of the deployment.
            LifecycleStage::CleanUp => false,
            LifecycleStage::PreScaleUp
            | LifecycleStage::PostScaleUp
            | LifecycleStage::PostTestTrafficShift
            | LifecycleStage::PreProductionTrafficShift
            | LifecycleStage::PostProductionTrafficShift => self.hooks_allow(service),
        }
    }

    fn enter_next_stage(&mut self, service: &mut Service) {
        let now = self.now;
        let share = Traffic::of(&service.traffic.production, &service.current_revision);
        let Some(course) = &mut service.course else {
            return;
        };
        let next = match course.stage {
            LifecycleStage::ReconcileService if !course.strategy.shifts_traffic() => {
                service.course = None;
                self.queue_service(&service.arn);
                return;
            }
            LifecycleStage::ScaleUp if course.back => LifecycleStage::ProductionTrafficShift,
            LifecycleStage::ProductionTrafficShift if course.back => LifecycleStage::CleanUp,
            LifecycleStage::ProductionTrafficShift if share < ALL_TRAFFIC => {
                LifecycleStage::PreProductionTrafficShift
            }
            other => other.next(),
        };
        *course = Course {
            stage: next,
            since: now,
            began: course.began,
            back: course.back,
            strategy: course.strategy,
            step: course.step,
            step_bake_time: course.step_bake_time,
            bake_time: course.bake_time,
            standing: course.standing.take(),
            steps: course.steps,
            ..Course::default()
        };
        self.record_course(service);
        self.queue_service(&service.arn);
    }

    /// Puts the stage and its hooks into the record of the newer API.
    fn record_course(&mut self, service: &Service) {
        let Some(arn) = &service.current_service_deployment else {
            return;
        };
        if let Some(record) = self.world.service_deployments.get_mut(arn) {
            let course = service.course.as_ref();
            record.lifecycle_stage = course.map(|it| it.stage);
            record.hooks = course.map(|it| it.hooks.clone()).unwrap_or_default();
            record.updated_at = self.now;
            self.world.touch(Kind::ServiceDeployment, arn);
        }
    }

    // Hooks.

    /// Sets off the hooks of the stage; returns whether all have succeeded. A failed one gives the deployment up.
    fn hooks_allow(&mut self, service: &mut Service) -> bool {
        let Some(course) = &mut service.course else {
            return false;
        };
        if course.back {
            return true;
        }
        let mut changed = false;
        if !course.hooked {
            course.hooked = true;
            let stage = course.stage;
            let hooks = &service.configuration.hooks;
            for hook in hooks.iter().filter(|it| it.stages.contains(&stage)) {
                let kind = hook.target.as_ref().map_or("pause", |_| "lambda");
                let id = self.world.settings.ids.characters(43);
                course.hooks.push(HookRun {
                    // "hookId must follow the format: ecs-{hookType}-{id}" (developer guide, troubleshooting).
                    id: ["ecs-", kind, "-", &id].concat(),
                    target: hook.target.clone(),
                    details: hook.details.clone(),
                    status: match hook.target {
                        Some(_) => HookStatus::InProgress,
                        None => HookStatus::AwaitingAction,
                    },
                    expires_at: self.now + hook.timeout,
                    on_timeout: hook.on_timeout,
                    calling: false,
                    call_at: hook.target.as_ref().map(|_| self.now),
                    error: None,
                });
            }
            if !course.hooks.is_empty() {
                self.world.touch(Kind::Settings, "");
                changed = true;
            }
        }
        let Some(course) = &mut service.course else {
            return false;
        };
        let mut calls = Vec::new();
        for hook in course.hooks.iter_mut().filter(|it| it.is_open()) {
            if self.now >= hook.expires_at {
                hook.status = match hook.on_timeout {
                    HookAction::Continue => HookStatus::Succeeded,
                    HookAction::Rollback => HookStatus::TimedOut,
                };
                changed = true;
            } else if !hook.calling && hook.call_at.is_some_and(|at| at <= self.now) {
                hook.calling = true;
                hook.call_at = None;
                changed = true;
                calls.push(hook.clone());
            }
        }
        let done = course
            .hooks
            .iter()
            .all(|it| it.status == HookStatus::Succeeded);
        let stage = course.stage;
        let failed = course.hooks.iter().find_map(|it| it.failure(stage));
        for hook in calls {
            self.commands.push(Command::CallHook {
                service: service.arn.clone(),
                service_deployment: service
                    .current_service_deployment
                    .clone()
                    .unwrap_or_default(),
                revision: service.current_revision.clone(),
                hook: hook.id,
                target: hook.target.unwrap_or_default(),
                stage,
                details: hook.details,
            });
        }
        if changed {
            self.record_course(service);
        }
        if let Some(what) = failed {
            self.give_up(service, GivenUp::Hook(what));
            return false;
        }
        done
    }

    /// Takes the answer of a hook's function.
    pub fn hook_answered(&mut self, service: &str, hook: &str, answer: HookAnswer) {
        let now = self.now;
        self.with_hook(service, hook, |hook| {
            if !hook.calling || !hook.is_open() {
                return false;
            }
            hook.calling = false;
            match answer {
                HookAnswer::Succeeded => hook.status = HookStatus::Succeeded,
                HookAnswer::Failed => hook.status = HookStatus::Failed,
                HookAnswer::Broken(error) => {
                    hook.status = HookStatus::Failed;
                    hook.error = Some(error);
                }
                HookAnswer::InProgress(delay) => hook.call_at = Some(now + delay.max(1)),
            }
            true
        });
    }

    /// ContinueServiceDeployment: resolves a PAUSE hook.
    ///
    /// # Errors
    /// `InvalidParameterException` where nothing waits under that id.
    pub fn resolve_pause(
        &mut self,
        service: &str,
        hook: &str,
        action: HookAction,
    ) -> Result<(), Refusal> {
        let resolved = self.with_hook(service, hook, |hook| {
            if hook.status != HookStatus::AwaitingAction {
                return false;
            }
            hook.status = match action {
                HookAction::Continue => HookStatus::Succeeded,
                HookAction::Rollback => HookStatus::Failed,
            };
            true
        });
        if resolved {
            Ok(())
        } else {
            Err(Refusal::invalid(NOT_PAUSED))
        }
    }

    fn with_hook(
        &mut self,
        service: &str,
        id: &str,
        change: impl FnOnce(&mut HookRun) -> bool,
    ) -> bool {
        let Some(key) = self.world.services.key(service) else {
            return false;
        };
        let Some(mut service) = self.world.services.take(key) else {
            return false;
        };
        let hook = service
            .course
            .iter_mut()
            .flat_map(|it| &mut it.hooks)
            .find(|it| it.id == id);
        let changed = hook.is_some_and(change);
        if changed {
            self.record_course(&service);
            self.world.touch(Kind::Service, &service.arn);
            self.queue_service(&service.arn);
        }
        self.world.services.put(key, service);
        changed
    }

    // Traffic.

    /// Shifts the test traffic to the new revision.
    fn shift_test(&mut self, service: &mut Service) -> bool {
        let all = vec![Share {
            revision: service.current_revision.clone(),
            tenths: ALL_TRAFFIC,
        }];
        let production = service.traffic.production.clone();
        self.shift(service, production, all)
    }

    /// Shifts the next step of production traffic to the new revision.
    fn shift_step(&mut self, service: &mut Service) -> bool {
        let target = service.current_revision.clone();
        let Some(course) = &mut service.course else {
            return false;
        };
        if course.shift == Shift::Due {
            course.steps += 1;
        }
        let tenths = step_weight(service);
        let blue = service
            .traffic
            .production
            .iter()
            .find(|it| it.revision != target)
            .map(|it| it.revision.clone());
        let mut production = vec![Share {
            revision: target,
            tenths: ALL_TRAFFIC,
        }];
        if let Some(revision) = blue
            && tenths < ALL_TRAFFIC
        {
            production[0].tenths = tenths;
            production.push(Share {
                revision,
                tenths: ALL_TRAFFIC - tenths,
            });
        }
        let test = service.traffic.test.clone();
        self.shift(service, production, test)
    }

    /// Gives one revision all traffic.
    fn shift_to(&mut self, service: &mut Service, revision: Option<&str>) -> bool {
        let all = Traffic::all_to(revision);
        self.shift(service, all.production, all.test)
    }

    /// Asks for these weights once; returns whether they are in place.
    fn shift(&mut self, service: &mut Service, production: Vec<Share>, test: Vec<Share>) -> bool {
        let Some(course) = &mut service.course else {
            return false;
        };
        match course.shift {
            Shift::Done => return true,
            Shift::Underway(_) => return false,
            // It was refused a moment ago.
            Shift::Due if course.try_again_at.is_some_and(|at| self.now < at) => return false,
            Shift::Due => course.try_again_at = None,
        }
        service.traffic = Traffic { production, test };
        let rules = self.rules(service);
        let Some(course) = &mut service.course else {
            return false;
        };
        if rules.is_empty() {
            course.shift = Shift::Done;
            return true;
        }
        service.shifts += 1;
        service.unsettled = true;
        let number = service.shifts;
        course.shift = Shift::Underway(number);
        self.commands.push(Command::ShiftTraffic {
            service: service.arn.clone(),
            region: service.region.clone(),
            number,
            rules,
        });
        false
    }

    /// The weights of every listener rule of the service, as its traffic is to be.
    fn rules(&self, service: &Service) -> Vec<RuleWeights> {
        let mut rules = Vec::new();
        for (index, balancer) in service.load_balancers.iter().enumerate() {
            let Some(alternate) = &balancer.alternate else {
                continue;
            };
            let kinds = [
                (&balancer.production_rule, &service.traffic.production),
                (&balancer.test_rule, &service.traffic.test),
            ];
            for (rule, shares) in kinds {
                let Some(rule) = rule.as_ref().filter(|_| !shares.is_empty()) else {
                    continue;
                };
                let of_group = |group: &str| -> u32 {
                    shares
                        .iter()
                        .filter(|share| {
                            self.world
                                .service_revisions
                                .get(&share.revision)
                                .and_then(|it| it.load_balancers.get(index))
                                .is_some_and(|it| it.target_group == group)
                        })
                        .map(|share| share.tenths)
                        .sum()
                };
                let groups = [&balancer.target_group, alternate];
                let weights = groups.map(|group| of_group(group));
                // Weights go up to 999: whole per cents as such, tenths only where they are needed.
                let unit = if weights.iter().all(|it| it % 10 == 0) {
                    10
                } else {
                    1
                };
                rules.push(RuleWeights {
                    rule: rule.clone(),
                    weights: groups
                        .into_iter()
                        .zip(weights)
                        .map(|(group, weight)| (group.clone(), weight / unit))
                        .collect(),
                });
            }
        }
        rules
    }

    /// The rules carry the weights that were asked for under that number.
    pub fn traffic_shifted(&mut self, arn: &str, number: u64, refused: Option<String>) {
        let Some(key) = self.world.services.key(arn) else {
            return;
        };
        let Some(mut service) = self.world.services.take(key) else {
            return;
        };
        let now = self.now;
        let mut given_up = None;
        if number == service.shifts && refused.is_none() {
            service.unsettled = false;
            self.world.touch(Kind::Service, arn);
        }
        if let Some(course) = &mut service.course
            && course.shift == Shift::Underway(number)
        {
            match &refused {
                None => course.shift = Shift::Done,
                // There is no way back but this one: it is tried again.
                Some(_) if course.back || course.stage == LifecycleStage::ReconcileService => {
                    course.shift = Shift::Due;
                    course.try_again_at = Some(now + TRY_AGAIN);
                }
                Some(reason) => given_up = Some(GivenUp::Traffic(reason.clone())),
            }
            self.world.touch(Kind::Service, arn);
        }
        if let Some(reason) = refused {
            self.announce_condition(
                &mut service,
                "traffic",
                &format!("was unable to shift traffic. Reason: {reason}"),
            );
            if let Some(why) = given_up {
                self.give_up(&mut service, why);
            }
            self.world.touch(Kind::Service, arn);
        }
        self.queue_service(arn);
        self.world.services.put(key, service);
    }

    /// Waits for the bake time of the stage, which begins when everything else of it is done.
    fn is_baked(&mut self, service: &mut Service) -> bool {
        let share = Traffic::of(&service.traffic.production, &service.current_revision);
        let Some(course) = &mut service.course else {
            return false;
        };
        let time = match (course.stage, course.strategy) {
            (LifecycleStage::BakeTime, _) => course.bake_time,
            // "This bake time is not applied after reaching 100 percent traffic" (API reference).
            (LifecycleStage::ProductionTrafficShift, _) if share >= ALL_TRAFFIC => 0,
            (LifecycleStage::ProductionTrafficShift, Strategy::Linear | Strategy::Canary) => {
                course.step_bake_time
            }
            _ => 0,
        };
        let until = *course.bake_until.get_or_insert(self.now + time);
        self.now >= until
    }

    /// After a restart: what was asked for and not answered is asked for again.
    pub fn resume(&mut self, service: &mut Service) {
        let now = self.now;
        if let Some(course) = &mut service.course {
            for hook in course.hooks.iter_mut().filter(|it| it.calling) {
                hook.calling = false;
                hook.call_at = Some(now);
            }
            if matches!(course.shift, Shift::Underway(_)) {
                course.shift = Shift::Due;
                if course.stage == LifecycleStage::ProductionTrafficShift && !course.back {
                    course.steps -= 1;
                }
            }
        }
    }

    /// Begins the way back: the revision that is PRIMARY again is brought up, and then gets all traffic.
    pub fn turn_back(&mut self, service: &mut Service) {
        let strategy = service.course.as_ref().map(|it| it.strategy);
        service.course = Some(Course {
            strategy: strategy.unwrap_or_default(),
            stage: LifecycleStage::ScaleUp,
            since: self.now,
            began: self.now,
            back: true,
            ..Course::default()
        });
        self.record_course(service);
    }
}

impl HookRun {
    fn is_open(&self) -> bool {
        matches!(
            self.status,
            HookStatus::AwaitingAction | HookStatus::InProgress
        )
    }

    /// What AWS says of it if it failed, after `because `. The sentences about a function and about a pause that timed out are those of
    /// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting-blue-green.html>; that about a pause that somebody
    /// ended with ROLLBACK, and a function that took too long, are like them.
    fn failure(&self, stage: LifecycleStage) -> Option<String> {
        let stage = stage.as_str();
        let what = match (&self.target, self.status) {
            (None, HookStatus::TimedOut) => format!("{stage} pause hook timed out."),
            (None, HookStatus::Failed) => format!("{stage} pause hook was rolled back."),
            (Some(target), HookStatus::TimedOut | HookStatus::Failed) => {
                let error = match (&self.error, self.status) {
                    (Some(error), _) => error.clone(),
                    (None, HookStatus::TimedOut) => {
                        format!("Lifecycle hook target {target} timed out.")
                    }
                    _ => format!("Lifecycle hook target {target} returned FAILED status."),
                };
                format!("{stage} lifecycle hook(s) failed. {error}")
            }
            _ => return None,
        };
        Some(what)
    }
}

impl Course {
    /// When it has taken too long: this stage, with the hooks that may last longer, or the whole.
    fn limit(&self) -> Millis {
        let hooks = self.hooks.iter().map(|it| it.expires_at);
        let stage = hooks.fold(self.since + LONGEST_STAGE, Millis::max);
        stage.min(self.began + LONGEST_DEPLOYMENT)
    }
}

impl Service {
    /// How many tasks the PRIMARY should have now.
    pub(crate) fn wanted_count(&self) -> u32 {
        match &self.course {
            Some(course) if !course.back && course.stage < LifecycleStage::ScaleUp => 0,
            _ => self.desired_count,
        }
    }

    /// How many revisions beside the PRIMARY's have production traffic.
    pub fn serving_beside(&self) -> u32 {
        let primary = self.primary().map(|it| &it.revision);
        let shares = self.traffic.production.iter();
        let beside = shares.filter(|it| it.tenths > 0 && Some(&it.revision) != primary);
        beside.count() as u32
    }

    /// How many tasks an older deployment keeps at most while traffic is shifted.
    pub(crate) fn kept_count(&self, index: usize, course: &Course) -> u32 {
        let old = &self.deployments[index];
        let cleaning = course.stage == LifecycleStage::CleanUp;
        if cleaning {
            return 0;
        }
        if course.back || course.standing.is_none() {
            // What failed keeps what it has until its traffic is gone, or something else is there.
            return self.desired_count;
        }
        if course.standing.as_ref() == Some(&old.revision) {
            return self.desired_count;
        }
        // What has no traffic any more is put away.
        let serves = Traffic::of(&self.traffic.production, &old.revision) > 0;
        let shifting = course.stage == LifecycleStage::ReconcileService;
        if shifting && (serves || matches!(course.shift, Shift::Underway(_))) {
            self.desired_count
        } else {
            0
        }
    }

    /// The course of the deployment in flight that keeps this revision up, if there is one.
    pub(crate) fn stands(&self, revision: &str) -> bool {
        let standing = self.course.as_ref().and_then(|it| it.standing.as_deref());
        standing == Some(revision)
    }
}

/// The revision that serves meanwhile has all its tasks, and all are healthy.
fn is_standing_up(service: &Service, crew: &Crew) -> bool {
    let standing = service.course.as_ref().and_then(|it| it.standing.as_ref());
    let place = service
        .deployments
        .iter()
        .position(|it| Some(&it.revision) == standing);
    place.is_none_or(|place| {
        crew.count(|it| it.deployment == place && it.healthy) >= service.desired_count
    })
}

/// No revision but the standing one is left beside the PRIMARY. If it is gone itself, what is left serves until the PRIMARY does.
fn is_alone(service: &Service, standing: Option<&Arn>) -> bool {
    let others = &service.deployments[1..];
    let stands = |it: &Deployment| Some(&it.revision) == standing;
    !others.iter().any(stands) || others.iter().all(stands)
}

/// The PRIMARY has all its tasks, and all are healthy.
fn is_scaled_up(service: &Service, crew: &Crew) -> bool {
    let ours = |it: &Seen| it.deployment == 0;
    crew.count(|it| ours(it) && it.healthy) >= service.desired_count
        && service
            .primary()
            .is_some_and(|it| it.rollout_state != RolloutState::Failed)
}

/// The share of production traffic that the new revision has after so many steps, in tenths of a per cent.
fn step_weight(service: &Service) -> u32 {
    let Some(course) = &service.course else {
        return ALL_TRAFFIC;
    };
    let step = course.step.max(1);
    match course.strategy {
        Strategy::Linear => (step * course.steps).min(ALL_TRAFFIC),
        Strategy::Canary if course.steps == 1 => step.min(ALL_TRAFFIC),
        Strategy::Rolling | Strategy::BlueGreen | Strategy::Canary => ALL_TRAFFIC,
    }
}
