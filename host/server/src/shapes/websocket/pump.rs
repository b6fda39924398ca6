//! The session: one task that polls the guest, hands its output to the codec, writes, reads, and waits for messages,
//! bus, timers, drain and deadlines, all in the order of [`Pump::poll`].
//!
//! The task reads one message ahead of a busy guest, so that pings before it are answered, and no further: a guest that
//! does not keep up stops the socket. Once the guest can be called, it gets as many of the messages as it takes at once
//! ([`Ahead`]). A client that does not read fills the codec's outgoing queue; the guest is then not polled, so that its
//! `send` waits. Bytes that the codec holds for the session are charged to it: while they arrive, and until they are
//! written, even when the guest is gone.
//!
//! | cause of the end | close code | outcome | the guest's last event |
//! |---|---|---|---|
//! | the client's close frame | its own | `ok` | `closed` |
//! | the guest, by `close` or `stop` | its own, 1000 | `ok` | `closed` after `close` |
//! | a trap | 1011 | `trapped` | |
//! | a limit on the guest, or `roadrunner kill` | 1008, 1009 | that limit's | |
//! | no place among the held for a session that wakes | 1013 | `held-exceeded` | |
//! | a client error | 1002, 1007, 1008, 1009 | `ok`: the guest is not at fault | `connection-lost` |
//! | the drain's deadline | 1001 | `ok` | `closed` |
//! | silence | 1001, or none when the client is gone | `idle-exceeded`, `cancelled` | `timeout` |
//! | the connection | none | `cancelled` | `connection-lost`, `reset` |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadrunner_account::{Charge, Failure, Outcome};
use roadrunner_sandbox::{Disconnect, Event, Instance, Next, Outbox, Outgoing, SocketEvent};
use roadrunner_websocket::{CloseCode, Config, End, Event as CodecEvent, Kind, SendError, Session, State};
use roadrunner_wire::{Alarm, Ending, Protocol, Tunnel};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::super::held::{Driver, Step, UNDER_WAY};
use super::ahead::Ahead;
use super::settings::Reserved;
use super::work::Work;
use crate::record::Record;
use crate::serving::Serving;

/// Bytes read at once: two calls of messages, so that a message cut at the end of a read does not come alone.
const READ: usize = 32 << 10;

/// Outgoing bytes that are gathered before they are written, where the queue has that much room.
const BATCH: usize = 64 << 10;

/// The number of polls of a guest before its output is written.
const CALLS: usize = 32;

/// The longest time that a session goes on before others have their turn. A busy runtime looks for new readiness only
/// every 61 turns, so this time decides how late all others learn of theirs.
const TURN: Duration = Duration::from_micros(500);

pub(super) struct Pump {
    tunnel: Tunnel,
    session: Session,
    outbox: Outbox<Outgoing>,
    driver: Driver,
    /// The result of the last call, while its output is still being compressed.
    result: Option<Result<Next, Failure>>,
    work: Work,
    /// The charge for bytes that the codec and this pump hold.
    charge: Charge,
    /// The number of outgoing bytes from which the guest is not polled.
    room: usize,
    close_wait: Duration,
    ahead: Ahead,
    /// Whether the call did not return at its first poll.
    waited: bool,
    /// Whether something was written that may wait in the transport.
    unflushed: bool,
    read_ended: bool,
    /// Whether the codec has said that the session is over.
    ended: bool,
    /// The time at which the connection is given up, once the session is over.
    until: Option<Instant>,
    alarm: Alarm,
    record: Record,
    _deflate: Option<Reserved>,
}

