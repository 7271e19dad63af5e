//! When a deployment is complete and a service steady, and the counts of both.

use crate::crew::{Crew, Seen};
use crate::rolling::bounds;
use crate::step::Turn;
use crate::world::Kind;
use crate::{Deployment, DeploymentStatus, LifecycleStage, Millis, RolloutState, Service, Traffic};

/// "The service scheduler reports the status periodically" (developer guide, service action events): public logs show every 6 h.
pub(crate) const STEADY_AGAIN: Millis = 6 * 3_600_000;

impl Turn<'_> {
    /// Completes the deployment when everything is in place, and says when the service is steady: what still drains or stops then is
    /// no matter to that (public logs: steady 10 s after the draining began, which took 30 s).
    pub fn conclude(&mut self, service: &mut Service, crew: &Crew) {
        let Some(primary) = service.primary() else {
            return;
        };
        let ours = |it: &Seen| it.deployment == 0;
        let may_end = service
            .course
            .as_ref()
            .is_none_or(|it| it.stage == LifecycleStage::CleanUp);
        let runs = may_end
            && service.deployments.len() == 1
            && crew.total() == service.desired_count
            && crew.tasks.iter().all(|it| ours(it) && it.healthy);
        let in_place = runs && !crew.has_stopping();
        let state = primary.rollout_state;
        if state == RolloutState::InProgress && self.is_early(service, crew) {
            self.settle(service, crew, in_place);
            return;
        }
        match state {
            RolloutState::InProgress if in_place => self.settle(service, crew, true),
            RolloutState::Completed if runs && !crew.has_leaving() => self.announce_steady(service),
            _ => {
                service.steady = false;
                if let Some(primary) = service.deployments.first_mut() {
                    primary.settled_at = None;
                }
            }
        }
    }

    /// Says that the service is steady, when it becomes so and every [`STEADY_AGAIN`] from then on.
    pub fn announce_steady(&mut self, service: &mut Service) {
        let due = service.steady_at.map_or(0, |at| at + STEADY_AGAIN);
        if !service.steady || self.now >= due {
            service.steady = true;
            service.steady_at = Some(self.now);
            self.announce(service, "has reached a steady state.");
        }
    }

    /// What is asked for is there: the deployment bakes, and completes.
    fn settle(&mut self, service: &mut Service, crew: &Crew, in_place: bool) {
        let Some(primary) = service.deployments.first_mut() else {
            return;
        };
        let settled = *primary.settled_at.get_or_insert(self.now);
        if self.now >= self.completion(service, settled) {
            self.complete(service, crew, in_place);
        }
    }

    /// When the PRIMARY completes, everything being there since `settled`.
    pub fn completion(&self, service: &Service, settled: Millis) -> Millis {
        // What shifts traffic has baked already; a rollback returns to what has proved itself.
        let rolls_back = service.primary().filter(|it| it.is_rollback);
        match (&service.course, rolls_back) {
            (_, Some(primary)) => {
                let record = &primary.service_deployment;
                let record = self.world.service_deployments.get(record);
                let began = record.and_then(|it| it.rollback.as_ref());
                let least = self.world.settings.pace.rollback;
                settled.max(began.map_or(0, |it| it.started_at + least))
            }
            (Some(_), None) => settled,
            (None, None) => settled + service.configuration.bake_time,
        }
    }

    /// Whether `earlySuccessCriteria` are met.
    fn is_early(&self, service: &Service, crew: &Crew) -> bool {
        let (Some(early), None) = (service.configuration.early_success, &service.course) else {
            return false;
        };
        let healthy = crew.count(|it| it.deployment == 0 && it.healthy);
        let (needed, _) = bounds(service.desired_count, early.healthy_percent, 0);
        let cleaned = service.deployments.len() == 1 && !crew.has_stopping();
        healthy >= needed && (early.deferred || cleaned) && self.may_launch(service)
    }

    /// Brings the counts of the service, its deployments and the service deployment up to date.
    pub fn count(&mut self, service: &mut Service, crew: &Crew) {
        // A new PRIMARY wants nothing before it can launch: UpdateService answers with a `desiredCount` of 0.
        let wanted = match service.primary() {
            Some(it)
                if is_new(it)
                    && crew.running_and_pending(|of| of == 0) == (0, 0)
                    && !self.may_launch(service) =>
            {
                0
            }
            _ => service.wanted_count(),
        };
        (service.running_count, service.pending_count) = crew.running_and_pending(|_| true);
        for (index, deployment) in service.deployments.iter_mut().enumerate() {
            let (running, pending) = crew.running_and_pending(|of| of == index);
            if deployment.status == DeploymentStatus::Primary {
                deployment.desired_count = wanted;
            }
            if (deployment.running_count, deployment.pending_count) != (running, pending) {
                deployment.running_count = running;
                deployment.pending_count = pending;
                deployment.updated_at = self.now;
            }
        }
        let Some(arn) = &service.current_service_deployment else {
            return;
        };
        let Some(record) = self.world.service_deployments.get_mut(arn) else {
            return;
        };
        let mut changed = false;
        for summary in record
            .source_revisions
            .iter_mut()
            .chain(std::iter::once(&mut record.target_revision))
        {
            let deployment = service
                .deployments
                .iter()
                .find(|it| it.revision == summary.arn);
            let new = deployment.map_or((0, 0, 0), |it| {
                (it.desired_count, it.running_count, it.pending_count)
            });
            changed |= new != (summary.requested, summary.running, summary.pending);
            (summary.requested, summary.running, summary.pending) = new;
            if !service.traffic.production.is_empty() {
                let production = Traffic::of(&service.traffic.production, &summary.arn);
                let test = Traffic::of(&service.traffic.test, &summary.arn);
                let new = (Some(production), Some(test));
                changed |= new != (summary.production, summary.test);
                (summary.production, summary.test) = new;
            }
        }
        if changed {
            record.updated_at = self.now;
            self.world.touch(Kind::ServiceDeployment, arn);
        }
    }
}

/// Whether a deployment has not come to a launch yet, as far as it shows by itself.
fn is_new(deployment: &Deployment) -> bool {
    deployment.rollout_state == RolloutState::InProgress
        && !deployment.is_rollback
        && deployment.failures_in_a_row == 0
}
