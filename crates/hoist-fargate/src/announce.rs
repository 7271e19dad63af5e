//! Service events, in ECS's words.

use crate::step::Turn;
use crate::world::Kind;
use crate::{Arn, Millis, Service, ServiceEvent, TargetState, Task};

/// The newest that a service keeps.
const KEPT: usize = 100;
/// What follows the count of targets that came or went.
const TARGETS: &str = " targets in (target-group ";
/// How long the repetition of an unresolved condition is withheld: 6 h.
const WITHHELD: Millis = 6 * 3_600_000;

/// How often something happened to a service in this step, by what it happened to.
#[derive(Default)]
pub(crate) struct Tally(Vec<(Arn, String, u32)>);

impl Tally {
    /// Counts one.
    pub fn add(&mut self, service: &str, what: &str) {
        let known = self.0.iter_mut().find(|it| it.0 == service && it.1 == what);
        match known {
            Some((_, _, count)) => *count += 1,
            None => self.0.push((service.to_owned(), what.to_owned(), 1)),
        }
    }

    /// Takes what was counted for a service, in the order of what it happened to.
    fn take(&mut self, service: &str) -> Vec<(String, u32)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let ours = self.0.extract_if(.., |it| it.0 == service);
        let mut ours: Vec<_> = ours.map(|(_, what, count)| (what, count)).collect();
        ours.sort();
        ours
    }
}

impl Turn<'_> {
    /// Writes an event of the service; `what` follows `(service NAME) `.
    pub fn announce(&mut self, service: &mut Service, what: &str) {
        let message = ["(service ", &service.name, ") ", what].concat();
        self.announce_whole(service, message);
    }

    /// Writes an event about a task set of the service.
    pub fn announce_set(&mut self, service: &mut Service, set: &str, what: &str) {
        let message = ["(service ", &service.name, ", taskSet ", set, ") ", what].concat();
        self.announce_whole(service, message);
    }

    fn announce_whole(&mut self, service: &mut Service, message: String) {
        let id = self.world.settings.ids.uuid();
        self.world.touch(Kind::Settings, "");
        service.events.push_front(ServiceEvent {
            id,
            created_at: self.now,
            message,
        });
        service.events.truncate(KEPT);
        service.announcements += 1;
    }

    /// Writes an event about a condition, unless the same was written less than 6 h ago and the condition lasted since.
    pub fn announce_condition(&mut self, service: &mut Service, condition: &str, what: &str) {
        let withheld = service
            .announced
            .get(condition)
            .is_some_and(|at| self.now < at + WITHHELD);
        if !withheld {
            service.announced.insert(condition.to_owned(), self.now);
            self.announce(service, what);
        }
    }

    /// Forgets conditions whose name begins so: they are resolved.
    pub fn resolve(service: &mut Service, condition: &str) {
        if !service.announced.is_empty() {
            service
                .announced
                .retain(|name, _| !name.starts_with(condition));
        }
    }

    /// Writes what happened to the targets in this step, in the order of public logs: deregistered, and some milliseconds later
    /// begun draining.
    pub fn announce_targets(&mut self, service: &mut Service) {
        for (target_group, count) in self.registered.take(&service.arn) {
            let count = count.to_string();
            let what = ["registered ", &count, TARGETS, &target_group, ")"];
            self.announce(service, &what.concat());
        }
        for (target_group, count) in self.deregistered.take(&service.arn) {
            let count = count.to_string();
            let what = ["deregistered ", &count, TARGETS, &target_group, ")"];
            self.announce(service, &what.concat());
        }
        for (set, count) in self.draining.take(&service.arn) {
            let what = format!("has begun draining connections on {count} tasks.");
            self.announce_set(service, &set, &what);
        }
    }

    /// Writes that tasks were started, `replaced` of them in place of unhealthy ones.
    pub fn announce_started(
        &mut self,
        service: &mut Service,
        set: Option<&str>,
        ids: &[String],
        replaced: u32,
    ) {
        if ids.is_empty() {
            return;
        }
        let count = ids.len().to_string();
        let mut what = ["has started ", &count, " tasks: ", &list(ids), "."].concat();
        if replaced > 0 {
            what += &format!(" Amazon ECS replaced {replaced} tasks due to an unhealthy status.");
        }
        match set {
            Some(set) => self.announce_set(service, set, &what),
            None => self.announce(service, &what),
        }
    }

    /// Writes that tasks were started in a zone to balance the service.
    pub fn announce_moved(&mut self, service: &mut Service, zone: &str, ids: &[String]) {
        let count = ids.len();
        let what = format!(
            "has started {count} tasks in {zone} to AZ Rebalance: {}.",
            list(ids)
        );
        self.announce(service, &what);
    }

    /// Writes that tasks were stopped: those that ran by name, those that did not in number.
    pub fn announce_stopped(&mut self, service: &mut Service, running: &[String], pending: usize) {
        if !running.is_empty() {
            let count = running.len().to_string();
            let what = [
                "has stopped ",
                &count,
                " running tasks: ",
                &list(running),
                ".",
            ];
            self.announce(service, &what.concat());
        }
        if pending > 0 {
            self.announce(service, &format!("stopped {pending} pending tasks."));
        }
    }

    /// Writes why a task is unhealthy.
    pub fn announce_unhealthy(&mut self, service: &mut Service, task: &Task) {
        let target = task
            .targets
            .iter()
            .find(|it| it.state == TargetState::Unhealthy);
        let what = match target {
            Some(target) if task.health != crate::Health::Unhealthy => format!(
                "(task {}) (port {}) is unhealthy in (target-group {}) due to (reason {}).",
                task.id,
                target.port,
                target.target_group,
                target
                    .description
                    .as_deref()
                    .unwrap_or("Health checks failed")
            ),
            _ => format!("(task {}) failed container health checks.", task.id),
        };
        self.announce(service, &what);
    }
}

fn list(ids: &[String]) -> String {
    let mut text = String::with_capacity(ids.len() * 40);
    for id in ids {
        let gap = if text.is_empty() { "" } else { " " };
        text.extend([gap, "(task ", id, ")"]);
    }
    text
}
