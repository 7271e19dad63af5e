//! Alarms that watch a deployment.

use hoist_aws::{Service, read};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error, or_rather, warning};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "alarms",
    sentence: "The alarms that watch a deployment exist, and are quiet",
    real_only: true,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let alarms = &subject.service["deploymentConfiguration"]["alarms"];
        let names: Vec<&str> = read::list(alarms, "alarmNames")
            .filter_map(|name| name.as_str())
            .collect();
        if alarms["enable"] != true || names.is_empty() {
            return Ok(Vec::new());
        }
        let request = json!({ "AlarmNames": names });
        let answer = scene
            .aws
            .query(Service::CloudWatch, "DescribeAlarms", &request)
            .await?;
        let all =
            || read::list(&answer, "MetricAlarms").chain(read::list(&answer, "CompositeAlarms"));
        let known: Vec<&str> = all().map(|alarm| read::text(alarm, "AlarmName")).collect();
        Ok(names
            .iter()
            .filter_map(|name| match all().find(|alarm| alarm["AlarmName"] == *name) {
                None => Some(error(
                    format!("the alarm {name} does not exist"),
                    or_rather(name, known.iter().copied()),
                )),
                Some(alarm) if alarm["StateValue"] == "ALARM" => Some(warning(
                    format!("the alarm {name} is in ALARM already"),
                    "ECS ignores an alarm that rang before the deployment began, so it would not protect this one",
                )),
                Some(_) => None,
            })
            .collect())
    })
}
