//! GitHub Actions: groups, annotations, outputs and the job summary.
//!
//! Commands and their escaping: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use hoist_pipeline::{Event, Failure, Place, ServiceOutcome, Step, Tone};

use super::plain::Plain;
use crate::exit;

/// Longest message that GitHub shows of an annotation, in characters.
const MESSAGE_LIMIT: usize = 4_000;
/// GitHub drops a whole summary above 1 MiB; ours stays far below.
const SUMMARY_LIMIT: usize = 512 * 1024;

/// Groups per step, annotations for what matters, outputs and a summary at the end.
pub struct Github {
    plain: Plain,
    open: Mutex<Option<Step>>,
    guard: String,
    rows: Mutex<Vec<(String, String)>>,
}

impl Github {
    /// A renderer for one job step.
    pub fn new() -> Github {
        Github {
            plain: Plain::new(),
            open: Mutex::new(None),
            guard: format!("hoist-{:032x}", fastrand::u128(..)),
            rows: Mutex::new(Vec::new()),
        }
    }

    /// Says `event`.
    pub fn event(&self, event: &Event) {
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut rows = self
            .rows
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::StepStarted { step, what } => {
                if open.replace(*step).is_some() {
                    anstream::eprintln!("::endgroup::");
                }
                anstream::eprintln!(
                    "::group::{}",
                    escape_data(&format!("{}: {what}", step.name()))
                );
                return;
            }
            Event::StepFinished {
                step,
                summary,
                millis,
            } => {
                rows.push((
                    step.name().into(),
                    format!("{summary} ({})", super::human_duration(*millis)),
                ));
            }
            Event::StepSkipped { step, why } => {
                rows.push((step.name().into(), format!("skipped: {why}")))
            }
            Event::Note {
                tone: Tone::Warning,
                text,
                ..
            } => annotate("warning", "hoist", text),
            Event::Diagnosis {
                service,
                cause,
                fix,
                ..
            } => {
                let text = fix
                    .as_ref()
                    .map_or_else(|| cause.clone(), |fix| format!("{cause}\n{fix}"));
                annotate("error", &format!("{service} failed"), &text);
                rows.push((format!("why {service} failed"), text));
            }
            Event::Finished { .. } => {
                if open.take().is_some() {
                    anstream::eprintln!("::endgroup::");
                }
                if let Err(error) = write_files(event, &rows) {
                    annotate(
                        "warning",
                        "hoist",
                        &format!("failed to write the step's outputs or summary: {error}"),
                    );
                }
            }
            _ => {}
        }
        // What a child printed must not be taken for a workflow command.
        let fenced = matches!(event, Event::Output { .. } | Event::Diagnosis { .. });
        if fenced {
            anstream::eprintln!("::stop-commands::{}", self.guard);
        }
        self.plain.event(event);
        if fenced {
            anstream::eprintln!("::{}::", self.guard);
        }
        let ends = matches!(
            event,
            Event::StepFinished { .. } | Event::StepSkipped { .. }
        );
        if ends && open.take().is_some() {
            anstream::eprintln!("::endgroup::");
        }
    }
}

/// Annotates what failed, at its places in files where it has any, shows `text`, and has it in the job's summary too.
pub fn failure(failure: &Failure, text: &str) {
    let (_, outcome) = exit::of(failure.kind);
    for place in &failure.places {
        let file = in_workspace(Path::new(&place.file), std::env::var_os("GITHUB_WORKSPACE"));
        anstream::eprintln!("{}", place_annotation(outcome, &file, place));
    }
    if failure.places.is_empty() {
        let mut message = failure.to_string();
        if let Some(detail) = &failure.detail {
            let _ = write!(message, "\n{}", detail.trim_end());
        }
        if let Some(hint) = &failure.hint {
            let _ = write!(message, "\n{hint}");
        }
        annotate("error", outcome, &message);
    }
    // It may quote what a build or a container printed.
    let guard = format!("hoist-{:032x}", fastrand::u128(..));
    anstream::eprintln!("::stop-commands::{guard}");
    anstream::eprint!("{text}");
    anstream::eprintln!("::{guard}::");
    let written = summarise(&as_code(&anstream::adapter::strip_str(text).to_string()));
    if let Err(error) = written {
        annotate(
            "warning",
            "hoist",
            &format!("failed to write the job's summary: {error}"),
        );
    }
}

/// Text that Markdown leaves as it is, whatever is in it.
fn as_code(text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {line}\n"));
    lines.collect()
}

/// Adds to the job's summary, where there is one.
fn summarise(text: &str) -> std::io::Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let text = &text[..text.floor_char_boundary(SUMMARY_LIMIT)];
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?
        .write_all(format!("{text}\n").as_bytes())
}

