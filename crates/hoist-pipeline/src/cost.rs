//! What the services cost in a month.

use std::fmt;

use hoist_aws::Client;
use hoist_project::Project;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::plan::rates;
use crate::plan_text::dollars;
use crate::table::table;
use crate::work::{self, Work};
use crate::{service, status};

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
        services.push(bill(
            project,
            aws.region(),
            &work,
            &running,
            service,
            live.is_some(),
        ));
    }
    Ok(Costs { services })
}

/// What the services would cost in a month as their definitions say, without a call.
///
/// # Errors
/// `Configuration` for a service that hoist.yaml does not have.
pub fn cost_of_definitions(
    region: &str,
    project: &Project,
    only: &[String],
) -> Result<Costs, Failure> {
    let services = work::works(project, region, only)?
        .iter()
        .map(|work| {
            let (task, service) = (&work.task_definition, &work.service_definition);
            let mut cost = bill(project, region, work, task, service, false);
            if work.is_live() {
                cost.notes.push(
                    "its task definition is the one that runs, which only the account knows"
                        .to_owned(),
                );
            }
            cost
        })
        .collect();
    Ok(Costs { services })
}

fn bill(
    project: &Project,
    region: &str,
    work: &Work,
    task: &Value,
    service: &Value,
    live: bool,
) -> Cost {
    let tasks = service["desiredCount"]
        .as_u64()
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1);
    let bill = hoist_ecs::monthly(task, service, tasks, region, &rates(project));
    Cost {
        service: work.key().to_owned(),
        tasks,
        live,
        dollars: bill.as_ref().map(|bill| bill.dollars),
        notes: bill.map(|bill| bill.notes).unwrap_or_default(),
    }
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
        out.write_str(&table(["SERVICE", "TASKS", "STATE", "A MONTH"], &rows))?;
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

    #[test]
    fn definitions_have_a_price_without_an_account() {
        let folder = tempfile::tempdir().unwrap();
        let text = "app: shop\nservices:\n  web: { port: 80, cpu: 256, memory: 512, count: 2 }\n  other: { task-definition: live }\n";
        std::fs::write(folder.path().join("hoist.yaml"), text).unwrap();
        let project =
            Project::load_with(folder.path(), None, &hoist_project::Variables::new()).unwrap();
        let costs = cost_of_definitions("us-east-1", &project, &[]).unwrap();
        let [web, other] = costs.services.as_slice() else {
            panic!("{costs:?}");
        };
        assert!((web.dollars.unwrap() - 18.02).abs() < 0.01, "{web:?}");
        assert_eq!((web.tasks, web.live), (2, false));
        assert_eq!(other.dollars, None);
        assert!(
            other.notes[0].contains("only the account knows"),
            "{other:?}"
        );
    }
}
