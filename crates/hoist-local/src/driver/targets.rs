//! Tasks in target groups.

use std::net::{IpAddr, SocketAddr};

use hoist_fargate::{Event, TargetState};
use tokio::sync::mpsc;

use super::crew::Crew;
use crate::elb::{self, TargetMessage};

/// Puts a task into a target group.
pub async fn register(
    crew: &Crew,
    task: String,
    target_group: String,
    ip: &str,
    port: u16,
    zone: &str,
) {
    let refused = |reason: String| Event::TargetRefused {
        task: task.clone(),
        target_group: target_group.clone(),
        port,
        reason,
    };
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return crew.tell(refused(format!("{ip} is no address")));
    };
    crew.keep_target(&target_group, SocketAddr::new(ip, port), &task);
    if let Err(error) = crew
        .ctx
        .balancers
        .register_target(&target_group, ip, port, Some(zone))
        .await
    {
        crew.forget_target(&target_group, SocketAddr::new(ip, port));
        crew.tell(refused(error.to_string()));
    }
}

/// Takes it out; [`TargetMessage::Drained`] follows, and where the group is gone it has drained already.
pub async fn deregister(crew: &Crew, task: String, target_group: String, ip: &str, port: u16) {
    let drained = Event::TargetDrained {
        task: task.clone(),
        target_group: target_group.clone(),
        port,
    };
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return crew.tell(drained);
    };
    let address = SocketAddr::new(ip, port);
    let known = crew
        .ctx
        .balancers
        .health(&target_group)
        .is_some_and(|targets| targets.iter().any(|(it, _)| *it == address));
    crew.keep_target(&target_group, address, &task);
    let result = crew
        .ctx
        .balancers
        .deregister_target(&target_group, ip, port)
        .await;
    if !known || result.is_err() {
        crew.forget_target(&target_group, address);
        crew.tell(drained);
    }
}

/// Passes on what the load balancers say of targets that are tasks.
pub async fn listen(crew: Crew, mut messages: mpsc::UnboundedReceiver<TargetMessage>) {
    while let Some(message) = messages.recv().await {
        match message {
            TargetMessage::Health(health) => {
                let Some(task) = crew.target(&health.group, health.target) else {
                    continue;
                };
                crew.tell(Event::TargetHealth {
                    task,
                    target_group: health.group,
                    port: health.target.port(),
                    state: state(health.condition.state),
                    reason: health.condition.reason.map(str::to_owned),
                    description: health.condition.description,
                });
            }
            TargetMessage::Drained { group, target } => {
                let Some(task) = crew.forget_target(&group, target) else {
                    continue;
                };
                crew.tell(Event::TargetDrained {
                    task,
                    target_group: group,
                    port: target.port(),
                });
            }
        }
    }
}

fn state(state: elb::TargetState) -> TargetState {
    match state {
        elb::TargetState::Initial => TargetState::Initial,
        elb::TargetState::Healthy => TargetState::Healthy,
        elb::TargetState::Unhealthy => TargetState::Unhealthy,
        elb::TargetState::Unused => TargetState::Unused,
        elb::TargetState::Draining => TargetState::Draining,
    }
}
