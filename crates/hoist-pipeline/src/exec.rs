//! A program in a running container, over the data channel of Session Manager.
//!
//! The channel is spoken here, for the embedded AWS and for the real one. A session that is encrypted with a KMS key is AWS's own
//! `session-manager-plugin`'s business; where that is installed, real sessions go through it.

use std::time::Duration;

use hoist_aws::{Client, Service as Aws, read};
use hoist_oci::Digest;
use hoist_project::Service;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use crate::failure::{Failure, Kind};
use crate::refusal::refused;
use crate::{select, tasks};

/// Bytes of an agent message's header, without the length of the payload.
const HEADER: usize = 116;
/// Payload types; those of the sources of session-manager-plugin, and the exit code that the embedded AWS adds.
const OUTPUT: u32 = 1;
const SIZE: u32 = 3;
const HANDSHAKE_REQUEST: u32 = 5;
const HANDSHAKE_RESPONSE: u32 = 6;
const EXIT_CODE: u32 = 12;
/// A channel on which nothing moves is kept open with a ping this often.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Tasks that one DescribeTasks call takes.
const TASKS_A_CALL: usize = 100;
/// What a terminal types for the end of the input.
const END_OF_INPUT: u8 = 4;

/// Which program, and where.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Begins the id of the task; any running one if not named.
    pub task: Option<String>,
    /// Container, where the task has several.
    pub container: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// A session that was opened.
#[derive(Debug)]
pub struct Session {
    url: String,
    token: String,
    /// What ExecuteCommand answered as `session`.
    answer: Value,
    /// `ecs:CLUSTER_TASK_RUNTIME`, as the plugin names the container.
    target: String,
}

/// Opens a session in a task of `service`.
///
/// # Errors
/// No such task runs, or AWS refused a call.
pub async fn open(aws: &Client, service: &Service, wanted: &Wanted) -> Result<Session, Failure> {
    select::live(aws, service).await?;
    let mut running = tasks::arns(aws, service, "RUNNING").await?;
    running.retain(|arn| {
        let id = arn.rsplit('/').next().unwrap_or(arn);
        wanted.task.as_ref().is_none_or(|task| id.starts_with(task))
    });
    running.truncate(TASKS_A_CALL);
    if running.is_empty() {
        return Err(Failure::new(
            Kind::Check,
            match &wanted.task {
                Some(task) => format!("no running task of {} begins with {task}", service.name),
                None => format!("no task of {} runs", service.name),
            },
        )
        .hint("`hoist tasks --all` lists them"));
    }
    let described = aws
        .json(
            Aws::Ecs,
            "DescribeTasks",
            json!({ "cluster": service.cluster, "tasks": running }),
        )
        .await
        .map_err(|error| refused("failed to describe the tasks", &error))?;
    // Of several tasks the newest that can be entered: it runs what was deployed last.
    let task = read::tasks(&described)
        .filter(|task| task.last_status() == "RUNNING")
        .max_by_key(|task| (task.raw()["enableExecuteCommand"] == true, task.started()))
        .ok_or_else(|| {
            Failure::new(
                Kind::Check,
                format!("no task of {} has started yet", service.name),
            )
            .hint("`hoist tasks` shows where they are")
        })?;
    let container = wanted.container.as_ref().or(service.container.as_ref());
    enterable(&task, container.map(String::as_str))?;
    let mut request = json!({
        "cluster": service.cluster,
        "task": task.arn(),
        "interactive": true,
        "command": line(&wanted.command),
    });
    if let Some(container) = container {
        request["container"] = json!(container);
    }
    let mut answer = aws
        .json(Aws::Ecs, "ExecuteCommand", request)
        .await
        .map_err(|error| {
            let failure = refused("failed to open a session in the container", &error);
            match failure.hint {
                Some(_) => failure,
                None => failure.hint(
                    "the task role needs ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel, and the task a way to reach ssmmessages",
                ),
            }
        })?;
    let runtime = task
        .containers()
        .find(|container| answer["containerName"] == container.name())
        .map(|container| container.runtime_id().to_owned())
        .unwrap_or_default();
    let last = |arn: &str| arn.rsplit('/').next().unwrap_or(arn).to_owned();
    let target = format!(
        "ecs:{}_{}_{runtime}",
        last(read::text(&answer, "clusterArn")),
        task.id()
    );
    let session = answer["session"].take();
    Ok(Session {
        url: read::text(&session, "streamUrl").to_owned(),
        token: read::text(&session, "tokenValue").to_owned(),
        answer: session,
        target,
    })
}

