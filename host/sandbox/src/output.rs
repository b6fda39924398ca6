//! The one-chunk mailbox between a guest that writes and the connection that sends.
//!
//! The guest and the connection run in the same task: the connection polls the body, the body polls the guest. So a
//! writer that finds the mailbox full just waits to be polled again, which happens when the connection has taken the
//! chunk. A slow client holds up the guest and no memory beyond one chunk.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;

/// Where a guest's chunks wait for the connection.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    chunk: Option<Bytes>,
    closed: bool,
}

impl Outbox {
    /// Takes the waiting chunk.
    pub fn take(&self) -> Option<Bytes> {
        self.0.lock().chunk.take()
    }

    /// From now on every write fails, and one that waits is released when it is next polled.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.chunk = None;
    }

    /// Whether these are two ends of the same mailbox.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Puts a chunk, once there is room.
    pub(crate) async fn put(&self, chunk: Bytes) -> Result<(), Closed> {
        let mut chunk = Some(chunk);
        poll_fn(|_| {
            let mut state = self.0.lock();
            if state.closed {
                return Poll::Ready(Err(Closed));
            }
            if state.chunk.is_some() {
                return Poll::Pending;
            }
            state.chunk = chunk.take();
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Closed;

/// The guest's end of an [`Outbox`]: the resource `body-writer`.
#[derive(Debug)]
pub struct BodyWriter(pub(crate) Outbox);

/// The guest's end of a WebSocket: the resource `ws-sender`.
#[derive(Debug)]
pub struct MessageSender;
