//! Standard components: `wasi:http/proxy` 0.2, which exports `wasi:http/incoming-handler`, and `wasi:http/service` 0.3,
//! which exports `wasi:http/handler`. Both take a request whose body they pull from the wire, give a response, and go
//! on running while the body of that response is sent.
//!
//! They run in the same kind of store and under the same limits, gates and account as native components. Only the form
//! of the call differs, which `proxy` and `service` know. [`Binding::respond_standard`] waits for the head. From then
//! on, the sender of the body polls the guest with [`Standard::poll_frame`], in its own task. So a client that does not
//! read holds up the guest, and a connection that drops the body ends it.
//!
//! A guest of 0.3 can return the body of its request, or of another server's answer, as its response body, and finish.
//! Such a body is passed on: it needs no instance, and ends where it comes from.
//!
//! An instance that has returned, and whose response was sent whole, can be parked for the next request. Standard
//! components have no sessions: WASI knows neither WebSockets nor the bus.

pub(crate) mod members;
mod proxy;
pub(crate) mod returned;
mod service;
mod shared;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use roadrunner_account::{Failure, Meter, Outcome, Permit, Registration, Shape, admits, cover};
use roadrunner_log::Quoted;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use wasmtime::Store;
use wasmtime_wasi_http::{Error, WasiBody};

use self::members::{Answer, Given};
use self::returned::{Callee, Returned};
use self::shared::Part;
use crate::binding::Binding;
use crate::component::Handler;
use crate::guest::request::{Body, BodyError, Request};
use crate::guest::response::{self, Head};
use crate::parking::{Idle, Parking};
use crate::restore::First;
use crate::state::State;

/// The largest body that is sent with its length although the guest has only passed it on.
const WHOLE: usize = 64 << 10;

/// The number of extra polls of a guest that has given its response, before the head is sent. If the guest returns
/// during them, the response gets a length.
const TURNS: usize = 2;

/// The guest, which owns its store while it runs.
type Running = Pin<Box<dyn Future<Output = Result<Returned, Failure>> + Send>>;

/// An instance of a standard component that has given its response.
pub struct Standard {
    // Fields are dropped in this order: the guest first, its permit last.
    guest: Guest,
    body: WasiBody,
    is_passed_on: bool,
    /// The part of the body that was read in search of its end.
    ahead: Bytes,
    /// The sender that is dropped when the body is over. It stops the work that moves the body after the guest has
    /// returned.
    lingers: Option<oneshot::Sender<()>>,
    /// The sender that tells a guest, if it asks, that its response was sent. It is dropped unused when it was not.
    sent: oneshot::Sender<()>,
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    registration: Registration,
    permit: Permit,
}

enum Guest {
    Running(Running),
    /// The instance is kept until the body is sent: a body that is dropped with the store looks as if it had ended.
    Returned(Box<Returned>),
    /// A separate task runs the instance, also for other requests.
    Shared(Part),
    Failed(Failure),
    Ended,
}

/// A pending call, into an instance that has returned before or into a fresh instance.
struct Call {
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    store: Store<State>,
    /// The export to call; none for a fresh instance.
    callee: Option<Callee>,
    /// The first state of the instance, where it is known.
    first: Option<First>,
    answered: u32,
    /// The slot for the guest's response.
    answer: Arc<Mutex<Option<Answer>>>,
}

impl Call {
    fn new(binding: &Arc<Binding>, meter: &Arc<Meter>) -> Result<Self, Failure> {
        let (store, callee, first, answered) = match binding.parking.as_deref().and_then(Parking::take) {
            Some(Idle::Standard(Returned { mut store, callee, first, answered })) => {
                binding.wake(&mut store, first.as_ref(), meter)?;
                (store, Some(callee), first, answered)
            }
            // All idle guests of a binding are of one kind.
            Some(Idle::Native(_)) | None => (binding.store(meter)?, None, None, 0),
        };
        let (binding, meter) = (binding.clone(), meter.clone());
        Ok(Self { binding, meter, store, callee, first, answered, answer: Arc::default() })
    }

    fn returned(self, callee: Callee) -> Returned {
        Returned { store: self.store, callee, first: self.first, answered: self.answered + 1 }
    }
}

