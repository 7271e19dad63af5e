//! Health: container checks on their schedule, and when a task counts as healthy or as unhealthy.

use crate::step::Turn;
use crate::{
    Command, ContainerStatus, Health, HealthCheck, Millis, TargetState, Task, TaskDefinition,
    TaskStatus,
};

impl Turn<'_> {
    /// Sends the checks that are due. The first comes one interval after the start, each further one an interval after the
    /// answer of the one before, as Docker does it.
    pub fn run_due_checks(&mut self, task: &mut Task) {
        if task
            .containers
            .iter()
            .all(|it| it.next_check_at.is_none_or(|at| at > self.now))
        {
            return;
        }
        let Some(definition) = self.world.definition_of(task) else {
            return;
        };
        for container in &mut task.containers {
            let due = container.next_check_at.is_some_and(|at| at <= self.now);
            let check = check_of(definition, &container.name);
            if let (true, ContainerStatus::Running, Some(check)) = (due, container.status, check) {
                container.next_check_at = None;
                container.checking = true;
                self.commands.push(Command::RunHealthCheck {
                    task: task.arn.clone(),
                    container: container.name.clone(),
                    command: check.command.clone(),
                    timeout: check.timeout,
                });
            }
        }
    }

    /// Takes the answer of a check. A failure within the start period does not count until the first success.
    pub fn health_checked(&mut self, arn: &str, name: &str, passed: bool) {
        let Some((key, mut task)) = self.world.take_task(arn) else {
            return;
        };
        let check = self
            .world
            .definition_of(&task)
            .and_then(|it| check_of(it, name))
            .map(|it| (it.interval, it.start_period, it.retries));
        let now = self.now;
        if let (Some((interval, start_period, retries)), Some(container)) =
            (check, task.container_mut(name))
            && container.checking
            && container.status == ContainerStatus::Running
        {
            let before = container.health;
            container.checking = false;
            if !container.stopping {
                container.next_check_at = Some(now + interval);
            }
            let forgiven = container.health == Health::Unknown
                && container
                    .started_at
                    .is_some_and(|at| now < at + start_period);
            if passed {
                container.failing_checks = 0;
                container.health = Health::Healthy;
            } else if !forgiven {
                container.failing_checks += 1;
                if container.failing_checks >= retries {
                    container.health = Health::Unhealthy;
                }
            }
            let changed = container.health != before;
            let health = self.health_of(&task);
            if health != task.health {
                task.health = health;
                task.version += 1;
            }
            if changed {
                self.world.tasks.touch(key);
            }
            self.queues.tasks.insert(key);
        }
        self.world.tasks.put(key, task);
    }

    /// The health of a task: that of its essential containers that have a check.
    fn health_of(&self, task: &Task) -> Health {
        let Some(definition) = self.world.definition_of(task) else {
            return Health::Unknown;
        };
        let mut healths = task
            .containers
            .iter()
            .filter(|it| it.essential && check_of(definition, &it.name).is_some())
            .map(|it| it.health)
            .peekable();
        if healths.peek().is_none() {
            return Health::Unknown;
        }
        healths.fold(Health::Healthy, |all, one| match (all, one) {
            (Health::Unhealthy, _) | (_, Health::Unhealthy) => Health::Unhealthy,
            (Health::Unknown, _) | (_, Health::Unknown) => Health::Unknown,
            _ => Health::Healthy,
        })
    }

    /// Notes when a task of a service is healthy for the first time, and when it is found unhealthy after its grace period.
    pub fn judge(&mut self, task: &mut Task) {
        if task.protected_until.is_some_and(|at| at <= self.now) {
            task.protected_until = None;
        }
        let Some(service) = &task.service else { return };
        task.healthy = self.world.is_healthy(task, self.now);
        if !task.is_wanted() || task.status != TaskStatus::Running || task.unhealthy_at.is_some() {
            return;
        }
        if task.healthy {
            task.healthy_at.get_or_insert(self.now);
        }
        if !task.fails_checks() {
            return;
        }
        let grace = self.grace_of(service);
        let grace_over = task.started_at.is_some_and(|at| self.now >= at + grace);
        if !grace_over {
            return;
        }
        let reason = if task.health == Health::Unhealthy {
            Some("Task failed container health checks".to_owned())
        } else {
            task.targets
                .iter()
                .find(|it| it.state == TargetState::Unhealthy)
                .map(|it| {
                    format!(
                        "Task failed ELB health checks in (target-group {})",
                        it.target_group
                    )
                })
        };
        if let Some(reason) = reason {
            task.healthy = false;
            task.unhealthy_at = Some(self.now);
            task.unhealthy_reason = Some(reason);
        }
    }

    pub fn grace_of(&self, service: &str) -> Millis {
        self.world
            .services
            .get(service)
            .map_or(0, |it| it.grace_period)
    }
}

impl crate::World {
    /// Whether a task of a service counts as healthy at `now`: it is to run and RUNNING, its essential containers' checks pass and
    /// its targets are healthy; with neither checks nor targets, once it has run for [`crate::Pace::settle`].
    pub fn is_healthy(&self, task: &Task, now: Millis) -> bool {
        if !task.is_wanted() || task.status != TaskStatus::Running || task.unhealthy_at.is_some() {
            return false;
        }
        let notice = self.settings.pace.notice;
        if task
            .targets
            .iter()
            .any(|it| it.state != TargetState::Healthy || now < it.since + notice)
        {
            return false;
        }
        let checked = self.definition_of(task).is_some_and(|it| {
            it.containers
                .iter()
                .any(|it| it.essential && it.health_check.is_some())
        });
        if checked {
            return task.health == Health::Healthy;
        }
        !task.targets.is_empty()
            || task
                .started_at
                .is_some_and(|at| now >= at + self.settings.pace.settle)
    }
}

fn check_of<'a>(definition: &'a TaskDefinition, container: &str) -> Option<&'a HealthCheck> {
    definition.container(container)?.health_check.as_ref()
}
