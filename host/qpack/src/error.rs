//! Errors that end a connection: the code for the wire and the reason for the log.

use thiserror::Error as ThisError;

/// A violation that ends the connection.
///
/// RFC 9204 has no smaller unit of failure: once the two tables may differ, nothing on the connection can be decoded.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{code}: {reason}")]
pub struct Error {
    code: ErrorCode,
    reason: Reason,
}

impl Error {
    pub(crate) fn new(code: ErrorCode, reason: Reason) -> Self {
        Self { code, reason }
    }

    /// The error code that closes the connection.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The peer's violation.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }
}

/// The HTTP/3 application error codes that QPACK can raise (RFC 9204 section 6, RFC 9114 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// `QPACK_DECODER_STREAM_ERROR`: the peer's decoder instructions are invalid.
    DecoderStreamError,
    /// `QPACK_DECOMPRESSION_FAILED`: a field section cannot be decoded.
    DecompressionFailed,
    /// `QPACK_ENCODER_STREAM_ERROR`: the peer's encoder instructions are invalid.
    EncoderStreamError,
    /// `H3_EXCESSIVE_LOAD`: the peer makes us hold more than we are willing to.
    ExcessiveLoad,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn value(self) -> u64 {
        match self {
            Self::DecoderStreamError => 0x202,
            Self::DecompressionFailed => 0x200,
            Self::EncoderStreamError => 0x201,
            Self::ExcessiveLoad => 0x107,
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DecoderStreamError => "QPACK_DECODER_STREAM_ERROR",
            Self::DecompressionFailed => "QPACK_DECOMPRESSION_FAILED",
            Self::EncoderStreamError => "QPACK_ENCODER_STREAM_ERROR",
            Self::ExcessiveLoad => "H3_EXCESSIVE_LOAD",
        })
    }
}

/// The violation, with the numbers that show it.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Reason {
    /// A Section Acknowledgment for a stream that has no unacknowledged section (RFC 9204 section 4.4.1).
    #[error("stream {stream_id} has no field section to acknowledge")]
    AcknowledgedNothing {
        /// The named stream.
        stream_id: u64,
    },
    /// Acknowledgments pile up because the peer gives the decoder stream no credit.
    #[error("{pending} bytes of decoder instructions are waiting to be sent")]
    Backlog {
        /// The bytes that wait.
        pending: usize,
    },
    /// Set Dynamic Table Capacity above the advertised maximum (section 4.3.1).
    #[error("table capacity {capacity} is above the maximum of {maximum}")]
    CapacityAboveMaximum {
        /// The capacity that the peer asked for, in bytes.
        capacity: u64,
        /// The advertised maximum, in bytes.
        maximum: u64,
    },
    /// A reference to a dynamic table entry that was evicted, never inserted, or lies at or above the section's
    /// Required Insert Count (section 2.2.3).
    #[error("no dynamic table entry for index {index}")]
    DynamicIndex {
        /// The index on the wire.
        index: u64,
    },
    /// An entry that does not fit into the whole table (section 3.2.2).
    #[error("an entry of at least {size} bytes does not fit a table of {capacity}")]
    EntryTooLarge {
        /// The size of the entry in bytes, including its overhead of 32 bytes; a lower bound.
        size: u64,
        /// Capacity of the table in bytes.
        capacity: u64,
    },
    /// A Huffman string with EOS in it, or with padding that is too long or not all ones (RFC 7541 section 5.2).
    #[error("invalid Huffman coding")]
    Huffman,
    /// An Insert Count Increment of zero, or beyond the number of insertions (RFC 9204 section 4.4.3).
    #[error("insert count increment of {increment} with {unacknowledged} unacknowledged")]
    Increment {
        /// The increment that the peer sent.
        increment: u64,
        /// The insertions that the peer had not acknowledged.
        unacknowledged: u64,
    },
    /// An integer above 62 bits, or in more bytes than 62 bits can need (section 4.1.1).
    #[error("integer above 62 bits")]
    Integer,
    /// A sign bit and delta that put the Base below zero (section 4.5.1.2).
    #[error("base below zero: required insert count {required_insert_count}, delta {delta}")]
    NegativeBase {
        /// Decoded Required Insert Count.
        required_insert_count: u64,
        /// The Delta Base on the wire.
        delta: u64,
    },
    /// An encoded Required Insert Count that corresponds to no possible count (section 4.5.1.1).
    #[error("encoded required insert count {encoded} is not possible")]
    RequiredInsertCount {
        /// The number on the wire.
        encoded: u64,
    },
    /// An index past the 99 entries of the static table (section 3.1).
    #[error("no static table entry for index {index}")]
    StaticIndex {
        /// The index on the wire.
        index: u64,
    },
    /// One more blocked stream than was advertised (section 2.2.1).
    #[error("more than {limit} blocked streams")]
    TooManyBlocked {
        /// The advertised SETTINGS_QPACK_BLOCKED_STREAMS.
        limit: u64,
    },
    /// A field section that ends inside a field line.
    #[error("field section ends inside a field line")]
    Truncated,
}
