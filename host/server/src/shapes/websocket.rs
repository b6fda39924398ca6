//! The shape websocket: one codec over whatever carries the bytes, and one call for each message or event.
//!
//! The pump is one task. It polls the guest, hands what the guest sends to the codec, writes, reads, and waits for
//! messages, bus, timers, drain and deadlines, all in the one order of [`Pump::poll`]. It reads one message ahead of
//! a guest that is busy, so that pings before it are answered, and no further: a guest that does not keep up stops
//! the socket. A client that does not read fills the codec's outgoing queue, and then the guest's `send` waits.
//!
//! | what ends it | close code | outcome |
//! |---|---|---|
//! | the client, or the guest by `close` or `stop` | theirs, 1000 | `ok` |
//! | a trap | 1011 | `trapped` |
//! | a limit on the guest, or `roadrunner kill` | 1008 | that limit's |
//! | what the client sent | 1002, 1007, 1008, 1009 | `ok`: the guest is not at fault |
//! | the drain's deadline | 1001 | `ok` |
//! | silence | 1001, or none when the client is gone | `idle-exceeded`, `cancelled` |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, Response, header};
use roadrunner_sandbox::{Disconnect, Event, Failure, Instance, Next, Outbox, Outcome, Outgoing, SocketEvent};
use roadrunner_websocket::handshake::ServerHandshake;
use roadrunner_websocket::{CloseCode, End, Event as CodecEvent, Message, Role, SendError, Session, State};
use roadrunner_wire::{Ending, Protocol, ResponseBody, Tunnel, TunnelRequest};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Sleep, timeout};
use tokio_util::io::poll_read_buf;

use super::event_loop::{LAST_EVENT, UNDER_WAY, spawn};
use crate::app::{Guest, Inner};
use crate::record::Record;

/// Bytes read at once.
const READ: usize = 16 << 10;

/// Outgoing bytes that are gathered before they are written.
const BATCH: usize = 64 << 10;

/// How long before the drain's deadline a session that is still open is closed with 1001.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A handshake that is in order, and the tunnel that it asks for.
pub(crate) struct Handshake {
    pub(crate) judged: ServerHandshake,
    pub(crate) tunnel: TunnelRequest,
}

/// Accepts the handshake, and serves the session in a task of its own.
pub(super) fn accept(
    app: &Arc<Inner>,
    guest: &Guest,
    mut instance: Instance,
    handshake: Option<Handshake>,
    mut headers: HeaderMap,
    subprotocol: Option<&str>,
    mut record: Record,
) -> Response<ResponseBody> {
    let Some(Handshake { judged, tunnel }) = handshake else {
        drop(instance);
        let detail = "the component accepted a WebSocket where the request asks for none";
        return record.failed(Failure::new(Outcome::InvalidResponse, detail));
    };
    let config = &guest.websocket;
    let deflate = config.deflate.as_ref().and_then(|deflate| judged.deflate(deflate));
    let answer = match judged.answer(subprotocol, deflate.as_ref()) {
        Ok(answer) => answer,
        Err(error) => {
            drop(instance);
            return record.failed(Failure::new(Outcome::InvalidResponse, error.to_string()));
        }
    };
    if let Err(outcome) = instance.hold() {
        drop(instance);
        return record.failed(outcome.into());
    }
    remove_handshake_fields(&mut headers);
    headers.extend(answer);
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = judged.status();
    *response.headers_mut() = headers;
    record.head(response.status());

    let session = Session::new(Role::Server, config.clone(), deflate, Instant::now());
    let app = app.clone();
    let close_wait = config.timers.close;
    tokio::spawn(async move {
        match tunnel.accept().await {
            Ok(tunnel) => Pump::new(app, tunnel, session, instance, close_wait, record).await,
            // The client left before it had the answer.
            Err(error) => tracing::debug!("a WebSocket did not open: {error}"),
        }
    });
    response
}

/// Fields of the handshake are the host's to write.
fn remove_handshake_fields(headers: &mut HeaderMap) {
    for name in [
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::CONTENT_LENGTH,
    ] {
        headers.remove::<HeaderName>(name);
    }
}

