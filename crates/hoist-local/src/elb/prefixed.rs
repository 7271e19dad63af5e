use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A connection of a client, of which something may have been read already: that is read first. Or one to a target.
pub struct Prefixed {
    before: Vec<u8>,
    taken: usize,
    stream: Stream,
}

/// One kind, so that what speaks HTTP on it is compiled once.
enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

macro_rules! each {
    ($prefixed:expr, $stream:ident => $what:expr) => {
        match &mut $prefixed.stream {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $what
            }
            Stream::Secure(stream) => {
                let $stream = Pin::new(&mut **stream);
                $what
            }
        }
    };
}

impl Prefixed {
    pub fn new(before: Vec<u8>, stream: TcpStream) -> Self {
        Self {
            before,
            taken: 0,
            stream: Stream::Plain(stream),
        }
    }

    /// Puts back what was read of it: that is read first again.
    pub fn unread(mut self, mut read: Vec<u8>) -> Self {
        read.extend_from_slice(&self.before[self.taken..]);
        (self.before, self.taken) = (read, 0);
        self
    }

    /// A connection in TLS.
    pub fn secure(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self {
            before: Vec::new(),
            taken: 0,
            stream: Stream::Secure(Box::new(stream.into())),
        }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = &this.before[this.taken..];
        if rest.is_empty() {
            return each!(this, stream => stream.poll_read(cx, buffer));
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.taken += count;
        if this.taken == this.before.len() {
            (this.before, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
