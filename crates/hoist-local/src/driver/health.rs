//! Health checks of containers: a program that runs beside the container's own.

use std::time::Duration;

use hoist_fargate::Event;
use hoist_runtime::ExecSpec;
use tokio::io::AsyncReadExt as _;

use super::crew::Crew;

/// Runs a check once and reports whether it passed.
pub async fn check(
    crew: &Crew,
    task: String,
    container: String,
    command: Vec<String>,
    timeout: u64,
) {
    let limit = Duration::from_millis(timeout);
    let check = passes(crew, &task, &container, command);
    // On time-out the program is dropped, and so killed.
    let passed = tokio::time::timeout(limit, check).await.unwrap_or(false);
    crew.tell(Event::HealthChecked {
        task,
        container,
        passed,
    });
}

async fn passes(crew: &Crew, task: &str, container: &str, command: Vec<String>) -> bool {
    let Some(process) = crew.run(task).and_then(|run| run.process(container)) else {
        return false;
    };
    let args = match command.first().map(String::as_str) {
        Some("CMD-SHELL") => vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            command[1..].join(" "),
        ],
        Some("CMD") => command[1..].to_vec(),
        _ => command,
    };
    let mut program = match process
        .exec(ExecSpec {
            args,
            ..ExecSpec::default()
        })
        .await
    {
        Ok(program) => program,
        Err(error) => {
            tracing::debug!(task, container, %error, "a health check could not run");
            return false;
        }
    };
    // Nobody reads what a check prints, but it must not block on a full pipe.
    for stream in [program.take_stdout(), program.take_stderr()]
        .into_iter()
        .flatten()
    {
        tokio::spawn(async move {
            let (mut stream, mut buffer) = (stream, [0; 4096]);
            while let Ok(1..) = stream.read(&mut buffer).await {}
        });
    }
    program.wait().await.code == 0
}
