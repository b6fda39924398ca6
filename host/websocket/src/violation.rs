//! Violations of a peer, and their close codes.
//!
//! | close code | violations |
//! |---|---|
//! | 1002 protocol error | framing, sequence, close payload, compressed data that does not inflate |
//! | 1007 invalid data   | text or a close reason that is not UTF-8 |
//! | 1008 policy         | compression ratio, fragments, control and message rates |
//! | 1009 too big        | frame and message size |

use crate::close::CloseCode;

/// Why a connection was failed (RFC 6455, 7.1.7). One per connection: nothing is decoded after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A close code that may not be sent (RFC 6455, 7.4).
    #[error("close code {0} may not be sent")]
    CloseCode(u16),
    /// A close frame with a payload of one byte (RFC 6455, 5.5.1).
    #[error("a close frame's payload is shorter than a code")]
    ClosePayload,
    /// A message whose inflated size exceeds the limit's multiple of its compressed size
    /// ([`crate::Limits::compression_ratio`]).
    #[error("a message inflates to more than {limit} times its size")]
    CompressionRatio {
        /// The limit.
        limit: u32,
    },
    /// A control frame without FIN (RFC 6455, 5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// More control frames than [`crate::Limits::control_rate`] allows.
    #[error("too many control frames")]
    ControlRate,
    /// A control frame of more than 125 bytes (RFC 6455, 5.5).
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// More frames in one message than [`crate::Limits::fragments`].
    #[error("a message has more than {limit} fragments")]
    Fragments {
        /// The limit.
        limit: u32,
    },
    /// A frame announces more bytes than [`crate::Limits::frame_size`].
    #[error("a frame of {length} bytes is larger than {limit}")]
    FrameTooLarge {
        /// The length in the header.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Compressed data that is not DEFLATE, or reaches back past its window (RFC 7692, 7.2.2).
    #[error("a compressed message does not inflate")]
    Inflate,
    /// Text or a close reason that is not UTF-8 (RFC 6455, 8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A length with its top bit set, or not in its shortest form (RFC 6455, 5.2).
    #[error("a frame's length is not encoded as it must be")]
    LengthEncoding,
    /// A server's frame is masked (RFC 6455, 5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// More messages than [`crate::Limits::message_rate`] allows.
    #[error("too many messages")]
    MessageRate,
    /// A message is larger than [`crate::Limits::message_size`].
    #[error("a message is larger than {limit} bytes")]
    MessageTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A reserved bit is set that no negotiated extension defines there (RFC 6455, 5.2; RFC 7692, 6).
    #[error("a reserved bit is set")]
    ReservedBits,
    /// An opcode that is not defined (RFC 6455, 5.2).
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A continuation frame without an open message (RFC 6455, 5.4).
    #[error("a continuation continues nothing")]
    UnexpectedContinuation,
    /// A new message begins before the last one has ended (RFC 6455, 5.4).
    #[error("a message begins inside another")]
    UnfinishedMessage,
    /// A client's frame is not masked (RFC 6455, 5.1).
    #[error("a client's frame is not masked")]
    Unmasked,
}

impl Violation {
    /// The code to close with (RFC 6455, 7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::INVALID_DATA,
            Self::CompressionRatio { .. } | Self::ControlRate | Self::Fragments { .. } | Self::MessageRate => {
                CloseCode::POLICY
            }
            Self::FrameTooLarge { .. } | Self::MessageTooLarge { .. } => CloseCode::TOO_BIG,
            Self::CloseCode(_)
            | Self::ClosePayload
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::Inflate
            | Self::LengthEncoding
            | Self::Masked
            | Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::Unmasked => CloseCode::PROTOCOL_ERROR,
        }
    }
}
