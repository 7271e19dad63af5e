//! What a deployment would change, before it does: image, definitions, counts, cost, minutes.

use std::fmt;

use hoist_aws::{Client, Service as Aws, read};
use hoist_ecs::{Change, ChangeKind, Pace, Part, Rates};
use hoist_project::Project;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cancel::Cancel;
use crate::deploy::{Request, Version};
use crate::event::{Events, Step};
use crate::failure::Failure;
use crate::image::Builder;
use crate::refusal::refused;
use crate::work::{self, Work};
use crate::{existing, resolve, service, status};

/// Stands for the digest of an image that is not built yet.
const TO_BE_BUILT: &str = "to-be-built";

/// What a deployment would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Application.
    pub app: String,
    /// `embedded AWS` or the region.
    pub target: String,
    /// Whether anything would change.
    pub changes: bool,
    /// The image.
    pub image: ImagePlan,
    /// Tasks that would run first.
    pub before: Vec<String>,
    /// The services, in the order of hoist.yaml.
    pub services: Vec<ServicePlan>,
}

/// What becomes of the image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagePlan {
    /// Whether it is built.
    pub built: bool,
    /// Why.
    pub why: String,
    /// The image, with `@to-be-built` where its digest is not known yet.
    pub reference: String,
}

/// What becomes of one service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePlan {
    /// Key in hoist.yaml.
    pub service: String,
    /// Name of the ECS service.
    pub name: String,
    /// `create`, `update` or `none`.
    pub action: &'static str,
    /// Revision that runs.
    pub revision: Option<String>,
    /// Differences of the task definition.
    pub task_definition: Vec<Change>,
    /// Differences of the service.
    pub service_definition: Vec<Change>,
    /// Tasks before.
    pub count_before: Option<u32>,
    /// Tasks after.
    pub count_after: u32,
    /// Bounds of auto scaling, as hoist.yaml says them.
    pub scaling: Option<String>,
    /// US dollars a month before.
    pub cost_before: Option<f64>,
    /// US dollars a month after.
    pub cost_after: Option<f64>,
    /// What the costs rest on.
    pub cost_notes: Vec<String>,
    /// What the rollout's time goes into.
    pub time: Vec<Part>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl ServicePlan {
    /// Expected seconds of the rollout.
    pub fn seconds(&self) -> u32 {
        self.time.iter().map(|part| part.seconds).sum()
    }
}

/// Looks at everything and changes nothing. The build hook is run, because what is built may depend on it.
///
/// # Errors
/// The project or a definition is wrong, something that it refers to is missing, or AWS refused a call.
pub async fn plan(
    request: &Request<'_>,
    cancel: &Cancel,
    events: &Events,
) -> Result<Plan, Failure> {
    let project = request.project;
    let works = work::works(project, request.aws.region(), &request.services)?;
    for warning in work::project_warnings(project)
        .iter()
        .chain(&work::check(&works)?)
    {
        events.warn(Step::Check, warning);
    }
    let image = match &request.version {
        Version::Source {
            workspace, build, ..
        } => {
            let builder = Builder {
                project,
                workspace,
                options: build,
                events,
                cancel,
            };
            builder.planned(request.aws).await?
        }
        Version::Image(given) => {
            let found = cancel
                .or(existing::find(request.aws, project, given))
                .await?;
            ImagePlan {
                built: false,
                why: format!("{given} exists"),
                reference: found.reference,
            }
        }
        Version::Revision(_) | Version::LastGood => ImagePlan {
            built: false,
            why: "the revision has its image".to_owned(),
            reference: String::new(),
        },
    };
    let mut services = Vec::new();
    for work in works {
        services.push(
            cancel
                .or(one(request, work, &image.reference, events))
                .await?,
        );
    }
    let changes = services.iter().any(|service| service.action != "none");
    Ok(Plan {
        app: project.app.clone(),
        target: if request.embedded {
            "embedded AWS".to_owned()
        } else {
            request.aws.region().to_owned()
        },
        changes,
        image,
        before: if changes {
            project.release.before.clone()
        } else {
            Vec::new()
        },
        services,
    })
}

