//! A body that is compressed while it is sent, in pieces that its request pays for.
//!
//! The encoder of tower-http works inside its body's `poll_frame`, on all the data that the body behind it returns. So
//! that body, [`Pieces`], returns one piece at a time and then lets others have their turn; [`Compressed`], around it,
//! measures. The wait for a tenant's CPU time and for a turn comes before a piece, and not before the guest runs: the
//! guest has the same wait of its own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use roadrunner_account::{Listed, Outcome, PIECE, Pause, Payer};
use roadrunner_wire::{Abort, ResponseBody};
use tower_http::compression::CompressionBody;

use crate::record::Accounted;

/// The smallest size that a frame counts as, in bytes: an encoder has work even with empty frames.
const LEAST_FRAME: usize = 256;

/// The body to be compressed.
pub(super) struct Pieces {
    body: ResponseBody,
    /// The account that pays; none for an answer of a middleware.
    accounted: Option<Accounted>,
    /// Whether the response was encoded before.
    pub(super) encoded: bool,
    pause: Pause,
    /// The rest of a frame.
    rest: Bytes,
    /// The bytes given to the encoder since others had their turn.
    given: usize,
}

impl Pieces {
    pub(super) fn new(body: ResponseBody, accounted: Option<Accounted>, encoded: bool) -> Self {
        Self { body, accounted, encoded, pause: Pause::default(), rest: Bytes::new(), given: 0 }
    }

    pub(super) fn into_body(self) -> ResponseBody {
        self.body
    }

    fn payer(&self) -> Option<&Payer> {
        self.accounted.as_ref().map(|accounted| &accounted.payer)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        if this.given >= PIECE {
            this.given = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.rest.is_empty() {
            // The guest takes a turn of its own.
            this.pause.end(false);
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {
                        this.given += LEAST_FRAME;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        if let Some(Accounted { payer, .. }) = &this.accounted {
            ready!(this.pause.poll_over(payer, context));
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE - this.given));
        this.given += piece.len().max(LEAST_FRAME);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The hint is not used any more once there is a rest.
        self.body.size_hint()
    }
}

/// The compressed body.
pub(super) struct Compressed {
    body: Pin<Box<CompressionBody<Pieces>>>,
    ended: bool,
    _listed: Option<Listed>,
}

impl Compressed {
    pub(super) fn new(body: CompressionBody<Pieces>) -> Self {
        let listed = body.get_ref().payer().map(Payer::list);
        Self { body: Box::pin(body), ended: false, _listed: listed }
    }

    fn failure(&self, context: &Context<'_>) -> Option<Outcome> {
        let payer = self.body.get_ref().payer()?;
        payer.register(context);
        payer.failure()
    }

    fn cut(&mut self, outcome: Outcome) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        self.ended = true;
        if let Some(Accounted { ledger, .. }) = &self.body.get_ref().accounted {
            ledger.cut(outcome);
        }
        Poll::Ready(Some(Err(Abort)))
    }
}

impl Body for Compressed {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(outcome) = this.failure(context) {
            return this.cut(outcome);
        }
        let body = &mut this.body;
        let polled = match body.get_ref().payer().cloned() {
            Some(payer) => payer.work(|| body.as_mut().poll_frame(context)),
            None => body.as_mut().poll_frame(context),
        };
        let pieces = body.as_mut().get_pin_mut().get_mut();
        // Short bodies need no turn.
        let long = pieces.given >= PIECE;
        pieces.pause.end(long);
        match polled {
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                // The producer of the body has reported the reason.
                this.ended = true;
                Poll::Ready(Some(Err(Abort)))
            }
            polled => match this.failure(context) {
                Some(outcome) => this.cut(outcome),
                None => polled.map(|frame| frame.map(|frame| frame.map_err(|_| Abort))),
            },
        }
    }
}

impl Drop for Compressed {
    fn drop(&mut self) {
        if !self.ended
            && let Some(Accounted { ledger, .. }) = &self.body.get_ref().accounted
        {
            ledger.leave();
        }
    }
}
