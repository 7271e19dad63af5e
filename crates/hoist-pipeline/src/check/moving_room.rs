//! Room to move, with the number of tasks that there are now.

use hoist_aws::read;

use super::{Check, Look, Outcome, Scene, Subject, error};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "moving-room",
    sentence: "Minimum and maximum percent let the tasks that there are now be replaced",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(_: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let configuration = &subject.service["deploymentConfiguration"];
        let rolling = configuration["strategy"]
            .as_str()
            .is_none_or(|name| name == "ROLLING");
        let percent = |key: &str, default: i64| read::number(configuration, key).unwrap_or(default);
        let count = read::number(&subject.service, "desiredCount").unwrap_or(1);
        let (minimum, maximum) = (
            percent("minimumHealthyPercent", 100),
            percent("maximumPercent", 200),
        );
        // ECS rounds the minimum up and the maximum down.
        let least = (count * minimum + 99) / 100;
        let most = count * maximum / 100;
        if !rolling || count == 0 || most > count || least < count {
            return Ok(Vec::new());
        }
        Ok(vec![error(
            format!(
                "with {count} tasks, {minimum} % at least and {maximum} % at most no task could be started and none stopped"
            ),
            format!(
                "set `maximumPercent` to {} or more",
                (100 * (count + 1) + count - 1) / count
            ),
        )])
    })
}
