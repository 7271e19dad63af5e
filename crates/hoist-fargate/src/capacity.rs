//! Capacity providers: which of FARGATE and FARGATE_SPOT a task runs on, and what becomes of it when Spot capacity is taken back.

use serde_json::{Map, Value};

use crate::request::{number, text};
use crate::step::Turn;
use crate::{Service, StopCode};

/// What the API says of a task whose Spot capacity was taken back.
const INTERRUPTED: &str = "Your Spot Task was interrupted.";

/// The provider of the next task of a strategy, by what it has of each already: first the one with an unfilled `base`, then by
/// `weight`. `None` without a strategy.
pub(crate) fn choose(strategy: &[Value], has: impl Fn(&str) -> u32) -> Option<String> {
    let items: Vec<(&str, u32, u32, u32)> = strategy
        .iter()
        .filter_map(Value::as_object)
        .filter_map(|it| {
            let name = text(it, "capacityProvider")?;
            let member = |name: &str| number(it, name).unwrap_or(0);
            Some((name, member("base"), member("weight"), has(name)))
        })
        .collect();
    let unfilled = items.iter().find(|(_, base, _, has)| has < base);
    let lightest = items
        .iter()
        .filter(|(_, _, weight, _)| *weight > 0)
        // The least share of its weight first: (has + 1) / weight, compared without fractions.
        .min_by(|a, b| {
            let load = |it: &(&str, u32, u32, u32)| u64::from(it.3 - it.1.min(it.3) + 1);
            (load(a) * u64::from(b.2)).cmp(&(load(b) * u64::from(a.2)))
        });
    let (name, ..) = unfilled.or(lightest).or(items.first())?;
    Some((*name).to_owned())
}

impl Turn<'_> {
    /// The strategy that a request names, or the default one of its cluster.
    pub fn strategy_of<'a>(
        &'a self,
        request: &'a Map<String, Value>,
        cluster: &str,
    ) -> &'a [Value] {
        if request.contains_key("launchType") {
            return &[];
        }
        let own = request
            .get("capacityProviderStrategy")
            .and_then(Value::as_array)
            .filter(|it| !it.is_empty());
        if let Some(own) = own {
            return own;
        }
        let default = self
            .world
            .clusters
            .get(cluster)
            .and_then(|it| it.request.get("defaultCapacityProviderStrategy"))
            .and_then(Value::as_array);
        default.map_or(&[], Vec::as_slice)
    }

    /// The provider of the next task of a service.
    pub fn provider_for(
        &self,
        service: &Service,
        request: &Map<String, Value>,
        cluster: &str,
    ) -> Option<String> {
        choose(self.strategy_of(request, cluster), |name| {
            self.world
                .live_tasks_of(&service.arn)
                .filter(|(_, it)| it.is_wanted())
                .filter(|(_, it)| it.capacity_provider.as_deref() == Some(name))
                .count() as u32
        })
    }

    /// Spot capacity is taken back: the task gets its stop signal, and its service another task. It is no failure of a deployment.
    pub fn spot_interrupted(&mut self, arn: &str) {
        let Some((key, mut task)) = self.world.take_task(arn) else {
            return;
        };
        if task.capacity_provider.as_deref() == Some("FARGATE_SPOT") {
            self.stop(&mut task, StopCode::SpotInterruption, INTERRUPTED);
        }
        self.world.tasks.put(key, task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_base_is_filled_first_and_the_rest_goes_by_weight() {
        let strategy = json!([
            { "capacityProvider": "FARGATE", "base": 2, "weight": 1 },
            { "capacityProvider": "FARGATE_SPOT", "weight": 3 },
        ]);
        let strategy = strategy.as_array().unwrap();
        let mut tasks: Vec<String> = Vec::new();
        for _ in 0..10 {
            let chosen = choose(strategy, |name| {
                tasks.iter().filter(|it| *it == name).count() as u32
            });
            tasks.push(chosen.unwrap());
        }
        let on_demand = tasks.iter().filter(|it| *it == "FARGATE").count();
        assert_eq!(
            (&tasks[0], &tasks[1]),
            (&"FARGATE".to_owned(), &"FARGATE".to_owned())
        );
        assert_eq!((on_demand, tasks.len() - on_demand), (4, 6));
        let idle = json!([
            { "capacityProvider": "FARGATE_SPOT", "weight": 0 },
            { "capacityProvider": "FARGATE", "weight": 1 },
        ]);
        let has = |name: &str| 10 * u32::from(name == "FARGATE");
        let chosen = choose(idle.as_array().unwrap(), has);
        assert_eq!(chosen.as_deref(), Some("FARGATE"), "no weight, no task");
        assert_eq!(choose(&[], |_| 0), None);
    }
}
