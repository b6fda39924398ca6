//! A standard component, `wasi:http/proxy` 0.2: it exports `wasi:http/incoming-handler`, takes a request whose body it
//! pulls from the wire, sets a response, and goes on running while the body of that response is sent.
//!
//! It runs on the same engine, in the same store and under the same limits, gates and account as a native component:
//! only the shape of the call differs. [`Binding::respond_standard`] waits for the head; from then on, whoever sends the
//! body polls the guest with [`Standard::poll_frame`], in its own task. So a client that does not read holds up the
//! guest, and a connection that drops the body ends it.
//!
//! Standard components are not reused, and have no sessions: WASI 0.2 knows neither WebSockets nor the bus.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, uri};
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use tokio::time::Sleep;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiHttpView as _};

use crate::component::Handler;
use crate::gate::Permit;
use crate::instance::{classify, guarded};
use crate::meter::{Meter, Shape};
use crate::outcome::{Failure, Outcome};
use crate::registry::Registration;
use crate::request::{Body, BodyError, Request};
use crate::response::{self, Head};
use crate::state::{Binding, State};

/// What a guest has put into its `response-outparam`.
type Set = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// The guest, which owns its store while it runs.
type Running = Pin<Box<dyn Future<Output = Result<Store<State>, Failure>> + Send>>;

/// An instance of a standard component that has set its response.
pub struct Standard {
    // Fields are dropped in this order: the guest first, its permit last.
    guest: Guest,
    body: HyperOutgoingBody,
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    registration: Registration,
    permit: Permit,
}

enum Guest {
    Running(Running),
    /// Its store is kept until the body is sent: a body that is dropped with the store looks as if it had ended.
    Returned(#[expect(dead_code, reason = "held for its drop")] Box<Store<State>>),
    Failed(Failure),
    Ended,
}

impl Binding {
    /// Starts an instance of a standard component and waits for the head of its response.
    pub async fn respond_standard(
        self: &Arc<Self>,
        meter: Arc<Meter>,
        permit: Permit,
        request: Request,
    ) -> Result<(Standard, Head), Failure> {
        let registration = self.component.sandbox.registry().insert(meter.clone());
        meter.start_budget(self.limits.cpu);
        let deadline = Instant::now() + self.limits.deadline;
        let mut store = self.store(&meter);
        let answer = Arc::new(Mutex::new(None));
        let (request, out) = lend(&mut store, request, answer.clone())?;
        let mut guest: Running = Box::pin(run(self.clone(), meter.clone(), store, request, out));
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let (polled, set) = poll_fn(|context| {
            let polled = guest.as_mut().poll(context);
            let set: Option<Set> = answer.lock().take();
            if polled.is_ready() || set.is_some() {
                return Poll::Ready((polled, set));
            }
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            ready!(timer.as_mut().poll(context));
            Poll::Ready((Poll::Ready(Err(Outcome::DeadlineExceeded.into())), None))
        })
        .await;
        let guest = match polled {
            Poll::Ready(Err(failure)) => return Err(failure),
            Poll::Ready(Ok(store)) => Guest::Returned(Box::new(store)),
            Poll::Pending => Guest::Running(guest),
        };
        let (head, body) = match set {
            None => return Err(invalid("the component returned and set no response")),
            Some(Err(code)) => return Err(Failure::new(Outcome::GuestError, format!("the component set {code:?}"))),
            Some(Ok(response)) => response.into_parts(),
        };
        let head = response::standard_head(head)?;
        meter.set_shape(Shape::Standard);
        Ok((Standard { guest, body, binding: self.clone(), meter, registration, permit }, head))
    }
}

impl Standard {
    /// The whole body and its trailer fields, if the guest has returned; it is then sent like a buffered response. None
    /// if the guest still runs. A body that the guest has not finished is a failure, for which it is not too late yet.
    pub fn whole(&mut self) -> Result<Option<(Bytes, HeaderMap)>, Failure> {
        if !matches!(self.guest, Guest::Returned(_)) {
            return Ok(None);
        }
        let mut context = Context::from_waker(Waker::noop());
        let (mut first, mut all, mut trailers) = (Bytes::new(), BytesMut::new(), HeaderMap::new());
        // At most what the body's channel holds. A guest that has returned never lets it wait.
        while let Poll::Ready(Some(frame)) = self.poll_frame(&mut context) {
            match frame?.into_data() {
                Ok(data) if first.is_empty() => first = data,
                Ok(data) => all.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        if all.is_empty() {
            return Ok(Some((first, trailers)));
        }
        Ok(Some((Bytes::from([&first[..], &all].concat()), trailers)))
    }

    /// The next frame of the body. The guest runs only when there is none. After the end, or trailer fields,
    /// [`Self::finish`] follows.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut has_run = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(checked(frame)))),
                Poll::Ready(Some(Err(_))) => {
                    let failure = self.failure();
                    return Poll::Ready(Some(Err(failure.unwrap_or_else(|| {
                        invalid("the component dropped its response's body before it was whole")
                    }))));
                }
                // A guest that failed took the sender with it, which looks like the end.
                Poll::Ready(None) => return Poll::Ready(self.failure().map(Err)),
                Poll::Pending => {}
            }
            match &mut self.guest {
                Guest::Running(_) if has_run => return Poll::Pending,
                Guest::Running(guest) => {
                    has_run = true;
                    match guest.as_mut().poll(context) {
                        // It may have written before it waited.
                        Poll::Pending => {}
                        Poll::Ready(Ok(store)) => self.guest = Guest::Returned(Box::new(store)),
                        Poll::Ready(Err(failure)) => self.guest = Guest::Failed(failure),
                    }
                }
                Guest::Returned(_) => {
                    self.guest = Guest::Ended;
                    return Poll::Ready(Some(Err(invalid("the component returned and had not finished its body"))));
                }
                Guest::Failed(_) | Guest::Ended => {
                    return Poll::Ready(self.failure().map(Err));
                }
            }
        }
    }

