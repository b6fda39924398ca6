//! Bodies whose pieces are charged to an account while anything holds them, including the transport.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use roadrunner_account::{Account, Charge, Covering, Holder};
use roadrunner_wire::{Abort, ResponseBody};

use crate::answer::refuse;
use crate::record::Accounted;

/// The most bytes that an encoder holds in addition to its window, and the window: brotli at quality 4, zstd at level
/// 3. The window is no larger than the body before encoding.
const BROTLI: (u64, u64) = (1 << 20, 8 << 20);
const ZSTD: (u64, u64) = (1280 << 10, 2 << 20);
const GZIP: (u64, u64) = (288 << 10, 32 << 10);

/// An extension of responses from a route's target: the account for bytes that middlewares hold of them.
#[derive(Clone)]
pub(crate) struct Answerable {
    holder: Arc<Holder>,
    /// The length of the body, where it is known.
    length: Option<u64>,
    /// Whether the body is encoded already.
    encoded: bool,
}

impl Answerable {
    pub(crate) fn of(response: &Response<ResponseBody>, holder: Holder) -> Self {
        let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
        Self { holder: Arc::new(holder), length: response.body().size_hint().exact(), encoded }
    }
}

/// Charges for the encoder of a response, if the response was compressed.
pub(crate) fn compressed(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let Some(Answerable { holder, length, encoded: false }) = response.extensions_mut().remove() else {
        return response;
    };
    let (beside, window) = match response.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        Some(b"br") => BROTLI,
        Some(b"zstd") => ZSTD,
        Some(b"gzip") => GZIP,
        _ => return response,
    };
    if response.body().is_end_stream() {
        return response;
    }
    let accounted = response.extensions().get::<Accounted>().cloned();
    let size = beside + length.map_or(window, |length| length.min(window));
    let charged = match accounted.as_ref().and_then(|accounted| accounted.ledger.meter()) {
        Some(meter) => Charge::take(meter.clone(), size).map(|charge| held(&mut response, charge, meter)),
        None => Charge::take(holder.clone(), size).map(|charge| held(&mut response, charge, holder)),
    };
    if let Err(outcome) = charged {
        if let Some(Accounted { ledger, .. }) = accounted {
            ledger.replace(outcome);
        }
        return refuse(outcome);
    }
    response
}

fn held<A: Account + 'static>(response: &mut Response<ResponseBody>, charge: Charge, account: Arc<A>) {
    let body = std::mem::replace(response.body_mut(), ResponseBody::empty());
    *response.body_mut() = ResponseBody::new(Held::new(body, charge, account));
}

/// A body that the host makes, such as that of a file. A piece that finds no room in the host's buffers waits, and
/// holds up the producer of the next piece.
pub(crate) struct Held<B, A> {
    body: B,
    account: Arc<A>,
    covering: Covering,
    /// The charge for the bytes that the producer of the pieces holds, in addition to the pieces.
    _charge: Charge,
}

impl<B, A: Account + 'static> Held<B, A> {
    pub(crate) fn new(body: B, charge: Charge, account: Arc<A>) -> Self {
        Self { body, account, covering: Covering::default(), _charge: charge }
    }
}

impl<B, A> Body for Held<B, A>
where
    B: Body<Data = Bytes, Error = Abort> + Unpin,
    A: Account + 'static,
{
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let this = &mut *self;
        if !this.covering.is_waiting() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => this.covering.put(piece),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let covered = ready!(this.covering.poll(&this.account, context));
        Poll::Ready(Some(covered.map(Frame::data).map_err(|outcome| {
            tracing::debug!(%outcome, "a body was aborted");
            Abort
        })))
    }

    fn is_end_stream(&self) -> bool {
        !self.covering.is_waiting() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
