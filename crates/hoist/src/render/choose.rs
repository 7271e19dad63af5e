//! Which reader fits where the output goes.

use std::io::IsTerminal;

use clap::ValueEnum;
use hoist_pipeline::Event;

use super::github::Github;
use super::json;
use super::plain::Plain;
use super::terminal::Terminal;

/// How progress is shown on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// `github` inside GitHub Actions, `terminal` on a terminal, else `plain`
    Auto,
    /// Bars and colours
    Terminal,
    /// One line for each change of state
    Plain,
    /// Groups, annotations, step outputs and a job summary
    Github,
    /// One JSON object a line
    Json,
}

impl Output {
    /// What `auto` comes to.
    pub fn resolved(self) -> Output {
        match self {
            Output::Auto if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") => {
                Output::Github
            }
            Output::Auto if std::io::stderr().is_terminal() => Output::Terminal,
            Output::Auto => Output::Plain,
            chosen => chosen,
        }
    }

    /// The form where a shell may be opened: it has the terminal for itself, and bars would be drawn over it.
    pub fn beside_a_shell(self, shell: bool) -> Output {
        match self.resolved() {
            Output::Terminal if shell => Output::Plain,
            resolved => resolved,
        }
    }

    /// Whether workflow commands are understood where the output goes.
    pub fn is_github(self) -> bool {
        self.resolved() == Output::Github
    }
}

/// The reader that `output` names.
pub fn reader(output: Output) -> Box<dyn Fn(&Event) + Send + Sync> {
    match output.resolved() {
        Output::Terminal => {
            let terminal = Terminal::new();
            Box::new(move |event| terminal.event(event))
        }
        Output::Github => {
            let github = Github::new();
            Box::new(move |event| github.event(event))
        }
        Output::Json => Box::new(json::event),
        Output::Plain | Output::Auto => {
            let plain = Plain::new();
            Box::new(move |event| plain.event(event))
        }
    }
}
