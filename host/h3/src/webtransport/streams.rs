//! The streams of one session, and which of them are ready.
//!
//! quinn wakes by stream. Each stream here has its own waker, which puts its identifier into one queue, so that a poll
//! of the session checks only streams with news.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use quinn::{ReadError, StoppedError, VarInt};

use super::code;
use super::event::Event;
use super::registry::{Arrival, Slot};
use crate::receive::RecvHalf;
use crate::send::SendHalf;

/// Streams by their identifiers.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: HashMap<u64, Stream>,
    ready: Arc<Ready>,
    /// The bytes in [`Stream::first`] of all streams.
    unread: usize,
}

struct Stream {
    /// `None` once it is finished, reset or stopped, and for a unidirectional stream of the client.
    send: Option<SendHalf>,
    stopped: Option<Stopped>,
    /// `None` once it has ended or was stopped, and for a unidirectional stream of this side.
    recv: Option<RecvHalf>,
    /// The bytes that came with the prefix.
    first: Bytes,
    signal: Arc<Signal>,
    waker: Waker,
    _slot: Option<Slot>,
}

/// Resolves when the client wants no more of a stream.
type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send>>;

/// Streams where something may have happened.
#[derive(Debug, Default)]
struct Ready {
    ids: Mutex<VecDeque<u64>>,
    session: AtomicWaker,
}

/// The waker of one stream.
#[derive(Debug)]
struct Signal {
    id: u64,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

/// The most bytes of one [`Event::Data`].
pub(super) const PIECE: usize = 64 * 1024;

impl Streams {
    pub(super) fn insert_arrival(&mut self, arrival: Arrival) {
        let Arrival { id, send, recv, first, slot } = arrival;
        self.insert(id, send, Some(recv), first, slot);
    }

    pub(super) fn insert(
        &mut self,
        id: u64,
        send: Option<SendHalf>,
        recv: Option<RecvHalf>,
        first: Bytes,
        slot: Option<Slot>,
    ) {
        self.unread += first.len();
        let signal = Arc::new(Signal { id, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
        let waker = Waker::from(Arc::clone(&signal));
        let stopped = send.as_ref().map(|send| Box::pin(send.stopped()) as Stopped);
        signal.wake_by_ref();
        self.streams.insert(id, Stream { send, stopped, recv, first, signal, waker, _slot: slot });
    }

    /// Polls for the next event, fairly among the streams.
    pub(super) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Event> {
        self.ready.session.register(cx.waker());
        loop {
            let Some(id) = self.ready.ids.lock().pop_front() else { return Poll::Pending };
            // It may be gone; then only its place in the queue was left.
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.signal.queued.store(false, Ordering::Release);
            let before = stream.first.len();
            let event = stream.poll_event(id);
            self.unread -= before - stream.first.len();
            self.sweep(id);
            if event.is_ready() {
                return event;
            }
        }
    }

    /// The sending half, while there is one.
    pub(super) fn sender(&mut self, id: u64) -> Option<&mut SendHalf> {
        self.streams.get_mut(&id)?.send.as_mut()
    }

    /// Takes the sending half; nothing more will be sent. The caller decides what to do with it.
    pub(super) fn take_sender(&mut self, id: u64) -> Option<SendHalf> {
        let stream = self.streams.get_mut(&id)?;
        stream.stopped = None;
        let send = stream.send.take();
        self.sweep(id);
        send
    }

    /// Takes the receiving half; nothing more will be received. The caller decides what to do with it.
    pub(super) fn take_receiver(&mut self, id: u64) -> Option<RecvHalf> {
        let stream = self.streams.get_mut(&id)?;
        self.unread -= std::mem::take(&mut stream.first).len();
        let recv = stream.recv.take();
        self.sweep(id);
        recv
    }

    /// Ends all streams.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.unread = 0;
    }

    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Forgets a stream that is over in both directions.
    fn sweep(&mut self, id: u64) {
        if self.streams.get(&id).is_some_and(|stream| stream.send.is_none() && stream.recv.is_none()) {
            self.streams.remove(&id);
        }
    }
}

impl Stream {
    fn poll_event(&mut self, stream: u64) -> Poll<Event> {
        let mut cx = Context::from_waker(&self.waker);
        if let Some(stopped) = &mut self.stopped
            && let Poll::Ready(result) = stopped.as_mut().poll(&mut cx)
        {
            self.stopped = None;
            if let (Ok(Some(number)), Some(mut send)) = (result, self.send.take()) {
                // RFC 9000 section 3.5: the answer is a reset with the same code.
                send.reset(number);
                self.signal.wake_by_ref();
                return Poll::Ready(Event::Stopped { stream, code: application(number) });
            }
        }
        let Some(recv) = &mut self.recv else { return Poll::Pending };
        if !self.first.is_empty() {
            self.signal.wake_by_ref();
            return Poll::Ready(Event::Data { stream, bytes: std::mem::take(&mut self.first) });
        }
        let event = match read(recv, &mut cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Some(bytes))) => {
                self.signal.wake_by_ref();
                return Poll::Ready(Event::Data { stream, bytes });
            }
            Poll::Ready(Ok(None)) => Poll::Ready(Event::Finished { stream }),
            Poll::Ready(Err(ReadError::Reset(number))) => {
                Poll::Ready(Event::Reset { stream, code: application(number) })
            }
            // The connection is gone, which the session finds out by itself.
            Poll::Ready(Err(_)) => Poll::Pending,
        };
        self.recv = None;
        event
    }
}

/// Reads the available bytes, up to a whole piece. The next read finds the end of the stream again.
fn read(recv: &mut RecvHalf, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    loop {
        let length = first.len().max(gathered.len());
        if length >= PIECE {
            break;
        }
        match recv.poll_read(cx, PIECE - length) {
            Poll::Ready(Ok(Some(bytes))) if length == 0 => first = bytes,
            Poll::Ready(Ok(Some(bytes))) => {
                if gathered.is_empty() {
                    gathered.extend_from_slice(&first);
                }
                gathered.extend_from_slice(&bytes);
            }
            _ if length > 0 => break,
            other => return other,
        }
    }
    Poll::Ready(Ok(Some(if gathered.is_empty() { first } else { gathered.freeze() })))
}

/// The application's code (section 4.3 of the draft): 0 for a number outside the range, which no application has sent.
fn application(number: VarInt) -> u32 {
    code::from_http(number.into_inner()).unwrap_or(0)
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.ids.lock().push_back(self.id);
            self.ready.session.wake();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { send, recv, .. } = self;
        f.debug_struct("Stream").field("send", send).field("recv", recv).finish_non_exhaustive()
    }
}
