//! The shape stream: the connection polls the body, and the body polls the guest.
//!
//! So a client that does not read holds up the guest, and a connection that drops the body ends it. No task, no
//! queue: at most one chunk lies between guest and connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use roadrunner_sandbox::{Failure, Instance, Outbox, Outcome};
use roadrunner_wire::{Abort, ResponseBody};

use super::Claim;
use crate::record::Record;

pub(super) fn body(mut instance: Instance, claim: Claim, record: Record) -> ResponseBody {
    let outbox = Outbox::default();
    let mailbox = outbox.clone();
    let guest = Box::pin(async move { instance.run(&mailbox).await });
    ResponseBody::new(StreamBody { outbox, guest: Guest::Running(guest), claim, record })
}

struct StreamBody {
    outbox: Outbox<Bytes>,
    guest: Guest,
    claim: Claim,
    record: Record,
}

enum Guest {
    Running(Pin<Box<dyn Future<Output = Result<HeaderMap, Failure>> + Send>>),
    /// The guest is gone; what it returned is still to be sent.
    Returned(Result<HeaderMap, Failure>),
    Ended,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        if let Some(chunk) = this.outbox.take() {
            return Poll::Ready(Some(this.frame(chunk)));
        }
        if let Guest::Running(guest) = &mut this.guest {
            let polled = guest.as_mut().poll(context);
            if let Poll::Ready(result) = polled {
                this.guest = Guest::Returned(result);
            }
            // Written before it waited or returned.
            if let Some(chunk) = this.outbox.take() {
                return Poll::Ready(Some(this.frame(chunk)));
            }
        }
        match std::mem::replace(&mut this.guest, Guest::Ended) {
            running @ Guest::Running(_) => {
                this.guest = running;
                Poll::Pending
            }
            Guest::Returned(Ok(_)) if !this.claim.is_kept() => {
                this.record.end_with(&Claim::broken());
                Poll::Ready(Some(Err(Abort)))
            }
            Guest::Returned(Ok(trailers)) => {
                this.record.close(Outcome::Ok);
                Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
            }
            Guest::Returned(Err(failure)) => {
                this.record.end_with(&failure);
                Poll::Ready(Some(Err(Abort)))
            }
            Guest::Ended => Poll::Ready(None),
        }
    }
}

impl StreamBody {
    fn frame(&mut self, chunk: Bytes) -> Result<Frame<Bytes>, Abort> {
        if !self.claim.take(&chunk) {
            self.guest = Guest::Ended;
            self.record.end_with(&Claim::broken());
            return Err(Abort);
        }
        self.record.sent(chunk.len());
        Ok(Frame::data(chunk))
    }
}