impl Pump {
    pub(super) fn new(
        serving: Arc<Serving>,
        config: &Config,
        tunnel: Tunnel,
        session: Session,
        instance: Instance,
        deflate: Option<Reserved>,
        record: Record,
    ) -> Self {
        Self {
            work: Work::new(&serving.host.sandbox, instance.meter(), deflate.is_some()),
            tunnel,
            session,
            outbox: Outbox::default(),
            result: None,
            charge: Charge::none(instance.meter().clone()),
            room: config.limits.outgoing_queue.min(BATCH),
            close_wait: config.timers.close,
            ahead: Ahead::new(instance.binding().component.takes_batches()),
            waited: false,
            // The codec ends a session that is idle.
            driver: Driver::new(serving, instance, None),
            unflushed: false,
            read_ended: false,
            ended: false,
            until: None,
            alarm: Alarm::default(),
            record,
            _deflate: deflate,
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // The registration comes first, so that no signal of an operator or of the drain is lost.
        this.driver.register(context);
        let start = Instant::now();
        let mut now = start;
        let works = this.work.poll(&mut this.session, context);
        while now - start < TURN {
            if this.driver.is_killed() {
                this.fail(&Outcome::Killed.into(), now);
            }
            let mut progress = works && this.poll_guest(context, now);
            progress |= this.poll_write(context, now);
            if this.session.state() == State::Closed {
                this.look_ahead(now);
                return this.poll_end(context, now);
            }
            if works {
                // Nothing is read while a message is left of the last read.
                this.look_ahead(now);
                progress |= this.poll_read(context);
                this.look_ahead(now);
            } else {
                // The unread pongs are not the client's fault.
                this.session.resume(now);
            }
            this.charge(now);
            progress |= this.poll_deadline(context, now);
            if works && this.session.is_spent() {
                // A piece of the compression and inflation is done.
                break;
            }
            if !(progress || works && this.is_deliverable()) {
                // An idle session keeps no buffers.
                this.session.release();
                this.outbox.release();
                this.charge(now);
                this.work.end(false);
                return Poll::Pending;
            }
            now = Instant::now();
        }
        this.work.end(this.session.is_spent());
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Pump {
    /// Polls the guest while there is an event for it and room for its output. Returns whether it stopped with more to
    /// do.
    fn poll_guest(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        for _ in 0..CALLS {
            if self.result.is_some() {
                self.take_outgoing(now);
            }
            if !self.session.takes() {
                return false;
            }
            if let Some(result) = self.result.take() {
                self.returned(result, now);
            }
            self.look_ahead(now);
            let room = self.room.saturating_sub(self.session.outgoing().len());
            if room == 0 {
                return false;
            }
            if self.driver.is_calling() {
                self.outbox.set_room(room);
            }
            match self.driver.poll(&mut self.ahead, &self.outbox, now, context) {
                Poll::Pending => return false,
                Poll::Ready(Step::Called) => {}
                Poll::Ready(Step::Waits) => {
                    self.waited = true;
                    if !self.take_outgoing(now) {
                        return false;
                    }
                }
                Poll::Ready(Step::Returned(result)) => {
                    self.ahead.returned(!std::mem::take(&mut self.waited));
                    self.take_outgoing(now);
                    match result {
                        // The guest may want the session closed, after its output.
                        Ok(_) if !self.session.takes() => self.result = Some(result),
                        result => self.returned(result, now),
                    }
                }
                Poll::Ready(Step::Ended(never)) => match never {},
            }
        }
        true
    }

    /// Whether another round would call the guest.
    fn is_deliverable(&self) -> bool {
        !self.ahead.is_empty() && self.driver.is_waiting() && self.session.outgoing().len() < self.room
    }

    fn returned(&mut self, result: Result<Next, Failure>, now: Instant) {
        match result {
            Ok(Next::Continue) => {}
            Ok(Next::Stop(_)) => {
                self.session.close(CloseCode::NORMAL, "", now);
                self.record.close(Outcome::Ok);
            }
            Err(failure) => self.fail(&failure, now),
        }
    }

    /// Closes the session because of the guest. The close code tells the client the kind of failure.
    fn fail(&mut self, failure: &Failure, now: Instant) {
        let code = match failure.outcome {
            Outcome::Trapped | Outcome::GuestError | Outcome::InvalidResponse => CloseCode::INTERNAL_ERROR,
            Outcome::BuffersExceeded | Outcome::HeldExceeded => CloseCode::TRY_AGAIN,
            _ => CloseCode::POLICY,
        };
        self.fail_with(code, failure, now);
    }

    fn fail_with(&mut self, code: CloseCode, failure: &Failure, now: Instant) {
        self.driver.stop();
        self.session.close(code, failure.outcome.row().message, now);
        self.record.end_with(failure);
    }

    /// Decodes messages ahead of the guest, only one during a call; answers pings on the way.
    fn look_ahead(&mut self, now: Instant) {
        if self.session.state() != State::Open {
            // Nobody takes the messages any more, and the client's close frame may be behind them.
            self.ahead.close();
        }
        let is_calling = self.driver.is_calling();
        let called_for = if is_calling { self.ahead.delivering().messages.max(1) } else { 0 };
        while !self.ended {
            // A close frame after messages waits until the guest has handled them.
            let busy = called_for + self.ahead.load().messages;
            self.session.set_busy(u32::try_from(busy).unwrap_or(u32::MAX), now);
            if self.ahead.is_full() || (is_calling && !self.ahead.is_empty()) {
                return;
            }
            let event = match self.session.has_input() {
                true => self.work.run(|| self.session.next_event(now)),
                false => self.session.next_event(now),
            };
            match event {
                None => return,
                Some(CodecEvent::Message(message)) => self.ahead.push(message),
                Some(CodecEvent::Ended(end)) => self.over(&end, now),
            }
        }
    }

    /// Hands the guest's output to the codec; false when there was none.
    fn take_outgoing(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.session.takes()
            && let Some(outgoing) = self.outbox.take()
        {
            any = true;
            self.send(outgoing, now);
        }
        any
    }

    fn send(&mut self, outgoing: Outgoing, now: Instant) {
        let length = outgoing.payload_len();
        let sent = match outgoing {
            Outgoing::Text(text) => self.work.run(|| self.session.begin(Kind::Text, Bytes::from(text), now)),
            Outgoing::Binary(bytes) => self.work.run(|| self.session.begin(Kind::Binary, bytes, now)),
            Outgoing::Close(code, reason) => {
                // A code that must not be sent (RFC 6455, 7.4.1) is the guest's fault.
                self.session.close(CloseCode::new(code).unwrap_or(CloseCode::INTERNAL_ERROR), &reason, now);
                self.outbox.close();
                Ok(())
            }
        };
        match sent {
            Ok(()) => self.record.sent(length),
            // The outbox takes no more than the room that it was given.
            Err(SendError::QueueFull | SendError::Closed) => self.outbox.close(),
            Err(error @ SendError::TooLarge { .. }) => {
                let failure = Failure::new(Outcome::HostCallExceeded, error);
                self.fail_with(CloseCode::TOO_BIG, &failure, now);
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        while !self.session.outgoing().is_empty() {
            match Pin::new(&mut self.tunnel).poll_write(context, self.session.outgoing()) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.session.written(count);
                    progress = true;
                }
                Poll::Ready(_) => {
                    self.lost();
                    return true;
                }
            }
        }
        self.unflushed |= progress;
        if self.unflushed {
            match Pin::new(&mut self.tunnel).poll_flush(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => {
                    self.lost();
                    return true;
                }
            }
        }
        if progress && !self.reads() {
            // The client's pongs wait unread, but it takes data, so it is alive.
            self.session.resume(now);
        }
        progress
    }

    /// Whether the socket is read from.
    fn reads(&self) -> bool {
        !(self.read_ended || !self.ahead.is_empty() || self.session.is_blocked() || self.session.is_ending())
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> bool {
        if !self.reads() {
            return false;
        }
        let Self { tunnel, session, .. } = self;
        match poll_read_buf(Pin::new(tunnel), context, session.read_buffer(READ)) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => true,
            Poll::Ready(_) => {
                self.read_ended = true;
                self.session.feed_eof();
                true
            }
        }
    }

    /// Charges the session for bytes that the codec holds.
    fn charge(&mut self, now: Instant) {
        let held = self.session.memory() + self.ahead.load().bytes + self.ahead.delivering().bytes;
        let charged = self.charge.set(held as u64);
        if let (Err(outcome), false) = (charged, self.driver.is_gone()) {
            let code = match outcome {
                Outcome::BuffersExceeded => CloseCode::TRY_AGAIN,
                _ => CloseCode::TOO_BIG,
            };
            self.fail_with(code, &Failure::new(outcome, "over the limit with what its WebSocket holds"), now);
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let is_open = self.session.state() == State::Open;
        let last_call = self.driver.closes_at(now).filter(|_| is_open);
        let hibernates = self.driver.hibernates_at().filter(|_| is_open);
        let Some(deadline) = self.session.deadline().into_iter().chain(last_call).chain(hibernates).min() else {
            return false;
        };
        if !self.alarm.has_passed(context, deadline) {
            return false;
        }
        let now = Instant::now();
        if last_call.is_some_and(|last_call| last_call <= now) {
            self.session.close(CloseCode::GOING_AWAY, "the host shuts down", now);
        }
        let has_more = self.ahead.delivering().messages > 1 || !self.ahead.is_empty() || self.session.is_ending();
        if has_more && self.session.outgoing().len() < self.room {
            // The guest is the reason why the client's pongs are unread.
            self.session.resume(now);
        }
        self.session.handle_timeout(now);
        true
    }

    /// Handles a lost connection: nothing can be written any more. Messages that were read before are still delivered.
    fn lost(&mut self) {
        let pending = self.session.outgoing().len();
        self.session.written(pending);
        self.unflushed = false;
        self.read_ended = true;
        self.session.feed_eof();
    }

    /// Handles the codec's last event: the guest gets its own last event.
    fn over(&mut self, end: &End, now: Instant) {
        self.ended = true;
        self.outbox.close();
        if matches!(end, End::Dead | End::CloseTimeout) {
            self.until = Some(now);
        }
        let (reason, outcome) = self.reason(end);
        let last = [SocketEvent::Event(Event::Disconnect(reason))];
        self.driver.leave::<Ahead>(self.outbox.clone(), UNDER_WAY, last);
        self.record.close(outcome);
    }

    fn reason(&self, end: &End) -> (Disconnect, Outcome) {
        let connection = self.tunnel.connection();
        match end {
            End::Closed(_) | End::PeerClosed(_) => (Disconnect::Closed, Outcome::Ok),
            End::CloseTimeout => (Disconnect::Timeout, Outcome::Ok),
            // RFC 6455, 7.1.7: the host has failed the connection.
            End::Violation(_) => (Disconnect::ConnectionLost, Outcome::Ok),
            End::Dead => (Disconnect::Timeout, Outcome::Cancelled),
            End::Idle => (Disconnect::Timeout, Outcome::IdleExceeded),
            End::Lost if connection.ending() == Ending::Open && connection.protocol != Protocol::Http1 => {
                (Disconnect::Reset, Outcome::Cancelled)
            }
            End::Lost => (Disconnect::ConnectionLost, Outcome::Cancelled),
        }
    }

    /// Writes the rest, shuts down the write side, and waits for the client to close, all within a time limit.
    ///
    /// RFC 6455, 7.1.1: the client closes after this side. Its remaining bytes are read and dropped, since the kernel
    /// would answer unread bytes with a reset, which can overtake the close frame.
    fn poll_end(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        let until = *self.until.get_or_insert(now + self.close_wait);
        if self.alarm.has_passed(context, until) {
            return Poll::Ready(());
        }
        if !self.session.outgoing().is_empty() {
            // The last attempt to write wakes this task.
            return Poll::Pending;
        }
        let _ = ready!(Pin::new(&mut self.tunnel).poll_shutdown(context));
        let mut dropped = [0; 1024];
        while !self.read_ended {
            let mut read = ReadBuf::new(&mut dropped);
            let result = ready!(Pin::new(&mut self.tunnel).poll_read(context, &mut read));
            self.read_ended = result.is_err() || read.filled().is_empty();
        }
        Poll::Ready(())
    }
}
