//! The shape loop: the instance is held, and each event is one call.
//!
//! The connection polls the body, and the body polls the driver: it waits for an event, hands the instance to a call,
//! and passes on the call's output. When the connection drops the body, the guest gets one last event.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use roadrunner_account::{Failure, Outcome};
use roadrunner_sandbox::{BodyError, Disconnect, Event, Held, Instance, LeftBody, Next, Outbox};
use roadrunner_wire::{Abort, Connection, Ending, Protocol, ResponseBody};
use tokio::time::Sleep;

use super::claim::Claim;
use super::held::{Driver, Source, Step, UNDER_WAY};
use crate::record::Record;
use crate::serving::Serving;

/// The largest piece of a request body in one event.
const BODY_PIECE: usize = 64 << 10;

pub(super) fn body(
    serving: Arc<Serving>,
    mut instance: Instance,
    body_events: bool,
    claim: Claim,
    connection: Arc<Connection>,
    record: Record,
) -> ResponseBody {
    let is_untimed = record.is_call() && connection.protocol != Protocol::Http1;
    let request_body = if body_events { RequestBody::of(&mut instance, is_untimed) } else { RequestBody::Off };
    let (idle, patience) = (instance.binding().grants.limits.idle, instance.binding().grants.limits.deadline);
    ResponseBody::new(LoopBody {
        driver: Driver::new(serving, instance, idle),
        outbox: Outbox::default(),
        request_body,
        last: None,
        timer: Timer::default(),
        claim,
        patience,
        connection,
        record,
    })
}

struct LoopBody {
    driver: Driver,
    outbox: Outbox<Bytes>,
    request_body: RequestBody,
    /// The trailers, or the abort of the body, which still have to be sent when the guest is gone.
    last: Option<Result<HeaderMap, Abort>>,
    timer: Timer,
    claim: Claim,
    /// The longest time that a call may go on when the body is complete.
    patience: Duration,
    connection: Arc<Connection>,
    record: Record,
}

/// Pieces of the request body as events.
enum RequestBody {
    Off,
    Open {
        body: roadrunner_sandbox::Body,
        /// Whether the client may be quiet for as long as it likes: in a call of gRPC.
        is_untimed: bool,
    },
    /// The end still has to be reported.
    AtEnd,
    /// It has ended with this error.
    Failed(BodyError),
}

impl RequestBody {
    fn of(instance: &mut Instance, is_untimed: bool) -> Self {
        match instance.take_body() {
            LeftBody::Whole(body) => Self::Open { body, is_untimed },
            LeftBody::Taken => Self::Off,
            // The end of an absent body is an event all the same: a duplex guest waits for it.
            LeftBody::None => Self::AtEnd,
        }
    }
}

impl Source for RequestBody {
    type Event = Event;
    type End = Infallible;
    type Output = Outbox<Bytes>;

    fn call(
        held: &mut Held,
        event: Event,
        outbox: &Outbox<Bytes>,
    ) -> impl Future<Output = Result<Next, Failure>> + Send {
        held.on_event(event, outbox)
    }

    fn event(event: Event) -> Event {
        event
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Infallible>> {
        match self {
            Self::Off | Self::Failed(_) => Poll::Pending,
            Self::AtEnd => {
                *self = Self::Off;
                Poll::Ready(Ok(Event::BodyEnd(HeaderMap::new())))
            }
            Self::Open { body, is_untimed } => match poll_read(body, *is_untimed, context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Some(piece))) => Poll::Ready(Ok(Event::Body(piece))),
                Poll::Ready(Ok(None)) => {
                    let trailers = body.take_trailers();
                    *self = Self::Off;
                    Poll::Ready(Ok(Event::BodyEnd(trailers)))
                }
                Poll::Ready(Err(error)) => {
                    // The connection or the stream ends with this error, and tells the guest why.
                    *self = Self::Failed(error);
                    Poll::Pending
                }
            },
        }
    }
}

fn poll_read(
    body: &mut roadrunner_sandbox::Body,
    is_untimed: bool,
    context: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, BodyError>> {
    if is_untimed {
        return roadrunner_wire::untimed(|| body.poll_read(context, BODY_PIECE));
    }
    body.poll_read(context, BODY_PIECE)
}

/// The timer of a body, which different tasks may poll.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether a deadline has passed. If not, the task is woken at the deadline.
    fn has_passed(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if sleep.deadline() != deadline.into() {
            sleep.as_mut().reset(deadline.into());
        }
        sleep.as_mut().poll(context).is_ready()
    }
}

