//! The sessions of one connection, and the streams that wait for them.
//!
//! A stream names its session by the stream of its CONNECT, and may arrive before the CONNECT does, or before it is
//! accepted. It then waits within bounds: a limited number of streams for each connection, and of each stream at most
//! one packet beyond what flow control keeps at the client.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use roadrunner_values::TransportSettings;

use crate::code::{Code, Fault};
use crate::config::offers_webtransport;
use crate::receive::RecvHalf;
use crate::send::SendHalf;

/// All sessions of one connection.
#[derive(Debug)]
pub(crate) struct Registry {
    offered: bool,
    /// The most early streams that are kept.
    buffered: usize,
    /// The number of sessions, readable without the lock.
    pub(super) count: AtomicUsize,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sessions: HashMap<u64, Arc<Arrivals>>,
    /// Streams of sessions whose CONNECT has not come; oldest first.
    pub(super) early: VecDeque<(u64, Arrival)>,
    /// Sessions that have ended, newest last: their streams cannot find them any more.
    pub(super) gone: VecDeque<u64>,
    /// Streams of each direction that the client may open beyond those of a connection without sessions.
    pub(super) granted: u32,
}

/// The streams that a session has not processed yet.
#[derive(Debug)]
pub(super) struct Arrivals {
    queue: Mutex<VecDeque<Arrival>>,
    waker: AtomicWaker,
    pub(super) limit: AtomicU32,
    /// Open streams of the client, by direction.
    open: [Arc<AtomicU32>; 2],
}

/// A stream that a client has opened for a session. It is refused if this is dropped.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(super) id: u64,
    pub(super) send: Option<SendHalf>,
    pub(super) recv: RecvHalf,
    /// The bytes that came with the prefix.
    pub(super) first: Bytes,
    pub(super) slot: Option<Slot>,
}

/// One of the streams that a side may have open in a session.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicU32>);

impl Registry {
    pub(crate) fn new(config: &TransportSettings) -> Registry {
        Registry {
            offered: offers_webtransport(config),
            buffered: config.webtransport.buffered_streams,
            count: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// Whether the SETTINGS of this side offer WebTransport.
    pub(crate) fn is_offered(&self) -> bool {
        self.offered
    }

    pub(crate) fn has_sessions(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Delivers a stream to its session, keeps it for a session that may still come, or refuses it.
    ///
    /// # Errors
    /// `H3_ID_ERROR` when no session can have this identifier (draft-ietf-webtrans-http3-07 section 4).
    pub(crate) fn deliver(&self, session: u64, mut arrival: Arrival) -> Result<(), Fault> {
        if !session.is_multiple_of(4) {
            return Err(Fault::connection(Code::ID_ERROR, "a session identifier that is no request stream"));
        }
        let mut state = self.state.lock();
        if let Some(arrivals) = state.sessions.get(&session) {
            let arrivals = Arc::clone(arrivals);
            drop(state);
            arrivals.push(arrival);
        } else if state.gone.contains(&session) {
            arrival.set_on_drop(Code::WEBTRANSPORT_SESSION_GONE);
        } else {
            state.early.push_back((session, arrival));
            while state.early.len() > self.buffered {
                state.early.pop_front();
            }
        }
        Ok(())
    }
}

impl Arrivals {
    /// Makes the arrivals of a session, of which this many wait until it is accepted.
    pub(super) fn new(limit: u32) -> Arrivals {
        Arrivals {
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
            limit: AtomicU32::new(limit),
            open: Default::default(),
        }
    }

    /// Queues a stream, or refuses it when the client has too many.
    pub(super) fn push(&self, mut arrival: Arrival) {
        let open = &self.open[usize::from(arrival.send.is_none())];
        let Some(slot) = Slot::take(open, self.limit.load(Ordering::Acquire)) else { return };
        arrival.slot = Some(slot);
        self.queue.lock().push_back(arrival);
        self.waker.wake();
    }

    /// Returns the next stream. Its halves are those of a live session.
    pub(super) fn poll_next(&self, cx: &std::task::Context<'_>) -> Option<Arrival> {
        self.waker.register(cx.waker());
        let mut arrival = self.queue.lock().pop_front()?;
        arrival.set_on_drop(Code::WEBTRANSPORT_SESSION_GONE);
        Some(arrival)
    }

    /// The bytes that wait with streams.
    pub(super) fn buffered(&self) -> usize {
        self.queue.lock().iter().map(|arrival| arrival.first.len()).sum()
    }

    pub(super) fn take_all(&self) -> VecDeque<Arrival> {
        std::mem::take(&mut *self.queue.lock())
    }
}

impl Arrival {
    /// Makes an arrival. `send` is the other half of a bidirectional stream.
    pub(crate) fn new(send: Option<SendHalf>, recv: RecvHalf, first: Bytes) -> Arrival {
        // A copy, since the slice keeps a whole batch of received packets.
        let first = Bytes::copy_from_slice(&first);
        let mut arrival = Arrival { id: recv.id(), send, recv, first, slot: None };
        arrival.set_on_drop(Code::WEBTRANSPORT_BUFFERED_STREAM_REJECTED);
        arrival
    }

    pub(super) fn set_on_drop(&mut self, code: Code) {
        if let Some(send) = &mut self.send {
            send.set_on_drop(code);
        }
        self.recv.set_on_drop(code);
    }
}

impl Slot {
    /// Takes a slot; `None` when all of them are taken.
    pub(super) fn take(open: &Arc<AtomicU32>, limit: u32) -> Option<Slot> {
        let more = |open: u32| (open < limit).then_some(open + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot(Arc::clone(open)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