    /// The response is sent. A guest that still runs may go on, within its limits, for as long as the deadline of a
    /// response: standard components do their housekeeping there.
    pub fn finish(mut self) {
        let Guest::Running(mut guest) = std::mem::replace(&mut self.guest, Guest::Ended) else { return };
        let Self { binding, meter, registration, permit, .. } = self;
        tokio::spawn(async move {
            let (_registration, _permit) = (registration, permit);
            let ended = tokio::time::timeout(binding.limits.deadline, &mut guest).await;
            let failure = match ended {
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(Outcome::DeadlineExceeded.into()),
            };
            if let Some(failure) = failure {
                let (request, component) = (&meter.subject.request, &meter.subject.component);
                tracing::warn!(%request, %component, instance = meter.id, "after its response: {failure}");
            }
            drop(guest);
        });
    }

    fn failure(&mut self) -> Option<Failure> {
        match std::mem::replace(&mut self.guest, Guest::Ended) {
            Guest::Failed(failure) => Some(failure),
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

/// Runs the guest to its end; its store, which still holds what it has not dropped.
async fn run(
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    mut store: Store<State>,
    request: Resource<HostIncomingRequest>,
    out: Resource<HostResponseOutparam>,
) -> Result<Store<State>, Failure> {
    let Handler::Standard(handler) = &binding.component.handler else { return Err(Outcome::Unsupported.into()) };
    let result = {
        let call = pin!(async {
            let instance = binding.component.pre.instantiate_async(&mut store).await?;
            handler.load(&mut store, &instance)?.call_handle(&mut store, request, out).await
        });
        guarded(&meter, binding.turns(), None, call).await
    };
    match result {
        Ok(Ok(())) => Ok(store),
        Ok(Err(error)) => Err(classify(&store, &error)),
        Err(outcome) => Err(outcome.into()),
    }
}

/// Puts the request, and the place for the response, where the guest finds them.
fn lend(
    store: &mut Store<State>,
    request: Request,
    answer: Arc<Mutex<Option<Set>>>,
) -> Result<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), Failure> {
    let Request { mut head, scheme, authority, body, .. } = request;
    // The authority that the host has routed by, and no other, is the one that the guest sees.
    if let Ok(authority) = HeaderValue::from_str(&authority) {
        head.headers.insert(HOST, authority);
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    head.uri = path.into();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let request = http::Request::from_parts(head, Incoming(body));
    let mut http = store.data_mut().http();
    let handles = |_| Failure::from(Outcome::HandlesExceeded);
    let request = http.new_incoming_request(scheme, request).map_err(handles)?;
    let set = move |response| *answer.lock() = Some(response);
    let out = http.new_response_outparam_from_callback(set).map_err(handles)?;
    Ok((request, out))
}

/// Trailer fields as for native answers; data as it is.
fn checked(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(response::standard_trailers(trailers)),
        Err(frame) => frame,
    }
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
