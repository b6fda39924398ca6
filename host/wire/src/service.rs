//! The interface between the server and this crate: one function from an exchange to a response.

use std::future::Future;
use std::time::Instant;

use http::Response;

use crate::{Exchange, ResponseBody, marks};

/// Answers exchanges.
///
/// The future is polled in the connection's task (HTTP/1) or the stream's task (HTTP/2) and dropped there when the
/// client leaves, when a deadline of the transport passes or when the server cuts. The same holds for the response
/// body, and the request body may be read from either. A request body that is polled from another task still works, but
/// the transport's deadlines for it ([`Timeouts::body_idle`](roadrunner_values::Timeouts::body_idle)) do not apply
/// there.
pub trait Service: Send + Sync + 'static {
    /// Answers one exchange. A panic is logged and answered with 500.
    fn call(&self, exchange: Exchange) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// Sets when the exchange that is being polled has to be over. If the client has not taken the last byte by then, the
/// connection (HTTP/1) or the stream (HTTP/2) is ended with [`Ending::TimedOut`](crate::Ending::TimedOut).
///
/// Call it in the future that [`Service::call`] returns, as its last step: the service itself has to replace a late
/// answer. Anywhere else it does nothing. It does not apply to a tunnel.
pub fn end_by(deadline: Instant) {
    marks::end_by(deadline);
}

/// Polls a request body without the deadlines for slow ones, for an exchange whose client may be quiet for long. On
/// HTTP/1 the socket is read in the same poll, so it does not belong there.
pub fn untimed<R>(poll: impl FnOnce() -> R) -> R {
    marks::untimed(poll)
}
