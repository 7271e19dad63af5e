//! The step: one event in, commands out.

use crate::{Answer, Call, Command, Event, Millis, Refusal, World};

/// Lets `event` happen at `now` (milliseconds since the Unix epoch; never less than before) and returns what is to be done.
///
/// Everything that is due by `now` is done, too, whatever the event.
pub fn step(world: &mut World, event: Event, now: Millis) -> Vec<Command> {
    let _ = (event, now, world.take_due(now));
    Vec::new()
}

/// [`step`] for an API call: its answer apart from the commands.
///
/// # Errors
/// The call was refused and changed nothing.
pub fn call(world: &mut World, call: Call, now: Millis) -> (Result<Answer, Refusal>, Vec<Command>) {
    let mut commands = step(world, Event::Call(call), now);
    let answer = match commands
        .iter()
        .position(|it| matches!(it, Command::Answer(_)))
    {
        Some(at) => match commands.remove(at) {
            Command::Answer(answer) => answer,
            _ => unreachable!("the position is one of an answer"),
        },
        None => Ok(Answer::Nothing),
    };
    (answer, commands)
}
