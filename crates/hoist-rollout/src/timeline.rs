//! Where the time of a deployment went, from what was recorded and what AWS still tells afterwards.
//!
//! Pure. The course is a partition: every moment from the beginning to the end belongs to exactly one phase, the one that everything else
//! waited for. What a user could set otherwise is in [`costs`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod costs;
mod course;

pub use costs::{Cost, GroupSettings, Settings, Shift, costs};
pub use course::{Facts, StepTime, TaskTimes, timeline};

/// What a deployment's time goes into, in the order in which it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Configuration, definitions and account are checked.
    Check,
    /// The image is built.
    Build,
    /// The image's tests.
    Test,
    /// The image goes to the registry.
    Push,
    /// The task definition is registered, and what it refers to is made.
    Register,
    /// Tasks that come first.
    Before,
    /// ECS has the wish, and has not begun a task.
    Queue,
    /// Network interface and capacity of a task.
    Placement,
    /// The image is pulled.
    Pull,
    /// From the image to running containers.
    Start,
    /// From running to healthy.
    Health,
    /// Lifecycle hooks and pauses.
    Hook,
    /// Traffic moves from one revision to the other.
    Shift,
    /// Both revisions stay, in case the new one must be taken back.
    Bake,
    /// Open requests of old tasks are served to their end.
    Drain,
    /// Old tasks stop.
    Stop,
    /// ECS itself: nothing that anyone waited for was visible.
    Ecs,
    /// The URL is asked.
    Verify,
}

impl Phase {
    /// The name that people read.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Check => "check",
            Phase::Build => "build",
            Phase::Test => "test",
            Phase::Push => "push",
            Phase::Register => "register",
            Phase::Before => "tasks before",
            Phase::Queue => "queue",
            Phase::Placement => "placement",
            Phase::Pull => "pull",
            Phase::Start => "start",
            Phase::Health => "health checks",
            Phase::Hook => "hooks",
            Phase::Shift => "shifting",
            Phase::Bake => "bake time",
            Phase::Drain => "draining",
            Phase::Stop => "stopping",
            Phase::Ecs => "ECS completes",
            Phase::Verify => "verify",
        }
    }

    /// What happens in it, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Phase::Check => "configuration, definitions and account are checked",
            Phase::Build => "the image is built",
            Phase::Test => "the image's tests run",
            Phase::Push => "the image goes to the registry",
            Phase::Register => "the task definition is registered",
            Phase::Before => "tasks run that come first",
            Phase::Queue => "ECS has been asked, and has made no task yet",
            Phase::Placement => "tasks get a network interface and capacity",
            Phase::Pull => "tasks pull their images",
            Phase::Start => "containers start",
            Phase::Health => "running tasks become healthy",
            Phase::Hook => "lifecycle hooks and pauses",
            Phase::Shift => "traffic moves to the new revision",
            Phase::Bake => "both revisions stay",
            Phase::Drain => "old tasks serve their open requests",
            Phase::Stop => "old tasks stop",
            Phase::Ecs => "ECS takes note, and completes the deployment",
            Phase::Verify => "the URL is asked",
        }
    }
}

/// A length of time in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; the time of the look, where it has not.
    pub ended: Timestamp,
}

impl Span {
    /// Milliseconds.
    pub fn millis(&self) -> i64 {
        self.ended.as_millisecond() - self.began.as_millisecond()
    }
}

/// The life of one task, as far as it belongs to the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    /// The task's id.
    pub task: String,
    /// Whether the deployment brought it.
    pub new: bool,
    /// Whether a container of it had to be killed when it stopped.
    pub killed: bool,
    /// Its phases.
    pub spans: Vec<Span>,
}

/// Something that happened at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What, in words.
    pub text: String,
}

/// Where the time of a deployment went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// When the run began, or ECS was asked, whatever is known.
    pub began: Timestamp,
    /// When it ended; the time of the look, where it has not.
    pub ended: Timestamp,
    /// Whether it has ended.
    pub over: bool,
    /// Every moment of it, in order and without a gap.
    pub course: Vec<Span>,
    /// The tasks, the first to be made first.
    pub lanes: Vec<Lane>,
    /// What happened meanwhile, in order.
    pub marks: Vec<Mark>,
}

impl Timeline {
    /// Milliseconds of a phase in the whole course.
    pub fn millis_of(&self, phase: Phase) -> i64 {
        self.course
            .iter()
            .filter(|span| span.phase == phase)
            .map(Span::millis)
            .sum()
    }

    /// How many separate times a phase was waited for.
    pub fn times(&self, phase: Phase) -> usize {
        self.course
            .iter()
            .filter(|span| span.phase == phase)
            .count()
    }

    /// Milliseconds of all of it.
    pub fn millis(&self) -> i64 {
        self.ended.as_millisecond() - self.began.as_millisecond()
    }

    /// The phases that took any time, in order, with their milliseconds.
    pub fn totals(&self) -> Vec<(Phase, i64)> {
        let mut phases: Vec<Phase> = self.course.iter().map(|span| span.phase).collect();
        phases.sort();
        phases.dedup();
        phases
            .into_iter()
            .map(|phase| (phase, self.millis_of(phase)))
            .filter(|(_, millis)| *millis > 0)
            .collect()
    }
}
