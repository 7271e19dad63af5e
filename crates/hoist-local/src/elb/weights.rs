//! Weights of listener rules, as ECS reads and shifts them.

use super::Balancers;
use super::model::{Act, ForwardConfig, Weighted};
use crate::api::ApiError;

impl Balancers {
    /// The target groups that a rule forwards to, with their weights; a listener stands for its default action. `None` if there is no
    /// such rule.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn weights(
        &self,
        region: &str,
        rule: &str,
    ) -> Result<Option<Vec<(String, u32)>>, ApiError> {
        let acts = match self.tables().rules.get(region, rule)? {
            Some(rule) => rule.shown.actions,
            None => match self.with_default(region, rule)? {
                Some(listener) => listener.shown.default_actions,
                None => return Ok(None),
            },
        };
        let forwards = acts.iter().find(|act| act.kind == "forward");
        Ok(Some(forwards.map(weights_of).unwrap_or_default()))
    }

    /// Has a rule forward with these weights.
    ///
    /// # Errors
    /// `RuleNotFound`, or when the state cannot be written.
    pub async fn shift(
        &self,
        region: &str,
        rule: &str,
        weights: &[(String, u32)],
    ) -> Result<(), ApiError> {
        let _changing = self.changing().await;
        if let Some(mut found) = self.tables().rules.get(region, rule)? {
            forward(&mut found.shown.actions, weights);
            self.tables().rules.put(region, rule, &found)?;
        } else if let Some(mut listener) = self.with_default(region, rule)? {
            forward(&mut listener.shown.default_actions, weights);
            let arn = listener.shown.listener_arn.clone();
            self.tables().listeners.put(region, &arn, &listener)?;
        } else {
            return Err(ApiError::new("RuleNotFound", "One or more rules not found"));
        }
        self.refresh(region)?;
        Ok(())
    }

    fn with_default(
        &self,
        region: &str,
        rule: &str,
    ) -> Result<Option<super::model::Listener>, ApiError> {
        let all = self.tables().listeners.list(region)?;
        Ok(all
            .into_iter()
            .map(|(_, listener)| listener)
            .find(|it| it.default_rule == rule || it.shown.listener_arn == rule))
    }
}

fn weights_of(act: &Act) -> Vec<(String, u32)> {
    match (&act.forward_config, &act.target_group_arn) {
        (Some(config), _) if !config.target_groups.is_empty() => config
            .target_groups
            .iter()
            .map(|it| (it.target_group_arn.clone(), it.weight.unwrap_or(1)))
            .collect(),
        (_, Some(group)) => vec![(group.clone(), 1)],
        _ => Vec::new(),
    }
}

fn forward(acts: &mut [Act], weights: &[(String, u32)]) {
    for act in acts.iter_mut().filter(|act| act.kind == "forward") {
        let stickiness = act
            .forward_config
            .take()
            .map(|it| it.target_group_stickiness_config)
            .unwrap_or_default();
        act.target_group_arn = None;
        act.forward_config = Some(ForwardConfig {
            target_groups: weights
                .iter()
                .map(|(group, weight)| Weighted {
                    target_group_arn: group.clone(),
                    weight: Some(*weight),
                })
                .collect(),
            target_group_stickiness_config: stickiness,
        });
    }
}
