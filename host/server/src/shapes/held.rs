//! The driver of a held session: the event that the guest is called for next, the result of the call, and the end.
//!
//! A session is polled as one task or one body, which polls its driver. Between two calls no stack holds anything of the
//! guest. Events come in this order: the opening, the drain, then the shape's own and the host's in turns. A guest that
//! can hibernate leaves its instance when no event has come for a time, or when others need the place. At the end the
//! guest gets its last events in a task of its own, with a short deadline.
//!
//! A shape is a [`Source`]: it has events of its own, and knows the call for an event.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use roadrunner_account::{Failure, Meter};
use roadrunner_sandbox::{Event, Held, Instance, Next};
use tokio::time::timeout;

use crate::serving::Serving;

/// The longest time that a call in progress may go on after the client has left.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(20);

/// The time before the drain's deadline at which an open session is closed.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The longest time for the last events.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// The part of a held session that differs between shapes.
pub(super) trait Source: 'static {
    /// An event for the guest.
    type Event: Send + 'static;
    /// An end of the session that comes in the place of an event.
    type End;
    /// The place that the guest's output goes to. Cheap to clone.
    type Output: Clone + Send + Sync + 'static;

    /// Calls the guest for an event, and wakes the session first if it hibernates.
    fn call(
        held: &mut Held,
        event: Self::Event,
        output: &Self::Output,
    ) -> impl Future<Output = Result<Next, Failure>> + Send;

    /// Converts an event that all shapes have.
    fn event(event: Event) -> Self::Event;

    /// The event of a session that has just begun; none for a shape without one.
    fn opening() -> Option<Self::Event> {
        None
    }

    /// Polls for an event of the shape's own.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Self::Event, Self::End>>;

    /// Whether the guest gets events: not while the session closes.
    fn is_open(&self) -> bool {
        true
    }

    /// Tells the client that the host drains.
    fn drain(&mut self) {}
}

/// The guest of a session, in a call or between two.
pub(super) struct Driver {
    serving: Arc<Serving>,
    meter: Arc<Meter>,
    phase: Phase,
    /// The time that a session may go without an event, from the end of one call on.
    idle: Option<Duration>,
    /// The time at which the last call for an event ended.
    heard: Instant,
    /// The time at which the last call ended: for an event, or with the request to hibernate.
    called: Instant,
    /// Whether the guest was asked to hibernate since its last event.
    asked: bool,
    opened: bool,
    /// Whether the guest knows of the drain.
    drained: bool,
    /// Whether the host's events come before the shape's own: the two take turns.
    event_first: bool,
}

enum Phase {
    Waiting(Held),
    Calling(Call),
    Gone,
}

/// A call into a guest, which gives the session back.
type Call = Pin<Box<dyn Future<Output = (Held, Result<Next, Failure>)> + Send>>;

/// A step of a session.
pub(super) enum Step<E> {
    /// A call was begun.
    Called,
    /// The guest waits in its call.
    Waits,
    /// The call has returned. A guest that does not continue is gone.
    Returned(Result<Next, Failure>),
    /// The session has ended in the place of an event. The guest is still there.
    Ended(E),
}

