//! Weights of listener rules, as the scheduler shifts traffic.

use hoist_fargate::{Event, RuleWeights};

use super::crew::Crew;

/// Gives the rules their weights and reports that they have them, or what the load balancer said.
pub async fn shift(crew: &Crew, service: String, region: &str, number: u64, rules: &[RuleWeights]) {
    for RuleWeights { rule, weights } in rules {
        if let Err(error) = crew.ctx.balancers.shift(region, rule, weights).await {
            let reason = format!("{error} (rule {rule})");
            return crew.tell(Event::TrafficRefused {
                service,
                number,
                reason,
            });
        }
    }
    crew.tell(Event::TrafficShifted { service, number });
}
