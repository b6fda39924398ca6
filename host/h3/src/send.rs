//! The sending half of a stream: a short queue of frames, and an end that is always explicit.

use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use quinn::{SendStream, StoppedError, VarInt, WriteError, Written};

use crate::code::Code;
use crate::frame::{self, FrameType};

/// Writes frames. It ends with its [`SendHalf`].
#[derive(Debug)]
pub(crate) struct Sender {
    half: SendHalf,
    queue: VecDeque<Bytes>,
    queued: usize,
}

/// A stream that is reset when this is dropped before [`SendHalf::finish`]. quinn would finish it instead, and the
/// client would take the partial data for the whole.
#[derive(Debug)]
pub(crate) struct SendHalf {
    stream: SendStream,
    on_drop: Option<Code>,
}

impl Sender {
    /// Makes a sender. `on_drop` is the code for the client if the sender is dropped unfinished.
    pub(crate) fn new(stream: SendStream, on_drop: Code) -> Sender {
        Sender { half: SendHalf::new(stream, on_drop), queue: VecDeque::new(), queued: 0 }
    }

    /// Returns the stream without the queue, which must be empty.
    pub(crate) fn into_half(self) -> SendHalf {
        self.half
    }

    pub(crate) fn queue_frame(&mut self, kind: FrameType, payload: Bytes) {
        let mut header = BytesMut::with_capacity(16);
        frame::write_header(kind, payload.len() as u64, &mut header);
        self.queued += header.len() + payload.len();
        self.queue.push_back(header.freeze());
        if !payload.is_empty() {
            self.queue.push_back(payload);
        }
    }

    /// The bytes that are queued here, beyond those that quinn holds.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Passes the queue to quinn, as far as flow control allows.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while !self.queue.is_empty() {
            let written = ready!(self.half.poll_write(cx, self.queue.make_contiguous()))?;
            self.queue.drain(..written.chunks);
            self.queued -= written.bytes;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the stream cleanly. Bytes that are still queued are lost, so flush first.
    pub(crate) fn finish(&mut self) {
        self.half.finish();
    }

    /// Ends the stream with an error.
    pub(crate) fn reset(&mut self, code: Code) {
        self.half.reset(code.varint());
    }

    pub(crate) fn set_on_drop(&mut self, code: Code) {
        self.half.set_on_drop(code);
    }

    /// See [`SendHalf::stopped`].
    pub(crate) fn stopped(
        &self,
    ) -> impl Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync + 'static + use<> {
        self.half.stopped()
    }
}

impl SendHalf {
    /// Makes a half. `on_drop` is the code for the client if the half is dropped unfinished.
    pub(crate) fn new(stream: SendStream, on_drop: Code) -> SendHalf {
        SendHalf { stream, on_drop: Some(on_drop) }
    }

    /// Passes chunks to quinn, as far as flow control allows. Afterwards `chunks` holds the unwritten rest.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Written, WriteError>> {
        pin!(self.stream.write_chunks(chunks)).poll(cx)
    }

    /// Ends the stream cleanly.
    pub(crate) fn finish(&mut self) {
        self.on_drop = None;
        // This fails on a stream that is already finished or reset, which is just as good.
        let _ = self.stream.finish();
    }

    /// Ends the stream with an error.
    pub(crate) fn reset(&mut self, code: VarInt) {
        self.on_drop = None;
        // As above.
        let _ = self.stream.reset(code);
    }

    pub(crate) fn set_on_drop(&mut self, code: Code) {
        if self.on_drop.is_some() {
            self.on_drop = Some(code);
        }
    }

    /// Resolves when the client has asked to stop, with its code; or has received everything, once finished; or is
    /// gone.
    pub(crate) fn stopped(
        &self,
    ) -> impl Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync + 'static + use<> {
        self.stream.stopped()
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if let Some(code) = self.on_drop {
            self.reset(code.varint());
        }
    }
}
