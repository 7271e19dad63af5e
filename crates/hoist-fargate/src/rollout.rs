//! A deployment's course: it begins, is given up, rolls back, completes. What became of its tasks is counted in `failures`.

use std::collections::BTreeMap;

use crate::course::ALL_TRAFFIC;
use crate::crew::Crew;
use crate::given_up::{GivenUp, NO_CANDIDATE};
use crate::step::Turn;
use crate::table::Key;
use crate::world::Kind;
use crate::{
    Arn, BreakerStatus, Completed, Course, Deployment, DeploymentStatus, LifecycleStage,
    LoadBalancer, RevisionSummary, Rollback, RolloutState, Service, ServiceDeployment,
    ServiceDeploymentStatus, ServiceRevision, Task, Traffic,
};

impl From<&Deployment> for Completed {
    fn from(deployment: &Deployment) -> Self {
        Completed {
            deployment: deployment.id.clone(),
            revision: deployment.revision.clone(),
            created_at: deployment.created_at,
        }
    }
}

impl Turn<'_> {
    /// Begins a deployment of what the service is now: a revision, a record of the newer API, and a new PRIMARY. The deployment
    /// that is in flight is superseded.
    pub fn begin(&mut self, service: &mut Service) {
        let ids = &mut self.world.settings.ids;
        let (number, revision_number, characters) =
            (ids.digits19(), ids.digits19(), ids.characters(21));
        self.world.touch(Kind::Settings, "");
        let cluster_name = service.cluster.rsplit('/').next().unwrap_or_default();
        let arn = |kind: &str, id: &str| {
            let parts = [cluster_name, &service.name, id];
            self.world.arn_of(&service.region, kind, &parts)
        };
        let (revision_arn, record_arn) = (
            arn("service-revision", &revision_number),
            arn("service-deployment", &characters),
        );
        let shifts = service.configuration.strategy.shifts_traffic();
        self.keep_what_serves(service);
        let standing = self.standing(service);
        let revision = ServiceRevision {
            arn: revision_arn,
            service: service.arn.clone(),
            cluster: service.cluster.clone(),
            task_definition: service.task_definition.clone(),
            created_at: self.now,
            image_digests: BTreeMap::new(),
            resolved: false,
            load_balancers: self.places(service, standing.as_ref(), shifts),
            zones: Vec::new(),
            request: service.request.clone(),
            shaped: None,
        };
        self.end_in_flight(
            service,
            ServiceDeploymentStatus::Stopped,
            "The service deployment was stopped because a newer service deployment was started.",
        );
        for old in &mut service.deployments {
            let theirs =
                |task: &Task| task.is_wanted() && task.revision.as_ref() == Some(&old.revision);
            let live = self.world.live_tasks_of(&service.arn);
            let wanted = live.filter(|(_, task)| theirs(task)).count() as u32;
            old.desired_count = old.desired_count.min(wanted);
            if old.status == DeploymentStatus::Primary {
                old.status = DeploymentStatus::Active;
                old.updated_at = self.now;
            }
        }
        let record = ServiceDeployment {
            arn: record_arn,
            service: service.arn.clone(),
            cluster: service.cluster.clone(),
            status: ServiceDeploymentStatus::InProgress,
            created_at: self.now,
            started_at: Some(self.now),
            updated_at: self.now,
            source_revisions: service
                .deployments
                .iter()
                .map(|it| RevisionSummary {
                    arn: it.revision.clone(),
                    ..RevisionSummary::default()
                })
                .collect(),
            target_revision: RevisionSummary {
                arn: revision.arn.clone(),
                ..RevisionSummary::default()
            },
            configuration: service.request.part("deploymentConfiguration"),
            breaker_status: if service.configuration.breaker.enable {
                BreakerStatus::Monitoring
            } else {
                BreakerStatus::Disabled
            },
            threshold: service
                .configuration
                .breaker
                .threshold(service.desired_count),
            alarms: self.watched_alarms(service),
            lifecycle_stage: None,
            ..ServiceDeployment::default()
        };
        let id = ["ecs-svc/", &number].concat();
        let pace = &self.world.settings.pace;
        service.deployments.insert(
            0,
            Deployment {
                rollout_state_reason: ["ECS deployment ", &id, " in progress."].concat(),
                id,
                status: DeploymentStatus::Primary,
                task_definition: service.task_definition.clone(),
                revision: revision.arn.clone(),
                service_deployment: record.arn.clone(),
                created_at: self.now,
                updated_at: self.now,
                launch_after: (pace.begin > 0).then_some(self.now + pace.begin),
                ..Deployment::default()
            },
        );
        let left = service.deployments.len() > 2 || service.course.is_some();
        // Traffic that is not where it should be is brought there first, that of the test rule, too.
        let is_split = service.unsettled
            || standing
                .as_ref()
                .or(service.traffic.holder())
                .filter(|_| !service.traffic.production.is_empty())
                .is_some_and(|it| {
                    Traffic::of(&service.traffic.production, it) < ALL_TRAFFIC
                        || Traffic::of(&service.traffic.test, it) < ALL_TRAFFIC
                });
        service.course = (shifts || is_split || service.course.is_some()).then(|| Course {
            strategy: service.configuration.strategy,
            step: service.configuration.step,
            step_bake_time: service.configuration.step_bake_time,
            bake_time: service.configuration.bake_time,
            stage: match left || is_split {
                true => LifecycleStage::ReconcileService,
                false => LifecycleStage::PreScaleUp,
            },
            since: self.now,
            began: self.now,
            standing: standing.clone(),
            ..Course::default()
        });
        if shifts && service.traffic.production.is_empty() {
            service.traffic = Traffic::all_to(standing.as_deref());
        }
        service.current_service_deployment = Some(record.arn.clone());
        service.current_revision = revision.arn.clone();
        service.steady = false;
        Self::resolve(service, "");
        let arn = record.arn.clone();
        self.world.service_deployments.insert(&arn, record);
        let arn = revision.arn.clone();
        self.world.service_revisions.insert(&arn, revision);
        self.resolve_images(&arn);
        self.queue_service(&service.arn);
    }

    /// A deployment that is superseded while it only cleans up has done its work: a rollback goes to it.
    fn keep_what_serves(&self, service: &mut Service) {
        let cleaning = service
            .course
            .as_ref()
            .is_some_and(|it| !it.back && it.stage == LifecycleStage::CleanUp);
        if cleaning && let Some(primary) = service.deployments.first_mut() {
            primary.rollout_state = RolloutState::Completed;
            service.last_completed = Some(Completed::from(&*primary));
        }
    }

    /// The revision that serves while the next one comes up: the one that was completed last, if it still has tasks, else the one
    /// that has the traffic.
    fn standing(&self, service: &Service) -> Option<Arn> {
        let stands = |revision: &&Arn| {
            service
                .deployments
                .iter()
                .any(|it| it.revision == **revision)
        };
        let completed = service.last_completed.as_ref().map(|it| &it.revision);
        completed
            .filter(stands)
            .or_else(|| service.traffic.holder().filter(stands))
            .cloned()
    }

    /// The target groups of a new revision's tasks: the ones that the standing revision's are in, or the other ones if traffic is to
    /// be shifted.
    fn places(&self, service: &Service, standing: Option<&Arn>, shifts: bool) -> Vec<LoadBalancer> {
        let before = standing
            .or(service.traffic.holder())
            .and_then(|it| self.world.service_revisions.get(it));
        let mut places = service.load_balancers.clone();
        for (index, place) in places.iter_mut().enumerate() {
            let Some(alternate) = place.alternate.clone() else {
                continue;
            };
            let theirs = before
                .and_then(|it| it.load_balancers.get(index))
                .map(|it| it.target_group.clone());
            let on_alternate = theirs.as_ref() == Some(&alternate);
            let on_first = theirs.as_ref() == Some(&place.target_group);
            if (on_alternate && !shifts) || (on_first && shifts) {
                let first = std::mem::replace(&mut place.target_group, alternate);
                place.alternate = Some(first);
            }
        }
        places
    }

    /// Whether the traffic goes to other target groups than those of the revision that a rollback returns to.
    fn is_elsewhere(&self, service: &Service) -> bool {
        let groups = |revision: &Arn| -> Option<Vec<&Arn>> {
            let places = &self.world.service_revisions.get(revision)?.load_balancers;
            Some(places.iter().map(|it| &it.target_group).collect())
        };
        let completed = service.last_completed.as_ref().map(|it| &it.revision);
        match (service.traffic.holder(), completed) {
            (Some(holder), Some(completed)) => groups(holder) != groups(completed),
            _ => false,
        }
    }

    /// The alarms that a deployment watches: those that are not in ALARM when it begins.
    fn watched_alarms(&self, service: &Service) -> Vec<String> {
        let alarms = &service.configuration.alarms;
        let known = &self.world.settings.alarms;
        alarms
            .names
            .iter()
            .filter(|_| alarms.enable)
            .filter(|name| !known.contains(&format!("{}/{name}", service.region)))
            .cloned()
            .collect()
    }

    /// An alarm changed its state: the deployments that watch it fail when it goes into ALARM.
    pub fn alarm_changed(&mut self, region: &str, alarm: &str, alarming: bool) {
        let name = format!("{region}/{alarm}");
        let alarms = &mut self.world.settings.alarms;
        let changed = match alarming {
            true => alarms.insert(name),
            false => alarms.remove(&name),
        };
        if !changed {
            return;
        }
        self.world.touch(Kind::Settings, "");
        if !alarming {
            return;
        }
        let watching: Vec<Key> = self
            .world
            .services
            .iter()
            .filter(|(_, it)| it.region == region)
            .filter(|(_, it)| {
                let record = it.current_service_deployment.as_ref();
                let record = record.and_then(|arn| self.world.service_deployments.get(arn));
                let rolling_back = it.primary().is_none_or(|it| it.is_rollback);
                !rolling_back && record.is_some_and(|it| it.alarms.iter().any(|name| name == alarm))
            })
            .map(|(key, _)| key)
            .collect();
        for key in watching {
            let Some(mut service) = self.world.services.take(key) else {
                continue;
            };
            let record = service.current_service_deployment.as_ref();
            if let Some(record) = record.and_then(|arn| self.world.service_deployments.get_mut(arn))
            {
                record.triggered_alarms.push(alarm.to_owned());
            }
            self.give_up(&mut service, GivenUp::Alarm);
            self.world.touch(Kind::Service, &service.arn);
            self.queue_service(&service.arn);
            self.world.services.put(key, service);
        }
    }

    /// Whether a rollback has somewhere to go.
    pub fn can_roll_back(&self, service: &Service) -> bool {
        service.last_completed.as_ref().is_some_and(|it| {
            it.revision != service.current_revision
                && self.world.service_revisions.get(&it.revision).is_some()
        })
    }

    /// Ends the PRIMARY as failed, and rolls back where that is wanted and possible. Where it is not, it stalls: it launches
    /// nothing more.
    pub fn give_up(&mut self, service: &mut Service, why: GivenUp) {
        let Some(primary) = service.deployments.first_mut() else {
            return;
        };
        let id = primary.id.clone();
        // What it wants may have changed since it was counted last.
        primary.desired_count = service.desired_count;
        primary.rollout_state = RolloutState::Failed;
        primary.updated_at = self.now;
        primary.launch_after = None;
        (primary.uncounted, primary.trips_at) = (0, None);
        primary.rollout_state_reason = why.rollout_reason(&id);
        if let Some(event) = why.event() {
            self.announce(
                service,
                &format!("(deployment {id}) deployment failed: {event}"),
            );
        }
        let record_arn = service.current_service_deployment.clone();
        if let Some(record) = record_arn
            .as_ref()
            .and_then(|arn| self.world.service_deployments.get_mut(arn))
        {
            record.breaker_status = match why {
                GivenUp::Breaker => BreakerStatus::Triggered,
                _ if record.breaker_status == BreakerStatus::Monitoring => {
                    BreakerStatus::MonitoringComplete
                }
                _ => record.breaker_status,
            };
            record.updated_at = self.now;
            self.world
                .touch(Kind::ServiceDeployment, record_arn.as_deref().unwrap_or(""));
        }
        let wanted = match why {
            GivenUp::Breaker => service.configuration.breaker.rollback,
            GivenUp::Alarm => service.configuration.alarms.rollback,
            GivenUp::Abort => false,
            GivenUp::Request | GivenUp::Hook(_) | GivenUp::Traffic(_) | GivenUp::Timeout => true,
        };
        let shifts = service.course.is_some() || self.is_elsewhere(service);
        match service.last_completed.clone() {
            Some(completed) if wanted && self.can_roll_back(service) => {
                self.roll_back(service, &completed, &why);
                if shifts {
                    self.turn_back(service);
                }
            }
            _ if wanted => {
                service.course = None;
                self.end_in_flight(
                    service,
                    ServiceDeploymentStatus::RollbackFailed,
                    NO_CANDIDATE,
                );
            }
            _ => {
                service.course = None;
                self.end_in_flight(
                    service,
                    ServiceDeploymentStatus::Stopped,
                    &format!("The service deployment was stopped because {}", why.why()),
                );
            }
        }
    }

    /// Makes the deployment that was completed last the PRIMARY again, under its own id; its tasks that still run stay.
    ///
    /// Public logs agree on the id: `rolling back to deployment ecs-svc/A.` is followed by
    /// `(deployment ecs-svc/A) deployment completed.`, and `rolloutStateReason` of PRIMARY ecs-svc/A names ecs-svc/A itself.
    fn roll_back(&mut self, service: &mut Service, to: &Completed, why: &GivenUp) {
        let Some(revision) = self.world.service_revisions.get(&to.revision).cloned() else {
            return;
        };
        if let Some(failed) = service.deployments.first_mut() {
            failed.status = DeploymentStatus::Active;
        }
        let standing = service
            .deployments
            .iter()
            .position(|it| it.revision == to.revision)
            .map(|index| service.deployments.remove(index));
        let record_arn = service
            .current_service_deployment
            .clone()
            .unwrap_or_default();
        let reason = match why {
            GivenUp::Breaker => format!(
                "ECS deployment circuit breaker: rolling back to deploymentId {}.",
                to.deployment
            ),
            _ => format!(
                "ECS deployment rolling back to deploymentId {}.",
                to.deployment
            ),
        };
        service.deployments.insert(
            0,
            Deployment {
                id: to.deployment.clone(),
                status: DeploymentStatus::Primary,
                task_definition: revision.task_definition.clone(),
                revision: revision.arn.clone(),
                service_deployment: record_arn.clone(),
                desired_count: service.desired_count,
                failed_tasks: 0,
                // A public log: the PRIMARY after a rollback is as old as the deployment that it went back to.
                created_at: to.created_at,
                updated_at: self.now,
                rollout_state: RolloutState::InProgress,
                rollout_state_reason: reason,
                is_rollback: true,
                failures_in_a_row: 0,
                uncounted: 0,
                trips_at: None,
                launch_after: None,
                settled_at: None,
                ..standing.unwrap_or_default()
            },
        );
        service.task_definition = revision.task_definition.clone();
        service.current_revision = revision.arn.clone();
        restore_request(service, &revision);
        service.load_balancers = crate::request::load_balancers(&service.request);
        service.steady = false;
        self.announce(
            service,
            &format!("rolling back to deployment {}.", to.deployment),
        );
        if let Some(record) = self.world.service_deployments.get_mut(&record_arn) {
            record.status = ServiceDeploymentStatus::RollbackInProgress;
            record.status_reason = Some(why.rolled_back());
            record.rollback = Some(Rollback {
                reason: why.rolled_back(),
                started_at: self.now,
                revision: revision.arn.clone(),
            });
            record.updated_at = self.now;
            self.world.touch(Kind::ServiceDeployment, &record_arn);
        }
        self.queue_service(&service.arn);
    }

    /// Ends the service deployment in flight, if there is one. Without a reason it keeps the one that it has: of a rollback that
    /// succeeded, why it began, as public logs show it.
    pub fn end_in_flight(
        &mut self,
        service: &mut Service,
        status: ServiceDeploymentStatus,
        reason: &str,
    ) {
        let Some(arn) = service.current_service_deployment.take() else {
            return;
        };
        let Some(record) = self.world.service_deployments.get_mut(&arn) else {
            return;
        };
        if record.status.is_final() {
            return;
        }
        record.status = status;
        if !reason.is_empty() {
            record.status_reason = Some(reason.to_owned());
        }
        record.updated_at = self.now;
        record.finished_at = Some(self.now);
        if status == ServiceDeploymentStatus::Stopped {
            record.stopped_at = Some(self.now);
        }
        if record.breaker_status == BreakerStatus::Monitoring {
            record.breaker_status = BreakerStatus::MonitoringComplete;
        }
        self.world.touch(Kind::ServiceDeployment, &arn);
    }

    /// The PRIMARY has what it needs: it is COMPLETED. With everything in place the service is steady, too.
    pub fn complete(&mut self, service: &mut Service, crew: &Crew, in_place: bool) {
        let Some(primary) = service.deployments.first_mut() else {
            return;
        };
        let id = primary.id.clone();
        primary.rollout_state = RolloutState::Completed;
        primary.rollout_state_reason = format!("ECS deployment {id} completed.");
        primary.updated_at = self.now;
        let was_rollback = std::mem::take(&mut primary.is_rollback);
        (primary.uncounted, primary.trips_at) = (0, None);
        service.last_completed = Some(Completed::from(&*primary));
        if service.configuration.strategy.shifts_traffic() || !service.traffic.production.is_empty()
        {
            service.traffic = Traffic::all_to(Some(&service.current_revision));
        }
        service.steady = false;
        self.announce(service, &format!("(deployment {id}) deployment completed."));
        if in_place {
            self.announce_steady(service);
        }
        // The last counts belong in the record that ends here.
        self.count(service, crew);
        let status = if was_rollback {
            ServiceDeploymentStatus::RollbackSuccessful
        } else {
            ServiceDeploymentStatus::Successful
        };
        self.end_in_flight(service, status, "");
        service.course = None;
    }
}

/// Puts back those members of the request that make a revision; the others (such as the deployment configuration) stay.
fn restore_request(service: &mut Service, revision: &ServiceRevision) {
    for member in crate::request::REVISION_MEMBERS {
        let then = revision.request.get(*member);
        if then == service.request.get(*member) {
            continue;
        }
        let request = service.request.change();
        match then {
            Some(value) => request.insert((*member).to_owned(), value.clone()),
            None => request.shift_remove(*member),
        };
    }
}
