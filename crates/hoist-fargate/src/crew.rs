//! What the rolling update sees of a service's tasks, gathered once and kept in step with what is decided.

use crate::failures::has_failed;
use crate::step::Turn;
use crate::table::Key;
use crate::{Millis, Service, Task, TaskStatus};

/// A task that is meant to run.
pub(crate) struct Seen {
    pub key: Key,
    /// The place of its deployment among those of the service; the PRIMARY's is 0.
    pub deployment: usize,
    pub created_at: Millis,
    pub status: TaskStatus,
    pub healthy: bool,
    pub unhealthy: bool,
    /// It was healthy once.
    pub proved: bool,
    /// It is not to be stopped for a deployment or to scale in.
    pub protected: bool,
}

/// The tasks of a service.
pub(crate) struct Crew {
    /// Those that are meant to run, the oldest first.
    pub tasks: Vec<Seen>,
    /// Deployment and status of those that are not, until they are accounted for.
    pub others: Vec<(usize, TaskStatus)>,
    /// Some became healthy or failed and were not accounted for.
    pub has_news: bool,
    /// Some are stopped for being unhealthy and the service did not say so.
    pub has_unhealthy_news: bool,
    /// Ids of tasks that were RUNNING and are stopped now, to be announced.
    pub stopped_running: Vec<String>,
    /// How many others are stopped now.
    pub stopped_pending: usize,
}

/// A deployment that the service does not have any more.
const GONE: usize = usize::MAX;

impl Crew {
    pub fn total(&self) -> u32 {
        self.tasks.len() as u32
    }

    pub fn healthy(&self) -> u32 {
        self.count(|it| it.healthy)
    }

    pub fn count(&self, which: impl Fn(&Seen) -> bool) -> u32 {
        self.tasks.iter().filter(|it| which(it)).count() as u32
    }

    /// Whether a task is on its way to STOPPED.
    pub fn has_stopping(&self) -> bool {
        self.others
            .iter()
            .any(|(_, status)| *status != TaskStatus::Stopped)
    }

    /// Whether a task that is to stop does not begin to yet.
    pub fn has_leaving(&self) -> bool {
        self.others
            .iter()
            .any(|(_, status)| *status <= TaskStatus::Running)
    }

    /// Deployment and status of all.
    pub fn statuses(&self) -> impl Iterator<Item = (usize, TaskStatus)> {
        let wanted = self.tasks.iter().map(|it| (it.deployment, it.status));
        wanted.chain(self.others.iter().copied())
    }

    /// How many tasks of the deployments that `which` picks are RUNNING, and how many are before that.
    pub fn running_and_pending(&self, which: impl Fn(usize) -> bool) -> (u32, u32) {
        let ours = self.statuses().filter(|(of, _)| which(*of));
        ours.fold((0, 0), |(running, pending), (_, status)| {
            (
                running + u32::from(status == TaskStatus::Running),
                pending + u32::from(status < TaskStatus::Running),
            )
        })
    }

    /// Keeps the places of deployments right when one is dropped.
    pub fn forget_deployment(&mut self, index: usize) {
        let places = self.tasks.iter_mut().map(|it| &mut it.deployment);
        for place in places.chain(self.others.iter_mut().map(|it| &mut it.0)) {
            if *place == index {
                *place = GONE;
            } else if *place != GONE && *place > index {
                *place -= 1;
            }
        }
    }
}

/// Whether the service is to say that a task was unhealthy. It does so when the task is stopped (public logs: `has started 1 tasks …
/// replaced 1 tasks due to an unhealthy status`, then `is unhealthy` and `has stopped` within milliseconds, after the replacement's
/// registration if the task was healthy once).
pub(crate) fn is_unhealthy_news(task: &Task) -> bool {
    task.unhealthy_at.is_some() && !task.unhealthy_announced && !task.is_wanted()
}

impl Turn<'_> {
    pub fn crew(&self, service: &Service) -> Crew {
        let crowd = self.world.crowds.get(&service.arn);
        let mut crew = Crew {
            tasks: Vec::with_capacity(crowd.map_or(0, |it| it.live.len())),
            others: Vec::new(),
            has_news: false,
            has_unhealthy_news: false,
            stopped_running: Vec::new(),
            stopped_pending: 0,
        };
        for (key, it) in self.world.live_tasks_of(&service.arn) {
            let deployment = service
                .deployments
                .iter()
                .position(|deployment| it.revision.as_ref() == Some(&deployment.revision))
                .unwrap_or(GONE);
            crew.has_news |= (it.healthy_at.is_some() && !it.counted_healthy)
                || (has_failed(it) && !it.counted_failed);
            crew.has_unhealthy_news |= is_unhealthy_news(it);
            if it.is_wanted() {
                crew.tasks.push(Seen {
                    key,
                    deployment,
                    created_at: it.created_at,
                    status: it.status,
                    healthy: it.healthy,
                    unhealthy: it.unhealthy_at.is_some(),
                    proved: it.healthy_at.is_some(),
                    protected: it.protected_until.is_some(),
                });
            } else {
                crew.others.push((deployment, it.status));
            }
        }
        crew.tasks.sort_by_key(|it| (it.created_at, it.key));
        crew
    }
}
