//! The shape standard: a standard component has set its response, and runs on while its body is sent.
//!
//! As in the shape stream, the connection polls the body and the body polls the guest. So a client that does not read
//! holds up the guest, and a connection that drops the body ends it. Most guests that set a short response have
//! returned by then: they are answered like a buffered response, with its length.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use roadrunner_account::{Covering, Failure, Meter, Outcome};
use roadrunner_sandbox::{Head, Standard};
use roadrunner_wire::{Abort, ResponseBody};

use super::buffered::{buffered, has_no_body, with_body};
use super::claim::Claim;
use super::facts::RequestFacts;
use crate::answer::Reason;
use crate::record::Record;

/// Answers with the response that a standard component has set.
pub(crate) fn answer(
    mut guest: Standard,
    head: Head,
    facts: &RequestFacts,
    mut record: Record,
) -> Response<ResponseBody> {
    if facts.is_connect() && head.status.is_success() {
        // RFC 8441, 4: the answer would open a tunnel, and WASI has none.
        return record.mismatched(Reason::Mismatch("a standard component opens no sessions"));
    }
    if let Some(refusal) = record.refusal() {
        return record.refused(&refusal);
    }
    let mut claim = Claim::new(head.length);
    if has_no_body(&head, facts) {
        guest.finish();
        return record.done(with_body(head, ResponseBody::empty()));
    }
    match guest.whole() {
        Err(failure) => record.failed(failure),
        Ok(Some((body, _))) if !claim.take(&body) || !claim.is_kept() => record.failed(Claim::broken()),
        Ok(Some((body, trailers))) => {
            guest.finish();
            record.trailers(&trailers);
            record.done(buffered(head, body, trailers, facts))
        }
        Ok(None) => {
            record.head(head.status, &head.headers);
            let (meter, covering) = (guest.meter().clone(), Covering::default());
            with_body(head, ResponseBody::new(StandardBody { guest: Some(guest), meter, covering, claim, record }))
        }
    }
}

struct StandardBody {
    /// The guest; none once the body is over.
    guest: Option<Standard>,
    meter: Arc<Meter>,
    /// A piece that is being charged to the account.
    covering: Covering,
    claim: Claim,
    record: Record,
}

impl Body for StandardBody {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        if this.covering.is_waiting() {
            return this.poll_covered(context);
        }
        let Some(guest) = &mut this.guest else { return Poll::Ready(None) };
        let frame = match ready!(guest.poll_frame(context)) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(failure)) => return this.abort(&failure),
            None => None,
        };
        match frame {
            Some(frame) if frame.is_data() => {
                if !frame.data_ref().is_some_and(|data| this.claim.take(data)) {
                    return this.abort(&Claim::broken());
                }
                this.covering.put(frame.into_data().unwrap_or_default());
                this.poll_covered(context)
            }
            end if this.claim.is_kept() => {
                if let Some(trailers) = end.as_ref().and_then(Frame::trailers_ref) {
                    this.record.trailers(trailers);
                }
                this.record.close(Outcome::Ok);
                if let Some(guest) = this.guest.take() {
                    guest.finish();
                }
                Poll::Ready(end.map(Ok))
            }
            _ => this.abort(&Claim::broken()),
        }
    }
}

impl Drop for StandardBody {
    fn drop(&mut self) {
        // The client has the whole body, so it has not left early. The guest runs on to its end.
        if self.claim.is_reached()
            && let Some(guest) = self.guest.take()
        {
            self.record.close(Outcome::Ok);
            guest.finish();
        }
    }
}

impl StandardBody {
    fn poll_covered(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        match ready!(self.covering.poll(&self.meter, context)) {
            Ok(piece) => {
                self.record.sent(piece.len());
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Err(outcome) => self.abort(&outcome.into()),
        }
    }

    fn abort(&mut self, failure: &Failure) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        self.guest = None;
        self.record.end_with(failure);
        Poll::Ready(Some(self.record.cut()))
    }
}
