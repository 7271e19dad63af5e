//! The world: every record that the scheduler keeps, what changed of it, and when it wants to be woken.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::mem;

use serde::{Deserialize, Serialize};

use crate::ids::Ids;
use crate::table::{Key, QuickMap, Table};
use crate::{
    Arn, Cluster, Millis, Pace, Refusal, RolloutState, Service, ServiceDeployment, ServiceRevision,
    Task, TaskDefinition, TaskStatus,
};

/// The kinds of records, for a table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One record under the empty key: pace, account, the state of the identifier source, the last revision of each family.
    Settings,
    Cluster,
    TaskDefinition,
    Service,
    ServiceDeployment,
    ServiceRevision,
    Task,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Settings,
        Kind::Cluster,
        Kind::TaskDefinition,
        Kind::Service,
        Kind::ServiceDeployment,
        Kind::ServiceRevision,
        Kind::Task,
    ];

    /// A name for a table, such as `task-definition`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Settings => "settings",
            Kind::Cluster => "cluster",
            Kind::TaskDefinition => "task-definition",
            Kind::Service => "service",
            Kind::ServiceDeployment => "service-deployment",
            Kind::ServiceRevision => "service-revision",
            Kind::Task => "task",
        }
    }
}

/// A record that changed and has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    /// The ARN; empty for the settings.
    pub key: String,
    /// The record as JSON; `None` if it is gone.
    pub record: Option<Vec<u8>>,
}

/// Stored records that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the stored {} {key:?}", kind.name())]
pub struct RestoreError {
    pub kind: Kind,
    pub key: String,
    #[source]
    pub source: serde_json::Error,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub pace: Pace,
    pub account: String,
    pub ids: Ids,
    /// The last revision number of each family, by `region/family`.
    pub families: BTreeMap<String, u32>,
    /// The CloudWatch alarms that are in ALARM, as `region/name`.
    pub alarms: BTreeSet<String>,
}

/// All that the scheduler knows: plain records by ARN. Reading is free; changes come only from [`crate::step`].
#[derive(Clone, Debug, Default)]
pub struct World {
    pub(crate) settings: Settings,
    pub(crate) clusters: Table<Cluster>,
    pub(crate) task_definitions: Table<TaskDefinition>,
    pub(crate) services: Table<Service>,
    pub(crate) service_deployments: Table<ServiceDeployment>,
    pub(crate) service_revisions: Table<ServiceRevision>,
    pub(crate) tasks: Table<Task>,

    // What follows is derived and not stored.
    pub(crate) crowds: QuickMap<Arn, Crowd>,
    /// The settings changed; the tables know what of them did.
    changed: bool,
    alarms: Alarms,
    /// What a step works with, kept for its room.
    pub(crate) queues: Queues,
}

/// The tasks and services that a step has yet to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    pub tasks: Queue,
    pub services: Queue,
}

/// Places, each once, the last first out of a list that is short nearly always.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Vec<Key>);

impl Queue {
    /// Adds a place if it is not in it.
    pub fn insert(&mut self, key: Key) {
        // The least is last.
        if let Err(index) = self.0.binary_search_by(|it| key.cmp(it)) {
            self.0.insert(index, key);
        }
    }

    /// Takes the least place.
    pub fn pop_first(&mut self) -> Option<Key> {
        self.0.pop()
    }
}

/// The tasks of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    /// All that can still be described.
    pub all: BTreeSet<Key>,
    /// Those that have not stopped, or not been accounted for yet; the oldest first.
    pub live: Vec<Key>,
}

/// Who can be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sleeper {
    Task(Key),
    Service(Key),
}

/// Tasks and services by the time at which they want to be woken; each has one alarm at most.
#[derive(Clone, Debug, Default)]
struct Alarms {
    /// Also alarms that were set anew since, which do not count; never as the first.
    queue: BinaryHeap<Reverse<(Millis, Sleeper)>>,
    /// About how many those are.
    outdated: usize,
    tasks: Vec<Option<Millis>>,
    services: Vec<Option<Millis>>,
}

