//! Close codes and the payload of close frames (RFC 6455, 5.5.1 and 7.4).
//!
//! A `CloseCode` may be sent: 1005, 1006 and 1015 only serve as descriptions, and 1004, 1016-2999 and everything
//! outside 1000-4999 is reserved or undefined.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::message::Text;
use crate::violation::Violation;

/// A close code that may be sent: 1000-1003, 1007-1014 or 3000-4999.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: this side goes away, such as a server that shuts down.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this side does not accept.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: data that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a policy was violated.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: a client misses an extension that it needs.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: a fault of this side.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts (IANA registry).
    pub const RESTART: Self = Self(1012);
    /// 1013: try again later (IANA registry).
    pub const TRY_AGAIN: Self = Self(1013);

    /// The code, if it may be sent (RFC 6455, 7.4.2, and the IANA registry it opened); `None` otherwise.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The content of a close frame that is not empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloseFrame {
    /// The close code.
    pub code: CloseCode,
    /// The reason for people, at most 123 bytes; may be empty.
    pub reason: Text,
}

/// The most bytes of a reason: a control frame's 125 minus the code (RFC 6455, 5.5).
pub const MAX_REASON: usize = 123;

/// Reads a close frame's payload. `None` for an empty one, which means 1005 "no status received".
pub(crate) fn parse(payload: Bytes) -> Result<Option<CloseFrame>, Violation> {
    let Some((code, _)) = payload.split_first_chunk::<2>() else {
        // RFC 6455, 5.5.1: if there is a body, its first two bytes must be a code.
        return if payload.is_empty() { Ok(None) } else { Err(Violation::ClosePayload) };
    };
    let number = u16::from_be_bytes(*code);
    let code = CloseCode::new(number).ok_or(Violation::CloseCode(number))?;
    let reason = Text::from_bytes(payload.slice(2..)).map_err(|_| Violation::InvalidUtf8)?;
    Ok(Some(CloseFrame { code, reason }))
}

/// Writes a close frame's payload. A reason longer than [`MAX_REASON`] is cut at a character.
pub(crate) fn payload(code: CloseCode, reason: &str) -> BytesMut {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    let mut payload = BytesMut::with_capacity(2 + reason.len());
    payload.put_u16(code.get());
    payload.put_slice(reason.as_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6455_7_4_codes_on_the_wire() {
        for code in 0..=u16::MAX {
            let may = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let payload = Bytes::copy_from_slice(&code.to_be_bytes());
            assert_eq!(CloseCode::new(code).is_some(), may, "{code}");
            match parse(payload) {
                Ok(Some(frame)) => {
                    assert!(may && frame.code.get() == code && frame.reason.is_empty())
                }
                Err(violation) => assert!(!may && violation == Violation::CloseCode(code)),
                Ok(None) => panic!("a payload of two bytes is a code"),
            }
        }
    }

    #[test]
    fn rfc6455_5_5_1_payloads() {
        assert_eq!(parse(Bytes::new()), Ok(None));
        assert_eq!(parse(Bytes::from_static(b"\x03")), Err(Violation::ClosePayload));
        let bye = parse(Bytes::from_static(b"\x03\xe8bye")).unwrap().unwrap();
        assert_eq!((bye.code, bye.reason.as_str()), (CloseCode::NORMAL, "bye"));
        assert_eq!(parse(Bytes::from_static(b"\x03\xe8\xc3")), Err(Violation::InvalidUtf8));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let long = format!("{}é tail", "x".repeat(MAX_REASON - 1));
        let payload = payload(CloseCode::NORMAL, &long);
        assert_eq!(payload.len(), 2 + MAX_REASON - 1);
        assert!(parse(payload.freeze()).is_ok());
    }
}
