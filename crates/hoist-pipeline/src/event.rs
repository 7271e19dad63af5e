//! The one stream of events that every reader of a deployment sees.

use std::sync::Arc;

use serde::Serialize;

use crate::work::Work;

/// A step of the story of a deployment, in the order in which the steps happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Configuration and definitions are read and checked.
    Check,
    /// The host's build hook and the image build.
    Build,
    /// The image's tests.
    Test,
    /// The image goes to the registry.
    Push,
    /// What the definitions refer to is made (embedded AWS only).
    Provision,
    /// The task definition revision.
    Register,
    /// A task runs to its end.
    Run,
    /// The service moves to the new revision.
    Deploy,
    /// The URL is asked.
    Verify,
}

impl Step {
    /// The name that people read.
    pub fn name(self) -> &'static str {
        match self {
            Step::Check => "check",
            Step::Build => "build",
            Step::Test => "test",
            Step::Push => "push",
            Step::Provision => "provision",
            Step::Register => "register",
            Step::Run => "run",
            Step::Deploy => "deploy",
            Step::Verify => "verify",
        }
    }
}

/// How much a line of a rollout matters to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    /// Something moved on.
    Info,
    /// Something went wrong that may still end well.
    Warning,
}

/// What happened, said once.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// The run begins.
    Started {
        /// Application name of hoist.yaml.
        app: String,
        /// `embedded` or the AWS region.
        target: String,
        /// The source in words, such as `commit 1a2b3c4 on main`.
        source: String,
    },
    /// A step begins.
    StepStarted {
        /// The step.
        step: Step,
        /// What it works on.
        what: String,
    },
    /// A step ended well.
    StepFinished {
        /// The step.
        step: Step,
        /// What came of it.
        summary: String,
        /// Wall-clock time, in milliseconds.
        millis: u64,
    },
    /// A step had nothing to do.
    StepSkipped {
        /// The step.
        step: Step,
        /// Why.
        why: String,
    },
    /// A line of progress inside a step.
    Note {
        /// The step.
        step: Step,
        /// How much it matters.
        tone: Tone,
        /// The line.
        text: String,
    },
    /// A line that a child (hook, build step, test) printed.
    Output {
        /// The step.
        step: Step,
        /// The line, without its end.
        line: String,
    },
    /// Bytes of a blob went over the wire.
    Transfer {
        /// Digest of the blob.
        digest: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        size: u64,
    },
    /// A deployment failed, and this is why.
    Diagnosis {
        /// Service name.
        service: String,
        /// Cause in one sentence.
        cause: String,
        /// What was seen.
        evidence: Vec<String>,
        /// What to do next.
        fix: Option<String>,
        /// Documentation anchor.
        docs: Option<String>,
    },
    /// The run ended; the last event of every run.
    Finished {
        /// The outcome's name, as in the exit-code table.
        outcome: String,
        /// One sentence.
        summary: String,
        /// Image by digest, if one was pushed or reused.
        image: Option<String>,
        /// Commit tag of the image.
        tag: Option<String>,
        /// Digest of the image.
        digest: Option<String>,
        /// Task definition ARN; of several services that of the last.
        task_definition: Option<String>,
        /// URL that answers; of several services that of the last.
        url: Option<String>,
        /// What became of each service, as far as the run came.
        services: Vec<ServiceOutcome>,
        /// Wall-clock time, in milliseconds.
        millis: u64,
    },
}

impl Event {
    /// The words of an event about a step.
    fn text(&mut self) -> Option<&mut String> {
        match self {
            Event::StepStarted { what: text, .. }
            | Event::StepFinished { summary: text, .. }
            | Event::StepSkipped { why: text, .. }
            | Event::Note { text, .. }
            | Event::Output { line: text, .. } => Some(text),
            _ => None,
        }
    }
}

