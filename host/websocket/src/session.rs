//! One WebSocket, without its socket: incoming bytes, outgoing bytes, and deadlines.
//!
//! | state | reads | sends |
//! |---|---|---|
//! | `Open` | messages; pings are answered | messages |
//! | `Closing`: this side sent its close frame | only the peer's close frame counts | nothing |
//! | `Closed`: both sent theirs, or the connection was failed or lost | nothing | the queued bytes |
//!
//! The driver's loop: take events until there are none; write the outgoing bytes; when the session is closed and
//! everything is written, close the connection (a client lets the server do that first, RFC 6455, 7.1.1); otherwise
//! wait for bytes (unless [`Session::is_blocked`]), for the application, or for [`Session::deadline`].
//!
//! Contract: every ping is answered, however many arrive in one read. Messages that came before a violation come out
//! before the session's end. The bytes that wait to be written are bounded, pongs included: a session whose peer does
//! not read stops decoding. The caller supplies the clock.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::close::{CloseCode, CloseFrame};
use crate::config::{Config, Role};
use crate::decoder::{Decoder, Frame};
use crate::deflate::DeflateParams;
use crate::encoder::{Encoder, Kind};
use crate::message::Message;
use crate::rate::Bucket;
use crate::violation::Violation;

/// An event for the session's application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A complete message.
    Message(Message),
    /// The last event.
    Ended(End),
}

/// How a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The application closed, and the peer answered with this frame.
    Closed(Option<CloseFrame>),
    /// The application closed, and the peer did not answer within [`crate::Timers::close`].
    CloseTimeout,
    /// The peer was silent after a ping for [`crate::Timers::pong_timeout`].
    Dead,
    /// [`crate::Timers::idle`] passed without a message; the peer was told with 1001.
    Idle,
    /// The connection ended without a close frame (1006 in RFC 6455, 7.1.5).
    Lost,
    /// The peer closed, with this frame; it was answered.
    PeerClosed(Option<CloseFrame>),
    /// The peer was at fault, and was sent the violation's close code.
    Violation(Violation),
}

