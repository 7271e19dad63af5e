//! The Dockerfile's ports.

use super::{Check, Look, Outcome, Scene, Subject, warning};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "exposed-port",
    sentence: "The ports that the Dockerfile exposes are those that the task definition maps",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let file = scene
            .project
            .context()
            .join(&scene.project.image.dockerfile);
        // Whether it can be read is the build's business.
        let exposed = std::fs::read_to_string(file)
            .map(|text| exposed(&text))
            .unwrap_or_default();
        let containers = hoist_aws::read::list(&subject.definition, "containerDefinitions");
        let ours = subject.work.service.container.as_deref();
        let several = containers.len() > 1;
        let mapped: Vec<u16> = containers
            .filter(|container| !several || ours.is_none_or(|ours| container["name"] == ours))
            .flat_map(|container| hoist_aws::read::list(container, "portMappings"))
            .filter_map(|mapping| hoist_aws::read::number(mapping, "containerPort"))
            .filter_map(|port| u16::try_from(port).ok())
            .collect();
        if exposed.is_empty()
            || mapped.is_empty()
            || mapped.iter().any(|port| exposed.contains(port))
        {
            return Ok(Vec::new());
        }
        let list = |ports: &[u16]| {
            ports
                .iter()
                .map(u16::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        Ok(vec![warning(
            format!(
                "the Dockerfile exposes port {}, but the container maps {}",
                list(&exposed),
                list(&mapped)
            ),
            "map the port on which the application listens, or correct EXPOSE",
        )])
    })
}

/// Ports of the last stage's EXPOSE instructions, where they are plain numbers.
fn exposed(dockerfile: &str) -> Vec<u16> {
    let mut ports = Vec::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("FROM") => ports.clear(),
            Some("EXPOSE") => {
                ports.extend(words.filter_map(|word| word.split('/').next()?.parse::<u16>().ok()))
            }
            _ => {}
        }
    }
    ports
}
