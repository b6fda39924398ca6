//! Request bodies.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::connection_fields::drop_connection_fields;
use crate::control::Control;
use crate::leftover::Leftover;
use crate::validate::is_padded;
use crate::{Connection, Ending, Protocol, TimeoutName, marks};

/// The body of a request, as it comes from the wire.
///
/// The transport acknowledges only the bytes that were polled: it does not read an HTTP/1 socket, and does not open an
/// HTTP/2 or HTTP/3 window, before a poll. The first poll sends `100 Continue` to a client that waits for it (RFC 9110,
/// 10.1.1). Trailers come as the last frame, on every protocol. A body that ends without an error is complete.
pub struct RequestBody {
    kind: Kind,
}

enum Kind {
    Empty,
    Full(Bytes),
    Wire(Wire),
    Http3 { body: Box<roadrunner_h3::RequestBody>, connection: Arc<Connection> },
}

/// A body of HTTP/1 or HTTP/2.
struct Wire {
    incoming: Incoming,
    protocol: Protocol,
    leftover: Leftover,
    control: Arc<Control>,
    /// Fields that the trailers of this request must not contain.
    named: Vec<HeaderName>,
}

/// The next frame, an error, or the end of the body.
type Polled = Option<Result<Frame<Bytes>, BodyError>>;

impl RequestBody {
    /// Makes an empty body.
    pub fn empty() -> RequestBody {
        RequestBody { kind: Kind::Empty }
    }

    /// Makes a body that is already complete, for tests.
    pub fn from_bytes(bytes: Bytes) -> RequestBody {
        RequestBody { kind: if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) } }
    }

    /// Wraps the body of a request from the wire.
    pub(crate) fn from_wire(request: Request<Incoming>, connection: &Connection) -> Request<RequestBody> {
        let (head, incoming) = request.into_parts();
        if incoming.is_end_stream() {
            return Request::from_parts(head, RequestBody::empty());
        }
        let leftover = Leftover::of(head.version, &head.headers);
        let control = Arc::clone(&connection.control);
        let wire = Wire { incoming, protocol: connection.protocol, leftover, control, named: Vec::new() };
        Request::from_parts(head, RequestBody { kind: Kind::Wire(wire) })
    }

    pub(crate) fn from_http3(body: roadrunner_h3::RequestBody, connection: &Arc<Connection>) -> RequestBody {
        if body.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody { kind: Kind::Http3 { body: Box::new(body), connection: Arc::clone(connection) } }
    }

    /// Sets the fields that the head's `Connection` names; they are dropped from the trailers.
    pub(crate) fn never_trailers(&mut self, names: Vec<HeaderName>) {
        if let Kind::Wire(wire) = &mut self.kind {
            wire.named = names;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Wire(wire) => {
                let polled = ready!(wire.poll_frame(cx));
                self.given(polled)
            }
            Kind::Http3 { body, connection } => {
                let polled = ready!(poll_http3(body, connection, cx));
                self.given(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Wire(wire) => wire.incoming.is_end_stream(),
            Kind::Http3 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Wire(wire) => wire.incoming.size_hint(),
            Kind::Http3 { body, .. } => body.size_hint(),
        }
    }
}

impl Wire {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        let Self { incoming, protocol, leftover, control, named } = self;
        if *leftover == Leftover::Expected {
            // The next poll asks for the body.
            *leftover = Leftover::Drained;
        }
        let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(cx) else {
            if let Some(name) = marks::body_passed() {
                control.leave_unread();
                return Poll::Ready(Some(Err(BodyError::TimedOut(name))));
            }
            marks::body_pending(cx.waker());
            return Poll::Pending;
        };
        Poll::Ready(match polled {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    if *protocol == Protocol::Http2 && trailers.values().any(is_padded) {
                        let reason = "a trailer begins or ends with a blank".to_owned();
                        return Poll::Ready(Some(Err(BodyError::Malformed(reason))));
                    }
                    drop_what_is_no_trailer(trailers);
                    for name in &*named {
                        trailers.remove(name);
                    }
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(BodyError::from_hyper(&error, control))),
            // hyper ends the body quietly when the client resets the stream with NO_ERROR.
            None if *protocol == Protocol::Http2 && !incoming.is_end_stream() => Some(Err(BodyError::Reset)),
            None => None,
        })
    }
}

