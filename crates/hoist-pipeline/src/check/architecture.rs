//! The image's processor.

use super::{Check, Look, Outcome, Scene, Subject, error};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "image-architecture",
    sentence: "The image is built for the processor of the task",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        if subject.definition.is_null() {
            return Ok(Vec::new());
        }
        let asked = subject.definition["runtimePlatform"]["cpuArchitecture"]
            .as_str()
            .unwrap_or("X86_64");
        let needed = match asked {
            "ARM64" => "linux/arm64",
            _ => "linux/amd64",
        };
        let built: Vec<&str> = scene
            .project
            .image
            .platforms
            .iter()
            .map(|platform| platform.as_str())
            .collect();
        if built.contains(&needed) {
            return Ok(Vec::new());
        }
        Ok(vec![error(
            format!(
                "the image is built for {}, but the task definition asks for {asked}",
                built.join(", ")
            ),
            format!(
                "add {needed} to `image: {{ platforms }}`, or change `cpuArchitecture`: every task would stop with \"exec format error\""
            ),
        )])
    })
}
