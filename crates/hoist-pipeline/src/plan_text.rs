//! A plan as people read it: on a terminal, and as a comment of a pull request.

use std::fmt;

use hoist_ecs::{Change, ChangeKind};

use crate::drift::Drift;
use crate::plan::{Plan, ServicePlan};

/// `$12.34`.
pub fn dollars(amount: f64) -> String {
    format!("${amount:.2}")
}

/// `about 3 min`, `about 40 s`.
fn minutes(seconds: u32) -> String {
    match seconds {
        0..90 => format!("about {seconds} s"),
        _ => format!("about {} min", seconds.div_ceil(60)),
    }
}

impl ServicePlan {
    fn headline(&self) -> String {
        let what = match self.action {
            "create" => "is created",
            "update" => "changes",
            _ => "stays as it is",
        };
        format!("{} ({}) {what}", self.service, self.name)
    }

    fn counts(&self) -> String {
        match self.count_before {
            Some(before) if before == self.count_after => format!("{before}, as it is"),
            Some(before) => format!("{before} -> {}", self.count_after),
            None => self.count_after.to_string(),
        }
    }

    fn costs(&self) -> Option<String> {
        let after = self.cost_after?;
        Some(match self.cost_before {
            Some(before) if (before - after).abs() < 0.005 => {
                format!("{} a month, as it is", dollars(after))
            }
            Some(before) => format!(
                "{} -> {} a month ({}{})",
                dollars(before),
                dollars(after),
                if after > before { "+" } else { "-" },
                dollars((after - before).abs())
            ),
            None => format!("{} a month", dollars(after)),
        })
    }

    fn differences(&self) -> impl Iterator<Item = (&'static str, &Change)> {
        [
            ("task definition", &self.task_definition),
            ("service", &self.service_definition),
            ("target group", &self.target_group),
        ]
        .into_iter()
        .flat_map(|(what, changes)| changes.iter().map(move |change| (what, change)))
    }

    fn scales(&self) -> Option<String> {
        match (&self.scaling_before, &self.scaling) {
            (Some(before), Some(after)) => Some(format!("{before} -> {after}")),
            (_, after) => after.clone(),
        }
    }

    /// The time of the rollout, where there is one.
    fn takes(&self) -> Option<String> {
        (!self.time.is_empty()).then(|| minutes(self.seconds()))
    }
}

