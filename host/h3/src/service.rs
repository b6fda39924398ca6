//! The interface between the server and this crate: one function from a request to a response.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::RequestBody;
use crate::shared::ConnectionInfo;

/// Any error of a response body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Answers requests.
///
/// The future is polled in the stream's task and dropped there when the client resets or stops the stream, or when the
/// connection ends. The same holds for the response body. A body that fails, or that is not as long as its
/// `content-length`, resets the stream with `H3_INTERNAL_ERROR`.
pub trait Service: Send + Sync + 'static {
    /// The type of response bodies.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers one request. A panic is answered with 500.
    ///
    /// A CONNECT has an empty body and may become a tunnel: see [`TunnelRequest::take`](crate::TunnelRequest::take).
    fn call(
        &self,
        request: Request<RequestBody>,
        connection: Arc<ConnectionInfo>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Runs everything that happens on one request stream, including this service's part: the place for deadlines that
    /// concern both. Dropping the future resets the stream with `H3_REQUEST_CANCELLED`. A poll without a wake-up checks
    /// whether the client has moved.
    fn watch(&self, stream: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        stream
    }

    /// Notes, inside the future of [`Service::watch`], that there are bytes to send that the client does not take. It
    /// is called again at each poll that changes nothing.
    fn write_blocked(&self) {}

    /// Notes, inside the future of [`Service::watch`], that the client has taken bytes.
    fn write_moved(&self) {}

    /// Notes an event for which the service is not called.
    fn notice(&self, _: Notice) {}
}

/// An event that a [`Service`] may want to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A request head did not come within [`Timeouts::request_head`](roadrunner_values::Timeouts::request_head).
    HeadTimedOut,
    /// No request came for [`Timeouts::h3_idle`](roadrunner_values::Timeouts::h3_idle), and the connection ends.
    IdleTimedOut,
    /// The client abandoned more requests than
    /// [`Http3::resets_per_second`](roadrunner_values::Http3::resets_per_second) allows, and the connection ends.
    Flooded,
    /// A request was refused before the service saw it: malformed, or too large.
    Refused,
}