type Call = Pin<Box<dyn Future<Output = (Box<Instance>, Result<Next, Failure>)> + Send>>;

enum Phase {
    /// Between two calls: nothing of the guest is on any stack.
    Waiting(Box<Instance>),
    Calling(Call),
    /// The guest is gone; the close handshake may still be under way.
    Gone,
}

struct Pump {
    app: Arc<Inner>,
    tunnel: Tunnel,
    session: Session,
    outbox: Outbox<Outgoing>,
    phase: Phase,
    /// A message that the guest has not taken yet.
    ahead: Option<Message>,
    /// What the guest sent while the codec's queue was full.
    queued: Option<Outgoing>,
    opened: bool,
    drained: bool,
    /// The codec has said that the session is over.
    ended: bool,
    read_ended: bool,
    /// Bytes of the codec that are charged to the instance.
    charged: u64,
    sleep: Option<Pin<Box<Sleep>>>,
    close_wait: Duration,
    /// Everything is written: the write side is shut, and what the client still sends is dropped until then.
    lingering: Option<Instant>,
    record: Record,
}

impl Pump {
    fn new(
        app: Arc<Inner>,
        tunnel: Tunnel,
        session: Session,
        instance: Instance,
        close_wait: Duration,
        record: Record,
    ) -> Self {
        Self {
            app,
            tunnel,
            session,
            outbox: Outbox::default(),
            phase: Phase::Waiting(Box::new(instance)),
            ahead: None,
            queued: None,
            opened: false,
            drained: false,
            ended: false,
            read_ended: false,
            charged: 0,
            sleep: None,
            close_wait,
            lingering: None,
            record,
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let now = Instant::now();
            this.poll_guest(context, now);
            let mut progress = this.poll_write(context);
            if this.session.state() == State::Closed && this.session.outgoing().is_empty() {
                return this.poll_linger(context, now);
            }
            progress |= this.poll_read(context);
            this.look_ahead(now);
            progress |= this.poll_deadline(context, now);
            if !progress && !this.has_work() {
                this.settle();
                return Poll::Pending;
            }
        }
    }
}

impl Pump {
    /// Whether another round would find something to do.
    fn has_work(&self) -> bool {
        let deliverable = self.ahead.is_some() && matches!(self.phase, Phase::Waiting(_));
        (deliverable || self.queued.is_some()) && self.session.outgoing().len() < BATCH
    }

    /// Calls the guest for as long as there is something to call it for and room for what it sends.
    fn poll_guest(&mut self, context: &mut Context<'_>, now: Instant) {
        loop {
            self.look_ahead(now);
            if !self.send_queued(now) || self.session.outgoing().len() >= BATCH {
                return;
            }
            match std::mem::replace(&mut self.phase, Phase::Gone) {
                Phase::Gone => return,
                Phase::Waiting(mut instance) => match self.poll_event(&mut instance, context) {
                    Poll::Pending => {
                        self.phase = Phase::Waiting(instance);
                        return;
                    }
                    Poll::Ready(Ok(event)) => self.phase = Phase::Calling(call(instance, event, self.outbox.clone())),
                    Poll::Ready(Err(outcome)) => self.fail(&outcome.into(), now),
                },
                Phase::Calling(mut call) => match call.as_mut().poll(context) {
                    Poll::Pending => {
                        self.phase = Phase::Calling(call);
                        self.queued = self.outbox.take();
                        if self.queued.is_none() {
                            return;
                        }
                    }
                    Poll::Ready((instance, result)) => {
                        // What was sent before the call returned.
                        self.queued = self.outbox.take();
                        self.returned(instance, result, now);
                    }
                },
            }
        }
    }

    fn returned(&mut self, mut instance: Box<Instance>, result: Result<Next, Failure>, now: Instant) {
        match result {
            Ok(Next::Continue) => {
                let held = self.session.memory() as u64;
                let charged = instance.charge(self.charged, held);
                self.charged = held;
                match charged {
                    Ok(()) => self.phase = Phase::Waiting(instance),
                    Err(outcome) => self.fail(&outcome.into(), now),
                }
            }
            Ok(Next::Stop(_)) => {
                drop(instance);
                self.send_queued(now);
                self.session.close(CloseCode::NORMAL, "", now);
                self.record.close(Outcome::Ok);
            }
            Err(failure) => {
                drop(instance);
                self.send_queued(now);
                self.fail(&failure, now);
            }
        }
    }

