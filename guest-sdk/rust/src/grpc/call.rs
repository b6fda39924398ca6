//! One call: a service, its request and its response, until the last trailer field is sent.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body as _;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use super::inbox::Inbox;
use super::waiting;
use crate::body;
use crate::error::Result;
use crate::fields::Fields;
use crate::request::Request;
use crate::response::{Event, EventLoop, IntoResponse, Next, Response, Stream, Writer};
use crate::timers;

/// The most bytes of a response that are gathered before it is known whether more will come.
const GATHERED: usize = 64 << 10;

/// A call whose response is being sent.
pub(super) struct Call {
    response: Pin<Box<Body>>,
    source: Source,
    inbox: Inbox,
    waker: Arc<Woken>,
    /// The bytes that were there before the response had a shape.
    gathered: Vec<u8>,
    trailers: Fields,
    /// The time for which a timer of the host is set.
    armed: Option<Instant>,
}

/// The rest of the request's body.
#[expect(clippy::large_enum_variant, reason = "there is one for an instance")]
enum Source {
    /// Nothing was read yet: it can still come as events.
    Whole(Request),
    /// It is read piece by piece.
    Pulled(body::Body),
    /// It comes as events.
    Events,
}

/// The state of a response.
enum Step {
    /// Bytes to send.
    Piece(Bytes),
    /// The end; the trailer fields are kept.
    End,
    /// The method waits.
    Waits,
}

impl Call {
    /// Calls a service, and answers in the shape that its response needs.
    pub(super) fn start<S>(mut service: S, request: Request) -> Response
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        let inbox = Inbox::default();
        let http = match to_http(&request, inbox.clone()) {
            Ok(http) => http,
            Err(status) => return over(status),
        };
        let (mut source, waker) = (Source::Whole(request), Arc::new(Woken::default()));
        let mut future = pin!(service.call(http));
        let response = loop {
            match waker.poll(|context| future.as_mut().poll(context)) {
                Poll::Ready(Ok(response)) => break response,
                Poll::Ready(Err(infallible)) => match infallible {},
                Poll::Pending => {
                    if let Err(status) = source.wait(&inbox) {
                        return over(status);
                    }
                }
            }
        };
        let (head, body) = response.into_parts();
        let call = Self {
            response: Box::pin(body),
            source,
            inbox,
            waker,
            gathered: Vec::new(),
            trailers: Fields::new(),
            armed: None,
        };
        with_head(call.shape(), head)
    }

    /// Polls the response until it is over, or waits, or is long; it then gets a shape.
    fn shape(mut self) -> Response {
        while self.gathered.len() < GATHERED {
            match self.step() {
                Step::Piece(piece) => self.gathered.extend_from_slice(&piece),
                Step::End => return Response::buffered(self.gathered).trailers(self.trailers),
                Step::Waits => break,
            }
        }
        if matches!(self.source, Source::Pulled(_)) && !waiting::has_topics() {
            return Stream::new(move |out| self.run(out)).into_response();
        }
        let takes_events = matches!(self.source, Source::Whole(_));
        // The host's first event may be long in coming.
        timers::after(Duration::ZERO);
        self.source = Source::Events;
        EventLoop::new(move |event, out| self.on_event(event, out)).body_events(takes_events).into_response()
    }

    /// Writes a response that waits for nothing but its request and the time.
    fn run(mut self, out: &Writer<'_>) -> Result<Fields> {
        loop {
            self.write_gathered(out)?;
            match self.step() {
                Step::Piece(piece) => out.write(piece)?,
                Step::End => return Ok(self.trailers),
                Step::Waits => {
                    if let Err(status) = self.source.wait(&self.inbox) {
                        return Ok(trailers_of(&status));
                    }
                }
            }
        }
    }

    /// Takes an event, and writes what follows from it.
    fn on_event(&mut self, event: Event, out: &Writer<'_>) -> Result<Next> {
        match event {
            Event::Body(piece) => self.inbox.push(piece),
            Event::BodyEnd(trailers) => self.inbox.end(trailers.to_header_map()),
            Event::Disconnect(_) => {
                // The method sees that it is dropped.
                self.response = Box::pin(Body::empty());
                return Ok(Next::stop());
            }
            // The host waits for the calls that there are.
            Event::Drain(_) => return Ok(Next::Continue),
            Event::Message(message) => waiting::deliver(&message),
            Event::Timer(_) => {
                self.armed = self.armed.filter(|armed| *armed > Instant::now());
                waiting::fire();
            }
        }
        self.write_gathered(out)?;
        loop {
            match self.step() {
                Step::Piece(piece) => out.write(piece)?,
                Step::End => return Ok(Next::stop_with(std::mem::take(&mut self.trailers))),
                Step::Waits => break,
            }
        }
        self.arm();
        Ok(Next::Continue)
    }

    /// Asks the host for an event at the time of the first timer.
    fn arm(&mut self) {
        let Some(until) = waiting::first_timer() else { return };
        if self.armed.is_none_or(|armed| until < armed) {
            // Timers are rounded down to milliseconds.
            timers::after(until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
            self.armed = Some(until);
        }
    }

    fn write_gathered(&mut self, out: &Writer<'_>) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        out.write(std::mem::take(&mut self.gathered))
    }

    fn step(&mut self) -> Step {
        let response = &mut self.response;
        let frame = match self.waker.poll(|context| response.as_mut().poll_frame(context)) {
            Poll::Pending => return Step::Waits,
            Poll::Ready(None) => return Step::End,
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(status))) => {
                self.trailers = trailers_of(&status);
                return Step::End;
            }
        };
        match frame.into_data() {
            Ok(piece) => Step::Piece(piece),
            Err(frame) => {
                self.trailers = frame.into_trailers().map(Fields::from).unwrap_or_default();
                // Nothing follows. After an error, the body would wait for the request again.
                Step::End
            }
        }
    }
}