impl Alarms {
    fn of(&mut self, sleeper: Sleeper) -> &mut Option<Millis> {
        let (times, key) = match sleeper {
            Sleeper::Task(key) => (&mut self.tasks, key),
            Sleeper::Service(key) => (&mut self.services, key),
        };
        if times.len() <= key.index() {
            times.resize(key.index() + 1, None);
        }
        &mut times[key.index()]
    }

    fn set(&mut self, sleeper: Sleeper, at: Option<Millis>) {
        let old = mem::replace(self.of(sleeper), at);
        if old == at {
            return;
        }
        if let Some(at) = at {
            self.queue.push(Reverse((at, sleeper)));
        }
        if old.is_some() {
            self.outdated += 1;
            self.tidy();
        }
    }

    fn first(&self) -> Option<(Millis, Sleeper)> {
        self.queue.peek().map(|it| it.0)
    }

    fn take_first_due(&mut self, now: Millis) -> Option<Sleeper> {
        let (_, sleeper) = self.first().filter(|(at, _)| *at <= now)?;
        self.queue.pop();
        *self.of(sleeper) = None;
        self.tidy();
        Some(sleeper)
    }

    /// Leaves nothing outdated in the first place, and not much elsewhere.
    fn tidy(&mut self) {
        while let Some((at, sleeper)) = self.first()
            && *self.of(sleeper) != Some(at)
        {
            self.queue.pop();
            self.outdated = self.outdated.saturating_sub(1);
        }
        if self.outdated > 64 && self.outdated > self.queue.len() / 2 {
            let mut queue = mem::take(&mut self.queue).into_vec();
            queue.retain(|Reverse((at, sleeper))| *self.of(*sleeper) == Some(*at));
            queue.sort_unstable();
            queue.dedup();
            self.queue = queue.into();
            self.outdated = 0;
        }
    }
}

impl World {
    /// An empty world. `account` has twelve digits; every identifier follows from `seed` and the order of events.
    pub fn new(account: &str, seed: u64, pace: Pace) -> Self {
        let mut world = World {
            settings: Settings {
                pace,
                account: account.to_owned(),
                ids: Ids::new(seed),
                families: BTreeMap::new(),
                alarms: BTreeSet::new(),
            },
            ..World::default()
        };
        world.touch(Kind::Settings, "");
        world
    }

    /// The world from its stored records (kind, key, JSON), as [`World::take_changes`] gave them out.
    ///
    /// The settings record must be among them, unless there is none at all. The first event must be
    /// [`crate::Event::Restarted`].
    ///
    /// # Errors
    /// A record that is not what this version wrote; members that it does not know are skipped.
    pub fn restore(
        records: impl IntoIterator<Item = (Kind, String, Vec<u8>)>,
    ) -> Result<Self, RestoreError> {
        let mut world = World::default();
        for (kind, key, json) in records {
            let read = match kind {
                Kind::Settings => serde_json::from_slice(&json).map(|it| world.settings = it),
                Kind::Cluster => insert(&mut world.clusters, &key, &json),
                Kind::TaskDefinition => insert(&mut world.task_definitions, &key, &json),
                Kind::Service => insert(&mut world.services, &key, &json),
                Kind::ServiceDeployment => insert(&mut world.service_deployments, &key, &json),
                Kind::ServiceRevision => insert(&mut world.service_revisions, &key, &json),
                Kind::Task => insert(&mut world.tasks, &key, &json),
            };
            read.map_err(|source| RestoreError { kind, key, source })?;
        }
        for task in world.tasks.values_mut() {
            task.definition = world.task_definitions.key(&task.task_definition);
        }
        // What was read is on disk already.
        world.take_changed();
        for (key, task) in world.tasks.iter() {
            if let Some(service) = &task.service {
                let crowd = world.crowds.entry(service.clone()).or_default();
                crowd.all.insert(key);
                if task.status != TaskStatus::Stopped {
                    crowd.live.push(key);
                }
            }
        }
        Ok(world)
    }

