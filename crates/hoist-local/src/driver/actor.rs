use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hoist_fargate::{Action, Answer, Call, Change, Command, Event, Kind, Pace, Refusal, World};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use crate::api::ApiError;
use crate::ctx::{ACCOUNT, Ctx};
use crate::state::{State, StateError};
use crate::{clock, settings};

/// How many events are written to disk together, at most.
const BATCH: usize = 256;
/// How long to wait before the disk is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A handle on the scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Driver {
    world: Arc<RwLock<World>>,
    inbox: mpsc::UnboundedSender<Message>,
    generation: Arc<AtomicU64>,
}

enum Message {
    Event(Event),
    Call(Call, oneshot::Sender<Result<Answer, ApiError>>),
}

/// The other end of a [`Driver`]: what [`Inbox::run`] works through.
pub(crate) struct Inbox {
    messages: mpsc::UnboundedReceiver<Message>,
    restored: bool,
}

/// Why the world of the last run cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is not what this version wrote.
    #[error(transparent)]
    Record(#[from] hoist_fargate::RestoreError),
}

impl Driver {
    /// The scheduler as it was when it last ran, or a new one. It does nothing until its inbox is run.
    pub(crate) fn restore(
        state: &State,
        pace: settings::Pace,
    ) -> Result<(Driver, Inbox), RestoreError> {
        let mut records = Vec::new();
        for kind in Kind::ALL {
            for (_, key, bytes) in state.raw(table(kind))? {
                records.push((kind, key, bytes));
            }
        }
        let pace = match pace {
            settings::Pace::Fast => Pace::fast(),
            settings::Pace::Fargate => Pace::fargate(),
        };
        let restored = !records.is_empty();
        let world = if restored {
            let mut world = World::restore(records)?;
            world.set_pace(pace);
            world
        } else {
            World::new(ACCOUNT, fastrand::u64(..), pace)
        };
        let (inbox, messages) = mpsc::unbounded_channel();
        Ok((
            Driver {
                world: Arc::new(RwLock::new(world)),
                inbox,
                generation: Arc::new(AtomicU64::new(1)),
            },
            Inbox { messages, restored },
        ))
    }

    /// Looks at the world. Keep it short: nothing happens meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the changes of the world. What is read after asking for it is at least as new.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Lets an API call happen; when this returns, it is on disk.
    ///
    /// # Errors
    /// The scheduler's refusal in ECS's words.
    pub async fn call(
        &self,
        region: &str,
        action: Action,
        request: Map<String, Value>,
    ) -> Result<Answer, ApiError> {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            region: region.to_owned(),
            action,
            request,
        };
        let stopping = || ApiError::new("ServerException", "Service is stopping").with_status(503);
        self.inbox
            .send(Message::Call(call, reply))
            .map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Reports something that happened. After the end of the driver it goes nowhere.
    pub fn tell(&self, event: Event) {
        let _ = self.inbox.send(Message::Event(event));
    }
}

fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::Settings => "ecs.settings",
        Kind::Cluster => "ecs.clusters",
        Kind::TaskDefinition => "ecs.task-definitions",
        Kind::Service => "ecs.services",
        Kind::ServiceDeployment => "ecs.service-deployments",
        Kind::ServiceRevision => "ecs.service-revisions",
        Kind::Task => "ecs.tasks",
    }
}

type Reply = (
    oneshot::Sender<Result<Answer, ApiError>>,
    Result<Answer, ApiError>,
);

/// What one round of events came to, until it is on disk.
#[derive(Default)]
struct Outcome {
    changes: Vec<Change>,
    replies: Vec<Reply>,
    commands: Vec<Command>,
}

impl Inbox {
    /// Works until the daemon stops. `carry_out` starts one command and returns at once.
    pub(crate) async fn run(mut self, ctx: Ctx, carry_out: impl Fn(Command)) {
        let mut outcome = Outcome::default();
        let mut unsaved = false;
        if self.restored {
            advance(
                &ctx.driver,
                vec![Message::Event(Event::Restarted)],
                &mut outcome,
            );
            unsaved = !settle(&ctx, &mut outcome, &carry_out);
        }
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            let wakeup = ctx.driver.read(World::next_wakeup);
            let pause = match wakeup {
                _ if unsaved => RETRY,
                Some(at) => Duration::from_millis(at.saturating_sub(now())),
                None => Duration::MAX,
            };
            tokio::select! {
                () = ctx.stopping.cancelled() => return,
                count = self.messages.recv_many(&mut messages, BATCH) => if count == 0 { return },
                () = tokio::time::sleep(pause) => messages.push(Message::Event(Event::Tick)),
            }
            advance(&ctx.driver, std::mem::take(&mut messages), &mut outcome);
            unsaved = !settle(&ctx, &mut outcome, &carry_out);
        }
    }
}

fn now() -> u64 {
    u64::try_from(clock::now()).unwrap_or(0)
}

fn advance(driver: &Driver, messages: Vec<Message>, outcome: &mut Outcome) {
    let mut world = driver.world.write().unwrap_or_else(PoisonError::into_inner);
    for message in messages {
        match message {
            Message::Event(event) => {
                tracing::debug!(?event, "event");
                outcome
                    .commands
                    .extend(hoist_fargate::step(&mut world, event, now()));
            }
            Message::Call(call, reply) => {
                let (answer, commands) = hoist_fargate::call(&mut world, call, now());
                outcome.commands.extend(commands);
                outcome
                    .replies
                    .push((reply, answer.map_err(ApiError::from)));
            }
        }
    }
    let changes = world.take_changes();
    if !changes.is_empty() {
        // Before the lock is let go, so that nobody keeps an old answer under the new number.
        driver.generation.fetch_add(1, Ordering::Release);
    }
    outcome.changes.extend(changes);
}

/// Writes what changed; if that worked, answers the calls and starts the commands. Otherwise the calls learn that it failed, and
/// the rest waits for the next try.
fn settle(ctx: &Ctx, outcome: &mut Outcome, carry_out: impl Fn(Command)) -> bool {
    let written = tokio::task::block_in_place(|| {
        ctx.state.write::<StateError>(|batch| {
            for change in &outcome.changes {
                batch.raw(table(change.kind), "", &change.key, change.record.clone());
            }
            Ok(())
        })
    });
    if let Err(error) = &written {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the scheduler's state cannot be written"
        );
        for (reply, _) in outcome.replies.drain(..) {
            let _ = reply.send(Err(
                ApiError::new("ServerException", error.to_string()).with_status(500)
            ));
        }
        return false;
    }
    ctx.events.note(outcome.changes.drain(..));
    // What nobody took note of goes, too.
    outcome.changes.clear();
    for (reply, answer) in outcome.replies.drain(..) {
        let _ = reply.send(answer);
    }
    for command in outcome.commands.drain(..) {
        tracing::debug!(?command, "command");
        carry_out(command);
    }
    true
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        ApiError::new(refusal.code, refusal.message)
    }
}
