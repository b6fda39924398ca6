//! One session: events in, operations out.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::VarInt;

use super::close::{Close, DRAIN};
use super::code;
use super::connect::{Connect, Said};
use super::event::{Event, SessionLimits, StreamError};
use super::offered::Offered;
use super::registry::Slot;
use super::streams::Streams;
use crate::capsule::Capsule;
use crate::code::Code;
use crate::datagram::{DatagramError, Datagrams};
use crate::receive::RecvHalf;
use crate::send::SendHalf;
use crate::tunnel::Tunnel;
use crate::varint;

/// One session, for one task: all of its polls and futures must belong to the same task. Dropping it before it is over
/// resets the stream of the CONNECT with `H3_REQUEST_CANCELLED`, and its streams with `WEBTRANSPORT_SESSION_GONE`.
#[derive(Debug)]
pub struct Session {
    offered: Offered,
    datagrams: Datagrams,
    limits: SessionLimits,
    /// Open streams of this side, by direction.
    open: [Arc<AtomicU32>; 2],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connect: Connect,
    streams: Streams,
    /// The source that is checked first.
    turn: u8,
    ended: bool,
}

impl Tunnel {
    /// Turns the tunnel into the WebTransport session that the CONNECT asked for. Its limits are those of the
    /// connection, or these if they are lower.
    ///
    /// # Errors
    /// The tunnel again, if `:protocol` is something else or WebTransport is not offered.
    pub fn into_webtransport(mut self, limits: SessionLimits) -> Result<Session, Box<Tunnel>> {
        match (self.webtransport.take(), self.datagrams.take()) {
            (Some(offered), Some(datagrams)) => Ok(Session::new(self, offered, datagrams, limits)),
            (webtransport, datagrams) => {
                (self.webtransport, self.datagrams) = (webtransport, datagrams);
                Err(Box::new(self))
            }
        }
    }
}

impl Session {
    pub(crate) fn new(tunnel: Tunnel, mut offered: Offered, datagrams: Datagrams, limits: SessionLimits) -> Session {
        let config = &tunnel.shared().config;
        let limits = SessionLimits {
            streams: limits.streams.min(config.webtransport.streams),
            datagrams: limits.datagrams.min(config.webtransport.datagram_queue),
        };
        offered.accept(limits.streams);
        datagrams.set_limit(limits.datagrams);
        let state = State { connect: Connect::new(tunnel), streams: Streams::default(), turn: 0, ended: false };
        Session { offered, datagrams, limits, open: Default::default(), state: Mutex::new(state) }
    }

    /// The identifier: the stream of the CONNECT.
    pub fn id(&self) -> u64 {
        self.offered.id
    }