async fn one(
    request: &Request<'_>,
    mut work: Work,
    image: &str,
    events: &Events,
) -> Result<ServicePlan, Failure> {
    let aws = request.aws;
    let live = service::describe_if_cluster(aws, work.cluster(), work.name()).await?;
    work.overlay(aws, live.as_ref(), image).await?;
    let running = match live
        .as_ref()
        .and_then(|live| live["taskDefinition"].as_str())
    {
        Some(running) => status::describe_definition(aws, running).await?["taskDefinition"].take(),
        None => Value::Null,
    };
    let mut notes = Vec::new();
    if request.embedded {
        // The provision step maps identifiers to those of the embedded account: what is live was mapped already.
        if let Some(live) = &live {
            work.service_definition = adopt(&work.service_definition, live);
        }
    } else {
        resolve::resolve(aws, &mut work, live.as_ref(), events).await?;
    }
    if live.is_none() && !work.can_create {
        notes.push(
            "it does not exist, and there is no service definition to create it from".to_owned(),
        );
    }
    let none = json!({});
    let before = if running.is_null() { &none } else { &running };
    let task_definition = hoist_ecs::diff(
        &hoist_ecs::normalise_task_definition(before),
        &hoist_ecs::normalise_task_definition(&work.task_definition),
    );
    let service_definition = match &live {
        Some(live) => service_changes(live, &work.service_definition),
        None => Vec::new(),
    };
    let wanted = &work.service_definition;
    let desired = |value: &Value| {
        value["desiredCount"]
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
    };
    let count_before = live.as_ref().and_then(desired);
    let count_after = request
        .count
        .or(count_before)
        .or(desired(wanted))
        .unwrap_or(1);
    let rates = rates(request.project);
    let region = aws.region();
    // What UpdateService is not told stays as it is.
    let after = match &live {
        Some(live) => laid_over(live, wanted),
        None => wanted.clone(),
    };
    let bill = |definition: &Value, service: &Value, count: u32| {
        hoist_ecs::monthly(definition, service, count, region, &rates)
    };
    let (old, new) = (
        live.as_ref()
            .and_then(|live| bill(&running, live, count_before.unwrap_or(0))),
        bill(&work.task_definition, &after, count_after),
    );
    let group = target_group(aws, &work, live.as_ref()).await?;
    let changed = !task_definition.is_empty()
        || !service_definition.is_empty()
        || count_before != Some(count_after)
        || request.force;
    let action = match (&live, changed) {
        (None, _) => "create",
        (Some(_), true) => "update",
        (Some(_), false) => "none",
    };
    let pace = if request.embedded {
        Pace::EMBEDDED
    } else {
        Pace::FARGATE
    };
    let time = match action {
        "none" => Vec::new(),
        _ => hoist_ecs::estimate(
            &after,
            &work.task_definition,
            group.as_ref(),
            count_after,
            pace,
        ),
    };
    if action == "update" && time.is_empty() && count_after > 0 {
        notes.push(
            "minimum and maximum percent leave no room: no task could be started and none stopped"
                .to_owned(),
        );
    }
    let scaling = work.service.scaling.as_ref().map(|scaling| {
        let by = |what: &str, value: Option<u32>| value.map(|value| format!("{what} {value}"));
        let by: Vec<String> = [
            by("cpu", scaling.cpu),
            by("memory", scaling.memory),
            by("requests", scaling.requests),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!(
            "{} to {} tasks by {}",
            scaling.min,
            scaling.max,
            by.join(", ")
        )
    });
    Ok(ServicePlan {
        service: work.key().to_owned(),
        name: work.name().to_owned(),
        action,
        revision: live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str())
            .map(|arn| crate::table::tail(arn).to_owned()),
        task_definition,
        service_definition,
        count_before,
        count_after,
        scaling,
        cost_before: old.as_ref().map(|bill| bill.dollars),
        cost_after: new.as_ref().map(|bill| bill.dollars),
        cost_notes: new.or(old).map(|bill| bill.notes).unwrap_or_default(),
        time,
        notes,
    })
}

/// The prices of hoist.yaml.
pub fn rates(project: &Project) -> Rates {
    Rates {
        vcpu_hour: project.prices.vcpu_hour,
        gb_hour: project.prices.gb_hour,
        spot: project.prices.spot,
    }
}

/// The definition with the identifiers of `live` where both have one.
fn adopt(definition: &Value, live: &Value) -> Value {
    let mut adopted = definition.clone();
    for pointer in [
        "/networkConfiguration/awsvpcConfiguration/subnets",
        "/networkConfiguration/awsvpcConfiguration/securityGroups",
    ] {
        if let (Some(place), Some(known)) = (adopted.pointer_mut(pointer), live.pointer(pointer)) {
            *place = known.clone();
        }
    }
    let links = adopted["loadBalancers"].as_array().map_or(0, Vec::len);
    for index in 0..links {
        let known = &live["loadBalancers"][index]["targetGroupArn"];
        if known.is_string() {
            adopted["loadBalancers"][index]["targetGroupArn"] = known.clone();
        }
    }
    // Without one of its own it stays as it was.
    if adopted["loadBalancers"].is_null()
        && let Some(members) = adopted.as_object_mut()
    {
        members.shift_remove("loadBalancers");
    }
    adopted
}

