//! Error codes, and their scope: a connection that must end, or one stream.

use std::fmt;

/// HTTP/3 and QPACK error codes (RFC 9114 section 8.1, RFC 9204 section 6, RFC 9297 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u64);

impl Code {
    /// `H3_DATAGRAM_ERROR` (RFC 9297): a datagram or capsule that cannot be parsed.
    pub const DATAGRAM_ERROR: Code = Code(0x33);
    /// `H3_NO_ERROR`: a close or a stop without a fault.
    pub const NO_ERROR: Code = Code(0x100);
    /// `H3_GENERAL_PROTOCOL_ERROR`.
    pub const GENERAL_PROTOCOL_ERROR: Code = Code(0x101);
    /// `H3_INTERNAL_ERROR`: this side failed.
    pub const INTERNAL_ERROR: Code = Code(0x102);
    /// `H3_STREAM_CREATION_ERROR`: a stream that may not be opened, or a second stream of a unique kind.
    pub const STREAM_CREATION_ERROR: Code = Code(0x103);
    /// `H3_CLOSED_CRITICAL_STREAM`: the control stream or a QPACK stream ended.
    pub const CLOSED_CRITICAL_STREAM: Code = Code(0x104);
    /// `H3_FRAME_UNEXPECTED`: a frame that is not allowed here or now.
    pub const FRAME_UNEXPECTED: Code = Code(0x105);
    /// `H3_FRAME_ERROR`: a frame whose layout or size is wrong.
    pub const FRAME_ERROR: Code = Code(0x106);
    /// `H3_EXCESSIVE_LOAD`: the peer asks for more work than this side is willing to do.
    pub const EXCESSIVE_LOAD: Code = Code(0x107);
    /// `H3_ID_ERROR`: an incorrectly used stream or push identifier.
    pub const ID_ERROR: Code = Code(0x108);
    /// `H3_SETTINGS_ERROR`: an invalid SETTINGS frame.
    pub const SETTINGS_ERROR: Code = Code(0x109);
    /// `H3_MISSING_SETTINGS`: a control stream that does not begin with SETTINGS.
    pub const MISSING_SETTINGS: Code = Code(0x10a);
    /// `H3_REQUEST_REJECTED`: not processed at all; the client may try again.
    pub const REQUEST_REJECTED: Code = Code(0x10b);
    /// `H3_REQUEST_CANCELLED`: abandoned, perhaps after some processing.
    pub const REQUEST_CANCELLED: Code = Code(0x10c);
    /// `H3_REQUEST_INCOMPLETE`: the stream ended before the request did.
    pub const REQUEST_INCOMPLETE: Code = Code(0x10d);
    /// `H3_MESSAGE_ERROR`: a malformed message.
    pub const MESSAGE_ERROR: Code = Code(0x10e);
    /// `H3_CONNECT_ERROR`: the connection behind a CONNECT was reset.
    pub const CONNECT_ERROR: Code = Code(0x10f);

    /// `WEBTRANSPORT_BUFFERED_STREAM_REJECTED` (draft-ietf-webtrans-http3): a stream for which there is no room, or no
    /// session yet.
    pub const WEBTRANSPORT_BUFFERED_STREAM_REJECTED: Code = Code(0x3994_bd84);
    /// `WEBTRANSPORT_SESSION_GONE` (draft-ietf-webtrans-http3): a stream of a session that has ended.
    pub const WEBTRANSPORT_SESSION_GONE: Code = Code(0x170d_7b68);

    /// The number on the wire.
    pub fn value(self) -> u64 {
        self.0
    }

    /// The code as quinn expects it.
    pub(crate) fn varint(self) -> quinn::VarInt {
        // Every code is one of the constants above or comes from QPACK, all below 2^32.
        quinn::VarInt::from_u32(self.0 as u32)
    }
}

impl From<roadrunner_qpack::ErrorCode> for Code {
    fn from(code: roadrunner_qpack::ErrorCode) -> Code {
        Code(code.value())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0x33 => "H3_DATAGRAM_ERROR",
            0x100 => "H3_NO_ERROR",
            0x101 => "H3_GENERAL_PROTOCOL_ERROR",
            0x102 => "H3_INTERNAL_ERROR",
            0x103 => "H3_STREAM_CREATION_ERROR",
            0x104 => "H3_CLOSED_CRITICAL_STREAM",
            0x105 => "H3_FRAME_UNEXPECTED",
            0x106 => "H3_FRAME_ERROR",
            0x107 => "H3_EXCESSIVE_LOAD",
            0x108 => "H3_ID_ERROR",
            0x109 => "H3_SETTINGS_ERROR",
            0x10a => "H3_MISSING_SETTINGS",
            0x10b => "H3_REQUEST_REJECTED",
            0x10c => "H3_REQUEST_CANCELLED",
            0x10d => "H3_REQUEST_INCOMPLETE",
            0x10e => "H3_MESSAGE_ERROR",
            0x10f => "H3_CONNECT_ERROR",
            0x200 => "QPACK_DECOMPRESSION_FAILED",
            0x201 => "QPACK_ENCODER_STREAM_ERROR",
            0x202 => "QPACK_DECODER_STREAM_ERROR",
            0x170d_7b68 => "WEBTRANSPORT_SESSION_GONE",
            0x3994_bd84 => "WEBTRANSPORT_BUFFERED_STREAM_REJECTED",
            other => return write!(f, "{other:#x}"),
        };
        f.write_str(name)
    }
}

/// A violation of the protocol by the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The connection ends with this code.
    #[error("connection error {code}: {reason}")]
    Connection {
        /// The code in CONNECTION_CLOSE.
        code: Code,
        /// The peer's violation.
        reason: String,
    },
    /// One stream ends with this code, in both directions.
    #[error("stream error {code}: {reason}")]
    Stream {
        /// The code in RESET_STREAM and STOP_SENDING.
        code: Code,
        /// The peer's violation.
        reason: &'static str,
    },
}

impl Fault {
    pub(crate) fn connection(code: Code, reason: impl Into<String>) -> Fault {
        Fault::Connection { code, reason: reason.into() }
    }

    pub(crate) fn stream(code: Code, reason: &'static str) -> Fault {
        Fault::Stream { code, reason }
    }

    /// RFC 9114 section 4.1.2: a malformed message is a stream error.
    pub(crate) fn malformed(reason: &'static str) -> Fault {
        Fault::stream(Code::MESSAGE_ERROR, reason)
    }

    /// The error code, whether for the connection or a stream.
    pub fn code(&self) -> Code {
        match self {
            Fault::Connection { code, .. } | Fault::Stream { code, .. } => *code,
        }
    }
}

impl From<roadrunner_qpack::Error> for Fault {
    fn from(error: roadrunner_qpack::Error) -> Fault {
        Fault::connection(error.code().into(), error.reason().to_string())
    }
}
