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
}
