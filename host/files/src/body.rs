//! The body of a file response: bytes at once for a small file, otherwise chunks that are read on demand.
//!
//! A chunk that the kernel holds in memory is copied where the body is polled (`preadv2` with `RWF_NOWAIT`, about 6
//! us). Any other chunk is read on the blocking pool, and while reads have to wait for a disk the next chunk is fetched
//! ahead. So a body holds at most one chunk that was read ahead, besides the chunk it gave away.
//!
//! The length is fixed when the head is made. A file that grows is sent up to that length. A file that shrinks ends in
//! an error, which aborts the response (HTTP/1.1: the connection closes; HTTP/2: RST_STREAM); a short body never looks
//! complete. A file rewritten in place while it is sent is not noticed: replace files by renaming.

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use roadrunner_threads::{Running, Share};

use crate::read::{self, Chunk, FileBodyError};

/// The size of one read, in bytes.
pub(crate) const CHUNK: u64 = 128 * 1024;

/// A body of known length that never takes more memory than two chunks of 128 KiB.
#[derive(Debug)]
pub struct FileBody {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Empty,
    Reading(Reader),
    Whole(Bytes),
}

#[derive(Debug)]
struct Reader {
    file: Arc<File>,
    /// The bytes still to be given away.
    left: Range<u64>,
    /// A read of the next chunk on the blocking pool.
    pending: Option<Running<Result<Chunk, FileBodyError>>>,
    threads: Share,
}

impl FileBody {
    /// Makes an empty body.
    pub fn empty() -> Self {
        Self { inner: Inner::Empty }
    }

    /// Makes a body of bytes in memory, for callers that mix files with other content.
    pub fn bytes(bytes: Bytes) -> Self {
        Self { inner: if bytes.is_empty() { Inner::Empty } else { Inner::Whole(bytes) } }
    }

    /// Whether the whole body is already in memory; a small file shares its memory with the cache.
    pub fn is_whole(&self) -> bool {
        !matches!(self.inner, Inner::Reading(_))
    }

    pub(crate) fn file(file: Arc<File>, span: Range<u64>, threads: Share) -> Self {
        if span.is_empty() {
            return Self::empty();
        }
        Self { inner: Inner::Reading(Reader { file, left: span, pending: None, threads }) }
    }

    /// The number of bytes still to be given away.
    pub fn remaining(&self) -> u64 {
        match &self.inner {
            Inner::Empty => 0,
            Inner::Reading(reader) => reader.left.end - reader.left.start,
            Inner::Whole(bytes) => bytes.len() as u64,
        }
    }
}

impl Reader {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, FileBodyError>> {
        let mut pending = match self.pending.take() {
            Some(pending) => pending,
            None => match read::from_memory(&self.file, self.next_read())? {
                Some(bytes) => {
                    self.left.start += bytes.len() as u64;
                    return Poll::Ready(Ok(bytes));
                }
                None => self.spawn_read(),
            },
        };
        let Poll::Ready(read) = Pin::new(&mut pending).poll(cx) else {
            self.pending = Some(pending);
            return Poll::Pending;
        };
        let chunk = read?;
        self.left.start += chunk.bytes.len() as u64;
        if chunk.waited && !self.left.is_empty() {
            self.pending = Some(self.spawn_read());
        }
        Poll::Ready(Ok(chunk.bytes))
    }

    fn spawn_read(&self) -> Running<Result<Chunk, FileBodyError>> {
        let (file, span) = (self.file.clone(), self.next_read());
        self.threads.start(move || read::exactly(&file, span))
    }

    fn next_read(&self) -> Range<u64> {
        self.left.start..self.left.end.min(self.left.start + CHUNK)
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = FileBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FileBodyError>>> {
        match &mut self.inner {
            Inner::Empty => Poll::Ready(None),
            Inner::Reading(reader) => {
                let chunk = ready!(reader.poll_chunk(cx));
                if chunk.is_err() || reader.left.is_empty() {
                    self.inner = Inner::Empty;
                }
                Poll::Ready(Some(chunk.map(Frame::data)))
            }
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.inner, Inner::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}
