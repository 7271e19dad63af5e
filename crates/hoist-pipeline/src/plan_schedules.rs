//! What a deployment would change of the schedules.

use hoist_aws::read;
use hoist_project::Schedule;
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::plan::{ImagePlan, ServicePlan};
use crate::request::Request;
use crate::table::tail;
use crate::{back, schedules};

/// What becomes of one schedule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePlan {
    /// Key in hoist.yaml.
    pub schedule: String,
    /// The rule or schedule, in words.
    pub starter: String,
    /// Task definition `family:revision` that it starts now.
    pub starts: Option<String>,
    /// What becomes of it.
    pub what: String,
    /// Whether it changes.
    pub changes: bool,
}

/// What becomes of a schedule; `None` where it is no part of the run.
pub async fn schedule_plan(
    request: &Request<'_>,
    schedule: &Schedule,
    services: &[ServicePlan],
    image: &ImagePlan,
) -> Result<Option<SchedulePlan>, Failure> {
    let of = |started: Option<String>, what: String, changes| SchedulePlan {
        schedule: schedule.key.clone(),
        starter: schedule.starter.to_string(),
        starts: started,
        what,
        changes,
    };
    let service = match &schedule.service {
        Some(key) => match services.iter().find(|service| service.service == *key) {
            Some(service) => Some(service),
            None => return Ok(None),
        },
        None if request.services.is_empty() => None,
        None => return Ok(None),
    };
    let started = match schedules::look(request.aws, schedule).await {
        Ok(started) => started,
        // A plan tells what is missing; a deployment ends with it.
        Err(failure) if failure.kind == Kind::Check => {
            return Ok(Some(of(None, failure.message, false)));
        }
        Err(failure) => return Err(failure),
    };
    let name = tail(&started.task_definition).to_owned();
    let (what, changes) = match service {
        _ if started.follows() => (
            format!(
                "follows the newest revision of {} by itself",
                started.family()
            ),
            false,
        ),
        Some(service)
            if service.task_definition.is_empty() && service.revision.as_deref() == Some(&name) =>
        {
            (format!("starts {name}, as it does"), false)
        }
        Some(service) => (
            format!("{name} -> the revision of {}", service.service),
            true,
        ),
        None if image.reference.is_empty() => (format!("starts {name}, as it does"), false),
        None => {
            let definition = back::describe(request.aws, &started.task_definition).await?;
            let runs = read::list(&definition, "containerDefinitions")
                .any(|container| container["image"] == image.reference.as_str());
            match runs {
                true => (format!("starts {name} with this image already"), false),
                false => (
                    format!(
                        "{name} -> a revision of {} with the new image",
                        started.family()
                    ),
                    true,
                ),
            }
        }
    };
    Ok(Some(of(Some(name), what, changes)))
}
