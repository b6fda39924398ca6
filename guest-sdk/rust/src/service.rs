//! Answers with a service of the `tower` crate: an [`axum::Router`](https://docs.rs/axum), or any other
//! `tower::Service` of requests of the `http` crate. The attribute [`macro@crate::service`] needs one line; [`call`] is
//! for handlers that answer some requests themselves.
//!
//! Bodies are streamed both ways: the service reads the request's body from the wire in the route's body mode `manual`,
//! and each frame of its response leaves at once, and waits while the client does not read. A response that is complete
//! with its first frame is buffered.
//!
//! A service runs in the instance of its request, on one thread, and calls to the host suspend it: so a future is never
//! woken by a socket, and a body's frame is there when it is asked for. Not covered: `tokio` (its timers, its tasks),
//! and upgrades of the connection; [`crate::WebSocket`] has WebSockets.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use crate::error::{Error, Rejection};
use crate::fields::Fields;
use crate::request::Request;
use crate::response::{IntoResponse as _, Response, Shape, Writer};

type BoxError = Box<dyn StdError + Send + Sync>;

/// The answer of a service to a request.
///
/// A service that fails is answered with 500 and a line in the log. Where the request's body did not arrive whole, the
/// client gets the status of that (400, 408 or 413) in the place of any error status of the service.
pub fn call<S, R>(mut service: S, request: Request) -> Response
where
    S: Service<http::Request<RequestBody>, Response = http::Response<R>, Error: Into<BoxError>>,
    R: Body<Error: Into<BoxError>> + 'static,
{
    let failure = Failure::default();
    let body = RequestBody { body: request.body(), failure: failure.clone(), is_over: false };
    let mut made = match request.to_http(body) {
        Ok(made) => made,
        Err(error) => return Rejection::new(StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    made.extensions_mut().insert(Context(Arc::new(request)));
    let answer = run(async {
        poll_fn(|context| service.poll_ready(context)).await?;
        service.call(made).await
    });
    let answer = match answer {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            let error: BoxError = error.into();
            return failed(&failure, &error.to_string());
        }
        None => return failed(&failure, STUCK),
    };
    match failure.take() {
        Some(error) if answer.status().as_u16() >= 400 => Rejection::from(error).into_response(),
        _ => respond(answer),
    }
}

/// The host's own view of a request, an extension of the request that a service gets: the client's address and
/// certificate, the route's captures.
///
/// ```ignore
/// async fn whoami(Extension(context): Extension<Context>) -> String {
///     context.peer()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Context(Arc<Request>);

impl Deref for Context {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.0
    }
}

/// The body of the request that a service gets.
#[derive(Debug)]
pub struct RequestBody {
    body: crate::Body,
    failure: Failure,
    is_over: bool,
}

impl RequestBody {
    fn next(&mut self) -> Result<Option<Frame<Bytes>>, Error> {
        if let Some(piece) = self.body.read()? {
            return Ok(Some(Frame::data(piece.into())));
        }
        self.is_over = true;
        let trailers = self.body.trailers()?;
        Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers.to_header_map())))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let frame = self.next();
        if let Err(error) = &frame {
            self.is_over = true;
            self.failure.set(error.clone());
        }
        Poll::Ready(frame.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.body.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

/// The error that ended the request's body.
#[derive(Clone, Debug, Default)]
struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    fn set(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The answer in the place of a service's that has none.
fn failed(failure: &Failure, why: &str) -> Response {
    if let Some(error) = failure.take() {
        return Rejection::from(error).into_response();
    }
    crate::log::write(crate::log::Level::Error, &format!("the service failed: {why}"));
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
}

fn respond<R: Body<Error: Into<BoxError>> + 'static>(answer: http::Response<R>) -> Response {
    let (head, body) = answer.into_parts();
    let mut body = Box::pin(body);
    // A body that knows its length is likely to be there as a whole; any other may come after its head.
    let is_sized = body.size_hint().exact().is_some();
    let first = if is_sized && !body.is_end_stream() { next(body.as_mut()).transpose() } else { None };
    let is_whole = body.is_end_stream() || (is_sized && first.is_none());
    let shape = match first {
        None if is_whole => Shape::Buffered { body: Vec::new(), trailers: Fields::new() },
        Some(Ok(frame)) if is_whole => {
            let (body, trailers) = match part(frame) {
                Part::Data(data) => (data.into(), Fields::new()),
                Part::Trailers(trailers) => (Vec::new(), trailers),
            };
            Shape::Buffered { body, trailers }
        }
        first => Shape::Stream(Box::new(move |out: &Writer<'_>| write(first, body.as_mut(), out))),
    };
    Response { status: head.status.as_u16(), headers: head.headers.into(), shape }
}

/// Sends every frame, and returns the trailer fields.
fn write<R: Body<Error: Into<BoxError>>>(
    first: Option<Result<Frame<R::Data>, Error>>,
    mut body: Pin<&mut R>,
    out: &Writer<'_>,
) -> Result<Fields, Error> {
    let mut trailers = Fields::new();
    let mut given = first;
    while let Some(frame) = given.take().or_else(|| next(body.as_mut()).transpose()) {
        match part(frame?) {
            Part::Data(data) => out.write(data)?,
            Part::Trailers(fields) => trailers = fields,
        }
    }
    Ok(trailers)
}

/// The next frame, once it is there.
fn next<R: Body<Error: Into<BoxError>>>(mut body: Pin<&mut R>) -> Result<Option<Frame<R::Data>>, Error> {
    let frame = run(poll_fn(|context| body.as_mut().poll_frame(context)));
    let frame = frame.ok_or_else(|| Error::internal(STUCK))?;
    frame.transpose().map_err(|error| cause(error.into()))
}

/// The host's error, if it is behind this one.
fn cause(error: BoxError) -> Error {
    let mut known: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(reason) = known {
        if let Some(own) = reason.downcast_ref::<Error>() {
            return own.clone();
        }
        known = reason.source();
    }
    Error::internal(error)
}

enum Part {
    Data(Bytes),
    Trailers(Fields),
}

fn part<D: Buf>(frame: Frame<D>) -> Part {
    match frame.into_data() {
        Ok(mut data) => Part::Data(data.copy_to_bytes(data.remaining())),
        Err(frame) => Part::Trailers(frame.into_trailers().map(Fields::from).unwrap_or_default()),
    }
}

/// Runs a future to its end; `None` if it waits for something that nothing will wake.
fn run<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    let mut context = TaskContext::from_waker(&waker);
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const STUCK: &str = "it waits for something that nothing in a component wakes, such as a timer of tokio";