impl Source {
    /// Waits for the next piece of the body if the method does, and otherwise for its first timer.
    fn wait(&mut self, inbox: &Inbox) -> std::result::Result<(), Status> {
        if inbox.is_awaited() {
            return self.fill(inbox);
        }
        let Some(until) = waiting::first_timer() else {
            return Err(Status::internal("the method waits for nothing that can come"));
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        waiting::fire();
        Ok(())
    }

    fn fill(&mut self, inbox: &Inbox) -> std::result::Result<(), Status> {
        if let Self::Whole(request) = self {
            *self = Self::Pulled(request.body());
        }
        let Self::Pulled(body) = self else {
            return Err(Status::internal("the request's body comes as events"));
        };
        match body.read() {
            Ok(Some(piece)) => inbox.push(piece),
            Ok(None) => match body.trailers() {
                Ok(trailers) => inbox.end(trailers.to_header_map()),
                Err(error) => inbox.fail(error),
            },
            Err(error) => inbox.fail(error),
        }
        Ok(())
    }
}

/// A waker that remembers whether it was used.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Woken {
    /// Polls until something is ready, or nothing more happens by itself.
    fn poll<T>(self: &Arc<Self>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            self.0.store(false, Relaxed);
            match poll(&mut context) {
                Poll::Pending if self.0.load(Relaxed) => {}
                polled => return polled,
            }
        }
    }
}

fn to_http(request: &Request, inbox: Inbox) -> std::result::Result<http::Request<Body>, Status> {
    let mut http = http::Request::new(Body::new(inbox));
    *http.method_mut() = request.method();
    *http.version_mut() = request.version();
    *http.uri_mut() = request.path().parse().map_err(|_| Status::unimplemented("the path is not valid"))?;
    *http.headers_mut() = request.headers();
    Ok(http)
}

/// A response that is over with its head.
pub(super) fn over(status: Status) -> Response {
    let (head, _) = status.into_http::<Body>().into_parts();
    with_head(Response::buffered(""), head)
}

fn with_head(mut response: Response, head: http::response::Parts) -> Response {
    response.status = head.status.as_u16();
    response.headers = head.headers.into();
    response
}

fn trailers_of(status: &Status) -> Fields {
    let mut fields = http::HeaderMap::new();
    // A status whose details are too long for a field is none.
    if status.add_header(&mut fields).is_err() {
        fields.insert(Status::GRPC_STATUS, http::HeaderValue::from(13));
    }
    fields.into()
}
