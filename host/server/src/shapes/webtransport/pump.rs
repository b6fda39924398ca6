//! The session: one task that waits for the client, the bus, timers, drain and deadlines, and calls the guest for one
//! event at a time.
//!
//! While the guest is in a call, nothing is read from the client except the end of the session. So a guest that does
//! not keep up, or waits for its client to read, closes the windows of its streams. Datagrams wait in a short queue,
//! and the oldest are dropped.
//!
//! | cause of the end | close code | outcome | the guest's last events |
//! |---|---|---|---|
//! | the client's close | its own | `ok` | `closed` with code and reason, `disconnect(closed)` |
//! | the guest, by `close` or `stop` | its own, 0 | `ok` | `disconnect(closed)` after `close` |
//! | a trap | 1011 | `trapped` | |
//! | a limit on the guest, or `roadrunner kill` | 1008, 1009 | that limit's | |
//! | no place among the held for a session that wakes | 1013 | `held-exceeded` | |
//! | a client error | none: the stream is reset | `ok`: the guest is not at fault | `disconnect(connection-lost)` |
//! | the drain's deadline | 1001 | `ok` | `disconnect(closed)` |
//! | no event for the guest, over `idle` | 1001 | `idle-exceeded` | `disconnect(timeout)` |
//! | a client that does not take the guest's data, over `write-stall` | 1008 | `cancelled` | `disconnect(timeout)` |
//! | the connection, or a reset | none | `cancelled` | `disconnect(connection-lost)`, `disconnect(reset)` |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use roadrunner_account::{Charge, Failure, Meter, Outcome};
use roadrunner_sandbox::{Disconnect, Event, Held, Instance, Next, WebTransport, WebTransportEvent};
use roadrunner_wire::webtransport::{self, Close, End, Session};
use roadrunner_wire::{Alarm, Connection, Ending};

use super::super::held::{Driver, Source, Step, UNDER_WAY};
use super::port::Port;
use crate::record::Record;
use crate::serving::Serving;

/// The longest time that a session goes on before others have their turn, as in the shape websocket.
const TURN: Duration = Duration::from_micros(500);

/// The codes of the host's own closes: those of a WebSocket (RFC 6455, 7.4.1), so that clients have one list.
mod code {
    pub(super) const GOING_AWAY: u32 = 1001;
    pub(super) const POLICY: u32 = 1008;
    pub(super) const TOO_BIG: u32 = 1009;
    pub(super) const INTERNAL_ERROR: u32 = 1011;
    pub(super) const TRY_AGAIN: u32 = 1013;
}

pub(super) struct Pump {
    driver: Driver,
    arrivals: Arrivals,
    port: Arc<Port>,
    /// The same port, in the form that the sandbox takes.
    handle: Arc<dyn WebTransport>,
    connection: Arc<Connection>,
    meter: Arc<Meter>,
    /// The charge for bytes held for the session.
    charge: Charge,
    write_stall: Duration,
    close_wait: Duration,
    /// The time at which the client is given up, once the session is over.
    until: Option<Instant>,
    alarm: Alarm,
    record: Record,
}

impl Pump {
    pub(super) fn new(
        serving: Arc<Serving>,
        session: Session,
        connection: Arc<Connection>,
        instance: Instance,
        write_stall: Duration,
        close_wait: Duration,
        record: Record,
    ) -> Self {
        let port = Arc::new(Port::new(session));
        let idle = instance.binding().grants.limits.idle;
        Self {
            arrivals: Arrivals { port: port.clone(), draining: false, delivering: 0, streams: 0, datagrams: 0 },
            handle: port.clone(),
            port,
            connection,
            meter: instance.meter().clone(),
            charge: Charge::none(instance.meter().clone()),
            driver: Driver::new(serving, instance, idle),
            write_stall,
            close_wait,
            until: None,
            alarm: Alarm::default(),
            record,
        }
    }
}

/// The events that arrive from the client.
struct Arrivals {
    port: Arc<Port>,
    /// Whether the client has asked to finish soon, and the guest has not heard of it.
    draining: bool,
    /// The bytes of the current call's event.
    delivering: usize,
    streams: u64,
    datagrams: u64,
}

