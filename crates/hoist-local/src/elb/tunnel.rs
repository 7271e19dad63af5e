//! Bytes both ways between two connections, until both sides are done or nothing moves any more.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

const CHUNK: usize = 16 << 10;

/// Copies until both directions have ended, one failed, nothing moved either way for `idle`, or `cut` is cancelled.
pub async fn splice<A, B>(one: A, other: B, idle: Option<Duration>, cut: &CancellationToken)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let moved = AtomicBool::new(false);
    let (one_read, one_write) = tokio::io::split(one);
    let (other_read, other_write) = tokio::io::split(other);
    let copy = async {
        tokio::try_join!(
            pour(one_read, other_write, &moved),
            pour(other_read, one_write, &moved)
        )
    };
    let silence = async {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(idle).await;
            if !moved.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy => {}
        () = silence => {}
        () = cut.cancelled() => {}
    }
}

async fn pour<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    moved: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        moved.store(true, Ordering::Relaxed);
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn half_closed_sides_still_get_the_answer() {
        let (mut client, front) = tokio::io::duplex(64);
        let (back, mut server) = tokio::io::duplex(64);
        let tunnel =
            tokio::spawn(async move { splice(front, back, None, &CancellationToken::new()).await });
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        tunnel.await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_tunnel_ends() {
        let (mut client, front) = tokio::io::duplex(64);
        let (back, _server) = tokio::io::duplex(64);
        splice(
            front,
            back,
            Some(Duration::from_millis(20)),
            &CancellationToken::new(),
        )
        .await;
        assert_eq!(
            client.read(&mut [0]).await.unwrap(),
            0,
            "both sides are closed"
        );
    }
}
