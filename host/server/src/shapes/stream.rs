//! The shape stream: the connection polls the body, and the body polls the guest.
//!
//! So a client that does not read holds up the guest, and a connection that drops the body ends it. There is no task
//! and no queue: at most one chunk is between guest and connection.
//!
//! A body of a declared length is complete with its last byte, and the connection may drop it then. Its guest still
//! runs to its end, in a separate task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use roadrunner_account::{Failure, Outcome};
use roadrunner_sandbox::{BodyError, Head, Instance, Outbox};
use roadrunner_wire::{Abort, ResponseBody};

use super::buffered::with_body;
use super::claim::Claim;
use super::held::spawn;
use crate::record::Record;

/// The number of polls of a guest that pulls the request's body, before the head is sent: a body that is malformed from
/// the start is then answered with 400.
const TURNS: usize = 4;

/// A guest that writes its body.
pub(super) struct Stream {
    outbox: Outbox<Bytes>,
    /// The chunk that was written before the head was sent.
    first: Option<Bytes>,
    guest: Guest,
    claim: Claim,
    /// The longest time that the guest may run on when its body is complete.
    patience: Duration,
    record: Record,
}

enum Guest {
    Running(Pin<Box<dyn Future<Output = Result<HeaderMap, Failure>> + Send>>),
    /// The guest is gone; its result still has to be sent.
    Returned(Result<HeaderMap, Failure>),
    Ended,
}

impl Stream {
    pub(super) fn new(mut instance: Instance, claim: Claim, record: Record) -> Self {
        let outbox = Outbox::default();
        let mailbox = outbox.clone();
        let patience = instance.binding().grants.limits.deadline;
        let guest = Guest::Running(Box::pin(async move { instance.run(&mailbox).await }));
        Self { outbox, first: None, guest, claim, patience, record }
    }

    /// Whether the request's body may still turn out to be invalid.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.record.watches_body()
    }

    /// Lets the guest begin. Returns an error if the request's body turns out to be invalid.
    pub(super) async fn begin(&mut self) -> Option<BodyError> {
        let mut turns = TURNS;
        poll_fn(|context| {
            if let Guest::Running(guest) = &mut self.guest
                && let Poll::Ready(result) = guest.as_mut().poll(context)
            {
                self.guest = Guest::Returned(result);
            }
            self.first = self.outbox.take();
            turns -= 1;
            let is_waiting = self.first.is_none() && matches!(self.guest, Guest::Running(_));
            if turns == 0 || !is_waiting || self.record.refusal().is_some() {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.record.refusal()
    }

    /// Answers a refused request, while nothing was sent yet.
    pub(super) fn refused(self, refusal: &BodyError) -> Response<ResponseBody> {
        let Self { guest, record, .. } = self;
        drop(guest);
        record.refused(refusal)
    }

    pub(super) fn answer(mut self, head: Head) -> Response<ResponseBody> {
        self.record.head(head.status, &head.headers);
        with_body(head, ResponseBody::new(StreamBody(Some(self))))
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if let Some(chunk) = self.first.take().or_else(|| self.outbox.take()) {
            return Poll::Ready(Some(self.frame(chunk)));
        }
        if let Guest::Running(guest) = &mut self.guest {
            let polled = guest.as_mut().poll(context);
            if let Poll::Ready(result) = polled {
                self.guest = Guest::Returned(result);
            }
            // The guest may have written before it waited or returned.
            if let Some(chunk) = self.outbox.take() {
                return Poll::Ready(Some(self.frame(chunk)));
            }
        }
        match std::mem::replace(&mut self.guest, Guest::Ended) {
            running @ Guest::Running(_) => {
                self.guest = running;
                Poll::Pending
            }
            Guest::Returned(Ok(_)) if !self.claim.is_kept() => {
                self.record.end_with(&Claim::broken());
                Poll::Ready(Some(Err(Abort)))
            }
            Guest::Returned(Ok(trailers)) => {
                self.record.trailers(&trailers);
                self.record.close(Outcome::Ok);
                Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
            }
            Guest::Returned(Err(failure)) => {
                self.record.end_with(&failure);
                Poll::Ready(Some(self.record.cut()))
            }
            Guest::Ended => Poll::Ready(None),
        }
    }

    fn frame(&mut self, chunk: Bytes) -> Result<Frame<Bytes>, Abort> {
        if !self.claim.take(&chunk) {
            self.guest = Guest::Ended;
            self.record.end_with(&Claim::broken());
            return Err(Abort);
        }
        self.record.sent(chunk.len());
        Ok(Frame::data(chunk))
    }

    /// Runs the guest to its end. Any further output is an error.
    async fn run_on(mut self) {
        let patience = self.patience;
        let ended = poll_fn(|context| {
            loop {
                match std::task::ready!(self.poll_frame(context)) {
                    Some(Ok(_)) => {}
                    Some(Err(Abort)) | None => return Poll::Ready(()),
                }
            }
        });
        if tokio::time::timeout(patience, ended).await.is_err() {
            self.record.close(Outcome::DeadlineExceeded);
        }
    }
}

/// The body of the response.
struct StreamBody(Option<Stream>);

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        match &mut self.0 {
            Some(stream) => stream.poll_frame(context),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take()
            && stream.claim.is_reached()
            && !matches!(stream.guest, Guest::Ended)
        {
            spawn(stream.run_on());
        }
    }
}
