//! Availability Zone rebalancing: a steady service whose tasks stand unevenly starts one in the weakest zone, and stops one in the
//! strongest when the new one is healthy.
//!
//! Rules and what starts it: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html>. The events are in the words
//! of a public log of 2026 (`(service X) is not AZ balanced with 3 tasks in eu-central-1a, 1 tasks in eu-central-1c, 1 tasks in
//! eu-central-1b. AZ Rebalancing in progress.`) and, where it has none, of the page `service-rebalancing-event-messages-list` beside that one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::crew::Crew;
use crate::launches::Wish;
use crate::request::{number, text};
use crate::rolling::limits;
use crate::step::Turn;
use crate::{
    Arn, DeploymentConfiguration, Millis, Refusal, RolloutState, Service, StopCode, TaskStatus,
};

/// The member of CreateService and UpdateService that turns it on.
const MEMBER: &str = "availabilityZoneRebalancing";

/// What a service does about tasks that stand unevenly over its zones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// `availabilityZoneRebalancing` is ENABLED. A service that never had a value is as one with DISABLED (API reference, UpdateService).
    pub enabled: bool,
    /// It stands unevenly, and something is done about it at this time.
    pub due_at: Option<Millis>,
    /// It said that it is not balanced, and not yet what came of that.
    pub told: bool,
    /// The tasks that are on their way to another zone.
    pub moves: Vec<Move>,
}

/// A task that is started in place of one in another zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Move {
    pub newcomer: Arn,
    pub leaver: Arn,
}

impl Balance {
    /// How many tasks more than it wants the service has meanwhile.
    pub(crate) fn extra(&self) -> u32 {
        self.moves.len() as u32
    }
}

/// Gives a new service the value that it has from then on if its request names none: ENABLED where it can be. "CreateService quietly
/// settles on DISABLED" where it cannot, a public log shows; so it does for what the developer guide excludes, as far as Fargate has it.
pub(crate) fn settle(kept: &mut Map<String, Value>, is_external: bool) {
    if kept.contains_key(MEMBER) {
        return;
    }
    let configuration = kept.get("deploymentConfiguration");
    let maximum = configuration
        .and_then(Value::as_object)
        .and_then(|it| number(it, "maximumPercent"));
    let balancers = kept.get("loadBalancers").and_then(Value::as_array);
    let is_classic = balancers
        .into_iter()
        .flatten()
        .any(|it| it.get("loadBalancerName").is_some());
    let can = !is_external && !is_classic && maximum.is_none_or(|it| it > 100);
    let word = if can { "ENABLED" } else { "DISABLED" };
    kept.insert(MEMBER.to_owned(), word.into());
}

/// Whether it is turned on.
///
/// # Errors
/// It is, and the configuration leaves no room for it. Several public logs have the message of UpdateService; that of CreateService is
/// like it.
pub(crate) fn read(
    kept: &Map<String, Value>,
    configuration: &DeploymentConfiguration,
    is_new: bool,
) -> Result<bool, Refusal> {
    let enabled = text(kept, MEMBER) == Some("ENABLED");
    if enabled && configuration.maximum_percent <= 100 {
        let what = if is_new { "created" } else { "updated" };
        return Err(Refusal::invalid(format!(
            "The service couldn't be {what} because Availability Zone Rebalancing does not support maximumPercent <= 100 % as deployment configuration."
        )));
    }
    Ok(enabled)
}

/// How many tasks there are in each zone, the fullest first.
struct Spread(Vec<(String, u32)>);

impl Spread {
    /// "Dividing the service's desired task count by the number of configured Availability Zones", the rest evenly: no zone has two more
    /// than another.
    fn is_even(&self) -> bool {
        match (self.0.first(), self.0.last()) {
            (Some((_, most)), Some((_, least))) => most - least <= 1,
            _ => true,
        }
    }

    fn sort(&mut self) {
        self.0.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    }

    /// Counts one task of the fullest zone for the emptiest; returns both.
    fn shift(&mut self) -> Option<(String, String)> {
        let (from, to) = (self.0.first()?.0.clone(), self.0.last()?.0.clone());
        if let [first, .., last] = self.0.as_mut_slice() {
            first.1 -= 1;
            last.1 += 1;
        }
        self.sort();
        Some((from, to))
    }

    fn say(&self) -> String {
        let zones: Vec<String> = self
            .0
            .iter()
            .map(|(zone, count)| format!("{count} tasks in {zone}"))
            .collect();
        zones.join(", ")
    }
}