/// Whether programs can be run in the task, and what is to be done where they cannot.
fn enterable(task: &read::TaskView<'_>, container: Option<&str>) -> Result<(), Failure> {
    if task.raw()["enableExecuteCommand"] != true {
        return Err(Failure::new(
            Kind::Check,
            format!("exec is not enabled for the task {}", task.id()),
        )
        .hint(
            "set `exec: true` for the service in hoist.yaml (`\"enableExecuteCommand\": true` in a service definition), then `hoist deploy` and `hoist refresh`: only tasks that start afterwards can be entered",
        ));
    }
    if let Some(wanted) = container {
        let names: Vec<&str> = task
            .containers()
            .map(|container| container.name())
            .collect();
        if !names.contains(&wanted) {
            return Err(Failure::new(
                Kind::Configuration,
                format!("the task {} has no container `{wanted}`", task.id()),
            )
            .hint(format!("its containers are: {}", names.join(", "))));
        }
    }
    let agents = task
        .containers()
        .filter(|one| container.is_none_or(|wanted| one.name() == wanted))
        .flat_map(|one| read::list(one.raw(), "managedAgents"));
    let mut agents = agents.filter(|agent| agent["name"] == "ExecuteCommandAgent");
    // ECS says which agents there are; an endpoint that does not is asked all the same.
    match agents.find(|agent| agent["lastStatus"] != "RUNNING") {
        None => Ok(()),
        Some(agent) => Err(Failure::new(
            Kind::Check,
            format!(
                "the agent for exec in the task {} is {}",
                task.id(),
                read::text(agent, "lastStatus")
            ),
        )
        .detail(read::text(agent, "reason"))
        .hint("try again in a few seconds; where it stays so, the task role lacks the ssmmessages permissions, or the task cannot reach ssmmessages")),
    }
}

/// One line that a shell's rules take apart into `words` again.
fn line(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-=:,+@%".contains(&byte))
    };
    let quoted: Vec<String> = words
        .iter()
        .map(|word| match plain(word) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        })
        .collect();
    quoted.join(" ")
}

impl Session {
    /// The arguments of `session-manager-plugin`; `None` for a session of the embedded AWS.
    pub fn plugin(&self, region: &str) -> Option<Vec<String>> {
        if self.url.starts_with("ws://") {
            return None;
        }
        let capitals = json!({
            "SessionId": self.answer["sessionId"],
            "StreamUrl": self.answer["streamUrl"],
            "TokenValue": self.answer["tokenValue"],
        });
        Some(vec![
            capitals.to_string(),
            region.to_owned(),
            "StartSession".to_owned(),
            String::new(),
            json!({ "Target": self.target }).to_string(),
            format!("https://ssm.{region}.amazonaws.com"),
        ])
    }

