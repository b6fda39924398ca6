//! The body of an answer, which the guest pulls and which has to come in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::error::Error;

/// The body of an answer. Between the socket and the guest there is at most one read of hyper.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    between_bytes: Duration,
    ends: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whether the guest has waited since the last frame.
    waits: bool,
}

impl ResponseBody {
    pub(crate) fn new(incoming: Incoming, between_bytes: Duration, ends: Instant) -> Self {
        Self { incoming, between_bytes, ends, timer: Box::pin(tokio::time::sleep_until(ends)), waits: false }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            this.waits = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::Http)));
        }
        if !std::mem::replace(&mut this.waits, true) {
            let next = Instant::now() + this.between_bytes;
            this.timer.as_mut().reset(next.min(this.ends));
        }
        match this.timer.as_mut().poll(context) {
            Poll::Ready(()) if Instant::now() >= this.ends => Poll::Ready(Some(Err(Error::TotalTimeout))),
            Poll::Ready(()) => Poll::Ready(Some(Err(Error::BetweenBytesTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