/// The state of a session (RFC 6455, 7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Messages go both ways.
    Open,
    /// The close frame is queued or sent, and the peer's has not come.
    Closing,
    /// Nothing more comes. Outgoing bytes should still be written.
    Closed,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The session is closing or closed.
    #[error("the session is closed")]
    Closed,
    /// More than [`crate::Limits::outgoing_queue`] bytes wait; write some and try again.
    #[error("too much waits to be written")]
    QueueFull,
    /// The message is larger than [`crate::Limits::outgoing_message`].
    #[error("a message of {length} bytes is larger than {limit}")]
    TooLarge {
        /// The message's size in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

/// One WebSocket, without its socket.
pub struct Session {
    config: Arc<Config>,
    decoder: Decoder,
    encoder: Encoder,
    outgoing: BytesMut,
    /// How many bytes of messages may still be compressed before [`Session::allow`] is called again.
    work: usize,
    /// The size of the outgoing allocation as last seen: its capacity shrinks as bytes are written.
    allocated: usize,
    state: State,
    /// Why this side closes, while it waits for the peer's close frame.
    closing: Closing,
    /// The last event, until it is taken.
    end: Option<End>,
    /// The peer has ended its side of the connection.
    eof: bool,
    /// The number of messages that the application is busy with: see [`Session::set_busy`].
    busy: u32,
    held_back: Option<HeldBack>,
    control: Option<Bucket>,
    messages: Option<Bucket>,
    /// How much of the input had been seen when the peer was last heard.
    heard: usize,
    last_heard: Instant,
    last_message: Instant,
    /// When the unanswered keep-alive ping was queued.
    pinged: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Closing {
    idle: bool,
    since: Instant,
}

/// An event that would end the session if the application were not busy.
struct HeldBack {
    what: Ending,
    /// `None` if it waits for as long as the application is busy.
    until: Option<Instant>,
}

enum Ending {
    Close(Option<CloseFrame>),
    Lost,
    /// A message that exceeds its rate.
    Message(Message),
    Violation(Violation),
}

impl Session {
    /// Makes a session that begins now, right after its handshake. `deflate` is the result of the handshake.
    pub fn new(role: Role, config: Arc<Config>, deflate: Option<DeflateParams>, now: Instant) -> Self {
        // Without settings for the extension, it cannot have been agreed on.
        let deflate = config.deflate.as_ref().zip(deflate.as_ref());
        Self {
            decoder: Decoder::new(role, config.limits.clone(), deflate.map(|(_, params)| params)),
            encoder: Encoder::new(role, deflate),
            outgoing: BytesMut::new(),
            work: usize::MAX,
            allocated: 0,
            state: State::Open,
            closing: Closing { idle: false, since: now },
            end: None,
            eof: false,
            busy: 0,
            held_back: None,
            control: config.limits.control_rate.map(|rate| Bucket::new(rate, now)),
            messages: config.limits.message_rate.map(|rate| Bucket::new(rate, now)),
            heard: 0,
            last_heard: now,
            last_message: now,
            pinged: None,
            config,
        }
    }

    /// Takes bytes from the peer. [`Self::next_event`] processes them.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    /// The buffer to read into, with room for `room` more bytes: append the peer's bytes and change nothing else.
    pub fn read_buffer(&mut self, room: usize) -> &mut BytesMut {
        self.decoder.read_buffer(room)
    }

    /// Notes that the peer has ended its side of the connection, in any way. Earlier bytes are still decoded.
    pub fn feed_eof(&mut self) {
        self.eof = true;
    }

    /// Returns the next event. `None` until more bytes came, time passed, or, when blocked, outgoing bytes were
    /// written.
    pub fn next_event(&mut self, now: Instant) -> Option<Event> {
        if self.decoder.buffered() > self.heard {
            self.last_heard = now;
            self.pinged = None;
        }
        let event = self.advance(now);
        self.heard = self.decoder.buffered();
        event
    }

    /// Sets the number of earlier messages that the application is still busy with. While it is busy, a close frame or
    /// a violation after them is held back, for at most [`crate::Timers::close`] for each message, so that the
    /// application can still send its answers (RFC 6455, 5.5.1: the close frame may wait until a message is sent). A
    /// message that exceeds its rate waits too, and is checked again once the application is not busy.
    ///
    /// With more than one message the session is not idle, and the end of the connection waits as well, for the time
    /// that all messages but the last may take. If they were handled one by one, the end would not have been seen
    /// before.
    pub fn set_busy(&mut self, messages: u32, now: Instant) {
        if messages.max(self.busy) > 1 {
            self.last_message = now;
        }
        self.busy = messages;
    }

    /// Whether the session's end, or its possible end, is held back, so that nothing after it matters yet.
    pub fn is_ending(&self) -> bool {
        self.held_back.is_some()
    }

    /// Queues a text message.
    pub fn send_text(&mut self, text: &str, now: Instant) -> Result<(), SendError> {
        self.send(Kind::Text, text.as_bytes(), now)
    }

    /// Queues a binary message.
    pub fn send_binary(&mut self, payload: &[u8], now: Instant) -> Result<(), SendError> {
        self.send(Kind::Binary, payload, now)
    }

    /// Queues a message that is compressed in pieces, if it is compressed at all: [`Self::is_spent`] tells whether that
    /// is in progress.
    pub fn begin(&mut self, kind: Kind, payload: Bytes, now: Instant) -> Result<(), SendError> {
        self.admit(payload.len())?;
        self.last_message = now;
        self.work = self.work.saturating_sub(payload.len());
        self.encoder.begin(kind, payload, &mut self.outgoing);
        Ok(())
    }

    /// Continues with a message that is being compressed, and lets `work` bytes be inflated, and as many be compressed,
    /// until [`Self::is_spent`]. Without permessage-deflate it does nothing.
    pub fn allow(&mut self, work: usize) {
        self.decoder.allow(work);
        self.work = work;
        if self.encoder.is_open() {
            self.work = 0;
            self.encoder.work(&mut self.outgoing);
        }
    }

    /// Whether the session waits for the next call of [`Self::allow`] to inflate or to compress.
    pub fn is_spent(&self) -> bool {
        self.decoder.is_spent() || self.work == 0 || self.encoder.is_open()
    }

    /// Whether there are bytes from the peer that are not decoded yet.
    pub fn has_input(&self) -> bool {
        self.decoder.buffered() > 0 || self.decoder.is_spent()
    }

    /// Whether a message can be queued now, as far as compression is concerned.
    pub fn takes(&self) -> bool {
        self.work > 0 && !self.encoder.is_open()
    }

    /// Starts the close handshake (RFC 6455, 7.1.2). A message that is still being compressed is dropped, and so are
    /// messages that arrive from now on. Does nothing on a session that is no longer open. A reason longer than
    /// [`crate::MAX_REASON`] bytes is cut at a character.
    pub fn close(&mut self, code: CloseCode, reason: &str, now: Instant) {
        self.begin_close(code, reason, Closing { idle: false, since: now });
    }

    /// The bytes that wait to be written.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Notes that the first `count` outgoing bytes were written.
    ///
    /// # Panics
    /// If fewer bytes are outgoing.
    pub fn written(&mut self, count: usize) {
        self.allocated = self.allocated.max(self.outgoing.capacity());
        self.outgoing.advance(count);
        if self.outgoing.is_empty() && self.allocated > RETAINED {
            self.drop_outgoing();
        }
    }

    /// Whether too many bytes wait to be written to read any more from the peer.
    pub fn is_blocked(&self) -> bool {
        self.state == State::Open && self.outgoing.len() >= self.config.limits.outgoing_queue
    }

    /// The state of the session.
    pub fn state(&self) -> State {
        self.state
    }

    /// When to call [`Self::handle_timeout`]. It changes with every other call.
    pub fn deadline(&self) -> Option<Instant> {
        let timers = &self.config.timers;
        if let Some(until) = self.held_back_until() {
            return Some(until);
        }
        match self.state {
            State::Open => {
                let heard = match self.pinged {
                    Some(since) => Some(since + timers.pong_timeout),
                    None => timers.ping_interval.map(|interval| self.last_heard + interval),
                };
                let idle = timers.idle.map(|idle| self.last_message + idle);
                heard.into_iter().chain(idle).min()
            }
            State::Closing => Some(self.closing.since + timers.close),
            State::Closed => None,
        }
    }

    /// Performs the due actions: pings a silent peer, closes an idle session, gives up on a dead one. Call
    /// [`Self::next_event`] after it.
    pub fn handle_timeout(&mut self, now: Instant) {
        let timers = &self.config.timers;
        if let Some(until) = self.held_back_until() {
            if now >= until {
                self.let_go(now);
            }
            return;
        }
        match self.state {
            State::Open => {
                if self.pinged.is_some_and(|since| now >= since + timers.pong_timeout) {
                    self.finish(End::Dead);
                } else if timers.idle.is_some_and(|idle| now >= self.last_message + idle) {
                    let closing = Closing { idle: true, since: now };
                    self.begin_close(CloseCode::GOING_AWAY, "idle", closing);
                } else if self.pinged.is_none()
                    && timers.ping_interval.is_some_and(|interval| now >= self.last_heard + interval)
                {
                    self.pinged = Some(now);
                    // An empty payload is never too long.
                    let _ = self.encoder.ping(&[], &mut self.outgoing);
                }
            }
            State::Closing if now >= self.closing.since + timers.close => {
                let end = if self.closing.idle { End::Idle } else { End::CloseTimeout };
                self.finish(end);
            }
            State::Closing | State::Closed => {}
        }
    }

    /// Notes that the driver reads again after a pause, for example because the application was busy. The silence of
    /// that time is not held against the peer.
    pub fn resume(&mut self, now: Instant) {
        self.last_heard = now;
        self.pinged = None;
    }

    /// Frees memory that a session does not need while it waits: empty buffers, and streams that keep no context.
    pub fn release(&mut self) {
        self.decoder.release();
        self.encoder.release();
        if self.outgoing.is_empty() {
            self.drop_outgoing();
        }
    }

    /// An estimate of the bytes held, besides the session itself: input, message, outgoing, compression.
    pub fn memory(&self) -> usize {
        let held_back = match &self.held_back {
            Some(HeldBack { what: Ending::Message(message), .. }) => message.len(),
            _ => 0,
        };
        self.decoder.memory() + self.encoder.memory() + self.allocated.max(self.outgoing.capacity()) + held_back
    }

    fn advance(&mut self, now: Instant) -> Option<Event> {
        loop {
            if let Some(end) = self.end.take() {
                return Some(Event::Ended(end));
            }
            if self.state == State::Closed || self.is_blocked() {
                return None;
            }
            if self.held_back.is_some() {
                if self.busy > 0 {
                    return None;
                }
                if let Some(message) = self.let_go(now) {
                    return Some(Event::Message(message));
                }
                continue;
            }
            match self.decoder.decode() {
                Ok(Some(Frame::Close(frame))) if self.busy > 0 => self.hold_back(Ending::Close(frame), now),
                Err(violation) if self.busy > 0 => self.hold_back(Ending::Violation(violation), now),
                Ok(None) if self.decoder.is_spent() => return None,
                Ok(None) if self.eof && self.busy > 1 => self.hold_back(Ending::Lost, now),
                Ok(None) if self.eof => self.finish(End::Lost),
                Ok(None) => return None,
                Ok(Some(frame)) => {
                    if let Some(message) = self.receive(frame, now) {
                        return Some(Event::Message(message));
                    }
                }
                Err(violation) => self.fail(violation),
            }
        }
    }

    fn hold_back(&mut self, what: Ending, now: Instant) {
        let messages = match what {
            Ending::Close(_) | Ending::Violation(_) => Some(self.busy),
            Ending::Lost => Some(self.busy - 1),
            Ending::Message(_) => None,
        };
        let until = messages.map(|messages| now + self.config.timers.close.saturating_mul(messages));
        self.held_back = Some(HeldBack { what, until });
    }

    fn held_back_until(&self) -> Option<Instant> {
        self.held_back.as_ref().and_then(|held_back| held_back.until)
    }

    /// Continues with the event that was held back, as if it came now. Only a message goes to the application.
    fn let_go(&mut self, now: Instant) -> Option<Message> {
        match self.held_back.take()?.what {
            Ending::Close(frame) => self.receive(Frame::Close(frame), now),
            Ending::Lost => {
                self.finish(End::Lost);
                None
            }
            Ending::Message(message) => self.receive(Frame::Message(message), now),
            Ending::Violation(violation) => {
                self.fail(violation);
                None
            }
        }
    }

    fn receive(&mut self, frame: Frame, now: Instant) -> Option<Message> {
        let (bucket, violation) = match &frame {
            Frame::Message(_) => (&mut self.messages, Violation::MessageRate),
            Frame::Close(_) | Frame::Ping(_) | Frame::Pong(_) => (&mut self.control, Violation::ControlRate),
        };
        if bucket.as_mut().is_some_and(|bucket| !bucket.take(now)) {
            match frame {
                _ if self.busy == 0 => self.fail(violation),
                Frame::Message(message) => self.hold_back(Ending::Message(message), now),
                Frame::Close(_) | Frame::Ping(_) | Frame::Pong(_) => {
                    self.hold_back(Ending::Violation(violation), now);
                }
            }
            return None;
        }
        match frame {
            Frame::Message(message) if self.state == State::Open => {
                self.last_message = now;
                return Some(message);
            }
            // RFC 6455, 5.5.2: a ping is answered unless a close frame was received; nothing is sent after ours.
            Frame::Ping(payload) if self.state == State::Open => {
                // The payload came in a control frame, so it is short enough for another.
                let _ = self.encoder.pong(&payload, &mut self.outgoing);
            }
            Frame::Message(_) | Frame::Ping(_) | Frame::Pong(_) => {}
            Frame::Close(frame) if self.state == State::Closing => {
                let end = if self.closing.idle { End::Idle } else { End::Closed(frame) };
                self.finish(end);
            }
            Frame::Close(frame) => {
                // RFC 6455, 5.5.1: the answer typically echoes the code.
                let code = frame.as_ref().map(|frame| (frame.code, ""));
                self.encoder.close(code, &mut self.outgoing);
                self.finish(End::PeerClosed(frame));
            }
        }
        None
    }

    fn send(&mut self, kind: Kind, payload: &[u8], now: Instant) -> Result<(), SendError> {
        self.admit(payload.len())?;
        self.last_message = now;
        self.encoder.message(kind, payload, &mut self.outgoing);
        Ok(())
    }

    /// Checks whether a message of this length is accepted now.
    fn admit(&self, length: usize) -> Result<(), SendError> {
        let limits = &self.config.limits;
        if self.state != State::Open {
            return Err(SendError::Closed);
        }
        if length > limits.outgoing_message {
            return Err(SendError::TooLarge { length, limit: limits.outgoing_message });
        }
        if self.outgoing.len() >= limits.outgoing_queue || self.encoder.is_open() {
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    fn drop_outgoing(&mut self) {
        self.outgoing = BytesMut::new();
        self.allocated = 0;
    }

    fn begin_close(&mut self, code: CloseCode, reason: &str, closing: Closing) {
        if self.state == State::Open {
            self.encoder.close(Some((code, reason)), &mut self.outgoing);
            self.encoder.discard();
            self.state = State::Closing;
            self.closing = closing;
        }
    }

    /// Fails the connection (RFC 6455, 7.1.7): sends the reason, if no close was sent yet, and reads no more.
    fn fail(&mut self, violation: Violation) {
        if self.state == State::Open {
            let reason = violation.to_string();
            self.encoder.close(Some((violation.close_code(), &reason)), &mut self.outgoing);
        }
        self.finish(End::Violation(violation));
    }

    fn finish(&mut self, end: End) {
        self.state = State::Closed;
        self.end = Some(end);
        self.decoder.discard();
        self.encoder.discard();
        self.pinged = None;
        self.held_back = None;
    }
}

/// The largest outgoing buffer, in bytes, that is kept for the next messages once it is written.
const RETAINED: usize = 16 << 10;
