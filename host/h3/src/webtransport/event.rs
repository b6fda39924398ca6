//! The events of a session, its limits and its errors.

use bytes::Bytes;

use super::connect::End;

/// The limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// The most streams of each direction that each side may have open.
    pub streams: u32,
    /// The most datagrams that wait to be read. When another datagram comes, the oldest is dropped.
    pub datagrams: usize,
}

/// An event in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client opened a stream.
    Opened {
        /// The stream.
        stream: u64,
        /// Whether this side may send on it.
        bidirectional: bool,
    },
    /// Bytes came on a stream; never empty, and at most 64 KiB.
    Data {
        /// The stream.
        stream: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The client has sent everything on a stream.
    Finished {
        /// The stream.
        stream: u64,
    },
    /// The client stopped sending on a stream, with a reset.
    Reset {
        /// The stream.
        stream: u64,
        /// The application's code; 0 if there is none.
        code: u32,
    },
    /// The client wants no more of a stream; nothing can be sent on it any more.
    Stopped {
        /// The stream.
        stream: u64,
        /// The application's code; 0 if there is none.
        code: u32,
    },
    /// A datagram.
    Datagram(Bytes),
    /// The client asks this side to finish soon.
    Drain,
    /// The last event: the session is over, and all of its streams are.
    Ended(End),
}

/// Why an operation on a stream is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The stream is over, or its session is.
    #[error("the stream is over")]
    Closed,
    /// This side already has this many streams open.
    #[error("{limit} streams are open already")]
    TooMany {
        /// [`SessionLimits::streams`].
        limit: u32,
    },
}