impl Binding {
    /// Starts an instance of a standard component, or takes a parked instance, and waits for the head of its response.
    pub async fn respond_standard(
        self: &Arc<Self>,
        meter: Arc<Meter>,
        permit: Permit,
        request: Request,
    ) -> Result<(Standard, Head), Failure> {
        let registration = self.component.sandbox.accounts().instances.insert(meter.clone());
        meter.start_budget(self.grants.limits.cpu);
        let deadline = Instant::now() + self.grants.limits.deadline;
        let (sent, hears) = oneshot::channel();
        if let Some(shared) = &self.shared {
            let asked = shared::ask(shared, self, &meter, request, hears);
            let (part, answer) = tokio::time::timeout(self.grants.limits.deadline, asked)
                .await
                .unwrap_or_else(|_| Err(Outcome::DeadlineExceeded.into()))?;
            let guest = Guest::Shared(part);
            return self.answered(permit, registration, meter, guest, Some(answer), sent);
        }
        let call = Call::new(self, &meter)?;
        let answer = call.answer.clone();
        let mut guest: Running = match self.component.handler {
            Handler::Native(_) => return Err(Outcome::Unsupported.into()),
            Handler::Service(_) => Box::pin(service::run(call, request, hears)),
            Handler::Standard(_) => Box::pin(proxy::run(call, request)),
        };
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let (polled, answer) = poll_fn(|context| {
            let mut polled = guest.as_mut().poll(context);
            let answer: Option<Answer> = answer.lock().take();
            // The tasks that write a short body often need no more than another turn.
            for _ in 0..if answer.is_some() { TURNS } else { 0 } {
                if polled.is_pending() {
                    polled = guest.as_mut().poll(context);
                }
            }
            if polled.is_ready() || answer.is_some() {
                return Poll::Ready((polled, answer));
            }
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            ready!(timer.as_mut().poll(context));
            Poll::Ready((Poll::Ready(Err(Outcome::DeadlineExceeded.into())), None))
        })
        .await;
        let guest = match polled {
            Poll::Ready(Err(failure)) => return Err(failure),
            Poll::Ready(Ok(returned)) => Guest::Returned(Box::new(returned)),
            Poll::Pending => Guest::Running(guest),
        };
        self.answered(permit, registration, meter, guest, answer, sent)
    }

    /// Parameters are dropped from the last to the first: the guest before its permit.
    fn answered(
        self: &Arc<Self>,
        permit: Permit,
        registration: Registration,
        meter: Arc<Meter>,
        guest: Guest,
        answer: Option<Answer>,
        sent: oneshot::Sender<()>,
    ) -> Result<(Standard, Head), Failure> {
        let Given { response, is_passed_on } = match answer {
            None => return Err(invalid("the component returned and set no response")),
            Some(Err(code)) => {
                return Err(Failure::new(Outcome::GuestError, format!("the component set {}", Quoted::display(code))));
            }
            Some(Ok(given)) => given,
        };
        let (head, body) = response.into_parts();
        let head = response::standard_head(head, self.bounds(&meter))?;
        meter.set_shape(Shape::Standard);
        let (ahead, lingers, binding) = (Bytes::new(), None, self.clone());
        let standard =
            Standard { guest, body, is_passed_on, ahead, lingers, sent, binding, meter, registration, permit };
        Ok((standard, head))
    }
}

impl Standard {
    /// The account of the request.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Returns the whole body and its trailer fields, if the guest has returned and they are there; the response is
    /// then sent like a buffered response. Returns none if more is to come. If the body failed, there is still time to
    /// report a failure.
    pub fn whole(&mut self) -> Result<Option<(Bytes, HeaderMap)>, Failure> {
        if !matches!(self.guest, Guest::Returned(_)) {
            return Ok(None);
        }
        let mut context = Context::from_waker(Waker::noop());
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        let trailers = loop {
            // Of a guest's own body, no more is there than its channel holds.
            let is_enough = self.is_passed_on && first.len() + rest.len() > WHOLE;
            let polled = if is_enough { Poll::Pending } else { self.poll_frame(&mut context) };
            let frame = match polled {
                Poll::Ready(Some(frame)) => frame?,
                Poll::Ready(None) => break HeaderMap::new(),
                Poll::Pending => {
                    self.ahead = joined(first, &rest);
                    return Ok(None);
                }
            };
            match frame.into_data() {
                Ok(data) if first.is_empty() => first = data,
                Ok(data) => rest.extend_from_slice(&data),
                Err(frame) => break frame.into_trailers().unwrap_or_default(),
            }
        };
        Ok(Some((cover(&self.meter, joined(first, &rest))?, trailers)))
    }

