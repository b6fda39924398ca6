//! Requests to other servers, with the types of the `http` crate. The manifest grants them by origin: `outbound` of the
//! component.
//!
//! ```no_run
//! # fn f() -> Result<(), roadrunner_guest::client::Error> {
//! use std::time::Duration;
//! use roadrunner_guest::client::{self, Timeouts};
//! use roadrunner_guest::http::Request;
//!
//! let request = Request::get("https://api.example.com/orders/7").extension(Timeouts::all(Duration::from_secs(2)));
//! let mut response = client::send(request.body("").map_err(client::Error::invalid)?)?;
//! let order = response.body_mut().read_to_end()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`send`] sends a body that is there; an [`Exchange`] streams one, also while the answer comes. Calls that wait suspend
//! the instance and leave the host free. Redirects are answers like any other.
//!
//! Natively, [`crate::testing::TestHost::origin`] answers.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::error::Rejection;
use crate::fields::Fields;
use crate::log::Level;
use crate::response::{IntoResponse, Response};

#[cfg(target_family = "wasm")]
#[path = "wasi.rs"]
mod raw;

#[cfg(not(target_family = "wasm"))]
#[path = "native.rs"]
mod raw;

/// The result of a request to another server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Sends a request, and waits for the head of its answer. Timeouts are an extension of the request.
///
/// # Errors
/// When there is no answer.
pub fn send<B: AsRef<[u8]>>(request: http::Request<B>) -> Result<http::Response<Incoming>> {
    let (mut head, body) = request.into_parts();
    let body = body.as_ref();
    let has_body = !body.is_empty() || matches!(head.method.as_str(), "PATCH" | "POST" | "PUT");
    if has_body && !head.headers.contains_key(http::header::CONTENT_LENGTH) {
        head.headers.insert(http::header::CONTENT_LENGTH, body.len().into());
    }
    let mut exchange = Exchange::start(http::Request::from_parts(head, ()))?;
    // A server that reads no more may have answered.
    if exchange.write(body) {
        exchange.finish(())?;
    }
    exchange.response()
}

/// A request whose head is sent: write its body, and take its answer at any time.
#[derive(Debug)]
pub struct Exchange {
    raw: raw::Sending,
    origin: String,
}

impl Exchange {
    /// Sends the head of a request. Timeouts are an extension of the request.
    ///
    /// # Errors
    /// When the target is no absolute URL of http or https, and [`Error::NotGranted`].
    pub fn start(request: http::Request<()>) -> Result<Self> {
        let (head, ()) = request.into_parts();
        let (scheme, authority) = match (head.uri.scheme_str(), head.uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => (scheme, authority),
            _ => return Err(Error::Invalid(format!("{} is no URL of http or https", head.uri))),
        };
        let origin = format!("{scheme}://{authority}");
        let timeouts = head.extensions.get::<Timeouts>().copied().unwrap_or_default();
        let raw = raw::Sending::start(&head, timeouts).map_err(|failure| failure.of(&origin))?;
        Ok(Self { raw, origin })
    }

    /// Sends a piece of the body. Waits while the server does not read; `false` when it reads no more, which its answer
    /// may explain.
    pub fn write(&mut self, piece: impl AsRef<[u8]>) -> bool {
        self.raw.write(piece.as_ref())
    }

    /// Ends the body, with trailer fields or `()`.
    ///
    /// # Errors
    /// When the body is shorter than its `content-length`.
    pub fn finish(&mut self, trailers: impl Into<Fields>) -> Result<()> {
        self.raw.finish(trailers.into()).map_err(|failure| failure.of(&self.origin))
    }

    /// Waits for the head of the answer, of which there is one. The body of the request need not have ended.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn response(&mut self) -> Result<http::Response<Incoming>> {
        let (status, headers, raw) = self.raw.head().map_err(|failure| failure.of(&self.origin))?;
        let mut response = http::Response::new(Incoming { raw, origin: self.origin.clone() });
        *response.status_mut() = http::StatusCode::from_u16(status).map_err(Error::invalid)?;
        *response.headers_mut() = headers.to_header_map();
        Ok(response)
    }
}

