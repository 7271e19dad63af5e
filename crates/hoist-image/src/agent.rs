//! `RUN --mount=type=ssh`: a socket that leads to an agent of the caller.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Forwards for as long as it lives.
pub(crate) struct Forward(JoinHandle<()>);

/// Listens at `socket` and connects whoever comes to `agent`.
pub(crate) fn forward(runtime: &Handle, socket: &Path, agent: &Path) -> io::Result<Forward> {
    let _entered = runtime.enter();
    let listener = UnixListener::bind(socket)?;
    let agent = agent.to_owned();
    Ok(Forward(runtime.spawn(serve(listener, agent))))
}

async fn serve(listener: UnixListener, agent: PathBuf) {
    // Whoever hangs up ends only its own connection.
    while let Ok((mut client, _)) = listener.accept().await {
        let agent = agent.clone();
        tokio::spawn(async move {
            match UnixStream::connect(&agent).await {
                Ok(mut server) => {
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await)
                }
                Err(error) => tracing::debug!(%error, "failed to connect to the SSH agent"),
            }
        });
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_said_at_the_socket_reaches_the_agent_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, socket) = (folder.path().join("agent"), folder.path().join("socket"));
        let listener = UnixListener::bind(&agent).unwrap();
        let forward = forward(&Handle::current(), &socket, &agent).unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(b"pong").await.unwrap();
            word
        });
        let mut client = UnixStream::connect(&socket).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        client.read_exact(&mut word).await.unwrap();
        assert_eq!((&word, &answering.await.unwrap()), (b"pong", b"ping"));
        drop(forward);
    }
}
