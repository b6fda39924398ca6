//! The mailbox between a guest that writes and the connection that sends.
//!
//! The guest and its driver run in the same task: the connection polls the body, the body polls the guest. So a writer
//! that finds the mailbox full just waits for its next poll, which happens when the driver has emptied the mailbox. A
//! slow client holds up the guest, and uses no memory beyond the driver's room: one item, unless the driver sets more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;

/// A queue of a guest's output for the driver: chunks of a body, or messages of a WebSocket.
#[derive(Debug)]
pub struct Outbox<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// Bytes that may be put behind the first item.
    room: usize,
    closed: bool,
}

impl<T> Outbox<T> {
    /// Takes the oldest waiting item.
    pub fn take(&self) -> Option<T> {
        self.0.lock().items.pop_front()
    }

    /// Sets the driver's room, in bytes, until the next call. A writer does not wait before the room is used up, and
    /// the last item may be larger than the rest of the room. By default there is room for one item at a time.
    pub fn set_room(&self, bytes: usize) {
        self.0.lock().room = bytes;
    }

    /// Closes the mailbox: every further write fails, and a waiting writer is released at its next poll. Waiting items
    /// are dropped.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.items = VecDeque::new();
    }

    /// Gives back the memory of an empty mailbox.
    pub fn release(&self) {
        let mut state = self.0.lock();
        if state.items.is_empty() {
            state.items = VecDeque::new();
        }
    }

    /// Puts an item of `bytes` bytes, once there is room.
    pub(crate) fn put(&self, item: T, bytes: usize) -> impl Future<Output = Result<(), Closed>> {
        self.put_then(item, bytes, false)
    }

    /// Puts the last item, once there is room. No other item can follow it.
    pub(crate) fn put_last(&self, item: T) -> impl Future<Output = Result<(), Closed>> {
        self.put_then(item, 0, true)
    }

    /// A single future instead of nested ones: a guest's call pays for its size on the stack that it runs on.
    fn put_then(&self, item: T, bytes: usize, close: bool) -> impl Future<Output = Result<(), Closed>> {
        let mut item = Some(item);
        poll_fn(move |_| {
            let mut state = self.0.lock();
            if state.closed {
                return Poll::Ready(Err(Closed));
            }
            if state.room == 0 && !state.items.is_empty() {
                return Poll::Pending;
            }
            state.room = state.room.saturating_sub(bytes);
            state.items.extend(item.take());
            state.closed = close;
            Poll::Ready(Ok(()))
        })
    }
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { items: VecDeque::new(), room: 0, closed: false })))
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The error for a client that is gone.
#[derive(Debug)]
pub(crate) struct Closed;

/// An action of a guest on its WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The close handshake, with a code and a reason that the driver has to check.
    Close(u16, String),
}

impl Outgoing {
    /// The size of its payload in bytes.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Close(..) => 0,
        }
    }

    /// An upper bound for its size as a frame, whether compression succeeds or fails.
    pub(crate) fn frame_len(&self) -> usize {
        let payload = self.payload_len();
        payload.saturating_add(payload / 4).saturating_add(FRAME)
    }
}

/// The guest's end of an outbox.
#[derive(Debug)]
pub struct Writer<T>(pub(crate) Outbox<T>);

/// The guest's end of a response body: the resource `body-writer`.
pub type BodyWriter = Writer<Bytes>;

/// The guest's end of a WebSocket: the resource `ws-sender`.
pub type MessageSender = Writer<Outgoing>;

/// An upper bound for a frame's header (RFC 6455, 5.2) and the blocks of a short message that does not compress.
const FRAME: usize = 64;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn poll(put: impl Future<Output = Result<(), Closed>>) -> Poll<Result<(), Closed>> {
        pin!(put).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn is_put(outbox: &Outbox<u8>, item: u8, bytes: usize) -> bool {
        matches!(poll(outbox.put(item, bytes)), Poll::Ready(Ok(())))
    }

    fn is_refused(outbox: &Outbox<u8>) -> bool {
        matches!(poll(outbox.put(0, 1)), Poll::Ready(Err(Closed)))
    }

    #[test]
    fn there_is_room_for_one_item_unless_the_driver_has_more() {
        let outbox = Outbox::default();
        assert!(is_put(&outbox, 1, 9) && !is_put(&outbox, 2, 9));
        assert_eq!((outbox.take(), outbox.take()), (Some(1), None));
        outbox.set_room(10);
        assert!(is_put(&outbox, 1, 9) && is_put(&outbox, 2, 9) && !is_put(&outbox, 3, 9));
        assert_eq!((outbox.take(), outbox.take(), outbox.take()), (Some(1), Some(2), None));
        assert!(is_put(&outbox, 3, 9) && !is_put(&outbox, 4, 9), "the room is used up");
    }

    #[test]
    fn nothing_comes_behind_the_last_item() {
        let outbox = Outbox::default();
        outbox.set_room(100);
        assert!(is_put(&outbox, 1, 1));
        assert!(matches!(poll(outbox.put_last(2)), Poll::Ready(Ok(()))));
        assert!(is_refused(&outbox));
        assert_eq!((outbox.take(), outbox.take(), outbox.take()), (Some(1), Some(2), None));
        assert!(is_refused(&outbox));
    }

    #[test]
    fn what_waits_is_dropped_when_it_is_closed() {
        let outbox = Outbox::default();
        assert!(is_put(&outbox, 1, 1));
        outbox.close();
        assert!(outbox.take().is_none() && is_refused(&outbox));
    }
}