/// What UpdateService would be told, as differences. Of what is live only that is shown which the definition says too.
fn service_changes(live: &Value, wanted: &Value) -> Vec<Change> {
    let (mut before, mut after) = (Map::new(), Map::new());
    for (member, value) in service::changes(live, wanted) {
        before.insert(member.to_owned(), restricted(&live[member], &value));
        after.insert(member.to_owned(), value);
    }
    hoist_ecs::diff(&Value::Object(before), &Value::Object(after))
}

fn restricted(live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .filter_map(|(key, wanted)| Some((key.clone(), restricted(live.get(key)?, wanted))))
            .collect::<Map<_, _>>()
            .into(),
        (live, _) => live.clone(),
    }
}

fn laid_over(live: &Value, wanted: &Value) -> Value {
    let mut laid = live.clone();
    for (member, value) in service::changes(live, wanted) {
        laid[member] = value;
    }
    laid
}

/// The target group with its attributes: the one that is live, else what the short form would make.
async fn target_group(
    aws: &Client,
    work: &Work,
    live: Option<&Value>,
) -> Result<Option<Value>, Failure> {
    let arn = live.and_then(|live| {
        read::list(live, "loadBalancers").find_map(|link| link["targetGroupArn"].as_str())
    });
    let Some(arn) = arn else {
        return Ok(work.target_group.clone());
    };
    let refuse = |error| refused("failed to describe the target group", &error);
    let mut groups = aws
        .query(
            Aws::Elbv2,
            "DescribeTargetGroups",
            &json!({ "TargetGroupArns": [arn] }),
        )
        .await
        .map_err(refuse)?;
    let mut attributes = aws
        .query(
            Aws::Elbv2,
            "DescribeTargetGroupAttributes",
            &json!({ "TargetGroupArn": arn }),
        )
        .await
        .map_err(refuse)?;
    let mut group = groups["TargetGroups"][0].take();
    if group.is_object() {
        group["Attributes"] = attributes["Attributes"].take();
    }
    Ok(Some(group).filter(Value::is_object))
}

impl ImagePlan {
    /// An image that has to be built, to be stored under `uri`.
    pub fn to_build(uri: &str, why: String) -> ImagePlan {
        ImagePlan {
            built: true,
            why,
            reference: format!("{uri}@{TO_BE_BUILT}"),
        }
    }
}

/// `$12.34`.
fn dollars(amount: f64) -> String {
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
        let of = |what, changes: &'_ [Change]| -> Vec<(&'static str, usize)> {
            (0..changes.len()).map(|index| (what, index)).collect()
        };
        of("task definition", &self.task_definition)
            .into_iter()
            .map(|(what, index)| (what, &self.task_definition[index]))
            .chain(
                of("service", &self.service_definition)
                    .into_iter()
                    .map(|(what, index)| (what, &self.service_definition[index])),
            )
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
            if let Some(scaling) = &service.scaling {
                text.push_str(&format!("| scaling | {scaling} |\n"));
            }
            if let Some(costs) = service.costs() {
                text.push_str(&format!("| cost | {costs} |\n"));
            }
            if service.action != "none" {
                text.push_str(&format!("| time | {} |\n", minutes(service.seconds())));
            }
            for note in service.cost_notes.iter().chain(&service.notes) {
                text.push_str(&format!("| note | {note} |\n"));
            }
            for part in &service.time {
                if let Some(advice) = &part.advice {
                    text.push_str(&format!(
                        "| {} | {} s; {advice} |\n",
                        part.what, part.seconds
                    ));
                }
            }
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
            let mut part = "";
            for (what, change) in service.differences() {
                if part != what {
                    writeln!(out, "  {what}")?;
                    part = what;
                }
                writeln!(out, "    {change}")?;
            }
            writeln!(out, "  tasks     {}", service.counts())?;
            if let Some(scaling) = &service.scaling {
                writeln!(out, "  scaling   {scaling}")?;
            }
            if let Some(costs) = service.costs() {
                writeln!(out, "  cost      {costs}")?;
            }
            for note in &service.cost_notes {
                writeln!(out, "            {note}")?;
            }
            if service.action != "none" {
                writeln!(out, "  time      {}", minutes(service.seconds()))?;
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
            for note in &service.notes {
                writeln!(out, "  note      {note}")?;
            }
        }
        if !self.changes {
            writeln!(out, "\nnothing would change")?;
        }
        Ok(())
    }
}