    /// The records that changed since the last time. Write them in one transaction before carrying out the commands of the
    /// steps that changed them: then nothing is ever done that a restart does not know of.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.take_changed()
            .into_iter()
            .map(|(kind, key)| Change {
                kind,
                record: self.record(kind, &key),
                key,
            })
            .collect()
    }

    /// Kind and key of what [`World::take_changes`] would give out, for a caller that reads the records with
    /// [`World::record`] itself, later.
    pub fn take_changed(&mut self) -> Vec<(Kind, Arn)> {
        let mut changed = Vec::new();
        if mem::take(&mut self.changed) {
            changed.push((Kind::Settings, Arn::new()));
        }
        for kind in Kind::ALL {
            let arns = match kind {
                Kind::Settings => continue,
                Kind::Cluster => self.clusters.take_changed(),
                Kind::TaskDefinition => self.task_definitions.take_changed(),
                Kind::Service => self.services.take_changed(),
                Kind::ServiceDeployment => self.service_deployments.take_changed(),
                Kind::ServiceRevision => self.service_revisions.take_changed(),
                Kind::Task => self.tasks.take_changed(),
            };
            changed.extend(arns.iter().map(|arn| (kind, Arn::from(&**arn))));
        }
        changed
    }

    /// A record as JSON; `None` if there is none.
    pub fn record(&self, kind: Kind, key: &str) -> Option<Vec<u8>> {
        match kind {
            Kind::Settings => Some(json(&self.settings)),
            Kind::Cluster => self.clusters.get(key).map(json),
            Kind::TaskDefinition => self.task_definitions.get(key).map(json),
            Kind::Service => self.services.get(key).map(json),
            Kind::ServiceDeployment => self.service_deployments.get(key).map(json),
            Kind::ServiceRevision => self.service_revisions.get(key).map(json),
            Kind::Task => self.tasks.get(key).map(json),
        }
    }

    /// When [`crate::Event::Tick`] is due; `None` while everything waits for other events. May be in the past.
    pub fn next_wakeup(&self) -> Option<Millis> {
        self.alarms.first().map(|(at, _)| at)
    }

    /// The account of every ARN.
    pub fn account(&self) -> &str {
        &self.settings.account
    }

    /// The pace that it runs at.
    pub fn pace(&self) -> &Pace {
        &self.settings.pace
    }

    /// Changes the pace, for timers that are set from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        if self.settings.pace != pace {
            self.settings.pace = pace;
            self.touch(Kind::Settings, "");
        }
    }

    /// The clusters of a region, active or not.
    pub fn clusters<'a>(&'a self, region: &'a str) -> impl Iterator<Item = &'a Cluster> {
        self.clusters.values().filter(move |it| it.region == region)
    }

    /// The task definitions of a region.
    pub fn task_definitions<'a>(
        &'a self,
        region: &'a str,
    ) -> impl Iterator<Item = &'a TaskDefinition> {
        self.task_definitions
            .values()
            .filter(move |it| it.region == region)
    }

    /// The services of a cluster.
    pub fn services<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services
            .values()
            .filter(move |it| it.cluster == cluster)
    }

    /// The service deployments of a service, in the order of their ARNs.
    pub fn service_deployments<'a>(
        &'a self,
        service: &'a str,
    ) -> impl Iterator<Item = &'a ServiceDeployment> {
        self.service_deployments
            .values()
            .filter(move |it| it.service == service)
    }

    /// The services of all regions.
    pub fn every_service(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The tasks of a cluster.
    pub fn tasks<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a Task> {
        self.tasks.values().filter(move |it| it.cluster == cluster)
    }

    /// Every task.
    pub fn all_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// The tasks of a service, stopped ones that are still visible included.
    pub fn tasks_of<'a>(&'a self, service: &str) -> impl Iterator<Item = &'a Task> {
        self.crowds
            .get(service)
            .into_iter()
            .flat_map(|it| &it.all)
            .filter_map(|key| self.tasks.at(*key))
    }

    /// The tasks of a service that have not stopped (or did so in this very step).
    pub(crate) fn live_tasks_of<'a>(
        &'a self,
        service: &str,
    ) -> impl Iterator<Item = (Key, &'a Task)> {
        self.crowds
            .get(service)
            .into_iter()
            .flat_map(|it| &it.live)
            .filter_map(|key| Some((*key, self.tasks.at(*key)?)))
    }

    /// The cluster of that ARN.
    pub fn cluster(&self, arn: &str) -> Option<&Cluster> {
        self.clusters.get(arn)
    }

    /// The task definition of that ARN.
    pub fn task_definition(&self, arn: &str) -> Option<&TaskDefinition> {
        self.task_definitions.get(arn)
    }

    /// The service of that ARN.
    pub fn service(&self, arn: &str) -> Option<&Service> {
        self.services.get(arn)
    }

    /// The service deployment of that ARN.
    pub fn service_deployment(&self, arn: &str) -> Option<&ServiceDeployment> {
        self.service_deployments.get(arn)
    }

    /// The service revision of that ARN.
    pub fn service_revision(&self, arn: &str) -> Option<&ServiceRevision> {
        self.service_revisions.get(arn)
    }

    /// The task of that ARN.
    pub fn task(&self, arn: &str) -> Option<&Task> {
        self.tasks.get(arn)
    }

    /// The definition of a task.
    #[inline]
    pub(crate) fn definition_of<'w>(&'w self, task: &Task) -> Option<&'w TaskDefinition> {
        match task.definition {
            Some(key) => self.task_definitions.at(key),
            None => self.task_definitions.get(&task.task_definition),
        }
    }

    /// Whether protected tasks of an older revision keep the deployment of a task's service from its end: no further task is then
    /// protected (`DEPLOYMENT_BLOCKED`).
    pub fn is_held_up(&self, task: &Task) -> bool {
        let service = task.service.as_ref().and_then(|arn| self.service(arn));
        let Some((service, primary)) = service.and_then(|it| Some((it, it.primary()?))) else {
            return false;
        };
        primary.rollout_state == RolloutState::InProgress
            && self.live_tasks_of(&service.arn).any(|(_, it)| {
                it.protected_until.is_some() && it.revision.as_ref() != Some(&primary.revision)
            })
    }

    /// The active cluster that a request names: by name, by ARN, or `default`.
    ///
    /// # Errors
    /// `ClusterNotFoundException`.
    pub fn find_cluster(&self, region: &str, name: Option<&str>) -> Result<&Cluster, Refusal> {
        let arn = self.arn(region, "cluster", name.unwrap_or("default"));
        let refused = |message: &str| Refusal::new("ClusterNotFoundException", message);
        match self.clusters.get(&arn) {
            Some(cluster) if cluster.active => Ok(cluster),
            Some(_) => Err(refused("The referenced cluster was inactive.")),
            None => Err(refused("Cluster not found.")),
        }
    }

    /// The service that a request names in a cluster (by its ARN): by name or ARN. An inactive one is found, too.
    pub fn find_service(&self, cluster: &Cluster, name: &str) -> Option<&Service> {
        let name = name.rsplit('/').next().unwrap_or(name);
        let arn = self.arn_of(&cluster.region, "service", &[&cluster.name, name]);
        self.services.get(&arn)
    }

    /// The task that a request names in a cluster: by id or ARN.
    pub fn find_task(&self, cluster: &Cluster, name: &str) -> Option<&Task> {
        let id = name.rsplit('/').next().unwrap_or(name);
        let arn = self.arn_of(&cluster.region, "task", &[&cluster.name, id]);
        self.tasks.get(&arn)
    }

    /// The task definition that a request names: `family` (its newest active revision), `family:revision`, or an ARN of either.
    pub fn find_task_definition(&self, region: &str, name: &str) -> Option<&TaskDefinition> {
        let name = name.rsplit('/').next().unwrap_or(name);
        if name.contains(':') {
            return self
                .task_definitions
                .get(&self.arn(region, "task-definition", name));
        }
        let newest = self.settings.families.get(&format!("{region}/{name}"))?;
        (1..=*newest).rev().find_map(|revision| {
            let arn = self.arn(region, "task-definition", &format!("{name}:{revision}"));
            self.task_definitions.get(&arn).filter(|it| it.active)
        })
    }

    /// An ARN of this account; a `name` that is one already stays.
    pub(crate) fn arn(&self, region: &str, kind: &str, name: &str) -> Arn {
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        self.arn_of(region, kind, &[name])
    }

    /// An ARN of this account, of the parts of its name with `/` between them.
    pub(crate) fn arn_of(&self, region: &str, kind: &str, parts: &[&str]) -> Arn {
        let account = self.settings.account.as_str();
        let mut arn = Arn::with_capacity(160);
        for part in ["arn:aws:ecs:", region, ":", account, ":", kind] {
            arn.push_str(part);
        }
        for part in parts {
            arn.push('/');
            arn.push_str(part);
        }
        arn
    }

    /// Takes a task out of its place, to be put back before anyone else looks.
    pub(crate) fn take_task(&mut self, arn: &str) -> Option<(Key, Box<Task>)> {
        let key = self.tasks.key(arn)?;
        Some((key, self.tasks.take(key)?))
    }

    /// Notes that a record changed. One that is not there yet is noted when it is kept, one that is gone was when it was dropped.
    pub(crate) fn touch(&mut self, kind: Kind, arn: &str) {
        match kind {
            Kind::Settings => self.changed = true,
            Kind::Cluster => touch(&mut self.clusters, arn),
            Kind::TaskDefinition => touch(&mut self.task_definitions, arn),
            Kind::Service => touch(&mut self.services, arn),
            Kind::ServiceDeployment => touch(&mut self.service_deployments, arn),
            Kind::ServiceRevision => touch(&mut self.service_revisions, arn),
            Kind::Task => touch(&mut self.tasks, arn),
        }
    }

    /// Sets, moves or clears the one alarm of a task or service.
    pub(crate) fn wake(&mut self, sleeper: Sleeper, at: Option<Millis>) {
        self.alarms.set(sleeper, at);
    }

    /// Takes one whose alarm is due.
    pub(crate) fn take_due(&mut self, now: Millis) -> Option<Sleeper> {
        self.alarms.take_first_due(now)
    }
}

