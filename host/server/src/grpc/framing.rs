//! The framing of messages, checked as a request's body passes.
//!
//! A handler that never sees a wrong message needs no limit of its own, and cannot be made to allocate for a length
//! that a client merely claims.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use roadrunner_grpc::{MessageError, Messages, Protocol};
use roadrunner_sandbox::BodyError;

/// Whether the body of a call has messages whose borders can be seen: not in base64, and not under a content coding.
pub(crate) fn is_framed(protocol: &Protocol, headers: &HeaderMap) -> bool {
    !protocol.is_text() && !headers.contains_key(header::CONTENT_ENCODING)
}

/// A body that ends with an error at the first wrong message.
pub(crate) struct Framed<B> {
    body: B,
    messages: Messages,
    /// Whether the body is over, with or without an error.
    is_over: bool,
}

impl<B> Framed<B> {
    /// Checks a body whose messages have at most `limit` bytes each; none for the largest that a frame can name.
    pub(crate) fn new(body: B, limit: Option<u32>) -> Self {
        Self { body, messages: Messages::new(limit.unwrap_or(u32::MAX)), is_over: false }
    }
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Body for Framed<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let checked = match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(piece) => this.messages.read(piece),
                None => this.messages.end(),
            },
            Some(Err(_)) => Ok(()),
            None => this.messages.end(),
        };
        if let Err(error) = checked {
            this.is_over = true;
            return Poll::Ready(Some(Err(body_error(error))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || (self.body.is_end_stream() && self.messages.end().is_ok())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn body_error(error: MessageError) -> BodyError {
    match error {
        MessageError::TooLong { limit, .. } => BodyError::TooLarge(limit.into()),
        MessageError::Flag(_) | MessageError::Truncated => BodyError::Malformed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    async fn read(body: &'static [u8], limit: Option<u32>) -> Result<Bytes, BodyError> {
        let whole = Full::new(Bytes::from_static(body)).map_err(|never| match never {});
        Framed::new(whole, limit).collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn a_wrong_message_is_an_error_and_then_the_end() {
        assert_eq!(read(b"\0\0\0\0\x01x", None).await.expect("a body"), &b"\0\0\0\0\x01x"[..]);
        assert!(matches!(read(b"\0\0\0\0\x02xy", Some(1)).await, Err(BodyError::TooLarge(1))));
        assert!(matches!(read(b"\0\0\0\0\x02x", None).await, Err(BodyError::Malformed(_))));
        assert!(matches!(read(b"hello", None).await, Err(BodyError::Malformed(_))));
    }
}