impl Body for LoopBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        this.driver.register(context);
        loop {
            if let Some(chunk) = this.outbox.take() {
                return Poll::Ready(Some(this.frame(chunk)));
            }
            if this.driver.is_gone() {
                return Poll::Ready(this.last.take().and_then(|last| this.last_frame(last)));
            }
            if this.driver.is_killed() {
                this.driver.stop();
                this.fail(&Outcome::Killed.into());
                continue;
            }
            match this.driver.poll(&mut this.request_body, &this.outbox, Instant::now(), context) {
                Poll::Ready(Step::Called | Step::Returned(Ok(Next::Continue))) => {}
                Poll::Ready(Step::Waits) => {
                    // The guest may have written before it waited.
                    let chunk = this.outbox.take();
                    return chunk.map_or(Poll::Pending, |chunk| Poll::Ready(Some(this.frame(chunk))));
                }
                Poll::Ready(Step::Returned(Ok(Next::Stop(trailers)))) => this.last = Some(Ok(trailers)),
                Poll::Ready(Step::Returned(Err(failure))) => this.fail(&failure),
                Poll::Ready(Step::Ended(never)) => match never {},
                Poll::Pending if this.ends_call() => {}
                Poll::Pending => {
                    let (idles, hibernates) = (this.driver.idles_at(), this.driver.hibernates_at());
                    let Some(deadline) = idles.into_iter().chain(hibernates).min() else { return Poll::Pending };
                    if !this.timer.has_passed(deadline, context) {
                        return Poll::Pending;
                    }
                    // Otherwise the next step lets the session hibernate.
                    if idles == Some(deadline) {
                        this.outbox.close();
                        this.leave(Disconnect::Timeout, UNDER_WAY);
                        this.fail(&Outcome::IdleExceeded.into());
                    }
                }
            }
        }
    }
}

impl LoopBody {
    fn frame(&mut self, chunk: Bytes) -> Result<Frame<Bytes>, Abort> {
        if !self.claim.take(&chunk) {
            // The guest learns of it when it is dropped, as with any other abort.
            self.record.end_with(&Claim::broken());
            return Err(Abort);
        }
        self.record.sent(chunk.len());
        Ok(Frame::data(chunk))
    }

    /// The frame after all chunks; none for a body that just ends.
    fn last_frame(&mut self, last: Result<HeaderMap, Abort>) -> Option<Result<Frame<Bytes>, Abort>> {
        match last {
            Err(Abort) => Some(self.record.cut()),
            Ok(_) if !self.claim.is_kept() => {
                self.record.end_with(&Claim::broken());
                Some(Err(Abort))
            }
            Ok(trailers) => {
                self.record.trailers(&trailers);
                self.record.close(Outcome::Ok);
                (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
            }
        }
    }

    /// Aborts the body because of the guest.
    fn fail(&mut self, failure: &Failure) {
        self.record.end_with(failure);
        self.last = Some(Err(Abort));
    }

    /// Ends a call of gRPC whose messages are not valid. The connection does not end with them.
    fn ends_call(&mut self) -> bool {
        let RequestBody::Failed(error) = &self.request_body else { return false };
        if self.last.is_some() || !self.record.is_call() {
            return false;
        }
        self.record.misread(error);
        self.last = Some(Err(Abort));
        self.outbox.close();
        self.leave(Disconnect::Reset, UNDER_WAY);
        true
    }

    fn leave(&mut self, reason: Disconnect, under_way: Duration) {
        self.driver.leave::<RequestBody>(self.outbox.clone(), under_way, [Event::Disconnect(reason)]);
    }

    /// The reason why the connection dropped the body.
    fn reason(&self) -> Disconnect {
        match (self.connection.ending(), self.connection.protocol) {
            (Ending::TimedOut(_), _) => Disconnect::Timeout,
            (Ending::Open, Protocol::Http2 | Protocol::Http3) => Disconnect::Reset,
            (Ending::Open | Ending::PeerClosed, Protocol::Http1) => Disconnect::Closed,
            (Ending::Closed | Ending::Lost | Ending::PeerClosed, _) => Disconnect::ConnectionLost,
        }
    }
}

impl Drop for LoopBody {
    fn drop(&mut self) {
        self.outbox.close();
        let mut under_way = UNDER_WAY;
        if self.claim.is_reached() {
            // The client has the whole body, so it has not left early. The guest may finish its call.
            self.record.close(Outcome::Ok);
            under_way = self.patience;
        }
        self.leave(self.reason(), under_way);
    }
}
