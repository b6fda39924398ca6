//! The answers of a handler: one response type for all shapes, a builder for each, and [`IntoResponse`] for every type
//! that a handler can return.
//!
//! The host, and not this crate, checks names and values of fields, so that a guest does not pay twice; a response that
//! violates the rules of HTTP is answered with 500 and logged.

mod buffered;
mod event_loop;
mod into_response;
mod sendfile;
mod stream;
mod websocket;
mod webtransport;

pub use buffered::{Html, Redirect};
pub use event_loop::{Disconnect, Event, EventLoop, Message, Next, Session};
pub use into_response::IntoResponse;
pub use sendfile::SendFile;
pub use stream::{Stream, Writer};
pub use websocket::{Sender, WebSocket, WebSocketHandler, WsMessage};
pub use webtransport::{WebTransport, WebTransportHandler, WtEvent, WtSession};

pub(crate) use sendfile::Range;
pub(crate) use stream::StreamFn;

use crate::fields::Fields;

/// A response of any shape. [`Response::buffered`] makes the simplest; [`Stream`], [`EventLoop`], [`crate::Sse`],
/// [`SendFile`], [`WebSocket`] and [`WebTransport`] convert into it.
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) shape: Shape,
}

/// The part of a response after its head.
pub(crate) enum Shape {
    Buffered { body: Vec<u8>, trailers: Fields },
    EventLoop { session: Box<dyn Session>, body_events: bool },
    SendFile { directory: String, path: String, range: Option<Range> },
    Stream(Box<StreamFn>),
    WebSocket { handler: Box<dyn WebSocketHandler>, subprotocol: Option<String> },
    WebTransport(Box<dyn WebTransportHandler>),
}

impl Response {
    /// Makes a response that is complete now: status 200, no header fields. The host writes `content-length`.
    pub fn buffered(body: impl Into<Vec<u8>>) -> Self {
        Self::new(Shape::Buffered { body: body.into(), trailers: Fields::new() })
    }

    pub(crate) fn new(shape: Shape) -> Self {
        Self { status: 200, headers: Fields::new(), shape }
    }

    /// Sets trailer fields of a buffered response. Other shapes return their trailers when they end, and this has no
    /// effect on them.
    #[must_use]
    pub fn trailers(mut self, fields: impl Into<Fields>) -> Self {
        if let Shape::Buffered { trailers, .. } = &mut self.shape {
            *trailers = fields.into();
        }
        self
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = match &self.shape {
            Shape::Buffered { .. } => "buffered",
            Shape::EventLoop { .. } => "loop",
            Shape::SendFile { .. } => "sendfile",
            Shape::Stream(_) => "stream",
            Shape::WebSocket { .. } => "websocket",
            Shape::WebTransport(_) => "webtransport",
        };
        f.debug_struct("Response")
            .field("shape", &shape)
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish()
    }
}

/// The setters of status and header fields, the same for every builder. `$response` is the path from the builder to its
/// [`Response`].
macro_rules! head_setters {
    ($builder:ty $(, $response:tt)*) => {
        impl $builder {
            /// Sets the status, as an [`http::StatusCode`] or a number from 200 to 599.
            ///
            /// # Defaults
            /// 200
            #[must_use]
            pub fn status(mut self, status: impl Into<u16>) -> Self {
                self$(.$response)*.status = status.into();
                self
            }
        }

        $crate::response::header_setters!($builder $(, $response)*);
    };
}

/// As [`head_setters`], for builders whose status the guest cannot choose.
macro_rules! header_setters {
    ($builder:ty $(, $response:tt)*) => {
        impl $builder {
            /// Sets a header field, and replaces those of the same name. The name is converted to lower case.
            #[must_use]
            pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
                self$(.$response)*.headers.set(name, value);
                self
            }

            /// Adds a header field after the existing ones. The name is converted to lower case.
            #[must_use]
            pub fn add_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
                self$(.$response)*.headers.push(name, value);
                self
            }

            /// Announces trailer fields by name (RFC 9110, 6.6.2). HTTP/1.1 clients may only get announced ones.
            #[must_use]
            pub fn trailer_names(self, names: &[&str]) -> Self {
                self.header("trailer", names.join(", "))
            }

            /// Adds a cookie.
            ///
            /// # Errors
            /// When the cookie violates a rule of RFC 6265 or of its name's prefix.
            pub fn cookie(self, cookie: &$crate::SetCookie) -> Result<Self, $crate::CookieError> {
                Ok(self.add_header("set-cookie", cookie.to_header()?))
            }
        }
    };
}

pub(crate) use {head_setters, header_setters};

head_setters!(Response);