/// The body of an answer. It is also an [`io::Read`].
#[derive(Debug)]
pub struct Incoming {
    raw: raw::Receiving,
    origin: String,
}

impl Incoming {
    /// The next piece, of at most 64 KiB; `None` at the end. Waits for the server.
    ///
    /// # Errors
    /// When the body was cut short, or a timeout has passed.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>> {
        self.read_up_to(PIECE)
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`Incoming::read`].
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.read()? {
            all.extend(piece);
        }
        Ok(all)
    }

    /// The trailer fields; the rest of the body is first read and dropped.
    ///
    /// # Errors
    /// As [`Incoming::read`].
    pub fn trailers(&mut self) -> Result<Fields> {
        while self.read()?.is_some() {}
        self.raw.trailers().map_err(|failure| failure.of(&self.origin))
    }

    fn read_up_to(&mut self, max: u64) -> Result<Option<Vec<u8>>> {
        self.raw.read(max).map_err(|failure| failure.of(&self.origin))
    }
}

impl io::Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(piece) = self.read_up_to(buffer.len() as u64).map_err(io::Error::other)? else { return Ok(0) };
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// For services that pass an answer on.
#[cfg(feature = "tower")]
impl http_body::Body for Incoming {
    type Data = bytes::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>>>> {
        let piece = self.read().transpose();
        std::task::Poll::Ready(piece.map(|piece| piece.map(|piece| http_body::Frame::data(piece.into()))))
    }
}

/// The longest waits of a request, an extension of it. The host's own are the upper bounds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For the connection.
    pub connect: Option<Duration>,
    /// From then to the head of the answer.
    pub first_byte: Option<Duration>,
    /// For each piece of the answer.
    pub between_bytes: Option<Duration>,
}

impl Timeouts {
    /// The same time for each wait.
    pub fn all(time: Duration) -> Self {
        Self { connect: Some(time), first_byte: Some(time), between_bytes: Some(time) }
    }
}

/// Why a request got no answer, or not all of it. Returned by a handler it is 502, 504 for a timeout and 500 for a
/// request that the guest should not have made, and a line in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed, or the answer did; the text says how.
    Failed(String),
    /// The request is not one of HTTP.
    Invalid(String),
    /// The manifest does not grant the request; the text names the key.
    NotGranted(String),
    /// A timeout has passed, of the request or of the host.
    Timeout(String),
}

impl Error {
    /// Makes the error of a request that cannot be built.
    pub fn invalid(why: impl fmt::Display) -> Self {
        Self::Invalid(why.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::Invalid(why) | Self::NotGranted(why) | Self::Timeout(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        crate::log::write(Level::Error, &self.to_string());
        let (status, text) = match self {
            Self::Failed(_) => (http::StatusCode::BAD_GATEWAY, "another server has failed"),
            Self::Invalid(_) | Self::NotGranted(_) => (http::StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Self::Timeout(_) => (http::StatusCode::GATEWAY_TIMEOUT, "another server took too long"),
        };
        Rejection::new(status, text).into_response()
    }
}

/// Why the host has no answer.
#[derive(Debug)]
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))] // Tests natively have fewer ways to fail.
enum Failure {
    /// The origin is not granted.
    Denied,
    /// A field or a part of the target is refused.
    Invalid(&'static str),
    /// The name has no public address.
    Private,
    /// A timeout; the name of the case.
    Timeout(String),
    /// Any other.
    Other(String),
}

impl Failure {
    fn of(self, origin: &str) -> Error {
        match self {
            Self::Denied => Error::NotGranted(format!(
                "the manifest does not grant {origin}: add it to `outbound` of the component"
            )),
            Self::Invalid(what) => Error::Invalid(format!("{what} is not one that a request may have")),
            Self::Private => Error::NotGranted(format!(
                "{origin} has no public address, which `outbound-private = true` of the component would allow"
            )),
            Self::Timeout(which) => Error::Timeout(format!("the request to {origin} took too long ({which})")),
            Self::Other(why) => Error::Failed(format!("the request to {origin} failed: {why}")),
        }
    }
}

/// The most bytes that a piece holds.
const PIECE: u64 = 64 << 10;
