//! What the server gives to this crate: one function from a request to a response.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::{RequestBody, shared::ConnectionInfo};

/// Any error of a response body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Answers requests.
///
/// The future is polled in the stream's task and dropped there when the client resets or stops the stream, or when the
/// connection ends. The same holds for the response body. A body that fails, or that is not as long as its
/// `content-length`, resets the stream with `H3_INTERNAL_ERROR`.
pub trait Service: Send + Sync + 'static {
    /// The body of the responses.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers one request. A panic is answered with 500.
    ///
    /// A CONNECT has an empty body and may become a tunnel: see [`TunnelRequest::take`](crate::TunnelRequest::take).
    fn call(
        &self,
        request: Request<RequestBody>,
        connection: Arc<ConnectionInfo>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Runs everything that happens on one request stream, this service's part included: the place for deadlines that
    /// concern both. A future that is dropped resets the stream with `H3_REQUEST_CANCELLED`; one that is polled without
    /// having been woken looks whether the client has moved.
    fn watch(&self, stream: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
        stream
    }

    /// Called inside the future of [`Service::watch`] when there is something to send that the client does not take, and
    /// again at each poll that changes nothing.
    fn write_blocked(&self) {}

    /// Called inside the future of [`Service::watch`] when the client has taken something.
    fn write_moved(&self) {}

    /// Something happened that the service is not called for.
    fn notice(&self, _: Notice) {}
}

/// What a [`Service`] may want to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A request head did not come within [`Config::head_timeout`](crate::Config::head_timeout).
    HeadTimedOut,
    /// There was no request for [`Config::idle_timeout`](crate::Config::idle_timeout), and the connection ends.
    IdleTimedOut,
    /// The client left more requests than [`Config::resets_per_second`](crate::Config::resets_per_second) allows, and the
    /// connection ends.
    Flooded,
    /// A request was refused before the service saw it: malformed, or too large.
    Refused,
}
