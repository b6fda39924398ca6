//! Request bodies.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::code::{Code, Fault};
use crate::head::read_trailers;
use crate::message::Event;
use crate::receive::{End, Receiver};
use crate::shared::{Blocked, Section, Shared};

/// The body of a request, as it comes from the wire.
///
/// Only polled bytes are acknowledged to the client: the window stays closed until then. Trailers come as the last
/// frame. A body that ends without an error is complete and as long as `content-length` says. The first poll that has
/// to wait sends 100 to a client that asked for it. Dropping an unfinished body asks a client that sends more of it to
/// stop, with `H3_NO_ERROR` (RFC 9114 section 4.1).
pub struct RequestBody {
    stream: Option<Stream>,
}

struct Stream {
    receiver: Arc<Receiver>,
    shared: Arc<Shared>,
    id: u64,
    /// The event that came with the head.
    first: Option<Event>,
    section: Option<(Bytes, Blocked)>,
    /// The decoded trailers, held until the client has finished: only then is the message known to be whole.
    trailers: Option<HeaderMap>,
    received: u64,
}

impl RequestBody {
    /// Makes an empty body.
    pub fn empty() -> RequestBody {
        RequestBody { stream: None }
    }

    /// Makes a body. `first` is the event that came with the head: some of the body, or its end.
    pub(crate) fn new(
        receiver: Arc<Receiver>,
        shared: Arc<Shared>,
        id: u64,
        first: Option<Result<Event, End>>,
    ) -> RequestBody {
        let first = match first {
            Some(Err(End::Finished)) => return RequestBody::empty(),
            Some(Ok(event)) => Some(event),
            // The next poll finds any other end again.
            Some(Err(_)) | None => None,
        };
        RequestBody { stream: Some(Stream { receiver, shared, id, first, section: None, trailers: None, received: 0 }) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let polled = ready!(stream.poll_frame(cx));
        if !matches!(&polled, Some(Ok(frame)) if frame.is_data()) {
            self.stream = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(stream) = &self.stream else { return SizeHint::with_exact(0) };
        match stream.receiver.with_message(|message| message.announced()) {
            Some(length) => SizeHint::with_exact(length.saturating_sub(stream.received)),
            None => SizeHint::default(),
        }
    }
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some((section, blocked)) = &mut self.section {
                let section = ready!(self.shared.poll_decode(cx, self.id, section, blocked));
                self.section = None;
                let trailers = match section {
                    Ok(Section::Fields(fields)) => read_trailers(fields),
                    Ok(Section::TooLarge) => return Poll::Ready(Some(Err(self.trailers_too_large()))),
                    Err(fault) => Err(fault),
                };
                match trailers {
                    Ok(trailers) => self.trailers = Some(trailers),
                    Err(fault) => {
                        self.receiver.fault(fault.clone());
                        return Poll::Ready(Some(Err(BodyError::Malformed(fault))));
                    }
                }
            }
            let event = match self.first.take() {
                Some(event) => Ok(event),
                None => ready!(self.receiver.poll_event(cx)),
            };
            return Poll::Ready(match event {
                Ok(Event::Data(data)) => {
                    self.received += data.len() as u64;
                    match self.shared.config.http3.max_body {
                        Some(limit) if self.received > limit => Some(Err(BodyError::TooLarge { limit })),
                        _ => Some(Ok(Frame::data(data))),
                    }
                }
                Ok(Event::Trailers(section)) => {
                    self.section = Some((section, Blocked::default()));
                    continue;
                }
                Ok(Event::TooLarge { .. }) => {
                    self.shared.cancel_decoding(self.id);
                    Some(Err(self.trailers_too_large()))
                }
                // The head is read before a body is made, and a message has only one.
                Ok(Event::Headers(_) | Event::WebTransport { .. }) => continue,
                Err(End::Finished) => self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
                Err(end) => Some(Err(end.into())),
            });
        }
    }

    fn trailers_too_large(&self) -> BodyError {
        self.receiver.stop(Code::EXCESSIVE_LOAD);
        BodyError::TrailersTooLarge
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // RFC 9204 section 2.2.2.2: there are trailers that will not be decoded, or some may still come.
        let undecoded = self.section.is_some() || matches!(self.first, Some(Event::Trailers(_)));
        if undecoded || !self.receiver.is_read() {
            self.shared.cancel_decoding(self.id);
        }
        self.receiver.discard();
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
    /// The connection failed or was closed.
    #[error("the connection was lost before the end of the body")]
    ConnectionLost,
    /// The bytes are not a valid message. The stream or the connection is being ended for it.
    #[error("malformed body: {0}")]
    Malformed(Fault),
    /// The client reset the stream.
    #[error("the client reset the stream before the end of the body")]
    Reset,
    /// This side asked the client to stop, after the response.
    #[error("the rest of the body was refused")]
    Stopped,
    /// The body is longer than [`Http3::max_body`](roadrunner_values::Http3::max_body).
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The trailers are larger than [`Http3::max_header_list`](roadrunner_values::Http3::max_header_list).
    #[error("the trailers are too large")]
    TrailersTooLarge,
}

impl From<End> for BodyError {
    fn from(end: End) -> BodyError {
        match end {
            End::Fault(fault) => BodyError::Malformed(fault),
            End::Lost => BodyError::ConnectionLost,
            End::Reset => BodyError::Reset,
            End::Finished | End::Stopped => BodyError::Stopped,
        }
    }
}
