//! A connection that breaks or is slow: a TCP proxy that cuts or holds each of its first connections after so many bytes, or takes its time with each piece.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

/// Which direction is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// From the client to the server.
    Upload,
    /// From the server to the client.
    Download,
}

/// What becomes of a connection after so many bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sockets close.
    Cut,
    /// Nothing moves any more, and nobody says so.
    Held,
}

#[derive(Clone)]
struct Limit {
    bytes: u64,
    left: Arc<AtomicUsize>,
    end: End,
}

pub struct Proxy {
    pub address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    uploaded: Arc<AtomicU64>,
}

impl Proxy {
    /// Cuts `cuts` connections after `bytes` in the direction `cut`; later ones live.
    pub async fn start(server: SocketAddr, cut: Cut, bytes: u64, cuts: usize) -> Self {
        Self::with(server, cut, bytes, cuts, End::Cut, None).await
    }

    /// As [`start`](Self::start), but the connections stay open and nothing moves on them.
    pub async fn holding(server: SocketAddr, way: Cut, bytes: u64, holds: usize) -> Self {
        Self::with(server, way, bytes, holds, End::Held, None).await
    }

    /// Waits before each piece of so many bytes.
    pub async fn trickling(server: SocketAddr, piece: usize, pause: Duration) -> Self {
        Self::with(server, Cut::Download, 0, 0, End::Cut, Some((piece, pause))).await
    }

    async fn with(
        server: SocketAddr,
        cut: Cut,
        bytes: u64,
        times: usize,
        end: End,
        slow: Option<(usize, Duration)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            cuts: Arc::new(AtomicUsize::new(times)),
            uploaded: Arc::default(),
        };
        let (left, uploaded) = (Arc::clone(&proxy.cuts), Arc::clone(&proxy.uploaded));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (left, uploaded) = (Arc::clone(&left), Arc::clone(&uploaded));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let limit = |way| {
                        let left = Arc::clone(&left);
                        (way == cut).then_some(Limit { bytes, left, end })
                    };
                    // Whichever ends first takes the other with it: both sockets close.
                    tokio::select! {
                        () = pump(from_client, to_server, limit(Cut::Upload), Some(uploaded), slow) => {}
                        () = pump(from_server, to_client, limit(Cut::Download), None, slow) => {}
                    }
                });
            }
        });
        proxy
    }

    /// Cuts that have not happened.
    pub fn cuts_left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }

    /// Bytes that came from clients, on all connections.
    pub fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::SeqCst)
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: OwnedWriteHalf,
    limit: Option<Limit>,
    count: Option<Arc<AtomicU64>>,
    slow: Option<(usize, Duration)>,
) {
    let mut passed = 0;
    let mut piece = vec![0; slow.map_or(16 * 1024, |(piece, _)| piece)];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        passed += read as u64;
        if let Some(count) = &count {
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
        if let Some((_, pause)) = slow {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
        if let Some(limit) = &limit
            && passed >= limit.bytes
            && limit
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
        {
            match limit.end {
                End::Cut => return,
                End::Held => std::future::pending().await,
            }
        }
    }
}
