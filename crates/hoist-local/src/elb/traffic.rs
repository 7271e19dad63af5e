//! Who gets how much: what metrics and the console read of load balancers.

use serde_json::{Value, json};

use super::balancers::Balancers;
use super::model::{Act, Condition};
use crate::api::ApiError;

impl Balancers {
    /// Each target group that runs: its ARN, the load balancers that lead to it, its requests so far, its healthy targets.
    pub fn requests(&self) -> Vec<(String, Vec<String>, u64, usize)> {
        let groups = self.running_groups();
        groups
            .into_iter()
            .map(|(arn, group)| (arn, group.balancers(), group.requests(), group.healthy()))
            .collect()
    }

    /// Every rule that leads to one of these groups, with weights and targets.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn traffic(&self, region: &str, groups: &[String]) -> Result<Value, ApiError> {
        let mut found = Vec::new();
        let rules = self.tables().rules.list(region)?;
        for (arn, listener) in self.tables().listeners.list(region)? {
            let balancer = &listener.shown.load_balancer_arn;
            let Some(balancer) = self.tables().balancers.get(region, balancer)? else {
                continue;
            };
            let own = rules.iter().filter(|(_, rule)| rule.listener == arn);
            let own = own.map(|(_, rule)| (words(&rule.shown.conditions), &rule.shown.actions));
            let default = (
                "every other request".to_owned(),
                &listener.shown.default_actions,
            );
            for (rule, actions) in own.chain([default]) {
                let shares: Vec<(&str, u32)> = actions.iter().flat_map(weights).collect();
                if !shares
                    .iter()
                    .any(|(group, _)| groups.iter().any(|it| it == group))
                {
                    continue;
                }
                let port = listener.shown.port;
                let name = &balancer.shown.dns_name;
                let url = match port {
                    80 => format!("http://{name}/"),
                    port => format!("http://{name}:{port}/"),
                };
                found.push(json!({
                    "port": port,
                    "rule": rule,
                    "url": (listener.shown.protocol == "HTTP").then_some(url),
                    "groups": self.shares(&shares),
                }));
            }
        }
        Ok(found.into())
    }

    fn shares(&self, shares: &[(&str, u32)]) -> Vec<Value> {
        let whole: u32 = shares.iter().map(|(_, weight)| weight).sum();
        let shown = |(group, weight): &(&str, u32)| {
            let targets = self.health(group).unwrap_or_default();
            let targets: Vec<Value> = targets
                .into_iter()
                .map(|(address, condition)| {
                    json!({
                        "id": address.ip().to_string(),
                        "port": address.port(),
                        "state": condition.state.to_string(),
                        "reason": condition.reason,
                        "description": condition.description,
                    })
                })
                .collect();
            json!({
                "name": group.split('/').nth(1),
                "weight": weight,
                "share": (weight * 100).checked_div(whole).unwrap_or(0),
                "targets": targets,
            })
        };
        shares.iter().map(shown).collect()
    }
}

/// The groups of a forward action and their weights.
fn weights(act: &Act) -> Vec<(&str, u32)> {
    match &act.forward_config {
        Some(config) => {
            let groups = config.target_groups.iter();
            groups
                .map(|it| (it.target_group_arn.as_str(), it.weight.unwrap_or(1)))
                .collect()
        }
        None => act
            .target_group_arn
            .iter()
            .map(|it| (it.as_str(), 1))
            .collect(),
    }
}

/// The conditions of a rule in a few words.
fn words(conditions: &[Condition]) -> String {
    let said = conditions.iter().map(|condition| {
        let values = condition.values.clone().unwrap_or_default();
        format!("{} {}", condition.field, values.join(" or "))
            .trim_end()
            .to_owned()
    });
    said.collect::<Vec<_>>().join(", ")
}