fn poll_http3(body: &mut roadrunner_h3::RequestBody, connection: &Connection, cx: &mut Context<'_>) -> Poll<Polled> {
    let Poll::Ready(polled) = Pin::new(body).poll_frame(cx) else {
        if let Some(name) = marks::body_passed() {
            return Poll::Ready(Some(Err(BodyError::TimedOut(name))));
        }
        marks::body_pending(cx.waker());
        return Poll::Pending;
    };
    Poll::Ready(polled.map(|frame| {
        let mut frame = frame.map_err(|error| BodyError::from_http3(&error, connection))?;
        if let Some(trailers) = frame.trailers_mut() {
            drop_what_is_no_trailer(trailers);
        }
        Ok(frame)
    }))
}

/// Drops fields that have no meaning in trailers (RFC 9110, 6.5.1): those that frame, route, authorise or change a
/// message, or describe the connection. A recipient might merge them into the head.
fn drop_what_is_no_trailer(trailers: &mut HeaderMap) {
    const NEVER: [HeaderName; 12] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::RANGE,
        header::TRAILER,
    ];
    drop_connection_fields(trailers);
    trailers.remove(header::TE);
    for name in NEVER {
        trailers.remove(name);
    }
}

impl RequestBody {
    /// Notes what the wire has given. An error is the end.
    fn given(&mut self, polled: Polled) -> Poll<Polled> {
        match &polled {
            Some(Ok(frame)) => marks::body_ready(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) | None => self.finish(),
        }
        Poll::Ready(polled)
    }

    /// Marks the body as finished: there is nothing more to read or to wait for.
    fn finish(&mut self) {
        marks::body_ready(0);
        self.kind = Kind::Empty;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.kind, Kind::Empty) {
            Kind::Empty | Kind::Full(_) => {}
            Kind::Wire(Wire { incoming, leftover, control, .. }) => {
                marks::body_ready(0);
                if !incoming.is_end_stream() {
                    leftover.take(incoming, &control);
                }
            }
            Kind::Http3 { .. } => marks::body_ready(0),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

/// Why a request body ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client closed the connection cleanly in the middle of the body.
    #[error("the client closed the connection before the end of the body")]
    Closed,
    /// The connection failed.
    #[error("the connection was lost before the end of the body")]
    ConnectionLost,
    /// The bytes are not a valid body: bad chunk framing, or a length other than `Content-Length`.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// The client reset the stream.
    #[error("the client reset the stream before the end of the body")]
    Reset,
    /// A deadline passed while the service waited for the next piece.
    #[error("the body came too slowly ({0})")]
    TimedOut(TimeoutName),
}

impl BodyError {
    fn from_hyper(error: &hyper::Error, control: &Control) -> BodyError {
        match control.ending() {
            Ending::PeerClosed => return BodyError::Closed,
            Ending::Lost | Ending::Closed => return BodyError::ConnectionLost,
            Ending::TimedOut(name) => return BodyError::TimedOut(name),
            Ending::Open => {}
        }
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(h2) = cause.downcast_ref::<h2::Error>() {
                return BodyError::from_h2(h2);
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return match io.kind() {
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => BodyError::Malformed(io.to_string()),
                    io::ErrorKind::UnexpectedEof => BodyError::Closed,
                    _ => BodyError::ConnectionLost,
                };
            }
            source = cause.source();
        }
        if error.is_incomplete_message() { BodyError::Closed } else { BodyError::ConnectionLost }
    }

    fn from_http3(error: &roadrunner_h3::BodyError, connection: &Connection) -> BodyError {
        use roadrunner_h3::BodyError as Http3Error;
        match error {
            Http3Error::ConnectionLost => match connection.ending() {
                Ending::PeerClosed => BodyError::Closed,
                Ending::TimedOut(name) => BodyError::TimedOut(name),
                Ending::Closed | Ending::Lost | Ending::Open => BodyError::ConnectionLost,
            },
            Http3Error::Reset | Http3Error::Stopped => BodyError::Reset,
            Http3Error::Malformed(_) | Http3Error::TooLarge { .. } | Http3Error::TrailersTooLarge => {
                BodyError::Malformed(error.to_string())
            }
        }
    }

    fn from_h2(error: &h2::Error) -> BodyError {
        if error.is_io() {
            BodyError::ConnectionLost
        } else if error.is_remote() && error.is_reset() {
            BodyError::Reset
        } else if error.is_library() {
            BodyError::Malformed(error.to_string())
        } else {
            BodyError::ConnectionLost
        }
    }
}
