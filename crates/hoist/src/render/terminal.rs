//! A terminal: a line for each change of state, and bars for what moves.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hoist_pipeline::{Event, Tone};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain::Plain;

/// Bars and lines on standard error.
pub struct Terminal {
    plain: Plain,
    bars: MultiProgress,
    step: Mutex<Option<ProgressBar>>,
    layers: Mutex<HashMap<String, ProgressBar>>,
}

impl Terminal {
    /// A renderer with no bar yet.
    pub fn new() -> Terminal {
        Terminal {
            plain: Plain::new(),
            bars: MultiProgress::new(),
            step: Mutex::new(None),
            layers: Mutex::new(HashMap::new()),
        }
    }

    /// Says `event`.
    pub fn event(&self, event: &Event) {
        let mut step = self
            .step
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut layers = self
            .layers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::StepStarted { step: name, what } => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                if let Ok(style) =
                    ProgressStyle::with_template("{prefix:>9.cyan}  {msg} {spinner} {elapsed}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(name.name());
                bar.set_message(what.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                if let Some(last) = step.replace(bar) {
                    last.finish_and_clear();
                }
                return;
            }
            Event::Transfer { digest, done, size } => {
                let bar = layers.entry(digest.clone()).or_insert_with(|| {
                    let bar = self.bars.add(ProgressBar::new(*size));
                    if let Ok(style) = ProgressStyle::with_template(
                        "           {prefix} {bar:24} {bytes}/{total_bytes}",
                    ) {
                        bar.set_style(style);
                    }
                    bar.set_prefix(digest.get(7..19).unwrap_or_default().to_owned());
                    bar
                });
                bar.set_position(*done);
                if done >= size {
                    bar.finish_and_clear();
                }
                return;
            }
            Event::StepFinished { .. } | Event::StepSkipped { .. } | Event::Finished { .. } => {
                for (_, bar) in layers.drain() {
                    bar.finish_and_clear();
                }
                if let Some(bar) = step.take() {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        let style = match event {
            Event::StepFinished { .. } => "\x1b[32m",
            Event::Note {
                tone: Tone::Warning,
                ..
            } => "\x1b[33m",
            Event::Diagnosis { .. } => "\x1b[31m",
            Event::Output { .. } | Event::StepSkipped { .. } => "\x1b[2m",
            Event::Finished { outcome, .. } if outcome == "done" => "\x1b[1;32m",
            Event::Finished { .. } => "\x1b[1;31m",
            _ => "",
        };
        self.bars.suspend(|| {
            for line in self.plain.lines(event) {
                // anstream drops the colours where NO_COLOR or a dumb terminal asks for it.
                if style.is_empty() {
                    anstream::eprintln!("{line}");
                } else {
                    anstream::eprintln!("{style}{line}\x1b[0m");
                }
            }
        });
    }
}
