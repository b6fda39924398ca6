//! The bodies of the native server's answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::scenarios::{EVENT, EVENT_PERIOD_MS};

/// A body.
#[derive(Debug)]
pub enum Answer {
    /// One piece.
    Full(Option<Bytes>),
    /// The same event again and again.
    Events {
        /// When.
        ticks: Interval,
        /// What.
        event: Bytes,
    },
    /// Nothing, and no end.
    Idle,
    /// The same piece so many times.
    Pieces {
        /// How many are left.
        left: u64,
        /// What.
        piece: Bytes,
    },
}

impl Answer {
    /// One piece.
    #[must_use]
    pub fn full(body: Bytes) -> Self {
        Self::Full(Some(body).filter(|body| !body.is_empty()))
    }

    /// So many pieces of this size.
    #[must_use]
    pub fn pieces(left: u64, size: usize) -> Self {
        static BYTES: [u8; 64 << 10] = [b'x'; 64 << 10];
        Self::Pieces { left, piece: Bytes::from_static(&BYTES[..size]) }
    }

    /// A server-sent event in each period.
    #[must_use]
    pub fn events() -> Self {
        let mut ticks = interval(Duration::from_millis(EVENT_PERIOD_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Events { ticks, event: Bytes::from(format!("data: {EVENT}\n\n")) }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Full(body) => body.take(),
            Self::Events { ticks, event } => {
                ready!(ticks.poll_tick(context));
                Some(event.clone())
            }
            Self::Idle => return Poll::Pending,
            Self::Pieces { left: 0, .. } => None,
            Self::Pieces { left, piece } => {
                *left -= 1;
                Some(piece.clone())
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            // A stream says nothing of its length beforehand.
            Self::Events { .. } | Self::Idle | Self::Pieces { .. } => SizeHint::default(),
        }
    }
}
