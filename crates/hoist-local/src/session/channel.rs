//! One session over its data channel, from the handshake to the exit of the program.

use axum::body::Body;
use hoist_runtime::{ExecSpec, TaskProcess, TerminalSize};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::sync::mpsc;

use super::message::{AgentMessage, payload, uuid};
use super::sessions::Session;
use super::websocket::{self, Message};
use crate::clock;
use crate::ctx::Ctx;
use crate::ids;

/// Where channels are opened: `/v1/data-channel/SESSION`.
pub const PATH: &str = "/v1/data-channel/";

/// Opens the channel that a request asks for.
pub async fn handle(ctx: &Ctx, mut request: Request<Body>) -> Response<Body> {
    let refused = |status: StatusCode| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    let id = request.uri().path().trim_start_matches(PATH).to_owned();
    let key = request.headers().get("sec-websocket-key").cloned();
    let Some(key) = key.as_ref().and_then(|key| key.to_str().ok()) else {
        return refused(StatusCode::UPGRADE_REQUIRED);
    };
    let Ok(accept) = HeaderValue::from_str(&websocket::accept(key)) else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let ctx = ctx.clone();
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a data channel was not opened"),
        };
        let (mut reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let (sender, incoming) = mpsc::channel(16);
        // Reading goes on beside everything else, and when the client goes everything ends.
        let reading = async {
            while let Some(message) = websocket::read(&mut reader).await? {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let ended = tokio::select! {
            ended = serve(&ctx, &id, writer, incoming) => ended,
            ended = reading => ended,
            () = ctx.stopping.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, session = id, "a data channel ended");
        }
    });
    let mut response = refused(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert("sec-websocket-accept", accept);
    response
}

type Writer = WriteHalf<TokioIo<hyper::upgrade::Upgraded>>;

async fn serve(
    ctx: &Ctx,
    id: &str,
    mut writer: Writer,
    mut incoming: mpsc::Receiver<Message>,
) -> std::io::Result<()> {
    // The first message says who comes: {"TokenValue": "...", ...}.
    let token = match incoming.recv().await {
        Some(Message::Text(text)) => serde_json::from_str::<Value>(&text).unwrap_or_default(),
        _ => Value::Null,
    };
    let token = token["TokenValue"].as_str().unwrap_or_default();
    let Some(session) = ctx.sessions.take(id, token) else {
        return websocket::write(&mut writer, 8, &[]).await;
    };
    let mut channel = Channel {
        writer,
        incoming,
        session: &session,
        sequence: 0,
    };
    channel.handshake().await?;
    let process = ctx
        .sessions
        .crew()
        .and_then(|crew| crew.run(&session.task)?.process(&session.container));
    let Some(process) = process else {
        return channel.close("The container is not running.").await;
    };
    let spec = ExecSpec {
        args: session.args.clone(),
        terminal: Some(TerminalSize::default()),
        ..ExecSpec::default()
    };
    match process.exec(spec).await {
        Ok(program) => channel.carry(program).await,
        Err(error) => channel.close(&format!("{error}\r\n")).await,
    }
}

struct Channel<'a> {
    writer: Writer,
    incoming: mpsc::Receiver<Message>,
    session: &'a Session,
    sequence: i64,
}

impl Channel<'_> {
    async fn send(&mut self, payload_type: u32, content: Vec<u8>) -> std::io::Result<()> {
        let message = AgentMessage::new("output_stream_data", self.sequence, payload_type, content);
        self.sequence += 1;
        websocket::write(&mut self.writer, 2, &message.encode()).await
    }

    /// What the client sends in a message, acknowledged; `None` if it is nothing for the program.
    async fn taken(&mut self, message: Option<Message>) -> std::io::Result<Option<AgentMessage>> {
        match message {
            Some(Message::Binary(bytes)) => {
                let message = AgentMessage::decode(&bytes);
                let input = message.filter(|message| message.kind == "input_stream_data");
                if let Some(input) = &input {
                    let acknowledgement = input.acknowledge().encode();
                    websocket::write(&mut self.writer, 2, &acknowledgement).await?;
                }
                Ok(input)
            }
            Some(Message::Ping(content)) => {
                websocket::write(&mut self.writer, 10, &content).await?;
                Ok(None)
            }
            Some(Message::Text(_)) => Ok(None),
            Some(Message::Close) | None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn handshake(&mut self) -> std::io::Result<()> {
        let request = json!({
            "AgentVersion": "3.3.0.0",
            "RequestedClientActions": [{
                "ActionType": "SessionType",
                "ActionParameters": {"SessionType": "InteractiveCommands", "Properties": {}},
            }],
        });
        self.send(payload::HANDSHAKE_REQUEST, request.to_string().into_bytes())
            .await?;
        loop {
            let message = self.incoming.recv().await;
            let message = self.taken(message).await?;
            if message.is_some_and(|it| it.payload_type == payload::HANDSHAKE_RESPONSE) {
                break;
            }
        }
        let complete = json!({"HandshakeTimeToComplete": 0, "CustomerMessage": ""});
        self.send(
            payload::HANDSHAKE_COMPLETE,
            complete.to_string().into_bytes(),
        )
        .await
    }

    /// Carries what is typed to the program and what it prints to the client, until it ends or the client goes.
    async fn carry(&mut self, mut program: Box<dyn TaskProcess>) -> std::io::Result<()> {
        let (sender, mut printed) = mpsc::channel::<Vec<u8>>(16);
        if let Some(mut output) = program.take_stdout() {
            tokio::spawn(async move {
                let mut buffer = vec![0; 8 << 10];
                while let Ok(count @ 1..) = output.read(&mut buffer).await {
                    if sender.send(buffer[..count].to_vec()).await.is_err() {
                        break;
                    }
                }
            });
        }
        let mut input = program.take_stdin();
        loop {
            tokio::select! {
                content = printed.recv() => match content {
                    Some(content) => self.send(payload::OUTPUT, content).await?,
                    None => break,
                },
                message = self.incoming.recv() => {
                    let Some(message) = self.taken(message).await? else {
                        continue;
                    };
                    match (message.payload_type, &mut input) {
                        (payload::OUTPUT, Some(input)) => {
                            if input.write_all(&message.payload).await.is_err() {
                                tracing::debug!(session = self.session.id, "the program reads no more");
                            }
                            let _ = input.flush().await;
                        }
                        (payload::SIZE, _) => {
                            let size = message.json();
                            let number = |name: &str| size[name].as_u64().and_then(|it| u16::try_from(it).ok());
                            if let (Some(columns), Some(rows)) = (number("cols"), number("rows")) {
                                let _ = program.resize(TerminalSize { columns, rows });
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        let exit = program.wait().await;
        self.send(payload::EXIT_CODE, exit.code.to_string().into_bytes())
            .await?;
        self.close("").await
    }

    /// Says that it is over, and why.
    async fn close(&mut self, output: &str) -> std::io::Result<()> {
        let content = json!({
            "MessageId": uuid(&fastrand::u128(..).to_be_bytes()),
            "CreatedDate": clock::iso8601(clock::now()),
            "DestinationId": ids::uuid(),
            "SessionId": self.session.id,
            "MessageType": "channel_closed",
            "SchemaVersion": 1,
            "Output": output,
        });
        let message = AgentMessage::new("channel_closed", 0, 0, content.to_string().into_bytes());
        websocket::write(&mut self.writer, 2, &message.encode()).await?;
        websocket::write(&mut self.writer, 8, &[]).await
    }
}