fn place_annotation(title: &str, file: &str, place: &Place) -> String {
    format!(
        "::error file={},line={},col={},title={}::{}",
        escape_property(file),
        place.line,
        place.column,
        escape_property(title),
        escape_data(&place.message)
    )
}

/// The path as GitHub knows it: relative to the checkout, wherever the step's working directory is.
fn in_workspace(file: &Path, workspace: Option<OsString>) -> String {
    let whole = file.canonicalize().ok();
    let root = workspace.and_then(|root| Path::new(&root).canonicalize().ok());
    match (&whole, &root) {
        (Some(whole), Some(root)) => whole.strip_prefix(root).unwrap_or(file),
        _ => file,
    }
    .display()
    .to_string()
}

/// Keeps `secret` out of the job's log, each of its lines. Outside of a job nobody would take the secret out again, so nothing is said.
pub fn mask(secret: &str) {
    if std::env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return;
    }
    for line in secret.lines().filter(|line| !line.trim().is_empty()) {
        anstream::eprintln!("::add-mask::{}", escape_data(line));
    }
}

/// Writes an annotation.
pub fn annotate(level: &str, title: &str, text: &str) {
    let text: String = text.chars().take(MESSAGE_LIMIT).collect();
    anstream::eprintln!(
        "::{level} title={}::{}",
        escape_property(title),
        escape_data(&text)
    );
}

fn write_files(finished: &Event, rows: &[(String, String)]) -> std::io::Result<()> {
    let Event::Finished {
        outcome,
        summary,
        image,
        tag,
        digest,
        task_definition,
        url,
        services,
        ..
    } = finished
    else {
        return Ok(());
    };
    if let Some(path) = std::env::var_os("GITHUB_OUTPUT").filter(|path| !path.is_empty()) {
        let mut text = String::new();
        let by_service = by_service(services);
        let outputs = [
            ("outcome", Some(outcome)),
            ("image", image.as_ref()),
            ("tag", tag.as_ref()),
            ("digest", digest.as_ref()),
            ("task-definition-arn", task_definition.as_ref()),
            ("url", url.as_ref()),
            ("services", Some(&by_service)),
        ];
        for (name, value) in outputs {
            if let Some(value) = value {
                let delimiter = format!("hoist-{:032x}", fastrand::u128(..));
                let _ = write!(text, "{name}<<{delimiter}\n{value}\n{delimiter}\n");
            }
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(text.as_bytes())?;
    }
    let mut text = format!("### hoist: {outcome}\n\n{summary}\n\n| | |\n|---|---|\n");
    if let Some(image) = image {
        let _ = writeln!(text, "| image | {} |", cell(image));
    }
    for service in services {
        for value in [&service.task_definition, &service.url]
            .into_iter()
            .flatten()
        {
            let _ = writeln!(text, "| {} | {} |", cell(&service.service), cell(value));
        }
    }
    for (name, value) in rows {
        let _ = writeln!(text, "| {} | {} |", cell(name), cell(value));
    }
    summarise(&text)
}

/// What became of each service, as one JSON object by key.
fn by_service(services: &[ServiceOutcome]) -> String {
    let all: serde_json::Map<String, serde_json::Value> = services
        .iter()
        .map(|service| {
            (
                service.service.clone(),
                serde_json::json!({ "task-definition-arn": service.task_definition, "url": service.url, "changed": service.changed }),
            )
        })
        .collect();
    serde_json::Value::Object(all).to_string()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "<br>")
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(escape_data("50 %\r\nnext"), "50 %25%0D%0Anext");
        assert_eq!(escape_property("a:b,c"), "a%3Ab%2Cc");
        assert_eq!(cell("a|b\nc"), "a\\|b<br>c");
        assert_eq!(as_code("```\n<b>"), "    ```\n    <b>\n");
    }

    #[test]
    fn a_mistake_is_annotated_where_it_stands_in_the_checkout() {
        let checkout = tempfile::tempdir().unwrap();
        let file = checkout.path().join("services/hoist.yaml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "app: 1").unwrap();
        let root = Some(checkout.path().as_os_str().to_owned());
        let relative = in_workspace(&file, root);
        assert_eq!(relative, "services/hoist.yaml");
        assert_eq!(in_workspace(Path::new("absent.yaml"), None), "absent.yaml");
        let place = Place {
            file: String::new(),
            line: 3,
            column: 7,
            message: "`cpu` is too much\ntake 256".into(),
        };
        assert_eq!(
            place_annotation("configuration", &relative, &place),
            "::error file=services/hoist.yaml,line=3,col=7,title=configuration::`cpu` is too much%0Atake 256"
        );
    }
}