impl Driver {
    /// Creates the driver of a session that this instance holds, and that ends after the time `idle` without an event.
    pub(super) fn new(serving: Arc<Serving>, instance: Instance, idle: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            serving,
            meter: instance.meter().clone(),
            phase: Phase::Waiting(Held::new(instance)),
            idle,
            heard: now,
            called: now,
            asked: false,
            opened: false,
            drained: false,
            event_first: false,
        }
    }

    /// Lets signals of an operator and of the drain wake the task. It comes before the checks, so that none is lost.
    pub(super) fn register(&self, context: &Context<'_>) {
        self.meter.register(context);
    }

    /// Takes one step with the guest. Pending while there is no event for it, or when it is gone.
    pub(super) fn poll<S: Source>(
        &mut self,
        source: &mut S,
        output: &S::Output,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Step<S::End>> {
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Gone => Poll::Pending,
            Phase::Waiting(mut held) => {
                let polled = self.poll_event(source, &mut held, context);
                let (phase, step) = match polled {
                    Poll::Ready(Ok(event)) => {
                        self.asked = false;
                        (Phase::Calling(call::<S>(held, event, output.clone())), Poll::Ready(Step::Called))
                    }
                    Poll::Ready(Err(end)) => (Phase::Waiting(held), Poll::Ready(Step::Ended(end))),
                    Poll::Pending if source.is_open() && self.is_to_hibernate(&held, now) => {
                        self.asked = true;
                        (Phase::Calling(suspend(held)), Poll::Ready(Step::Called))
                    }
                    Poll::Pending => (Phase::Waiting(held), Poll::Pending),
                };
                self.phase = phase;
                step
            }
            Phase::Calling(mut call) => Poll::Ready(match call.as_mut().poll(context) {
                Poll::Pending => {
                    self.phase = Phase::Calling(call);
                    Step::Waits
                }
                Poll::Ready((held, result)) => {
                    self.called = now;
                    if !self.asked {
                        self.heard = now;
                    }
                    if let Ok(Next::Continue) = result {
                        self.phase = Phase::Waiting(held);
                    }
                    Step::Returned(result)
                }
            }),
        }
    }

    fn poll_event<S: Source>(
        &mut self,
        source: &mut S,
        held: &mut Held,
        context: &mut Context<'_>,
    ) -> Poll<Result<S::Event, S::End>> {
        if !std::mem::replace(&mut self.opened, true)
            && let Some(opening) = S::opening()
        {
            return Poll::Ready(Ok(opening));
        }
        if !source.is_open() {
            return Poll::Pending;
        }
        if !self.drained
            && let Some(left) = self.serving.host.drain.left()
        {
            self.drained = true;
            source.drain();
            return Poll::Ready(Ok(S::event(Event::Drain(left))));
        }
        if std::mem::take(&mut self.event_first)
            && let Poll::Ready(event) = held.poll_event(context)
        {
            return Poll::Ready(Ok(S::event(event)));
        }
        if let Poll::Ready(event) = source.poll_event(context) {
            self.event_first = true;
            return Poll::Ready(event);
        }
        held.poll_event(context).map(|event| Ok(S::event(event)))
    }

    fn is_to_hibernate(&self, held: &Held, now: Instant) -> bool {
        let Some(after) = held.hibernates_after() else { return false };
        now >= self.called + after || (!self.asked && held.binding().gates.is_pressed())
    }

    /// The time at which the session has to leave its instance, if no event comes first.
    pub(super) fn hibernates_at(&self) -> Option<Instant> {
        let Phase::Waiting(held) = &self.phase else { return None };
        held.hibernates_after().map(|after| self.called + after)
    }

    /// The time at which the session is over, if no event comes first.
    pub(super) fn idles_at(&self) -> Option<Instant> {
        self.idle.filter(|_| self.is_waiting()).map(|idle| self.heard + idle)
    }

    /// The time at which the session is closed because of the drain, if it is still open then.
    pub(super) fn closes_at(&self, now: Instant) -> Option<Instant> {
        let deadline = self.serving.host.drain.deadline()?;
        Some(deadline.checked_sub(LAST_CALL).unwrap_or(now))
    }

    /// Whether an operator wants the session to end.
    pub(super) fn is_killed(&self) -> bool {
        self.meter.is_killed() && !self.is_gone()
    }

    /// Whether the guest can be called.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Whether the guest is in a call.
    pub(super) fn is_calling(&self) -> bool {
        matches!(self.phase, Phase::Calling(_))
    }

    /// Whether the guest is gone; the client may still have to be told.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// Drops the guest, wherever it is.
    pub(super) fn stop(&mut self) {
        self.phase = Phase::Gone;
    }

    /// Gives the guest its last events, then drops it. A call in progress may go on for the time `under_way`.
    pub(super) fn leave<S: Source>(
        &mut self,
        output: S::Output,
        under_way: Duration,
        last: impl IntoIterator<Item = S::Event, IntoIter: Send> + Send + 'static,
    ) {
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Gone => {}
            Phase::Waiting(held) => spawn(last_events::<S>(held, output, last)),
            Phase::Calling(call) => spawn(async move {
                if let Ok((held, Ok(Next::Continue))) = timeout(under_way, call).await {
                    last_events::<S>(held, output, last).await;
                }
            }),
        }
    }
}

fn call<S: Source>(mut held: Held, event: S::Event, output: S::Output) -> Call {
    Box::pin(async move {
        let result = S::call(&mut held, event, &output).await;
        (held, result)
    })
}

/// Asks the session to leave its instance, between two events.
fn suspend(mut held: Held) -> Call {
    Box::pin(async move {
        let result = held.suspend().await.map(|()| Next::Continue);
        (held, result)
    })
}

/// Tells the guest that its session is over. Its output goes nowhere any more.
async fn last_events<S: Source>(
    mut held: Held,
    output: S::Output,
    last: impl IntoIterator<Item = S::Event, IntoIter: Send> + Send + 'static,
) {
    let calls = async {
        for event in last {
            if let Next::Stop(_) = S::call(&mut held, event, &output).await? {
                break;
            }
        }
        Ok::<_, Failure>(())
    };
    match timeout(LAST_EVENTS, calls).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::debug!(instance = held.meter().id, "the last event failed: {failure}"),
        Err(_) => tracing::debug!(instance = held.meter().id, "the last event took too long"),
    }
}

pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    // Bodies are also dropped when the runtime shuts down; the guest then ends without its last event.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}
