//! One line for each change of state, for logs and pipes.

use std::collections::HashSet;
use std::sync::Mutex;

use hoist_pipeline::{Event, Tone};

use super::{human_duration, human_size};

/// Writes lines to standard error.
pub struct Plain {
    sent: Mutex<HashSet<String>>,
}

impl Plain {
    /// A renderer with nothing said yet.
    pub fn new() -> Plain {
        Plain {
            sent: Mutex::new(HashSet::new()),
        }
    }

    /// Says `event`.
    pub fn event(&self, event: &Event) {
        for line in self.lines(event) {
            anstream::eprintln!("{line}");
        }
    }

    /// The lines that `event` is worth: none for what only a progress bar shows.
    pub fn lines(&self, event: &Event) -> Vec<String> {
        match event {
            Event::Started {
                app,
                target,
                source,
            } => vec![format!("hoist: {app} to {target}, {source}")],
            Event::StepStarted { step, what } => vec![format!("{:>9}  {what}", step.name())],
            Event::StepFinished {
                step,
                summary,
                millis,
            } => {
                vec![format!(
                    "{:>9}  {summary} ({})",
                    step.name(),
                    human_duration(*millis)
                )]
            }
            Event::StepSkipped { step, why } => vec![format!("{:>9}  skipped: {why}", step.name())],
            Event::Note { step, tone, text } => {
                let mark = if *tone == Tone::Warning {
                    "warning: "
                } else {
                    ""
                };
                text.lines()
                    .map(|line| format!("{:>9}  {mark}{line}", step.name()))
                    .collect()
            }
            Event::Output { step, line } => vec![format!("{:>9}  | {line}", step.name())],
            Event::Transfer { digest, done, size } => {
                let mut sent = self
                    .sent
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                if done >= size && sent.insert(digest.clone()) {
                    vec![format!(
                        "{:>9}  {} {}",
                        "layer",
                        short(digest),
                        human_size(*size)
                    )]
                } else {
                    Vec::new()
                }
            }
            Event::Diagnosis {
                service,
                cause,
                evidence,
                fix,
                docs,
            } => {
                let mut lines = vec![String::new(), format!("why {service} failed: {cause}")];
                lines.extend(
                    evidence
                        .iter()
                        .flat_map(|text| text.lines())
                        .map(|line| format!("  {line}")),
                );
                lines.extend(fix.iter().map(|fix| format!("  fix: {fix}")));
                lines.extend(docs.iter().map(|docs| format!("  docs: {docs}")));
                lines.push(String::new());
                lines
            }
            // What failed is said once, with its reasons and the next step, when the command ends.
            Event::Finished {
                outcome, millis, ..
            } if outcome != "done" => {
                vec![format!("hoist: {outcome} ({})", human_duration(*millis))]
            }
            Event::Finished {
                outcome,
                summary,
                millis,
                ..
            } => {
                vec![format!(
                    "hoist: {outcome}: {summary} ({})",
                    human_duration(*millis)
                )]
            }
        }
    }
}

/// The first 12 hexadecimal digits of a digest.
fn short(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use hoist_pipeline::Step;

    use super::*;

    #[test]
    fn a_layer_is_named_once_when_it_is_complete() {
        let plain = Plain::new();
        let at = |done| Event::Transfer {
            digest: "sha256:0123456789abcdef".into(),
            done,
            size: 2048,
        };
        assert!(plain.lines(&at(1024)).is_empty());
        assert_eq!(plain.lines(&at(2048)), ["    layer  0123456789ab 2.0 KiB"]);
        assert!(plain.lines(&at(2048)).is_empty());
    }

    #[test]
    fn a_step_says_what_came_of_it_and_how_long_it_took() {
        let event = Event::StepFinished {
            step: Step::Push,
            summary: "3 layers".into(),
            millis: 1_234,
        };
        assert_eq!(Plain::new().lines(&event), ["     push  3 layers (1.2 s)"]);
    }
}
