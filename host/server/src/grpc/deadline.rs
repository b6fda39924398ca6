//! The caller's deadline, while the answer is sent.
//!
//! Before the head, the deadline is the request's, like that of the limit `total`. After it, the answer ends with a
//! status, so that a caller whose clock is slower is told. A caller that reads nothing cannot be told: for that, the
//! transport ends the stream a little later.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use roadrunner_account::Outcome;
use roadrunner_grpc::Protocol;
use roadrunner_wire::{Abort, ResponseBody};
use tokio::time::Sleep;

use super::progress::last_frame;

/// The time that the answer has to say that the deadline has passed.
const GRACE: Duration = Duration::from_millis(20);

/// Lets the answer to a call end with its deadline. Anything but an answer in a protocol of calls stays as it is.
pub(crate) fn ends_by(
    response: Response<ResponseBody>,
    protocol: &Protocol,
    deadline: Instant,
) -> Response<ResponseBody> {
    if response.body().is_whole() || Protocol::of(response.headers()).is_none() {
        return response;
    }
    let (head, body) = response.into_parts();
    let body = Ending {
        body: Some(body),
        timer: Box::pin(tokio::time::sleep_until(deadline.into())),
        protocol: protocol.clone(),
    };
    Response::from_parts(head, ResponseBody::new(body))
}

/// The time at which the transport ends the answer.
pub(crate) fn cut_at(deadline: Instant) -> Instant {
    deadline + GRACE
}

/// A body that ends with a status at its deadline.
struct Ending {
    /// The body; none when it is over.
    body: Option<ResponseBody>,
    timer: Pin<Box<Sleep>>,
    protocol: Protocol,
}

impl Body for Ending {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // The guest is gone before its caller hears of it.
        self.body = None;
        Poll::Ready(Some(Ok(last_frame(&self.protocol, Outcome::TotalExceeded))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use http_body_util::BodyExt as _;

    use super::*;

    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Abort;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_waits_ends_with_a_status() {
        let content_type = HeaderValue::from_static("application/grpc");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        let protocol = Protocol::of(&headers).expect("a protocol");
        let mut response = Response::new(ResponseBody::new(Never));
        *response.headers_mut() = headers;
        let mut body = ends_by(response, &protocol, Instant::now() + Duration::from_millis(30)).into_body();
        let trailers = body.frame().await.expect("a frame").expect("no abort").into_trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "4");
        assert!(body.frame().await.is_none());
    }
}
