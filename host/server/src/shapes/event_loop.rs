//! The shape loop: the instance is held, and each event is one call.
//!
//! The connection polls the body. The body waits for an event, hands the instance to a call, and passes on the call's
//! output. Between two calls no stack holds anything of the guest, and a guest that can hibernate leaves its instance
//! after a time. When the connection drops the body, the guest gets one last event, in a separate task with a short
//! deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use roadrunner_account::Outcome;
use roadrunner_sandbox::{Disconnect, Event, Held, Instance, LeftBody, Next, Outbox};
use roadrunner_wire::{Abort, Connection, Ending, Protocol, ResponseBody};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::claim::Claim;
use super::held::{Call, LAST_EVENT, UNDER_WAY, spawn, suspend};
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
    let request_body = if body_events { RequestBody::of(&mut instance) } else { RequestBody::Off };
    let (idle, patience) = (instance.binding().grants.limits.idle, instance.binding().grants.limits.deadline);
    ResponseBody::new(LoopBody {
        serving,
        outbox: Outbox::default(),
        hibernate: None,
        asked: false,
        phase: Phase::Waiting(Held::new(instance)),
        request_body,
        idle: idle.map(Idle::new),
        drained: false,
        claim,
        patience,
        connection,
        record,
    })
}

struct LoopBody {
    serving: Arc<Serving>,
    outbox: Outbox<Bytes>,
    phase: Phase,
    request_body: RequestBody,
    idle: Option<Idle>,
    /// The timer for hibernation; armed while the session waits with an instance that it could leave.
    hibernate: Option<Idle>,
    /// Whether the guest was asked to hibernate since its last event.
    asked: bool,
    /// Whether the guest knows of the drain.
    drained: bool,
    claim: Claim,
    /// The longest time that a call may go on when the body is complete.
    patience: Duration,
    connection: Arc<Connection>,
    record: Record,
}

enum Phase {
    Waiting(Held),
    Calling(Call),
    /// The guest is gone; its trailers, or the abort of the body, still have to be sent.
    Last(Result<HeaderMap, Abort>),
    Ended,
}

/// Pieces of the request body as events.
enum RequestBody {
    Off,
    Open(roadrunner_sandbox::Body),
    /// The end still has to be reported.
    AtEnd,
}

impl RequestBody {
    fn of(instance: &mut Instance) -> Self {
        match instance.take_body() {
            LeftBody::Whole(body) => Self::Open(body),
            LeftBody::Taken => Self::Off,
            // The end of an absent body is an event all the same: a duplex guest waits for it.
            LeftBody::None => Self::AtEnd,
        }
    }
}

/// The time that a session may go without an event, from the end of one callback on, before it ends or leaves its
/// instance.
struct Idle {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: Box::pin(sleep_until(Instant::now() + limit)) }
    }

    fn reset(&mut self) {
        self.sleep.as_mut().reset(Instant::now() + self.limit);
    }
}

