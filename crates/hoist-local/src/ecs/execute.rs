//! ExecuteCommand: a program in a running container, over the data channel of Session Manager.

use hoist_fargate::{ContainerStatus, TaskStatus};
use serde_json::{Value, json};

use super::words::{invalid, need};
use crate::api::{ApiError, Call};
use crate::ctx::Ctx;

pub fn execute(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = need(call, "task", "Task can not be blank.")?;
    let command = need(call, "command", "Command can not be blank.")?;
    if call.boolean("interactive") != Some(true) {
        return Err(invalid("Interactive must be true."));
    }
    let (cluster, task, container) = ctx.driver.read(|world| {
        let cluster = world.find_cluster(&call.region, call.str("cluster"))?;
        let task = world
            .find_task(cluster, name)
            .ok_or_else(|| invalid("The referenced task was not found."))?;
        let enabled = task.request.get("enableExecuteCommand") == Some(&Value::Bool(true));
        if !enabled || task.status != TaskStatus::Running {
            return Err(invalid(
                "The execute command failed because execute command was not enabled when the task was run or the execute command \
                 agent isn\u{2019}t running. Wait and try again or run a new task with execute command enabled and try again.",
            ));
        }
        let container = match (call.str("container"), task.containers.as_slice()) {
            (Some(name), all) => all.iter().find(|it| it.name == name),
            (None, [only]) => Some(only),
            (None, _) => {
                return Err(invalid(
                    "The container name must be specified for a task that has more than one container.",
                ));
            }
        };
        let container = container
            .ok_or_else(|| invalid("The specified container does not exist in the task."))?;
        if container.status != ContainerStatus::Running {
            return Err(ApiError::new(
                "TargetNotConnectedException",
                "The execute command failed due to an internal error. Try again later.",
            ));
        }
        Ok((cluster.arn.clone(), task.arn.clone(), container.clone()))
    })?;
    let args =
        words(command).ok_or_else(|| invalid("The command has a quote that does not end."))?;
    let session = ctx
        .sessions
        .open(&task, &container.name, args)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json!({
        "clusterArn": cluster,
        "containerArn": container.arn,
        "containerName": container.name,
        "interactive": true,
        "session": {
            "sessionId": session.id,
            "streamUrl": format!(
                "ws://{}/v1/data-channel/{}?role=publish_subscribe",
                ctx.host, session.id
            ),
            "tokenValue": session.token,
        },
        "taskArn": task,
    }))
}

/// The words of a command line: quotes and backslashes as in a shell, and nothing else of it. `None` if a quote does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_divided_as_a_shell_divides_it() {
        let words = |line| words(line).unwrap();
        assert_eq!(words("/bin/sh"), ["/bin/sh"]);
        assert_eq!(
            words("sh -c 'echo \"a b\"; ls'"),
            ["sh", "-c", "echo \"a b\"; ls"]
        );
        assert_eq!(
            words(r#"echo "a \" b" c\ d '' "#),
            ["echo", "a \" b", "c d", ""]
        );
        assert_eq!(super::words("echo 'a"), None);
    }
}
