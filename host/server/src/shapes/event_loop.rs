//! The shape loop: the instance is held, and each event is one call.
//!
//! The connection polls the body; the body waits for an event, hands the instance to a call, and passes on what the
//! call writes. Between two calls nothing of the guest is on any stack. When the connection drops the body, the guest
//! gets one last event, in a task of its own that has a short deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use roadrunner_sandbox::{Disconnect, Event, Failure, Instance, LeftBody, Next, Outbox, Outcome};
use roadrunner_wire::{Abort, Connection, Ending, Protocol, ResponseBody};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Claim;
use crate::app::Inner;
use crate::record::Record;

/// How long a call that was under way may go on after the client has left.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(20);

/// How long the last event may take.
pub(super) const LAST_EVENT: Duration = Duration::from_secs(1);

/// The largest piece of a request body in one event.
const BODY_PIECE: usize = 64 << 10;

pub(super) fn body(
    app: Arc<Inner>,
    mut instance: Instance,
    body_events: bool,
    claim: Claim,
    connection: Arc<Connection>,
    record: Record,
) -> ResponseBody {
    let request_body = if body_events { RequestBody::of(&mut instance) } else { RequestBody::Off };
    let idle = instance.binding().limits.idle;
    ResponseBody::new(LoopBody {
        app,
        outbox: Outbox::default(),
        phase: Phase::Waiting(Box::new(instance)),
        request_body,
        idle: idle.map(Idle::new),
        drained: false,
        claim,
        connection,
        record,
    })
}

struct LoopBody {
    app: Arc<Inner>,
    outbox: Outbox<Bytes>,
    phase: Phase,
    request_body: RequestBody,
    idle: Option<Idle>,
    /// The guest knows of the drain.
    drained: bool,
    claim: Claim,
    connection: Arc<Connection>,
    record: Record,
}

type Call = Pin<Box<dyn Future<Output = (Box<Instance>, Result<Next, Failure>)> + Send>>;

enum Phase {
    Waiting(Box<Instance>),
    Calling(Call),
    /// The guest is gone; its trailers, or the abort of the body, are still to be sent.
    Last(Result<HeaderMap, Abort>),
    Ended,
}

/// Pieces of the request body as events.
enum RequestBody {
    Off,
    Open(roadrunner_sandbox::Body),
    /// The end is still to be told.
    AtEnd,
}

impl RequestBody {
    fn of(instance: &mut Instance) -> Self {
        match instance.take_body() {
            LeftBody::Whole(body) => Self::Open(body),
            LeftBody::Taken => Self::Off,
            // Its end is an event all the same: a duplex guest waits for it.
            LeftBody::None => Self::AtEnd,
        }
    }
}

/// The limit on how long a session may go without an event, from the end of one callback on.
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
                Phase::Waiting(mut instance) => match this.poll_event(&mut instance, context) {
                    Poll::Ready(Ok(event)) => this.phase = Phase::Calling(call(instance, event, this.outbox.clone())),
                    Poll::Ready(Err(outcome)) => {
                        if outcome == Outcome::IdleExceeded {
                            this.outbox.close();
                            spawn(last_event(instance, Disconnect::Timeout, this.outbox.clone()));
                        }
                        this.record.close(outcome);
                        this.phase = Phase::Last(Err(Abort));
                    }
                    Poll::Pending => {
                        this.phase = Phase::Waiting(instance);
                        return Poll::Pending;
                    }
                },
                Phase::Calling(mut call) => match call.as_mut().poll(context) {
                    Poll::Pending => {
                        this.phase = Phase::Calling(call);
                        // Written before it waited.
                        match this.outbox.take() {
                            Some(chunk) => return Poll::Ready(Some(this.frame(chunk))),
                            None => return Poll::Pending,
                        }
                    }
                    Poll::Ready((instance, Ok(Next::Continue))) => {
                        if let Some(idle) = &mut this.idle {
                            idle.reset();
                        }
                        this.phase = Phase::Waiting(instance);
                    }
                    Poll::Ready((instance, Ok(Next::Stop(trailers)))) => {
                        drop(instance);
                        this.phase = Phase::Last(Ok(trailers));
                    }
                    Poll::Ready((instance, Err(failure))) => {
                        drop(instance);
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
            // The guest learns of it by the drop, as of any other abort.
            self.record.end_with(&Claim::broken());
            return Err(Abort);
        }
        self.record.sent(chunk.len());
        Ok(Frame::data(chunk))
    }

    /// The next event, or why there is none any more.
    fn poll_event(&mut self, instance: &mut Instance, context: &mut Context<'_>) -> Poll<Result<Event, Outcome>> {
        // Registered first, so that a signal which comes while the rest is looked at is not lost.
        instance.meter().register(context);
        if instance.meter().is_killed() {
            return Poll::Ready(Err(Outcome::Killed));
        }
        if let Poll::Ready(event) = self.poll_sources(instance, context) {
            return Poll::Ready(Ok(event));
        }
        if let Some(idle) = &mut self.idle
            && idle.sleep.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(Outcome::IdleExceeded));
        }
        Poll::Pending
    }

    fn poll_sources(&mut self, instance: &mut Instance, context: &mut Context<'_>) -> Poll<Event> {
        if !self.drained
            && let Some(left) = self.app.drain.left()
        {
            self.drained = true;
            return Poll::Ready(Event::Drain(left));
        }
        if let Poll::Ready(event) = instance.poll_event(context) {
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
                    // The connection or the stream ends with it, and tells the guest why.
                    self.request_body = RequestBody::Off;
                    Poll::Pending
                }
            },
        }
    }

    /// Why the connection dropped the body.
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
        let reason = self.reason();
        let outbox = self.outbox.clone();
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Ended | Phase::Last(_) => {}
            Phase::Waiting(instance) => spawn(last_event(instance, reason, outbox)),
            Phase::Calling(call) => spawn(async move {
                if let Ok((instance, Ok(Next::Continue))) = timeout(UNDER_WAY, call).await {
                    last_event(instance, reason, outbox).await;
                }
            }),
        }
    }
}

fn call(mut instance: Box<Instance>, event: Event, outbox: Outbox<Bytes>) -> Call {
    Box::pin(async move {
        let result = instance.on_event(event, &outbox).await;
        (instance, result)
    })
}

/// Tells the guest that its session is over, then drops it. The outbox is closed.
async fn last_event(mut instance: Box<Instance>, reason: Disconnect, outbox: Outbox<Bytes>) {
    match timeout(LAST_EVENT, instance.on_event(Event::Disconnect(reason), &outbox)).await {
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => tracing::debug!(instance = instance.meter().id, "the last event failed: {failure}"),
        Err(_) => tracing::debug!(instance = instance.meter().id, "the last event took too long"),
    }
}

pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    // Bodies are also dropped when the runtime shuts down; the guest then ends without its last event.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}
