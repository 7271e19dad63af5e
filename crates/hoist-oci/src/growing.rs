//! Reading a blob while it is still being written, so that its upload need not wait for its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use crate::Digest;

/// Bytes read from the file at once.
const PIECE: usize = 512 * 1024;

/// How far the writer of a blob has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Growth {
    /// Bytes written.
    pub size: u64,
    /// Nothing more will come; this is its digest.
    pub whole: Option<Digest>,
}

/// A blob that another thread writes; see [`BlobWriter::grow`](crate::BlobWriter::grow). What is read of it is what was written, from any offset and any
/// number of times, also after the writer is gone.
#[derive(Debug, Clone)]
pub struct Growing {
    file: Arc<File>,
    growth: watch::Receiver<Growth>,
}

/// What there is behind an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Content up to this size, so far.
    More(u64),
    /// Nothing: the blob ends before, and this is its digest.
    End(Digest),
    /// Nothing: the writer gave up.
    GivenUp,
}

impl Growing {
    pub(crate) fn new(file: File, growth: watch::Receiver<Growth>) -> Self {
        Self {
            file: Arc::new(file),
            growth,
        }
    }

    /// Waits until there is more than `offset` bytes, or will never be.
    pub(crate) async fn reach(&mut self, offset: u64) -> Reach {
        let settled = |growth: &Growth| growth.whole.is_some() || growth.size > offset;
        match self.growth.wait_for(settled).await.map(|growth| *growth) {
            Ok(growth) if growth.size > offset => Reach::More(growth.size),
            Ok(Growth {
                whole: Some(digest),
                ..
            }) => Reach::End(digest),
            _ => Reach::GivenUp,
        }
    }

    /// The digest and the size, once the blob is whole.
    pub(crate) fn whole(&self) -> Option<(Digest, u64)> {
        let growth = *self.growth.borrow();
        growth.whole.map(|digest| (digest, growth.size))
    }

    /// Whether the writer went away before the end.
    pub(crate) fn given_up(&self) -> bool {
        self.whole().is_none() && self.growth.has_changed().is_err()
    }

    /// The content from `offset` to the end, as it comes.
    pub(crate) fn content(
        &self,
        offset: u64,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self.clone(), offset), |(mut blob, offset)| async move {
            let size = match blob.reach(offset).await {
                Reach::More(size) => size,
                Reach::End(_) => return Ok(None),
                Reach::GivenUp => return Err(io::Error::other("the blob was given up")),
            };
            let length = usize::try_from(size - offset).map_or(PIECE, |behind| behind.min(PIECE));
            let file = Arc::clone(&blob.file);
            let piece = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, offset).map(|()| piece)
            })
            .await
            .map_err(io::Error::other)??;
            let next = offset + piece.len() as u64;
            Ok(Some((Bytes::from(piece), (blob, next))))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures_util::TryStreamExt as _;

    use super::*;
    use crate::Store;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_sees_what_is_written_as_it_comes_and_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut writer = store.writer().unwrap();
        let mut blob = writer.grow().unwrap();
        writer.write_all(b"one ").unwrap();
        assert_eq!(blob.reach(3).await, Reach::More(4));
        assert_eq!((blob.whole(), blob.given_up()), (None, false));
        let reading = tokio::spawn(blob.content(1).try_collect::<Vec<Bytes>>());
        let rest = vec![7; 3 * PIECE];
        writer.write_all(&rest).unwrap();
        let (digest, size) = writer.commit().unwrap();
        let read = reading.await.unwrap().unwrap().concat();
        assert_eq!(read, [b"ne ".as_slice(), &rest].concat());
        assert_eq!(blob.whole(), Some((digest, size)));
        assert_eq!(blob.reach(size).await, Reach::End(digest));
        // It stays readable when the file has its name, and when that is gone.
        store.remove(&digest).unwrap();
        let again: Vec<Bytes> = blob.content(size - 2).try_collect().await.unwrap();
        assert_eq!(again.concat(), [7, 7]);
    }

    #[tokio::test]
    async fn a_writer_that_gives_up_ends_the_reading_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut writer = store.writer().unwrap();
        let mut blob = writer.grow().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(blob.reach(4).await, Reach::GivenUp);
        assert!(blob.given_up());
        let read = blob.content(0).try_collect::<Vec<Bytes>>().await;
        assert_eq!(read.unwrap_err().to_string(), "the blob was given up");
    }
}
