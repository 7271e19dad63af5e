//! `hoist plan`.

use std::time::Duration;

use hoist_pipeline::{Events, Failure, Request, Until, Version, cancellation};

use super::dispatch::{async_run, say};
use super::{connect, local, project, signals};
use crate::arguments::{Plan, PlanFormat};
use crate::render::{Format, Output};
use crate::{exit, render};

/// Shows what a deployment would change. Returns the exit code.
pub fn run(options: &Plan) -> Result<u8, Failure> {
    let project = project::load(&options.project)?;
    let source = project.source();
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let home = local::home()?;
    let workspace;
    let version = match (&options.image, options.revision) {
        (Some(image), _) => Version::Image(image.clone()),
        (None, Some(number)) => Version::Revision(number),
        (None, None) if project.as_written => Version::Written,
        (None, None) => {
            workspace = project::workspace(&home)?;
            Version::Source {
                source: &source,
                workspace: &workspace,
                build: Box::new(project::build_options(&options.building)),
            }
        }
    };
    let request = Request {
        project: &project,
        version,
        until: Until::Deployed,
        aws: &aws,
        embedded: options.aws.local,
        services: options.services.clone(),
        count: options.count,
        force: false,
        timeout: Duration::ZERO,
        journal: home.path().join("journal.jsonl"),
    };
    let events = Events::new(vec![render::reader(Output::Auto)]);
    let plan = async_run(async {
        let (canceller, cancel) = cancellation();
        signals::listen(canceller)?;
        hoist_pipeline::plan(&request, &cancel, &events).await
    })?;
    match options.output {
        PlanFormat::Text => render::report(&plan, Format::Text),
        PlanFormat::Json => render::report(&plan, Format::Json),
        PlanFormat::Markdown => say(plan.markdown()),
    }
    Ok(if options.detailed_exitcode && plan.changes {
        exit::PLAN_CHANGES
    } else {
        exit::OK
    })
}