    /// Carries what comes from `input` to the program and what it prints to `output`, until it ends. The end of `input` is typed as a
    /// terminal types it. `size` is the terminal's, in columns and rows, as it changes. Returns the program's exit code, 0 where the
    /// channel does not tell it.
    ///
    /// # Errors
    /// The channel broke, or the session is encrypted.
    pub async fn carry(
        &self,
        mut size: watch::Receiver<Option<(u16, u16)>>,
        mut input: mpsc::Receiver<Vec<u8>>,
        output: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<i64, Failure> {
        let broke = |error: std::io::Error| {
            Failure::because(Kind::Unexpected, "the session's channel broke", &error)
        };
        let mut channel = Channel::connect(&self.url).await.map_err(broke)?;
        let hello = json!({
            "MessageSchemaVersion": "1.0",
            "RequestId": uuid(&fastrand::u128(..).to_be_bytes()),
            "TokenValue": self.token,
            "ClientId": uuid(&fastrand::u128(..).to_be_bytes()),
        });
        channel
            .send(1, hello.to_string().as_bytes())
            .await
            .map_err(broke)?;
        let (mut code, mut ready, mut typing, mut sizing) = (None, false, true, true);
        let (mut expected, mut last_typed) = (0, b'\n');
        loop {
            let (opcode, content) = tokio::select! {
                frame = channel.frame() => match (frame, code) {
                    (Ok(frame), _) => frame,
                    // The program has ended, and the other side hung up before all was acknowledged.
                    (Err(_), Some(code)) => return Ok(code),
                    (Err(error), None) => return Err(broke(error)),
                },
                typed = input.recv(), if ready && typing => {
                    match typed {
                        Some(typed) => {
                            last_typed = typed.last().copied().unwrap_or(last_typed);
                            channel.input(OUTPUT, &typed).await.map_err(broke)?;
                        }
                        None => {
                            typing = false;
                            // In the middle of a line it takes two.
                            let times = if last_typed == b'\n' { 1 } else { 2 };
                            channel.input(OUTPUT, &vec![END_OF_INPUT; times]).await.map_err(broke)?;
                        }
                    }
                    continue;
                }
                changed = size.changed(), if ready && sizing => {
                    sizing = changed.is_ok();
                    channel.tell_size(&mut size).await.map_err(broke)?;
                    continue;
                }
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    channel.send(9, b"").await.map_err(broke)?;
                    continue;
                }
            };
            let message = match opcode {
                2 => Message::decode(&content),
                8 => break,
                9 => {
                    channel.send(10, &content).await.map_err(broke)?;
                    None
                }
                _ => None,
            };
            let Some(message) = message else { continue };
            match (message.kind.as_str(), message.payload_type) {
                ("channel_closed", _) => {
                    let closed: Value =
                        serde_json::from_slice(&message.payload).unwrap_or_default();
                    output(read::text(&closed, "Output").as_bytes());
                    return Ok(code.unwrap_or(0));
                }
                ("output_stream_data", kind) => {
                    channel.acknowledge(&message).await.map_err(broke)?;
                    // What was not acknowledged in time comes again.
                    if message.sequence < expected {
                        continue;
                    }
                    expected = message.sequence + 1;
                    match kind {
                        HANDSHAKE_REQUEST => {
                            let answer = handshake(&message.payload)?;
                            channel
                                .input(HANDSHAKE_RESPONSE, answer.to_string().as_bytes())
                                .await
                                .map_err(broke)?;
                            channel.tell_size(&mut size).await.map_err(broke)?;
                            ready = true;
                        }
                        OUTPUT => {
                            // An agent without handshake begins at once.
                            ready = true;
                            output(&message.payload);
                        }
                        EXIT_CODE => {
                            code = std::str::from_utf8(&message.payload)
                                .ok()
                                .and_then(|text| text.parse().ok());
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        code.ok_or_else(|| {
            Failure::new(
                Kind::TaskFailed,
                "the session ended without the program's exit code",
            )
        })
    }
}

/// The answer to what the agent asks of its client.
fn handshake(request: &[u8]) -> Result<Value, Failure> {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let mut processed = Vec::new();
    for action in read::list(&request, "RequestedClientActions") {
        let kind = read::text(action, "ActionType");
        if kind == "KMSEncryption" {
            return Err(Failure::new(
                Kind::Check,
                "the session is encrypted with a KMS key, which hoist does not do itself",
            )
            .hint("install AWS's session-manager-plugin: hoist uses it where it is there"));
        }
        processed.push(
            json!({ "ActionType": kind, "ActionStatus": 1, "ActionResult": null, "Error": "" }),
        );
    }
    Ok(json!({ "ClientVersion": "1.2.0.0", "ProcessedClientActions": processed, "Errors": [] }))
}

/// Output of a terminal for what is none: lines end as everywhere else.
#[derive(Default)]
pub struct LineEnds {
    held: bool,
}

impl LineEnds {
    /// `some` without the carriage returns at line ends; one at the very end is held until it is clear what follows.
    pub fn plain(&mut self, some: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(some.len() + 1);
        for byte in some {
            if std::mem::take(&mut self.held) && *byte != b'\n' {
                plain.push(b'\r');
            }
            match byte {
                b'\r' => self.held = true,
                byte => plain.push(*byte),
            }
        }
        plain
    }
}

/// A WebSocket, as far as a client of the data channel needs it (RFC 6455).
struct Channel {
    stream: reqwest::Upgraded,
    /// Why the other side no longer takes anything. What it said before is still to be read.
    deaf: Option<std::io::Error>,
    /// Bytes that came and are no whole frame yet: reading must not lose them when it is given up for something else.
    waiting: Vec<u8>,
    /// The message that came in parts so far: its opcode and content.
    parts: Option<(u8, Vec<u8>)>,
    /// Number of the next message.
    sequence: i64,
}

impl Channel {
    async fn connect(url: &str) -> std::io::Result<Channel> {
        // The handshake is plain HTTP/1.1 over TCP or TLS.
        let http = url.replacen("ws", "http", 1);
        let mut client = hoist_oci::http_client().http1_only();
        if crate::url::is_loopback(&http) {
            client = client.no_proxy();
        }
        let answer = client
            .build()
            .map_err(std::io::Error::other)?
            .get(&http)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "aG9pc3QtZXhlYy1jbGllbnQ=")
            .send()
            .await
            .map_err(std::io::Error::other)?;
        if answer.status() != reqwest::StatusCode::SWITCHING_PROTOCOLS {
            return Err(std::io::Error::other(format!(
                "it answered {}",
                answer.status()
            )));
        }
        Ok(Channel {
            stream: answer.upgrade().await.map_err(std::io::Error::other)?,
            deaf: None,
            waiting: Vec::new(),
            parts: None,
            sequence: 0,
        })
    }

    /// The next message: its opcode and content. May be given up and begun again.
    async fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((first, start, end)) = whole(&self.waiting) {
                let rest = self.waiting.split_off(end);
                let frame = std::mem::replace(&mut self.waiting, rest);
                let (last, opcode, content) = (first & 0x80 != 0, first & 0x0f, &frame[start..]);
                match (opcode, last) {
                    // Control frames may stand between the parts of a message.
                    (8.., _) => return Ok((opcode, content.to_vec())),
                    (0, last) => {
                        if let Some((_, parts)) = &mut self.parts {
                            parts.extend(content);
                        }
                        if last && let Some(message) = self.parts.take() {
                            return Ok(message);
                        }
                    }
                    (opcode, true) => return Ok((opcode, content.to_vec())),
                    (opcode, false) => self.parts = Some((opcode, content.to_vec())),
                }
                continue;
            }
            let mut some = [0; 8 << 10];
            match self.stream.read(&mut some).await {
                Ok(0) => {
                    let ended = || std::io::ErrorKind::UnexpectedEof.into();
                    return Err(self.deaf.take().unwrap_or_else(ended));
                }
                Ok(count) => self.waiting.extend(&some[..count]),
                Err(error) => return Err(self.deaf.take().unwrap_or(error)),
            }
        }
    }

    /// Tells the program how large the terminal is, if there is one.
    async fn tell_size(
        &mut self,
        size: &mut watch::Receiver<Option<(u16, u16)>>,
    ) -> std::io::Result<()> {
        let now = *size.borrow_and_update();
        match now {
            Some((columns, rows)) => {
                let size = json!({ "cols": columns, "rows": rows }).to_string();
                self.input(SIZE, size.as_bytes()).await
            }
            None => Ok(()),
        }
    }

    /// Sends one frame, masked as a client must.
    async fn send(&mut self, opcode: u8, content: &[u8]) -> std::io::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match content.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let mask = fastrand::u32(..).to_be_bytes();
        frame.extend(mask);
        frame.extend(
            content
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        if self.deaf.is_none() {
            let sent = match self.stream.write_all(&frame).await {
                Ok(()) => self.stream.flush().await,
                Err(error) => Err(error),
            };
            self.deaf = sent.err();
        }
        Ok(())
    }

    async fn input(&mut self, kind: u32, content: &[u8]) -> std::io::Result<()> {
        let message = encode("input_stream_data", self.sequence, kind, content);
        self.sequence += 1;
        self.send(2, &message).await
    }

    async fn acknowledge(&mut self, message: &Message) -> std::io::Result<()> {
        let content = json!({
            "AcknowledgedMessageType": message.kind,
            "AcknowledgedMessageId": uuid(&message.id),
            "AcknowledgedMessageSequenceNumber": message.sequence,
            "IsSequentialMessage": true,
        });
        let message = encode("acknowledge", 0, 0, content.to_string().as_bytes());
        self.send(2, &message).await
    }
}

/// The first byte of the first frame in `bytes`, and where its content begins and ends; `None` if it is not whole.
fn whole(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        length => (2, u64::from(length)),
    };
    let end = usize::try_from(length).ok()?.checked_add(start)?;
    (bytes.len() >= end).then_some((first, start, end))
}

/// A message of the agent, as far as it matters.
struct Message {
    kind: String,
    sequence: i64,
    id: [u8; 16],
    payload_type: u32,
    payload: Vec<u8>,
}

impl Message {
    fn decode(bytes: &[u8]) -> Option<Message> {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let header = usize::try_from(number(0)?).ok()?;
        let length = usize::try_from(number(header)?).ok()?;
        let start = header.checked_add(4)?;
        // The two halves of an id change places on the wire.
        let mut id = [0; 16];
        id[8..].copy_from_slice(bytes.get(64..72)?);
        id[..8].copy_from_slice(bytes.get(72..80)?);
        Some(Message {
            kind: String::from_utf8_lossy(bytes.get(4..36)?)
                .trim_matches(['\0', ' '])
                .to_owned(),
            sequence: i64::from_be_bytes(bytes.get(48..56)?.try_into().ok()?),
            id,
            payload_type: number(112)?,
            payload: bytes.get(start..start.checked_add(length)?)?.to_vec(),
        })
    }
}

/// A message as it is sent: all numbers big-endian.
fn encode(kind: &str, sequence: i64, payload_type: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (HEADER as u32).to_be_bytes().to_vec();
    out.extend(format!("{kind:<32.32}").into_bytes());
    out.extend(1_u32.to_be_bytes());
    out.extend(jiff::Timestamp::now().as_millisecond().to_be_bytes());
    out.extend(sequence.to_be_bytes());
    let flags: u64 = if kind == "acknowledge" {
        3
    } else {
        u64::from(sequence == 0)
    };
    out.extend(flags.to_be_bytes());
    out.extend(fastrand::u128(..).to_be_bytes());
    let digest = Digest::of(payload).hex().to_string();
    out.extend((0..32).map(|at| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap_or(0)));
    out.extend(payload_type.to_be_bytes());
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(payload);
    out
}

fn uuid(id: &[u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_through_a_line_as_they_were() {
        let words = ["/bin/sh", "-c", "echo 'a b' > $HOME"].map(str::to_owned);
        assert_eq!(line(&words), r"/bin/sh -c 'echo '\''a b'\'' > $HOME'");
    }

    #[test]
    fn messages_and_frames_read_back_whole_or_not_at_all() {
        let bytes = encode("output_stream_data", 7, OUTPUT, b"hello");
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(
            (
                message.kind.as_str(),
                message.sequence,
                message.payload_type
            ),
            ("output_stream_data", 7, OUTPUT)
        );
        assert_eq!(message.payload, b"hello");
        assert!((0..bytes.len()).all(|length| Message::decode(&bytes[..length]).is_none()));
        let frame = [&[0x82, 126, 0, 200][..], &[9; 200]].concat();
        assert_eq!(whole(&frame), Some((0x82, 4, 204)));
        assert_eq!(whole(&frame[..203]), None);
    }

    #[test]
    fn a_terminals_line_ends_become_plain_ones_across_parts() {
        let mut ends = LineEnds::default();
        let plain: Vec<u8> = [&b"a\r"[..], b"\nb\rc\r\n"]
            .into_iter()
            .flat_map(|some| ends.plain(some))
            .collect();
        assert_eq!(plain, b"a\nb\rc\n");
    }

    #[test]
    fn a_task_that_cannot_be_entered_says_what_would_help() {
        let task = |enabled: bool, agent: &str| {
            json!({ "taskArn": "a/t1", "enableExecuteCommand": enabled, "containers": [{ "name": "web",
                "managedAgents": [{ "name": "ExecuteCommandAgent", "lastStatus": agent, "reason": "no role" }] }] })
        };
        let said = |task: Value, container| {
            enterable(&read::TaskView::of(&task), container).map_err(|failure| {
                format!("{} | {}", failure.message, failure.hint.unwrap_or_default())
            })
        };
        assert_eq!(said(task(true, "RUNNING"), Some("web")), Ok(()));
        let off = said(task(false, "RUNNING"), None).unwrap_err();
        assert!(off.contains("t1 | set `exec: true`"), "{off}");
        let pending = said(task(true, "PENDING"), None).unwrap_err();
        assert!(pending.contains("is PENDING"), "{pending}");
        let other = said(task(true, "RUNNING"), Some("app")).unwrap_err();
        assert!(other.contains("its containers are: web"), "{other}");
    }

    #[test]
    fn an_encrypted_session_is_refused_with_what_can_do_it() {
        let asks =
            |kind: &str| json!({ "RequestedClientActions": [{ "ActionType": kind }] }).to_string();
        let answer = handshake(asks("SessionType").as_bytes()).unwrap();
        assert_eq!(answer["ProcessedClientActions"][0]["ActionStatus"], 1);
        let refused = handshake(asks("KMSEncryption").as_bytes()).unwrap_err();
        assert!(refused.hint.unwrap().contains("session-manager-plugin"));
    }
}
