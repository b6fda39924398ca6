//! The capsules of a session (draft-ietf-webtrans-http3 sections 4.6 and 5): closing it, and announcing a close.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::capsule::Capsule;
use crate::code::Fault;

/// CLOSE_WEBTRANSPORT_SESSION.
pub const CLOSE: u64 = 0x2843;
/// DRAIN_WEBTRANSPORT_SESSION.
pub const DRAIN: u64 = 0x78ae;

/// The most bytes of a reason.
pub const MAX_REASON: usize = 1024;

/// How an application closes its session. Without a capsule, the code is 0 and the reason empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Close {
    /// The application's code.
    pub code: u32,
    /// At most [`MAX_REASON`] bytes.
    pub reason: String,
}

impl Close {
    /// Makes a close with as much of the reason as can be sent.
    pub fn new(code: u32, reason: &str) -> Close {
        Close { code, reason: reason[..reason.floor_char_boundary(MAX_REASON)].to_owned() }
    }

    pub(crate) fn capsule(&self) -> Capsule {
        let mut value = BytesMut::with_capacity(4 + self.reason.len());
        value.put_u32(self.code);
        value.put_slice(self.reason.as_bytes());
        Capsule { kind: CLOSE, value: value.freeze() }
    }

    /// Reads the value of a CLOSE capsule, which has at most 4 + [`MAX_REASON`] bytes.
    pub(crate) fn read(mut value: Bytes) -> Result<Close, Fault> {
        if value.len() < 4 {
            return Err(Fault::malformed("CLOSE_WEBTRANSPORT_SESSION without a code"));
        }
        let code = value.get_u32();
        Ok(Close { code, reason: String::from_utf8_lossy(&value).into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    #[test]
    fn section_5_close() {
        let close = Close::new(7, "done");
        let capsule = close.capsule();
        assert_eq!(&capsule.value[..], b"\0\0\0\x07done");
        assert_eq!(Close::read(capsule.value), Ok(close));
        assert_eq!(Close::read(Bytes::from_static(b"\0\0\0\0")), Ok(Close::default()));
        assert_eq!(Close::read(Bytes::from_static(b"\0\0\0")).map_err(|f| f.code()), Err(Code::MESSAGE_ERROR));
        let broken = Close::read(Bytes::from_static(b"\0\0\0\x01\xff!")).expect("what is no text becomes text");
        assert_eq!(broken.reason, "\u{fffd}!");
    }

    #[test]
    fn section_5_a_reason_is_cut_between_characters() {
        let long = "ä".repeat(600) + "x";
        assert_eq!(Close::new(0, &long).reason, "ä".repeat(512));
        assert_eq!(Close::new(0, &format!("x{long}")).reason.len(), 1023);
    }
}