impl Turn<'_> {
    /// Goes on with the moves under way: a task leaves when the one that came for it is healthy.
    pub fn go_on_moving(&mut self, service: &mut Service, crew: &mut Crew) {
        if !service.balance.told && service.balance.moves.is_empty() {
            return;
        }
        let is_at_rest = service.deployments.len() == 1
            && service.course.is_none()
            && service
                .primary()
                .is_some_and(|it| it.rollout_state == RolloutState::Completed);
        if !service.balance.enabled || !is_at_rest {
            service.balance.moves.clear();
            self.stop_balancing(service);
            return;
        }
        let (lower, _) = limits(service);
        let mut left = Vec::new();
        for it in std::mem::take(&mut service.balance.moves) {
            let place = |arn: &str| {
                let key = self.world.tasks.key(arn)?;
                crew.tasks.iter().position(|seen| seen.key == key)
            };
            // One of both is gone: the other is a task as any.
            let (Some(newcomer), Some(leaver)) = (place(&it.newcomer), place(&it.leaver)) else {
                continue;
            };
            if crew.tasks[leaver].protected {
                self.announce_unmovable(service, crew);
                continue;
            }
            if crew.tasks[newcomer].healthy && crew.healthy() > lower {
                self.leave(service, crew, leaver);
            } else {
                left.push(it);
            }
        }
        service.balance.moves = left;
    }

    fn stop_balancing(&mut self, service: &mut Service) {
        service.balance.due_at = None;
        if std::mem::take(&mut service.balance.told) {
            self.announce(service, "stopped AZ Rebalancing.");
        }
    }

    fn leave(&mut self, service: &mut Service, crew: &mut Crew, place: usize) {
        let seen = crew.tasks.remove(place);
        let Some(mut task) = self.world.tasks.take(seen.key) else {
            return;
        };
        let id = service.primary().map_or("", |it| &it.id);
        // The reason: developer guide, tracking Availability Zone rebalancing.
        let reason = format!("Availability-zone rebalancing initiated by (deployment {id})");
        self.stop(&mut task, StopCode::ServiceSchedulerInitiated, reason);
        let zone = task.availability_zone.as_deref().unwrap_or_default();
        let what = format!(
            "has stopped 1 running tasks in {zone} due to AZ rebalancing: (task {}).",
            task.id
        );
        self.world.tasks.put(seen.key, task);
        crew.others.push((seen.deployment, seen.status));
        self.announce(service, &what);
    }

    /// Looks at the zones of a service that has nothing else to do.
    pub fn look_at_balance(&mut self, service: &mut Service, crew: &mut Crew) {
        service.balance.due_at = None;
        if !service.balance.enabled || !service.steady || !service.balance.moves.is_empty() {
            return;
        }
        let Some(mut spread) = self.spread(service, crew) else {
            return;
        };
        if spread.is_even() {
            if std::mem::take(&mut service.balance.told) {
                self.announce(service, &format!("is AZ balanced with {}.", spread.say()));
            }
            Self::resolve(service, UNMOVABLE);
            return;
        }
        let (_, upper) = limits(service);
        let mut room = upper.saturating_sub(crew.total());
        if room == 0 {
            self.stop_balancing(service);
            return;
        }
        let primary = service.primary();
        let paused = primary.and_then(|it| it.launch_after).unwrap_or(0);
        let steady_at = service.steady_at.unwrap_or(0);
        // "After it reaches the steady state": not in the same moment.
        let due = paused.max(steady_at + self.world.pace().rebalance.max(1));
        if self.now < due {
            service.balance.due_at = Some(due);
            return;
        }
        let told = format!(
            "is not AZ balanced with {}. AZ Rebalancing in progress.",
            spread.say()
        );
        let mut leavers: Vec<(Arn, Wish)> = Vec::new();
        while room > 0 && !spread.is_even() {
            let Some((from, to)) = spread.shift() else {
                break;
            };
            let Some(leaver) = self.leaver(crew, &from, &leavers) else {
                break;
            };
            leavers.push((
                leaver.arn.clone(),
                Wish {
                    zone: to,
                    provider: leaver.capacity_provider.clone(),
                },
            ));
            room -= 1;
        }
        if leavers.is_empty() {
            self.announce_unmovable(service, crew);
            return;
        }
        if !std::mem::replace(&mut service.balance.told, true) {
            self.announce(service, &told);
        }
        self.send_newcomers(service, crew, leavers);
    }

    fn send_newcomers(
        &mut self,
        service: &mut Service,
        crew: &mut Crew,
        mut leavers: Vec<(Arn, Wish)>,
    ) {
        leavers.sort_by(|a, b| a.1.zone.cmp(&b.1.zone));
        for in_zone in leavers.chunk_by(|a, b| a.1.zone == b.1.zone) {
            let wishes = in_zone.iter().map(|(_, wish)| Some(wish));
            let launched = self.launch_all(service, 0, wishes, crew);
            let ids: Vec<String> = launched.iter().map(|(_, id)| id.clone()).collect();
            for ((key, _), (leaver, _)) in launched.iter().zip(in_zone) {
                let newcomer = self.world.tasks.at(*key).map(|it| it.arn.clone());
                service.balance.moves.push(Move {
                    newcomer: newcomer.unwrap_or_default(),
                    leaver: leaver.clone(),
                });
            }
            self.announce_moved(service, &in_zone[0].1.zone, &ids);
        }
    }

    /// The newest task of a zone that may go and does not yet.
    fn leaver(&self, crew: &Crew, zone: &str, going: &[(Arn, Wish)]) -> Option<&crate::Task> {
        let tasks = crew.tasks.iter().rev().filter(|it| !it.protected);
        tasks
            .filter_map(|it| self.world.tasks.at(it.key))
            .find(|task| {
                task.availability_zone.as_deref() == Some(zone)
                    && !going.iter().any(|(arn, _)| *arn == task.arn)
            })
    }

    /// Says, in the manner of the other event about protected tasks, that they keep a service from being balanced.
    fn announce_unmovable(&mut self, service: &mut Service, crew: &Crew) {
        let protected = crew.count(|it| it.protected);
        let id = service.primary().map(|it| it.id.clone());
        let what = format!(
            "was unable to AZ Rebalance because (taskSet {}) was unable to scale in due to (reason {protected} tasks under protection)",
            id.unwrap_or_default()
        );
        self.announce_condition(service, UNMOVABLE, &what);
    }

    /// The tasks of a service by zone, where there is more than one that it may be in.
    fn spread(&self, service: &Service, crew: &Crew) -> Option<Spread> {
        let revision = self
            .world
            .service_revisions
            .get(&service.current_revision)?;
        if revision.zones.len() < 2 {
            return None;
        }
        let mut counts: Vec<(String, u32)> =
            revision.zones.iter().map(|it| (it.clone(), 0)).collect();
        for seen in &crew.tasks {
            let task = self.world.tasks.at(seen.key)?;
            let zone = task.availability_zone.as_ref()?;
            match counts.iter_mut().find(|it| it.0 == *zone) {
                Some((_, count)) if seen.status == TaskStatus::Running => *count += 1,
                // It runs where no task of this revision is to be.
                _ => return None,
            }
        }
        let mut spread = Spread(counts);
        spread.sort();
        Some(spread)
    }
}