impl Body for LoopBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        loop {
            if let Some(chunk) = this.outbox.take() {
                return Poll::Ready(Some(this.frame(chunk)));
            }
            match std::mem::replace(&mut this.phase, Phase::Ended) {
                Phase::Ended => return Poll::Ready(None),
                Phase::Last(Err(abort)) => return Poll::Ready(Some(Err(abort))),
                Phase::Last(Ok(_)) if !this.claim.is_kept() => {
                    this.record.end_with(&Claim::broken());
                    return Poll::Ready(Some(Err(Abort)));
                }
                Phase::Last(Ok(trailers)) => {
                    this.record.close(Outcome::Ok);
                    return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
                }
                Phase::Waiting(mut held) => match this.poll_event(&mut held, context) {
                    Poll::Ready(Ok(event)) => {
                        this.asked = false;
                        this.phase = Phase::Calling(call(held, event, this.outbox.clone()));
                    }
                    Poll::Ready(Err(outcome)) => {
                        if outcome == Outcome::IdleExceeded {
                            this.outbox.close();
                            spawn(last_event(held, Disconnect::Timeout, this.outbox.clone()));
                        }
                        this.record.close(outcome);
                        this.phase = Phase::Last(Err(Abort));
                    }
                    Poll::Pending if this.is_to_hibernate(&held, context) => {
                        this.asked = true;
                        this.phase = Phase::Calling(suspend(held));
                    }
                    Poll::Pending => {
                        this.phase = Phase::Waiting(held);
                        return Poll::Pending;
                    }
                },
                Phase::Calling(mut call) => match call.as_mut().poll(context) {
                    Poll::Pending => {
                        this.phase = Phase::Calling(call);
                        // The guest may have written before it waited.
                        match this.outbox.take() {
                            Some(chunk) => return Poll::Ready(Some(this.frame(chunk))),
                            None => return Poll::Pending,
                        }
                    }
                    Poll::Ready((held, Ok(Next::Continue))) => {
                        // A request to hibernate is not an event.
                        if let Some(idle) = this.idle.as_mut().filter(|_| !this.asked) {
                            idle.reset();
                        }
                        this.hibernate = None;
                        this.phase = Phase::Waiting(held);
                    }
                    Poll::Ready((held, Ok(Next::Stop(trailers)))) => {
                        drop(held);
                        this.phase = Phase::Last(Ok(trailers));
                    }
                    Poll::Ready((held, Err(failure))) => {
                        drop(held);
                        this.record.end_with(&failure);
                        this.phase = Phase::Last(Err(Abort));
                    }
                },
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

    /// Polls for the next event. An error is the outcome that ends the session.
    fn poll_event(&mut self, held: &mut Held, context: &mut Context<'_>) -> Poll<Result<Event, Outcome>> {
        // The registration comes first, so that no signal is lost while the rest is checked.
        held.meter().register(context);
        if held.meter().is_killed() {
            return Poll::Ready(Err(Outcome::Killed));
        }
        if let Poll::Ready(event) = self.poll_sources(held, context) {
            return Poll::Ready(Ok(event));
        }
        if let Some(idle) = &mut self.idle
            && idle.sleep.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(Outcome::IdleExceeded));
        }
        Poll::Pending
    }

    /// Whether a waiting session has to leave its instance now.
    fn is_to_hibernate(&mut self, held: &Held, context: &mut Context<'_>) -> bool {
        let Some(after) = held.hibernates_after() else { return false };
        let due = self.hibernate.get_or_insert_with(|| Idle::new(after)).sleep.as_mut().poll(context).is_ready();
        due || (!self.asked && held.binding().gates.is_pressed())
    }

    fn poll_sources(&mut self, held: &mut Held, context: &mut Context<'_>) -> Poll<Event> {
        if !self.drained
            && let Some(left) = self.serving.host.drain.left()
        {
            self.drained = true;
            return Poll::Ready(Event::Drain(left));
        }
        if let Poll::Ready(event) = held.poll_event(context) {
            return Poll::Ready(event);
        }
        match &mut self.request_body {
            RequestBody::Off => Poll::Pending,
            RequestBody::AtEnd => {
                self.request_body = RequestBody::Off;
                Poll::Ready(Event::BodyEnd(HeaderMap::new()))
            }
            RequestBody::Open(body) => match body.poll_read(context, BODY_PIECE) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Some(piece))) => Poll::Ready(Event::Body(piece)),
                Poll::Ready(Ok(None)) => {
                    let trailers = body.take_trailers();
                    self.request_body = RequestBody::Off;
                    Poll::Ready(Event::BodyEnd(trailers))
                }
                Poll::Ready(Err(_)) => {
                    // The connection or the stream ends with this error, and tells the guest why.
                    self.request_body = RequestBody::Off;
                    Poll::Pending
                }
            },
        }
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
        let reason = self.reason();
        let outbox = self.outbox.clone();
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Ended | Phase::Last(_) => {}
            Phase::Waiting(held) => spawn(last_event(held, reason, outbox)),
            Phase::Calling(call) => spawn(async move {
                if let Ok((held, Ok(Next::Continue))) = timeout(under_way, call).await {
                    last_event(held, reason, outbox).await;
                }
            }),
        }
    }
}

fn call(mut held: Held, event: Event, outbox: Outbox<Bytes>) -> Call {
    Box::pin(async move {
        let result = held.on_event(event, &outbox).await;
        (held, result)
    })
}

/// Tells the guest that its session is over, then drops it. The outbox is closed.
async fn last_event(mut held: Held, reason: Disconnect, outbox: Outbox<Bytes>) {
    match timeout(LAST_EVENT, held.on_event(Event::Disconnect(reason), &outbox)).await {
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => tracing::debug!(instance = held.meter().id, "the last event failed: {failure}"),
        Err(_) => tracing::debug!(instance = held.meter().id, "the last event took too long"),
    }
}
