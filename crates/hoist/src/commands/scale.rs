//! `hoist scale`.

use hoist_pipeline::{Events, Failure, cancellation};

use super::dispatch::async_run;
use super::{connect, project, signals};
use crate::arguments::Scale;
use crate::render;

/// Sets the number of tasks or the bounds of auto scaling, and waits until that many run.
pub fn run(options: &Scale) -> Result<(), Failure> {
    let project = project::load(&(&options.at).into())?;
    let service = hoist_pipeline::one(&project, options.service.as_deref())?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let events = Events::new(vec![render::reader(options.output)]);
    async_run(async {
        let (canceller, cancel) = cancellation();
        signals::listen(canceller)?;
        let pause = connect::pause(&options.aws);
        let wanted = hoist_pipeline::Scale {
            count: options.count,
            min: options.min,
            max: options.max,
        };
        let timeout = options.timeout;
        hoist_pipeline::scale(&aws, service, wanted, pause, timeout, &cancel, &events).await
    })
}