    /// The guest is gone for a reason that the client may know the kind of.
    fn fail(&mut self, failure: &Failure, now: Instant) {
        let code = match failure.outcome {
            Outcome::Trapped | Outcome::GuestError | Outcome::InvalidResponse => CloseCode::INTERNAL_ERROR,
            _ => CloseCode::POLICY,
        };
        self.session.close(code, failure.outcome.row().message, now);
        self.record.end_with(failure);
    }

    /// The next thing to call the guest for.
    fn poll_event(&mut self, instance: &mut Instance, context: &mut Context<'_>) -> Poll<Result<SocketEvent, Outcome>> {
        // Registered first, so that a signal which comes while the rest is looked at is not lost.
        instance.meter().register(context);
        if instance.meter().is_killed() {
            return Poll::Ready(Err(Outcome::Killed));
        }
        if !std::mem::replace(&mut self.opened, true) {
            return Poll::Ready(Ok(SocketEvent::Open));
        }
        if self.session.state() != State::Open {
            return Poll::Pending;
        }
        if let Some(message) = self.ahead.take() {
            return Poll::Ready(Ok(match message {
                Message::Text(text) => SocketEvent::Text(text.as_str().to_owned()),
                Message::Binary(bytes) => SocketEvent::Binary(bytes),
            }));
        }
        if !self.drained
            && let Some(left) = self.app.drain.left()
        {
            self.drained = true;
            return Poll::Ready(Ok(SocketEvent::Event(Event::Drain(left))));
        }
        instance.poll_event(context).map(|event| Ok(SocketEvent::Event(event)))
    }

    /// Decodes one message ahead of the guest; answers pings on the way.
    fn look_ahead(&mut self, now: Instant) {
        if self.ahead.is_some() || self.ended {
            return;
        }
        match self.session.next_event(now) {
            None => {}
            Some(CodecEvent::Message(message)) => self.ahead = Some(message),
            Some(CodecEvent::Ended(end)) => self.over(&end),
        }
    }

