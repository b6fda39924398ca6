//! Response bodies.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The body of a response. Empty and complete bodies are not boxed.
pub struct ResponseBody {
    kind: Kind,
}

enum Kind {
    Empty,
    Full(Bytes),
    Trailers(Box<HeaderMap>),
    FullWithTrailers(Bytes, Box<HeaderMap>),
    Streaming(Pin<Box<dyn Body<Data = Bytes, Error = Abort> + Send>>),
}

impl ResponseBody {
    /// Makes an empty body.
    pub fn empty() -> ResponseBody {
        ResponseBody { kind: Kind::Empty }
    }

    /// Makes a complete body; it is sent with `content-length`.
    pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
        let bytes = bytes.into();
        ResponseBody { kind: if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) } }
    }

    /// Makes a complete body with trailers. With trailers it is chunked on HTTP/1, and has no `content-length`.
    pub fn full_with_trailers(bytes: impl Into<Bytes>, trailers: HeaderMap) -> ResponseBody {
        let bytes = bytes.into();
        let kind = match (bytes.is_empty(), trailers.is_empty()) {
            (_, true) => return ResponseBody::full(bytes),
            (true, false) => Kind::Trailers(Box::new(trailers)),
            (false, false) => Kind::FullWithTrailers(bytes, Box::new(trailers)),
        };
        ResponseBody { kind }
    }

    /// The whole body, if it is complete and without trailers; an empty body counts, too.
    pub fn bytes(&self) -> Option<&Bytes> {
        static EMPTY: Bytes = Bytes::new();
        match &self.kind {
            Kind::Empty => Some(&EMPTY),
            Kind::Full(bytes) => Some(bytes),
            Kind::Trailers(_) | Kind::FullWithTrailers(..) | Kind::Streaming(_) => None,
        }
    }

    /// Whether the body and its trailers are there already, and nothing produces them any more.
    pub fn is_whole(&self) -> bool {
        !matches!(self.kind, Kind::Streaming(_))
    }

    /// Makes a body that is produced while it is sent. It is polled when the client can take more, and dropped when the
    /// client is gone. Its error ends the response so that the client can tell; see [`Abort`].
    pub fn new(body: impl Body<Data = Bytes, Error = Abort> + Send + 'static) -> ResponseBody {
        ResponseBody { kind: Kind::Streaming(Box::pin(body)) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if let Kind::Streaming(body) = &mut self.kind {
            return body.as_mut().poll_frame(cx);
        }
        match std::mem::replace(&mut self.kind, Kind::Empty) {
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Kind::FullWithTrailers(bytes, trailers) => {
                self.kind = Kind::Trailers(trailers);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(*trailers)))),
            Kind::Empty | Kind::Streaming(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) | Kind::FullWithTrailers(..) | Kind::Trailers(_) => false,
            Kind::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // An exact size would become a content-length, which leaves no room for trailers on HTTP/1.
            Kind::FullWithTrailers(..) | Kind::Trailers(_) => SizeHint::default(),
            Kind::Streaming(body) => body.size_hint(),
        }
    }
}

impl Default for ResponseBody {
    fn default() -> ResponseBody {
        ResponseBody::empty()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

/// Ends a response body abnormally. On HTTP/1 the connection is closed without the last chunk, or short of its
/// `content-length`; on HTTP/2 the stream is reset with INTERNAL_ERROR. Either way the client can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the response was aborted")]
pub struct Abort;