/// The condition that protected tasks keep a service from being balanced.
const UNMOVABLE: &str = "AZ Rebalance";

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: &[u32]) -> Spread {
        let zones = ["a", "b", "c"].iter().zip(counts);
        let mut spread = Spread(
            zones
                .map(|(zone, count)| (zone.to_string(), *count))
                .collect(),
        );
        spread.sort();
        spread
    }

    #[test]
    fn zones_are_even_when_none_has_two_more_than_another() {
        for (counts, even) in [
            (&[1, 1][..], true),
            (&[2, 0], false),
            (&[1, 2], true),
            (&[1, 2, 2], true),
            (&[1, 1, 0], true),
            (&[3, 1, 1], false),
            (&[5], true),
        ] {
            assert_eq!(spread(counts).is_even(), even, "{counts:?}");
        }
    }

    #[test]
    fn tasks_go_from_the_fullest_zone_to_the_emptiest_and_the_fullest_is_named_first() {
        let mut it = spread(&[1, 4, 1]);
        assert_eq!(it.say(), "4 tasks in b, 1 tasks in a, 1 tasks in c");
        assert_eq!(it.shift(), Some(("b".to_owned(), "c".to_owned())));
        assert_eq!(it.shift(), Some(("b".to_owned(), "a".to_owned())));
        assert!(it.is_even());
        assert_eq!(it.say(), "2 tasks in a, 2 tasks in b, 2 tasks in c");
    }
}