/// What became of one service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOutcome {
    /// Key in hoist.yaml.
    pub service: String,
    /// Name of the ECS service.
    pub name: String,
    /// Task definition ARN.
    pub task_definition: Option<String>,
    /// URL that answers.
    pub url: Option<String>,
    /// Whether the service was changed.
    pub changed: bool,
}

impl ServiceOutcome {
    /// A service of which nothing is known yet.
    pub fn of(work: &Work) -> ServiceOutcome {
        ServiceOutcome {
            service: work.key().to_owned(),
            name: work.name().to_owned(),
            task_definition: None,
            url: None,
            changed: false,
        }
    }
}

type Reader = dyn Fn(&Event) + Send + Sync;

/// Where events go: any number of readers, each called in order.
#[derive(Clone)]
pub struct Events {
    readers: Arc<Vec<Box<Reader>>>,
    /// Begins each line, where several services move at the same time.
    label: Option<String>,
}

impl Events {
    /// A stream with these readers.
    pub fn new(readers: Vec<Box<Reader>>) -> Events {
        Events {
            readers: Arc::new(readers),
            label: None,
        }
    }

    /// The same stream, whose lines say what they are about.
    pub fn of(&self, label: &str) -> Events {
        Events {
            readers: Arc::clone(&self.readers),
            label: Some(label.to_owned()),
        }
    }

    /// The same stream, with one more reader.
    pub fn and(&self, reader: Box<Reader>) -> Events {
        let before = Arc::clone(&self.readers);
        let all: Box<Reader> = Box::new(move |event| {
            for reader in before.iter() {
                reader(event);
            }
        });
        Events {
            readers: Arc::new(vec![all, reader]),
            label: self.label.clone(),
        }
    }

    /// Hands `event` to every reader.
    pub fn emit(&self, mut event: Event) {
        if let (Some(label), Some(text)) = (&self.label, event.text()) {
            *text = format!("{label}: {text}");
        }
        for reader in self.readers.iter() {
            reader(&event);
        }
    }

    /// A line of progress.
    pub fn note(&self, step: Step, text: impl Into<String>) {
        self.emit(Event::Note {
            step,
            tone: Tone::Info,
            text: text.into(),
        });
    }

    /// A line of warning.
    pub fn warn(&self, step: Step, text: impl Into<String>) {
        self.emit(Event::Note {
            step,
            tone: Tone::Warning,
            text: text.into(),
        });
    }

    /// Begins `step`; the returned timer ends it.
    pub fn start(&self, step: Step, what: impl Into<String>) -> StepTimer {
        self.emit(Event::StepStarted {
            step,
            what: what.into(),
        });
        StepTimer {
            events: self.clone(),
            step,
            began: std::time::Instant::now(),
        }
    }
}

/// A step under way.
pub struct StepTimer {
    events: Events,
    step: Step,
    began: std::time::Instant,
}

impl StepTimer {
    /// The step ended well.
    pub fn finish(self, summary: impl Into<String>) {
        self.events.emit(Event::StepFinished {
            step: self.step,
            summary: summary.into(),
            millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// The step had nothing to do.
    pub fn skip(self, why: impl Into<String>) {
        self.events.emit(Event::StepSkipped {
            step: self.step,
            why: why.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_reader_sees_every_event_in_order() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
        let events = Events::new(vec![
            Box::new(move |event| {
                first
                    .lock()
                    .unwrap()
                    .push(format!("1 {}", serde_json::to_string(event).unwrap()))
            }),
            Box::new(move |event| {
                second
                    .lock()
                    .unwrap()
                    .push(format!("2 {}", serde_json::to_string(event).unwrap()))
            }),
        ]);
        events.note(Step::Build, "layer stored");
        let seen = seen.lock().unwrap();
        assert_eq!(
            *seen,
            [
                r#"1 {"event":"note","step":"build","tone":"info","text":"layer stored"}"#,
                r#"2 {"event":"note","step":"build","tone":"info","text":"layer stored"}"#
            ]
        );
    }
}