    /// Hands what the guest sent to the codec; false when there is no room.
    fn send_queued(&mut self, now: Instant) -> bool {
        let Some(outgoing) = self.queued.take() else { return true };
        let size = match &outgoing {
            Outgoing::Text(text) => text.len(),
            Outgoing::Binary(bytes) => bytes.len(),
            Outgoing::Close(..) => 0,
        };
        let sent = match &outgoing {
            Outgoing::Text(text) => self.session.send_text(text, now),
            Outgoing::Binary(bytes) => self.session.send_binary(bytes, now),
            Outgoing::Close(code, reason) => {
                // A code that must not be sent (RFC 6455, 7.4.1) is the guest's fault.
                self.session.close(CloseCode::new(*code).unwrap_or(CloseCode::INTERNAL_ERROR), reason, now);
                Ok(())
            }
        };
        match sent {
            Ok(()) => self.record.sent(size),
            Err(SendError::QueueFull) => {
                self.queued = Some(outgoing);
                return false;
            }
            Err(SendError::Closed) => self.outbox.close(),
            Err(SendError::TooLarge { .. }) => self.session.close(CloseCode::TOO_BIG, "", now),
        }
        true
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while !self.session.outgoing().is_empty() {
            match Pin::new(&mut self.tunnel).poll_write(context, self.session.outgoing()) {
                Poll::Pending => return progress,
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
        // Pending here is fine: the bytes are in the transport, which wakes this task to flush on.
        if progress && let Poll::Ready(Err(_)) = Pin::new(&mut self.tunnel).poll_flush(context) {
            self.lost();
        }
        progress
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> bool {
        if self.read_ended || self.ahead.is_some() || self.session.is_blocked() {
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

    fn poll_deadline(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let last_call = self.app.drain.left().map(|left| now + left.saturating_sub(LAST_CALL));
        let last_call = last_call.filter(|_| self.session.state() == State::Open);
        let Some(deadline) = self.session.deadline().into_iter().chain(last_call).min() else {
            self.sleep = None;
            return false;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if sleep.deadline().into_std() != deadline {
            sleep.as_mut().reset(deadline.into());
        }
        if sleep.as_mut().poll(context).is_pending() {
            return false;
        }
        let now = Instant::now();
        if last_call.is_some_and(|last_call| last_call <= now) {
            self.session.close(CloseCode::GOING_AWAY, "the host shuts down", now);
        }
        self.session.handle_timeout(now);
        true
    }

    /// Nothing can be written any more.
    fn lost(&mut self) {
        let pending = self.session.outgoing().len();
        self.session.written(pending);
        self.read_ended = true;
        self.session.feed_eof();
    }

    /// The codec's last event: the guest gets its own.
    fn over(&mut self, end: &End) {
        self.ended = true;
        self.outbox.close();
        let (reason, outcome) = self.reason(end);
        let outbox = self.outbox.clone();
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Gone => {}
            Phase::Waiting(instance) => spawn(last_event(instance, reason, outbox)),
            Phase::Calling(call) => spawn(async move {
                if let Ok((instance, Ok(Next::Continue))) = timeout(UNDER_WAY, call).await {
                    last_event(instance, reason, outbox).await;
                }
            }),
        }
        self.record.close(outcome);
    }

    fn reason(&self, end: &End) -> (Disconnect, Outcome) {
        let connection = self.tunnel.connection();
        match end {
            End::Closed(_) | End::PeerClosed(_) | End::Violation(_) | End::CloseTimeout => (Disconnect::Closed, Outcome::Ok),
            End::Dead => (Disconnect::Timeout, Outcome::Cancelled),
            End::Idle => (Disconnect::Timeout, Outcome::IdleExceeded),
            End::Lost if connection.ending() == Ending::Open && connection.protocol == Protocol::Http2 => {
                (Disconnect::Reset, Outcome::Cancelled)
            }
            End::Lost => (Disconnect::ConnectionLost, Outcome::Cancelled),
        }
    }

    /// RFC 6455, 7.1.1: the client closes after this side. What it still sends is read and dropped, since the kernel
    /// would answer unread bytes with a reset, which can overtake the close frame.
    fn poll_linger(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        if !self.ended {
            self.look_ahead(now);
        }
        let until = *self.lingering.get_or_insert(now + self.close_wait);
        if Pin::new(&mut self.tunnel).poll_shutdown(context).is_pending() && now < until {
            self.arm(until, context);
            return Poll::Pending;
        }
        let mut dropped = [0; 1024];
        while !self.read_ended {
            let mut read = ReadBuf::new(&mut dropped);
            match Pin::new(&mut self.tunnel).poll_read(context, &mut read) {
                Poll::Pending if Instant::now() >= until => return Poll::Ready(()),
                Poll::Pending => {
                    self.arm(until, context);
                    return Poll::Pending;
                }
                Poll::Ready(result) => self.read_ended = result.is_err() || read.filled().is_empty(),
            }
        }
        Poll::Ready(())
    }

    fn arm(&mut self, until: Instant, context: &mut Context<'_>) {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
        sleep.as_mut().reset(until.into());
        if sleep.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }

    /// Before a wait: an idle session keeps no buffers.
    fn settle(&mut self) {
        if self.ahead.is_none() {
            self.session.release();
        }
    }
}

fn call(mut instance: Box<Instance>, event: SocketEvent, outbox: Outbox<Outgoing>) -> Call {
    Box::pin(async move {
        let result = instance.on_socket(event, &outbox).await;
        (instance, result)
    })
}

/// Tells the guest that its session is over, then drops it. The outbox is closed.
async fn last_event(mut instance: Box<Instance>, reason: Disconnect, outbox: Outbox<Outgoing>) {
    let event = SocketEvent::Event(Event::Disconnect(reason));
    match timeout(LAST_EVENT, instance.on_socket(event, &outbox)).await {
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => tracing::debug!(instance = instance.meter().id, "the last event failed: {failure}"),
        Err(_) => tracing::debug!(instance = instance.meter().id, "the last event took too long"),
    }
}