    /// Polls for the next frame of the body. The guest runs only when no frame is ready. After the end, or after
    /// trailer fields, call [`Self::finish`].
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ahead)))));
        }
        if self.is_passed_on && matches!(self.guest, Guest::Returned(_)) {
            // In other cases, the code that polls the guest does this.
            self.meter.register(context);
            if self.meter.is_killed() {
                return Poll::Ready(Some(Err(Outcome::Killed.into())));
            }
        }
        let mut has_run = false;
        loop {
            match self.poll_body(context) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(checked(frame)))),
                Poll::Ready(Some(Err(error))) => {
                    let failure = self.failure();
                    return Poll::Ready(Some(Err(failure.unwrap_or_else(|| match error {
                        // Of the passed-on bodies, only that of the request ends this way: its client has left.
                        Error::ConnectionTerminated if self.is_passed_on => Outcome::Cancelled.into(),
                        _ => {
                            invalid(&format!("the body of the component's response ended before it was whole: {error}"))
                        }
                    }))));
                }
                // A failed guest took the sender with it, which looks like the end.
                Poll::Ready(None) => return Poll::Ready(self.failure().map(Err)),
                Poll::Pending => {}
            }
            match &mut self.guest {
                Guest::Shared(part) => match part.failure(context) {
                    Some(failure) => return Poll::Ready(Some(Err(failure))),
                    None => return Poll::Pending,
                },
                Guest::Running(_) if has_run => return Poll::Pending,
                Guest::Running(guest) => {
                    has_run = true;
                    match guest.as_mut().poll(context) {
                        // The guest may have written before it waited.
                        Poll::Pending => {}
                        Poll::Ready(Ok(returned)) => self.guest = Guest::Returned(Box::new(returned)),
                        Poll::Ready(Err(failure)) => self.guest = Guest::Failed(failure),
                    }
                }
                Guest::Returned(_) if self.is_passed_on => return Poll::Pending,
                Guest::Returned(_) => self.guest = self.linger(),
                Guest::Failed(_) | Guest::Ended => {
                    return Poll::Ready(self.failure().map(Err));
                }
            }
        }
    }

    /// Polls the body. All bytes of a guest that has returned are there already: the runtime's budget for one turn, which
    /// channels keep, must not hide them.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let is_left = matches!(self.guest, Guest::Returned(_));
        let mut frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
        if !is_left {
            return Pin::new(&mut frame).poll(context);
        }
        pin!(tokio::task::unconstrained(frame)).poll(context)
    }

    /// Waits further for the body of a guest that has returned and whose own body has no end yet; fails where it cannot
    /// come.
    fn linger(&mut self) -> Guest {
        match std::mem::replace(&mut self.guest, Guest::Ended) {
            Guest::Returned(returned) if self.lingers.is_none() && matches!(returned.callee, Callee::Service(_)) => {
                let (lingers, over) = oneshot::channel();
                self.lingers = Some(lingers);
                let (binding, meter) = (self.binding.clone(), self.meter.clone());
                Guest::Running(Box::pin(service::linger(*returned, binding, meter, over)))
            }
            _ => Guest::Failed(unfinished()),
        }
    }

    /// Marks the response as sent. A guest that still runs may go on, within its limits, for the time of the deadline:
    /// standard components do their housekeeping then. A guest that has returned is parked where its component is
    /// reused.
    pub fn finish(self) {
        let Self { guest, lingers, sent, binding, meter, registration, permit, .. } = self;
        drop(lingers);
        // A guest that does not ask is not told.
        let _ = sent.send(());
        let mut guest = match guest {
            Guest::Running(guest) => guest,
            Guest::Returned(returned) => return binding.park(&meter, Idle::Standard(*returned)),
            Guest::Shared(part) => return part.finish(),
            Guest::Failed(_) | Guest::Ended => return,
        };
        tokio::spawn(async move {
            let (_registration, _permit) = (registration, permit);
            let ended = tokio::time::timeout(binding.grants.limits.deadline, &mut guest).await;
            let failure = match ended {
                Ok(Ok(returned)) => return binding.park(&meter, Idle::Standard(returned)),
                Ok(Err(failure)) => failure,
                Err(_) => Outcome::DeadlineExceeded.into(),
            };
            let (request, component) = (&meter.subject.request, &meter.subject.component);
            if admits(&meter, &failure.detail) {
                let tenant = meter.subject.tenant.as_ref().map(|tenant| &*tenant.name);
                tracing::warn!(%request, tenant, %component, instance = meter.id, "after its response: {failure}");
            }
            drop(guest);
        });
    }

    fn failure(&mut self) -> Option<Failure> {
        match std::mem::replace(&mut self.guest, Guest::Ended) {
            Guest::Failed(failure) => Some(failure),
            Guest::Shared(part) => {
                let failure = part.fault();
                self.guest = Guest::Shared(part);
                failure
            }
            other => {
                self.guest = other;
                None
            }
        }
    }
}

impl std::fmt::Debug for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standard").field("meter", &self.meter).finish_non_exhaustive()
    }
}

fn joined(first: Bytes, rest: &[u8]) -> Bytes {
    if rest.is_empty() { first } else { [&first[..], rest].concat().into() }
}

/// Filters trailer fields as for native answers, and leaves data as it is.
fn checked(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(response::standard_trailers(trailers)),
        Err(frame) => frame,
    }
}

fn unfinished() -> Failure {
    invalid("the component returned and had not finished its body")
}

fn invalid(detail: &str) -> Failure {
    Failure::new(Outcome::InvalidResponse, detail)
}

/// A request's body, pulled by the guest: nothing is read before it asks.
struct Incoming(Option<Body>);

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = match ready!(body.poll_read(context, usize::MAX)) {
            Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
            Ok(None) => {
                let trailers = body.take_trailers();
                (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
            }
            Err(error) => Some(Err(match error {
                BodyError::Closed => Error::ConnectionTerminated,
                BodyError::Malformed(_) => Error::HttpProtocolError,
                BodyError::Timeout => Error::ConnectionReadTimeout,
                BodyError::TooLarge(limit) => Error::HttpRequestBodySize(Some(limit)),
            })),
        };
        self.0 = None;
        Poll::Ready(frame)
    }
}
