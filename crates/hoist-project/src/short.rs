//! The short form of a service: what it leaves out, and what of it AWS would refuse.

use hoist_ecs::fargate::{self, Architecture, Size};
use hoist_ecs::{Access, Health, WebService};

use crate::checks::{check_path, check_range};
use crate::config::{AccessConfig, Platform, ServiceConfig};
use crate::project::Faults;
use crate::service::{Context, Definition, environment_of};

/// A service in the short form.
pub(crate) fn short(
    faults: &mut Faults<'_>,
    context: &Context<'_>,
    at: &str,
    key: &str,
    config: &ServiceConfig,
) -> Option<Definition> {
    if *config == ServiceConfig::default() {
        let span = faults.key_span(at);
        faults.error(
            span,
            format!("nothing is said of the service `{key}`"),
            "",
            "give it a `task-definition`, or the short form such as `{ port: 8080 }`",
        );
        return None;
    }
    if config.service_definition.is_some() {
        let span = faults.key_span(&format!("{at}/service-definition"));
        faults.error(
            span,
            "`service-definition` without `task-definition`",
            "",
            "name the task definition too, or `live`",
        );
    }
    if config.container.is_some() {
        let span = faults.key_span(&format!("{at}/container"));
        faults.error(
            span,
            "`container` without `task-definition`",
            "",
            "in the short form the container has the service's name",
        );
    }
    if config.port == Some(0) {
        let span = faults.span(&format!("{at}/port"));
        faults.error(
            span,
            "no container listens on port 0",
            "",
            "write a port from 1 to 65535",
        );
    }
    let (cpu, memory) = size(faults, at, config);
    let mut health = Health::default();
    if let Some(given) = &config.health {
        let at = format!("{at}/health");
        let place = |member: &str| {
            if faults.document.span(&format!("{at}/{member}")).is_some() {
                format!("{at}/{member}")
            } else {
                at.clone()
            }
        };
        let (path_at, interval_at, timeout_at) =
            (place("path"), place("interval"), place("timeout"));
        let (healthy_at, unhealthy_at) = (place("healthy"), place("unhealthy"));
        if let Some(path) = &given.path {
            check_path(faults, &path_at, path);
            health.path.clone_from(path);
        }
        if let Some(expect) = &given.expect {
            health.expect = expect.to_string();
        }
        health.interval = given.interval.unwrap_or(health.interval);
        health.timeout = given.timeout.unwrap_or(health.timeout);
        health.healthy = given.healthy.unwrap_or(health.healthy);
        health.unhealthy = given.unhealthy.unwrap_or(health.unhealthy);
        health.grace = given.grace.unwrap_or(health.grace);
        check_range(faults, &interval_at, "interval", health.interval, 5, 300);
        check_range(faults, &timeout_at, "timeout", health.timeout, 2, 120);
        check_range(faults, &healthy_at, "healthy", health.healthy, 2, 10);
        check_range(faults, &unhealthy_at, "unhealthy", health.unhealthy, 2, 10);
        if health.timeout >= health.interval && (5..=300).contains(&health.interval) {
            let span = faults.span(&timeout_at);
            faults.error(
                span,
                format!(
                    "a timeout of {} s is not below the interval of {} s",
                    health.timeout, health.interval
                ),
                "",
                "a load balancer must give up on one check before the next",
            );
        }
        if config.port.is_none() {
            let span = faults.key_span(&at);
            faults.error(
                span,
                "a health check without a `port`",
                "",
                "name the port on which the container listens",
            );
        }
    }
    if let Some(seconds) = config.stop_timeout {
        check_range(
            faults,
            &format!("{at}/stop-timeout"),
            "stop-timeout",
            seconds,
            2,
            120,
        );
    }
    let delay = config.deregistration_delay.unwrap_or(5);
    check_range(
        faults,
        &format!("{at}/deregistration-delay"),
        "deregistration-delay",
        delay,
        0,
        3600,
    );
    let access = match (config.access, config.port) {
        (None, Some(_)) | (Some(AccessConfig::LoadBalancer), Some(_)) => Access::LoadBalancer,
        (Some(AccessConfig::LoadBalancer), None) => {
            let span = faults.span(&format!("{at}/access"));
            faults.error(
                span,
                "a load balancer without a `port`",
                "",
                "name the port on which the container listens",
            );
            Access::LoadBalancer
        }
        (Some(AccessConfig::PublicIp), _) => Access::PublicIp,
        (Some(AccessConfig::Private) | None, _) => Access::Private,
    };
    Some(Definition::Short(WebService {
        port: config.port,
        cpu,
        memory,
        count: config.count.unwrap_or(1),
        health,
        environment: environment_of(config),
        secrets: config.secrets.0.clone(),
        command: config.command.as_ref().map(crate::values::Command::to_args),
        architecture: match context.platform {
            Some(Platform::LinuxArm64) => Architecture::Arm64,
            _ => Architecture::X86_64,
        },
        access,
        task_role: config.task_role.clone(),
        stop_timeout: config.stop_timeout,
        deregistration_delay: delay,
        exec: config.exec.unwrap_or(false),
    }))
}

fn size(faults: &mut Faults<'_>, at: &str, config: &ServiceConfig) -> (u32, u32) {
    let cpu = config.cpu.unwrap_or(256);
    let sizes = fargate::memory_sizes(cpu);
    if sizes.is_empty() {
        let span = faults.span(&format!("{at}/cpu"));
        let known: Vec<String> = fargate::CPU_UNITS.iter().map(u32::to_string).collect();
        let help = match cpu {
            1..=16 => format!(
                "these are CPU units, 1024 to a vCPU: {cpu} vCPU are {}",
                cpu * 1024
            ),
            _ => format!("it has {}", known.join(", ")),
        };
        faults.error(
            span,
            format!("Fargate has no size with {cpu} CPU units"),
            "",
            help,
        );
        return (cpu, 0);
    }
    let memory = config.memory.unwrap_or(sizes[0]);
    let size = Size { cpu, memory };
    if !size.is_valid() {
        let span = faults.span(&format!("{at}/memory"));
        let near: Vec<String> = size
            .neighbours()
            .iter()
            .map(|size| format!("cpu {} with memory {}", size.cpu, size.memory))
            .collect();
        faults.error(
            span,
            format!("Fargate has no size with {cpu} CPU units and {memory} MiB"),
            "",
            format!("near it are {}", near.join(", ")),
        );
    }
    (cpu, memory)
}
