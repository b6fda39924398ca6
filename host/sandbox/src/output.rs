//! The one-item mailbox between a guest that writes and the connection that sends.
//!
//! The guest and its driver run in the same task: the connection polls the body, the body polls the guest. So a
//! writer that finds the mailbox full just waits to be polled again, which happens when the driver has taken what was
//! there. A slow client holds up the guest and no memory beyond one item.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;

/// Where what a guest writes waits for the driver: chunks of a body, or messages of a WebSocket.
#[derive(Debug)]
pub struct Outbox<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    item: Option<T>,
    closed: bool,
}

impl<T> Outbox<T> {
    /// Takes what waits.
    pub fn take(&self) -> Option<T> {
        self.0.lock().item.take()
    }

    /// From now on every write fails, and one that waits is released when it is next polled.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.item = None;
    }

    /// Puts an item, once there is room.
    pub(crate) async fn put(&self, item: T) -> Result<(), Closed> {
        let mut item = Some(item);
        poll_fn(|_| {
            let mut state = self.0.lock();
            if state.closed {
                return Poll::Ready(Err(Closed));
            }
            if state.item.is_some() {
                return Poll::Pending;
            }
            state.item = item.take();
            Poll::Ready(Ok(()))
        })
        .await
    }
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { item: None, closed: false })))
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Closed;

/// What a guest does on its WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The close handshake, with a code and a reason that the driver has to check.
    Close(u16, String),
}

/// The guest's end of an outbox.
#[derive(Debug)]
pub struct Writer<T>(pub(crate) Outbox<T>);

/// The guest's end of a response body: the resource `body-writer`.
pub type BodyWriter = Writer<Bytes>;

/// The guest's end of a WebSocket: the resource `ws-sender`.
pub type MessageSender = Writer<Outgoing>;