fn touch<T>(table: &mut Table<T>, arn: &str) {
    if let Some(key) = table.key(arn) {
        table.touch(key);
    }
}

fn insert<T: for<'de> Deserialize<'de>>(
    table: &mut Table<T>,
    key: &str,
    json: &[u8],
) -> Result<(), serde_json::Error> {
    table.insert(key, serde_json::from_slice(json)?);
    Ok(())
}

fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and no failing parts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn an_alarm_set_anew_counts_alone_and_what_is_outdated_does_not_pile_up() {
        let mut table = Table::default();
        let keys: Vec<Key> = (0..3).map(|it| table.insert(&it.to_string(), it)).collect();
        let mut alarms = Alarms::default();
        for at in 1..1_000 {
            alarms.set(Sleeper::Task(keys[0]), Some(at * 10));
            alarms.set(Sleeper::Service(keys[0]), Some(100_000 - at));
            alarms.set(Sleeper::Task(keys[1]), Some(5));
            alarms.set(Sleeper::Task(keys[1]), None);
            assert!(alarms.queue.len() < 300, "{}", alarms.queue.len());
        }
        alarms.set(Sleeper::Task(keys[2]), Some(9_990));
        assert_eq!(alarms.first(), Some((9_990, Sleeper::Task(keys[0]))));
        assert_eq!(alarms.take_first_due(9_989), None);
        let mut due = || alarms.take_first_due(100_000);
        assert_eq!(due(), Some(Sleeper::Task(keys[0])));
        assert_eq!(due(), Some(Sleeper::Task(keys[2])));
        assert_eq!(due(), Some(Sleeper::Service(keys[0])));
        assert_eq!(due(), None);
    }
}
