//! A connection that breaks: a TCP proxy that cuts each of its first connections after so many bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

pub struct Proxy {
    pub address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    uploaded: Arc<AtomicU64>,
}

impl Proxy {
    /// Cuts `cuts` connections after `bytes` in the direction `cut`; later ones live.
    pub async fn start(server: SocketAddr, cut: Cut, bytes: u64, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            cuts: Arc::new(AtomicUsize::new(cuts)),
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
                        if way == cut {
                            Some((bytes, Arc::clone(&left)))
                        } else {
                            None
                        }
                    };
                    // Whichever ends first takes the other with it: both sockets close.
                    tokio::select! {
                        () = pump(from_client, to_server, limit(Cut::Upload), Some(uploaded)) => {}
                        () = pump(from_server, to_client, limit(Cut::Download), None) => {}
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
    limit: Option<(u64, Arc<AtomicUsize>)>,
    count: Option<Arc<AtomicU64>>,
) {
    let mut passed = 0;
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        passed += read as u64;
        if let Some(count) = &count {
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
        if let Some((bytes, left)) = &limit
            && passed >= *bytes
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
        {
            return;
        }
    }
}
