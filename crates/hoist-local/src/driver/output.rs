//! What containers print, on its way to CloudWatch Logs: one event a line, in batches.

use std::time::Duration;

use hoist_runtime::OutputStream;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::clock::{self, Millis};
use crate::ctx::Ctx;

/// Docker's log drivers cut lines after 16 KiB.
const LINE: usize = 16 << 10;
/// How many lines wait for the disk before the container has to.
const QUEUE: usize = 4096;
/// How long a batch waits for more.
const LINGER: Duration = Duration::from_millis(50);

/// Where one container's output goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The region of the log group.
    pub region: String,
    /// The log group.
    pub group: String,
    /// `PREFIX/CONTAINER/TASK-ID`.
    pub stream: String,
}

/// Carries both streams to `destination` (or nowhere) until both have ended and all of it is kept.
pub async fn carry(ctx: Ctx, streams: Vec<OutputStream>, destination: Option<Destination>) {
    let (lines, queue) = mpsc::channel(QUEUE);
    let readers: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(read(stream, lines.clone())))
        .collect();
    drop(lines);
    keep(ctx, queue, destination).await;
    for reader in readers {
        let _ = reader.await;
    }
}

async fn read(mut stream: OutputStream, lines: mpsc::Sender<(Millis, String)>) {
    let mut buffer = vec![0; LINE];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let at = clock::now();
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            let whole = line.ends_with(b"\n");
            if (whole || line.len() >= LINE) && lines.send((at, text(&mut line))).await.is_err() {
                return;
            }
        }
    }
    if !line.is_empty() {
        let _ = lines.send((clock::now(), text(&mut line))).await;
    }
}

/// Takes the line, without its end.
fn text(line: &mut Vec<u8>) -> String {
    let taken = std::mem::take(line);
    let end = taken.strip_suffix(b"\n").unwrap_or(&taken);
    String::from_utf8_lossy(end.strip_suffix(b"\r").unwrap_or(end)).into_owned()
}

async fn keep(
    ctx: Ctx,
    mut queue: mpsc::Receiver<(Millis, String)>,
    destination: Option<Destination>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, QUEUE).await > 0 {
        let Some(to) = &destination else {
            batch.clear();
            continue;
        };
        let more = tokio::time::timeout(LINGER, async {
            while queue.recv_many(&mut batch, QUEUE).await > 0 && batch.len() < QUEUE {}
        });
        let _ = more.await;
        // CloudWatch Logs refuses empty events.
        batch.retain(|(_, line)| !line.is_empty());
        if let Err(error) = ctx
            .logs
            .append(
                &to.region,
                &to.group,
                &to.stream,
                std::mem::take(&mut batch),
            )
            .await
        {
            tracing::warn!(group = to.group, stream = to.stream, %error, "output is lost");
        }
    }
}