/// What the services cost, without a look at the source.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Costs {
    /// The services, in the order of hoist.yaml.
    pub services: Vec<Cost>,
}

/// What one service costs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Key in hoist.yaml.
    pub service: String,
    /// Tasks.
    pub tasks: u32,
    /// Whether this is what runs, or what the definitions would make.
    pub live: bool,
    /// US dollars a month.
    pub dollars: Option<f64>,
    /// What the number rests on.
    pub notes: Vec<String>,
}

/// What the services cost in a month: as they run, else as the definitions say.
///
/// # Errors
/// AWS refused a call.
pub async fn cost(aws: &Client, project: &Project, only: &[String]) -> Result<Costs, Failure> {
    let mut services = Vec::new();
    for work in work::works(project, aws.region(), only)? {
        let live = service::describe_if_cluster(aws, work.cluster(), work.name()).await?;
        let running = match live
            .as_ref()
            .and_then(|live| live["taskDefinition"].as_str())
        {
            Some(running) => {
                status::describe_definition(aws, running).await?["taskDefinition"].take()
            }
            None => work.task_definition.clone(),
        };
        let service = live.as_ref().unwrap_or(&work.service_definition);
        let tasks = service["desiredCount"]
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1);
        let bill = hoist_ecs::monthly(&running, service, tasks, aws.region(), &rates(project));
        services.push(Cost {
            service: work.key().to_owned(),
            tasks,
            live: live.is_some(),
            dollars: bill.as_ref().map(|bill| bill.dollars),
            notes: bill.map(|bill| bill.notes).unwrap_or_default(),
        });
    }
    Ok(Costs { services })
}

impl fmt::Display for Costs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 4]> = self
            .services
            .iter()
            .map(|cost| {
                [
                    cost.service.clone(),
                    cost.tasks.to_string(),
                    if cost.live { "runs" } else { "not deployed" }.to_owned(),
                    cost.dollars.map(dollars).unwrap_or_else(|| "-".to_owned()),
                ]
            })
            .collect();
        out.write_str(&crate::table::table(
            ["SERVICE", "TASKS", "STATE", "A MONTH"],
            &rows,
        ))?;
        let total: f64 = self.services.iter().filter_map(|cost| cost.dollars).sum();
        writeln!(
            out,
            "{} a month in all, for vCPU, memory and storage of tasks that always run",
            dollars(total)
        )?;
        for cost in &self.services {
            for note in &cost.notes {
                writeln!(out, "{}: {note}", cost.service)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            count_before: Some(2),
            count_after: 2,
            scaling: None,
            cost_before: Some(18.02),
            cost_after: Some(36.04),
            cost_notes: Vec::new(),
            time: hoist_ecs::estimate(&json!({}), &json!({}), Some(&json!({})), 2, Pace::FARGATE),
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
            "  tasks     2, as it is",
            "  cost      $18.02 -> $36.04 a month (+$18.02)",
            "  time      about 8 min",
            "             300 s open requests drain (deregistration delay 300 s)",
            "                   a delay of 10 s saves 290 s",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "`{line}` in\n{text}"
            );
        }
        let markdown = plan.markdown();
        assert!(
            markdown.contains("! cpu: 256 -> 512\n") && markdown.contains("| time | about 8 min |"),
            "{markdown}"
        );
        let all = format!("{text}{markdown}{}", serde_json::to_string(&plan).unwrap());
        assert!(!all.contains("hunter"), "{all}");
    }

    #[test]
    fn identifiers_of_the_embedded_account_are_no_change() {
        let live = json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } },
            "loadBalancers": [{ "targetGroupArn": "arn:tg", "containerName": "web", "containerPort": 80 }] });
        let wanted = json!({ "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["shop-a", "shop-b"] } },
            "loadBalancers": [{ "targetGroupArn": "shop-web", "containerName": "web", "containerPort": 80 }] });
        assert!(service_changes(&live, &adopt(&wanted, &live)).is_empty());
        assert!(!service_changes(&live, &wanted).is_empty());
    }
}
