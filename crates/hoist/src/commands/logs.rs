//! `hoist logs`.

use hoist_pipeline::{Failure, Line, Query};

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Logs;
use crate::render;

/// Shows what the containers print, coloured by task.
pub fn run(options: &Logs) -> Result<(), Failure> {
    let look = &options.look;
    let project = project::load(&look.project)?;
    let services = hoist_pipeline::some(&project, &look.services)?;
    let aws = connect::connect(&look.aws, project.region.as_deref())?;
    let query = Query {
        since: jiff::Timestamp::now() - options.since,
        filter: options.filter.clone(),
        task: options.task.clone(),
        container: options.container.clone(),
        follow: options.follow.then(|| connect::pause(&look.aws)),
    };
    let mut tell = |line: &Line| render::coloured(line, &line.task, look.output);
    async_run(hoist_pipeline::logs(&aws, &services, &query, &mut tell))
}
