//! The request's body, as tonic reads it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use crate::error::Error;

/// The received part of a body. The call fills it, and tonic reads it.
#[derive(Clone, Default)]
pub(super) struct Inbox(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    error: Option<Status>,
    has_ended: bool,
    /// The reader, when it waits for the next piece.
    reader: Option<Waker>,
}

impl Inbox {
    /// Whether the reader waits for a piece.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().reader.is_some()
    }

    /// Adds a piece.
    pub(super) fn push(&self, piece: Vec<u8>) {
        self.change(|state| state.pieces.push_back(piece.into()));
    }

    /// Adds the end.
    pub(super) fn end(&self, trailers: HeaderMap) {
        self.change(|state| {
            state.trailers = (!trailers.is_empty()).then_some(trailers);
            state.has_ended = true;
        });
    }

    /// Ends the body with an error.
    pub(super) fn fail(&self, error: Error) {
        self.change(|state| {
            state.error = Some(status(error));
            state.has_ended = true;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Inbox {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = self.lock();
        if let Some(piece) = state.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(error) = state.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if state.has_ended {
            return Poll::Ready(state.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// The status of a call whose body could not be read.
fn status(error: Error) -> Status {
    match error {
        Error::TooLarge(_) => Status::resource_exhausted(format!("the request is {error}")),
        Error::Closed | Error::Timeout => Status::cancelled(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(inbox: &mut Inbox) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(inbox).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_reader_waits_until_a_piece_comes() {
        let mut inbox = Inbox::default();
        assert!(!inbox.is_awaited());
        assert!(poll(&mut inbox).is_pending() && inbox.is_awaited());
        inbox.push(b"one".to_vec());
        assert!(!inbox.is_awaited());
        let Poll::Ready(Some(Ok(frame))) = poll(&mut inbox) else { panic!("no piece") };
        assert_eq!(frame.into_data().expect("data"), "one");
        inbox.end(HeaderMap::new());
        assert!(matches!(poll(&mut inbox), Poll::Ready(None)));
    }

    #[test]
    fn an_error_is_a_status() {
        for (error, code) in [
            (Error::TooLarge(5), tonic::Code::ResourceExhausted),
            (Error::Closed, tonic::Code::Cancelled),
            (Error::internal("lost"), tonic::Code::Internal),
        ] {
            let mut inbox = Inbox::default();
            inbox.fail(error);
            let Poll::Ready(Some(Err(status))) = poll(&mut inbox) else { panic!("no error") };
            assert_eq!(status.code(), code);
        }
    }
}
