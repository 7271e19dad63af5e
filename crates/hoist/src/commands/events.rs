//! `hoist events`.

use hoist_pipeline::Failure;

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::EventLog;
use crate::render;

/// Shows what ECS says has happened.
pub fn run(options: &EventLog) -> Result<(), Failure> {
    let look = &options.look;
    let project = project::load(&look.project)?;
    let services = hoist_pipeline::some(&project, &look.services)?;
    let aws = connect::connect(&look.aws, project.region.as_deref())?;
    let follow = options.follow.then(|| connect::pause(&look.aws));
    let mut tell = |event: &hoist_pipeline::Happening| render::item(event, look.output);
    async_run(hoist_pipeline::happenings(
        &aws,
        &services,
        options.limit,
        follow,
        &mut tell,
    ))
}
