//! What the services cost in a month.

use std::fmt;

use hoist_aws::Client;
use hoist_project::Project;
use serde::Serialize;

use crate::failure::Failure;
use crate::plan::rates;
use crate::plan_text::dollars;
use crate::table::table;
use crate::work;
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