impl Source for Arrivals {
    type Event = WebTransportEvent;
    type End = End;
    type Output = Arc<dyn WebTransport>;

    fn call(
        held: &mut Held,
        event: WebTransportEvent,
        port: &Arc<dyn WebTransport>,
    ) -> impl Future<Output = Result<Next, Failure>> + Send {
        held.on_webtransport(event, port)
    }

    fn event(event: Event) -> WebTransportEvent {
        WebTransportEvent::Event(event)
    }

    fn opening() -> Option<WebTransportEvent> {
        Some(WebTransportEvent::Open)
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<WebTransportEvent, End>> {
        if std::mem::take(&mut self.draining) {
            return Poll::Ready(Ok(WebTransportEvent::Draining));
        }
        let event = raise(ready!(self.port.session.poll_event(context)));
        match &event {
            Ok(WebTransportEvent::Data(_, bytes)) => self.delivering = bytes.len(),
            Ok(WebTransportEvent::Datagram(bytes)) => {
                self.datagrams += 1;
                self.delivering = bytes.len();
            }
            Ok(WebTransportEvent::Opened { .. }) => self.streams += 1,
            _ => {}
        }
        Poll::Ready(event)
    }

    fn drain(&mut self) {
        self.port.session.drain();
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
        while now - start < TURN {
            if this.driver.is_gone() {
                return this.poll_end(context, now);
            }
            if !this.step(context, now) && !this.poll_deadline(context, now) {
                return Poll::Pending;
            }
            now = Instant::now();
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Pump {
    /// Takes one step with the guest: into a call, on in it, or out of it. False when there is nothing to do.
    fn step(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        if self.driver.is_killed() {
            self.fail(&Outcome::Killed.into());
            return true;
        }
        match self.driver.poll(&mut self.arrivals, &self.handle, now, context) {
            Poll::Pending => return false,
            Poll::Ready(Step::Called) => {}
            Poll::Ready(Step::Waits) => {
                self.charge();
                return self.poll_meanwhile(context);
            }
            Poll::Ready(Step::Returned(result)) => {
                self.arrivals.delivering = 0;
                self.returned(result);
            }
            Poll::Ready(Step::Ended(end)) => self.over(end),
        }
        self.charge();
        true
    }

    fn returned(&mut self, result: Result<Next, Failure>) {
        match result {
            Ok(Next::Continue) if self.port.is_closed() => self.leave(None, Disconnect::Closed, Outcome::Ok),
            Ok(Next::Continue) => {}
            Ok(Next::Stop(_)) => {
                self.port.session.close(&Close::default());
                self.close_record(Outcome::Ok);
            }
            Err(failure) => self.fail(&failure),
        }
    }

    /// Polls the session as a whole while the guest waits in a call. Returns whether anything has changed.
    fn poll_meanwhile(&mut self, context: &mut Context<'_>) -> bool {
        if self.driver.is_gone() {
            return true;
        }
        if self.port.is_closed() {
            // The client need not wait for the guest to return.
            let _ = self.port.session.poll_finish(context);
            return false;
        }
        match self.port.session.poll_end(context) {
            Poll::Pending => false,
            Poll::Ready(webtransport::Event::Ended(end)) => {
                self.over(end);
                true
            }
            Poll::Ready(_) => {
                self.arrivals.draining = true;
                true
            }
        }
    }

    /// Charges the session for the bytes held for it.
    fn charge(&mut self) {
        let charged = self.charge.set((self.port.session.buffered() + self.arrivals.delivering) as u64);
        if let (Err(outcome), false) = (charged, self.driver.is_gone()) {
            self.fail(&Failure::new(outcome, "over the limit with what its WebTransport session holds"));
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let last_call = self.driver.closes_at(now);
        let idle = self.driver.idles_at();
        let stall = self.port.waits_since().map(|since| since + self.write_stall);
        let hibernates = self.driver.hibernates_at();
        let Some(deadline) = [last_call, idle, stall, hibernates].into_iter().flatten().min() else {
            return false;
        };
        if !self.alarm.has_passed(context, deadline) {
            return false;
        }
        let (code, reason, disconnect, outcome) = if last_call == Some(deadline) {
            (code::GOING_AWAY, "the host shuts down", Disconnect::Closed, Outcome::Ok)
        } else if idle == Some(deadline) {
            (code::GOING_AWAY, Outcome::IdleExceeded.row().message, Disconnect::Timeout, Outcome::IdleExceeded)
        } else if stall == Some(deadline) {
            (code::POLICY, "the client does not read", Disconnect::Timeout, Outcome::Cancelled)
        } else {
            // The next step lets the session hibernate.
            return true;
        };
        self.port.session.close(&Close::new(code, reason));
        self.leave(None, disconnect, outcome);
        true
    }

    /// Closes the session because of the guest. The close code tells the client the kind of failure.
    fn fail(&mut self, failure: &Failure) {
        let code = match failure.outcome {
            Outcome::Trapped | Outcome::GuestError | Outcome::InvalidResponse => code::INTERNAL_ERROR,
            Outcome::BuffersExceeded | Outcome::HeldExceeded => code::TRY_AGAIN,
            Outcome::MemoryExceeded | Outcome::TenantMemoryExceeded => code::TOO_BIG,
            _ => code::POLICY,
        };
        self.fail_with(code, failure);
    }

    fn fail_with(&mut self, code: u32, failure: &Failure) {
        self.driver.stop();
        self.port.session.close(&Close::new(code, failure.outcome.row().message));
        self.count();
        self.record.end_with(failure);
    }

    /// Handles the end of the session by the client.
    fn over(&mut self, end: End) {
        match end {
            End::Closed(close) => self.leave(Some(close), Disconnect::Closed, Outcome::Ok),
            End::Reset => self.leave(None, Disconnect::Reset, Outcome::Cancelled),
            End::Violation(fault) => {
                tracing::debug!(instance = self.meter.id, %fault, "a WebTransport session was reset");
                self.leave(None, Disconnect::ConnectionLost, Outcome::Ok);
            }
            End::Lost => {
                let reason = match self.connection.ending() {
                    Ending::TimedOut(_) => Disconnect::Timeout,
                    _ => Disconnect::ConnectionLost,
                };
                self.leave(None, reason, Outcome::Cancelled);
            }
        }
    }

    /// Ends the session, and gives the guest its last events.
    fn leave(&mut self, close: Option<Close>, reason: Disconnect, outcome: Outcome) {
        let closed = close.map(|Close { code, reason }| WebTransportEvent::Closed(code, reason));
        let disconnect = WebTransportEvent::Event(Event::Disconnect(reason));
        self.driver.leave::<Arrivals>(self.handle.clone(), UNDER_WAY, closed.into_iter().chain([disconnect]));
        self.close_record(outcome);
    }

    fn close_record(&mut self, outcome: Outcome) {
        self.count();
        self.record.close(outcome);
    }

    fn count(&mut self) {
        let (streams, datagrams) = self.port.counts();
        self.record.traffic(self.port.sent(), self.arrivals.streams + streams, self.arrivals.datagrams + datagrams);
    }

    /// Tells the client, within a time limit.
    fn poll_end(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        let until = *self.until.get_or_insert(now + self.close_wait);
        if self.port.session.poll_finish(context).is_ready() || self.alarm.has_passed(context, until) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Converts an event of the session for the guest. An error is the session's end.
fn raise(event: webtransport::Event) -> Result<WebTransportEvent, End> {
    use webtransport::Event as Found;
    Ok(match event {
        Found::Opened { stream: id, bidirectional } => WebTransportEvent::Opened { id, bidirectional },
        Found::Data { stream, bytes } => WebTransportEvent::Data(stream, bytes),
        Found::Finished { stream } => WebTransportEvent::Finished(stream),
        Found::Reset { stream, code } => WebTransportEvent::Reset(stream, code),
        Found::Stopped { stream, code } => WebTransportEvent::Stopped(stream, code),
        Found::Datagram(bytes) => WebTransportEvent::Datagram(bytes),
        Found::Drain => WebTransportEvent::Draining,
        Found::Ended(end) => return Err(end),
    })
}
