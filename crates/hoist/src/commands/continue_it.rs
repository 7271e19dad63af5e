//! `hoist continue`.

use hoist_pipeline::{Answer, Failure};

use super::dispatch::async_run;
use super::{connect, project};
use crate::arguments::Continue;
use crate::render;

/// Lets deployments go on that wait in a PAUSE hook, or has them rolled back.
pub fn run(options: &Continue) -> Result<(), Failure> {
    let project = project::load(&options.project)?;
    let services = hoist_pipeline::some(&project, &options.services)?;
    let aws = connect::connect(&options.aws, project.region.as_deref())?;
    let answer = if options.roll_back {
        Answer::RollBack
    } else {
        Answer::GoOn
    };
    let pause = connect::pause(&options.aws);
    let answered = async_run(hoist_pipeline::answer_pauses(
        &aws,
        &services,
        answer,
        options.wait,
        pause,
    ))?;
    render::report(&answered, options.output);
    Ok(())
}