impl Plan {
    /// For a comment of a pull request.
    pub fn markdown(&self) -> String {
        let mut text = format!("### hoist plan: {} to {}\n\n", self.app, self.target);
        if !self.changes {
            text.push_str("Nothing would change.\n");
        }
        text.push_str(&format!(
            "**Image** {}: {}\n",
            if self.image.built {
                "is built"
            } else {
                "is reused"
            },
            self.image.why
        ));
        if !self.before.is_empty() {
            text.push_str(&format!(
                "\n**First** {} would run\n",
                self.before.join(", ")
            ));
        }
        for service in &self.services {
            text.push_str(&format!("\n#### {}\n\n", service.headline()));
            if !service.provisions.is_empty() {
                text.push_str(&format!(
                    "Made first: {}\n\n",
                    service.provisions.join(", ")
                ));
            }
            if service.differences().next().is_some() {
                text.push_str("```diff\n");
                for (_, change) in service.differences() {
                    let sign = match change.kind {
                        ChangeKind::Added => "",
                        ChangeKind::Changed => "!",
                        ChangeKind::Removed => "",
                    };
                    let line = change.to_string();
                    let line = match sign {
                        "" => line,
                        sign => line.replacen('~', sign, 1),
                    };
                    text.push_str(&format!("{}\n", line.replace("```", "` ` `")));
                }
                text.push_str("```\n\n");
            }
            text.push_str("| | |\n|---|---|\n");
            text.push_str(&format!("| tasks | {} |\n", service.counts()));
            if let Some(scaling) = service.scales() {
                text.push_str(&format!("| scaling | {scaling} |\n"));
            }
            if let Some(costs) = service.costs() {
                text.push_str(&format!("| cost | {costs} |\n"));
            }
            for note in service.cost_notes.iter().chain(&service.notes) {
                text.push_str(&format!("| note | {note} |\n"));
            }
            for line in service.drift.iter().flat_map(Drift::lines) {
                text.push_str(&format!("| drift | {} |\n", line.replace('|', "\\|")));
            }
            if let Some(time) = service.takes() {
                text.push_str(&format!("| **time** | {time} |\n"));
            }
            for part in &service.time {
                let of = |what: &Option<String>, before| match what {
                    Some(what) => format!("{before}{what}"),
                    None => String::new(),
                };
                let (setting, advice) = (of(&part.setting, ", "), of(&part.advice, "; "));
                let (what, seconds) = (part.what, part.seconds);
                text.push_str(&format!("| {what} | {seconds} s{setting}{advice} |\n"));
            }
        }
        for schedule in &self.schedules {
            text.push_str(&format!(
                "\n#### {} ({})\n\n{}\n",
                schedule.schedule, schedule.starter, schedule.what
            ));
        }
        text
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} to {}", self.app, self.target)?;
        let word = if self.image.built { "built" } else { "reused" };
        writeln!(out, "image {word}: {}", self.image.why)?;
        if !self.before.is_empty() {
            writeln!(out, "first run: {}", self.before.join(", "))?;
        }
        for service in &self.services {
            writeln!(out, "\n{}", service.headline())?;
            if !service.provisions.is_empty() {
                writeln!(out, "  made first")?;
            }
            for what in &service.provisions {
                writeln!(out, "    + {what}")?;
            }
            let mut part = "";
            for (what, change) in service.differences() {
                if part != what {
                    writeln!(out, "  {what}")?;
                    part = what;
                }
                writeln!(out, "    {change}")?;
            }
            writeln!(out, "  tasks     {}", service.counts())?;
            if let Some(scaling) = service.scales() {
                writeln!(out, "  scaling   {scaling}")?;
            }
            if let Some(costs) = service.costs() {
                writeln!(out, "  cost      {costs}")?;
            }
            for note in &service.cost_notes {
                writeln!(out, "            {note}")?;
            }
            if let Some(time) = service.takes() {
                writeln!(out, "  time      {time}")?;
            }
            for part in &service.time {
                let setting = part
                    .setting
                    .as_ref()
                    .map(|setting| format!(" ({setting})"))
                    .unwrap_or_default();
                writeln!(
                    out,
                    "            {:>4} s {}{setting}",
                    part.seconds, part.what
                )?;
                if let Some(advice) = &part.advice {
                    writeln!(out, "                   {advice}")?;
                }
            }
            for line in service.drift.iter().flat_map(Drift::lines) {
                writeln!(out, "  drift     {line}")?;
            }
            for note in &service.notes {
                writeln!(out, "  note      {note}")?;
            }
        }
        for schedule in &self.schedules {
            writeln!(
                out,
                "\n{} ({})\n  {}",
                schedule.schedule, schedule.starter, schedule.what
            )?;
        }
        if !self.changes {
            writeln!(out, "\nnothing would change")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hoist_ecs::Pace;
    use serde_json::json;

    use super::*;
    use crate::plan::{ImagePlan, service_changes};

    fn service() -> ServicePlan {
        let before = json!({ "cpu": "256", "containerDefinitions": [{ "name": "web", "image": "a@sha256:1",
            "environment": [{ "name": "DB_PASSWORD", "value": "hunter2" }] }] });
        let after = json!({ "cpu": "512", "containerDefinitions": [{ "name": "web", "image": "a@to-be-built",
            "environment": [{ "name": "DB_PASSWORD", "value": "hunter3" }] }] });
        ServicePlan {
            service: "web".into(),
            name: "shop-web".into(),
            action: "update",
            revision: Some("web:1".into()),
            task_definition: hoist_ecs::diff(&before, &after),
            service_definition: service_changes(
                &json!({ "deploymentConfiguration": { "maximumPercent": 200, "minimumHealthyPercent": 100 } }),
                &json!({ "deploymentConfiguration": { "maximumPercent": 150 }, "desiredCount": 9 }),
            ),
            target_group: hoist_ecs::diff(
                &json!({ "HealthCheckPath": "/" }),
                &json!({ "HealthCheckPath": "/ready" }),
            ),
            provisions: vec!["the log group /ecs/shop-web".into()],
            count_before: Some(2),
            count_after: 2,
            scaling: Some("2 to 8 tasks by cpu 60".into()),
            scaling_before: Some("1 to 4 tasks by cpu 60".into()),
            cost_before: Some(18.02),
            cost_after: Some(36.04),
            cost_notes: Vec::new(),
            time: hoist_ecs::estimate(&json!({}), &json!({}), Some(&json!({})), 2, Pace::FARGATE),
            drift: Some(crate::drift::Drift {
                since: "web:0".into(),
                changes: hoist_ecs::diff(&json!({ "memory": "512" }), &json!({ "memory": "1024" })),
                newer: Some("web:2".into()),
            }),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_plan_reads_well_and_never_shows_a_secret() {
        let plan = Plan {
            app: "shop".into(),
            target: "eu-central-1".into(),
            changes: true,
            image: ImagePlan::to_build("a", "the sources changed".into()),
            before: vec!["migrate".into()],
            services: vec![service()],
            schedules: vec![crate::plan_schedules::SchedulePlan {
                schedule: "nightly".into(),
                starter: "the rule night".into(),
                starts: Some("web:1".into()),
                what: "web:1 -> the revision of web".into(),
                changes: true,
            }],
        };
        let text = plan.to_string();
        for line in [
            "image built: the sources changed",
            "first run: migrate",
            "web (shop-web) changes",
            "    ~ cpu: 256 -> 512",
            "    ~ web > image: a@sha256:1 -> a@to-be-built",
            "    ~ web > environment > DB_PASSWORD: (hidden)",
            "    ~ deploymentConfiguration > maximumPercent: 200 -> 150",
            "  made first",
            "    + the log group /ecs/shop-web",
            "  target group",
            "    ~ HealthCheckPath: / -> /ready",
            "  tasks     2, as it is",
            "  scaling   1 to 4 tasks by cpu 60 -> 2 to 8 tasks by cpu 60",
            "  cost      $18.02 -> $36.04 a month (+$18.02)",
            "  time      about 8 min",
            "             300 s open requests drain (deregistration delay 300 s)",
            "                   a delay of 10 s saves 290 s",
            "  drift     since hoist registered web:0: ~ memory: 512 -> 1024",
            "  web:1 -> the revision of web",
            "  drift     web:2 is newer than what runs, and was registered by others",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "`{line}` in\n{text}"
            );
        }
        let markdown = plan.markdown();
        assert!(
            markdown.contains("! cpu: 256 -> 512\n")
                && markdown.contains("| **time** | about 8 min |")
                && markdown.contains("| open requests drain | 300 s, deregistration delay 300 s; a delay of 10 s saves 290 s |"),
            "{markdown}"
        );
        let all = format!("{text}{markdown}{}", serde_json::to_string(&plan).unwrap());
        assert!(!all.contains("hunter"), "{all}");
    }
}