    /// Polls for the next event. Nothing is read before a poll asks for it, so an unpolled session holds up its client.
    /// Stays pending once the session is over.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Poll::Ready(event) = state.poll_connect(cx) {
            return Poll::Ready(event);
        }
        if state.ended {
            return Poll::Pending;
        }
        for _ in 0..SOURCES {
            state.turn = (state.turn + 1) % SOURCES;
            let event = match state.turn {
                0 => self.poll_arrival(&mut state.streams, cx),
                1 => state.streams.poll_event(cx),
                _ => self.datagrams.poll_recv(cx).map(Event::Datagram),
            };
            if event.is_ready() {
                return event;
            }
        }
        Poll::Pending
    }

    /// Polls as [`Session::poll_event`], but only for events of the whole session: [`Event::Drain`] and
    /// [`Event::Ended`]. For an owner that has no use for other events at the moment.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Event> {
        self.state.lock().poll_connect(cx)
    }

    /// Opens a stream, and returns its identifier. Waits while the client allows no more; may be cancelled.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn open(&self, bidirectional: bool) -> Result<u64, StreamError> {
        let limit = self.limits.streams;
        let slot = Slot::take(&self.open[usize::from(bidirectional)], limit);
        let slot = slot.ok_or(StreamError::TooMany { limit })?;
        let quic = &self.offered.shared.quic;
        let opening = async {
            match bidirectional {
                true => quic.open_bi().await.map(|(send, recv)| (send, Some(recv))),
                false => quic.open_uni().await.map(|send| (send, None)),
            }
        };
        let (send, recv) = self.while_open(opening).await?.map_err(|_| StreamError::Closed)?;
        let id = u64::from(VarInt::from(send.id()));
        let mut send = SendHalf::new(send, Code::WEBTRANSPORT_SESSION_GONE);
        let recv = recv.map(|recv| RecvHalf::new(recv, Code::WEBTRANSPORT_SESSION_GONE));
        let mut prefix = BytesMut::with_capacity(16);
        // draft-ietf-webtrans-http3-02 sections 4.1 and 4.2.
        varint::write(if bidirectional { BIDIRECTIONAL } else { UNIDIRECTIONAL }, &mut prefix);
        varint::write(self.id(), &mut prefix);
        let mut prefix = prefix.freeze();
        self.while_open(poll_fn(|cx| poll_write_all(&mut send, &mut prefix, cx))).await??;
        self.state.lock().streams.insert(id, Some(send), recv, Bytes::new(), Some(slot));
        Ok(id)
    }

    /// Sends bytes on a stream. Waits until flow control allows it; bytes that were sent before a cancellation stay
    /// sent.
    ///
    /// # Errors
    /// [`StreamError::Closed`] for a stream that is finished, reset or stopped, or that never existed.
    pub async fn send(&self, stream: u64, mut bytes: Bytes) -> Result<(), StreamError> {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            let sender = state.streams.sender(stream).ok_or(StreamError::Closed)?;
            poll_write_all(sender, &mut bytes, cx)
        })
        .await
    }

    /// Ends a stream on which everything was sent.
    pub fn finish(&self, stream: u64) {
        if let Some(mut send) = self.state.lock().streams.take_sender(stream) {
            send.finish();
        }
    }

    /// Stops sending on a stream with a reset, with the application's code.
    pub fn reset(&self, stream: u64, code: u32) {
        if let Some(mut send) = self.state.lock().streams.take_sender(stream) {
            send.reset(code::varint(code));
        }
    }

    /// Asks the client to stop sending on a stream, with the application's code; its data gives no more events.
    pub fn stop(&self, stream: u64, code: u32) {
        if let Some(mut recv) = self.state.lock().streams.take_receiver(stream) {
            recv.stop(code::varint(code));
        }
    }

    /// Sends a datagram. It may be lost, and displaces older datagrams that wait to be sent.
    ///
    /// # Errors
    /// See [`DatagramError`].
    pub fn send_datagram(&self, payload: &[u8]) -> Result<(), DatagramError> {
        let ended = self.state.lock().ended;
        if ended { Err(DatagramError::ConnectionLost) } else { self.datagrams.send(payload) }
    }

    /// The most bytes that [`Session::send_datagram`] takes now; it changes with the path. `None` if it takes none.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.datagrams.max_size()
    }

    /// Asks the client to finish soon, when the session is next polled (DRAIN_WEBTRANSPORT_SESSION).
    pub fn drain(&self) {
        let mut state = self.state.lock();
        if !state.ended {
            state.connect.queue(&Capsule { kind: DRAIN, value: Bytes::new() });
        }
    }

    /// Ends the session and all of its streams. [`Session::poll_finish`] tells the client.
    pub fn close(&self, close: &Close) {
        let mut state = self.state.lock();
        if !state.ended {
            state.connect.queue(&close.capsule());
            state.end();
        }
    }

    /// Resolves, once the session has ended from either side, when this side has sent its close, and needs no more
    /// polls.
    pub fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.lock().connect.poll_finish(cx)
    }

    /// The received bytes that wait to be read outside of QUIC's windows.
    pub fn buffered(&self) -> usize {
        self.offered.arrivals.buffered() + self.datagrams.buffered() + self.state.lock().streams.unread()
    }

    fn poll_arrival(&self, streams: &mut Streams, cx: &Context<'_>) -> Poll<Event> {
        let Some(arrival) = self.offered.arrivals.poll_next(cx) else { return Poll::Pending };
        let event = Event::Opened { stream: arrival.id, bidirectional: arrival.send.is_some() };
        streams.insert_arrival(arrival);
        Poll::Ready(event)
    }

    /// Waits for a future for as long as the session is not over.
    async fn while_open<T>(&self, waiting: impl Future<Output = T>) -> Result<T, StreamError> {
        let mut waiting = pin!(waiting);
        poll_fn(|cx| {
            let ended = self.state.lock().ended;
            if ended { Poll::Ready(Err(StreamError::Closed)) } else { waiting.as_mut().poll(cx).map(Ok) }
        })
        .await
    }
}

impl State {
    fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.ended {
            return Poll::Pending;
        }
        match self.connect.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Said::Drain) => Poll::Ready(Event::Drain),
            Poll::Ready(Said::End(end)) => {
                self.end();
                Poll::Ready(Event::Ended(end))
            }
        }
    }

    /// Ends the session and resets and stops all its streams (draft-ietf-webtrans-http3-02 section 5).
    fn end(&mut self) {
        self.ended = true;
        self.streams.clear();
    }
}

fn poll_write_all(send: &mut SendHalf, bytes: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
    while !bytes.is_empty() {
        match send.poll_write(cx, std::slice::from_mut(bytes)) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(_)) => {}
            // The event of the stop is still to come.
            Poll::Ready(Err(_)) => return Poll::Ready(Err(StreamError::Closed)),
        }
    }
    Poll::Ready(Ok(()))
}

/// The number of sources: streams of the client, their data, and datagrams.
const SOURCES: u8 = 3;

const BIDIRECTIONAL: u64 = 0x41;
const UNIDIRECTIONAL: u64 = 0x54;
