//! Frame headers (RFC 6455, 5.2): their form on the wire, without the limits of a decoder.
//!
//! Contract: a header is checked byte by byte in wire order, so that the same stream always fails for the same reason,
//! however it was cut into reads.

use bytes::{BufMut, BytesMut};

use crate::violation::Violation;

/// The kinds of frame (RFC 6455, 11.8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opcode {
    /// 2: the first frame of a binary message.
    Binary,
    /// 8: the close handshake.
    Close,
    /// 0: continues the open message.
    Continuation,
    /// 9: asks for a pong.
    Ping,
    /// 10: answers a ping, or shows that the sender is alive.
    Pong,
    /// 1: the first frame of a text message.
    Text,
}

impl Opcode {
    /// Whether this is a close, ping or pong: short, never fragmented, allowed between the frames of a message (RFC
    /// 6455, 5.5).
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }
}

/// The most bytes that a control frame may carry (RFC 6455, 5.5).
pub const MAX_CONTROL: usize = 125;

/// The most bytes of a header: two, eight of length, four of key.
pub(crate) const MAX_HEADER: usize = 14;

/// A frame's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub fin: bool,
    /// "Per-Message Compressed" (RFC 7692, 6).
    pub rsv1: bool,
    pub opcode: Opcode,
    /// The masking key; `None` for an unmasked frame.
    pub mask: Option<[u8; 4]>,
    pub length: u64,
}

/// The context that decides whether a header is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Whether the peer is a client, whose frames must be masked (RFC 6455, 5.1).
    pub masked: bool,
    /// Whether permessage-deflate was negotiated, which gives RSV1 its meaning.
    pub deflate: bool,
    /// Whether a message is open, which continuations may continue.
    pub in_message: bool,
}

impl Header {
    /// Reads a header and returns it with its length in bytes. `None` if more bytes are needed.
    pub fn parse(bytes: &[u8], context: Context) -> Result<Option<(Self, usize)>, Violation> {
        let Some(first) = bytes.first() else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        let rsv1 = first & 0x40 != 0;
        let bits = first & 0x0f;
        let opcode = Opcode::from_bits(bits).ok_or(Violation::ReservedOpcode(bits))?;
        // RFC 6455, 5.2: RSV1-3 are 0 unless an extension says otherwise. RFC 7692, 6 and 6.1: RSV1 marks a
        // compressed message on its first frame only, and never a control frame.
        let may_compress = context.deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || rsv1 && !may_compress {
            return Err(Violation::ReservedBits);
        }
        match opcode {
            _ if opcode.is_control() && !fin => return Err(Violation::ControlFragmented),
            Opcode::Continuation if !context.in_message => {
                return Err(Violation::UnexpectedContinuation);
            }
            Opcode::Text | Opcode::Binary if context.in_message => {
                return Err(Violation::UnfinishedMessage);
            }
            _ => {}
        }

        let Some(second) = bytes.get(1) else {
            return Ok(None);
        };
        let masked = second & 0x80 != 0;
        if masked != context.masked {
            return Err(if masked { Violation::Masked } else { Violation::Unmasked });
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(Violation::ControlTooLong);
        }
        let rest = &bytes[2..];
        let (length, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        // RFC 6455, 5.2: the shortest encoding must be used, and the most significant bit must be 0.
        let shortest = match short {
            126 => length > 125,
            127 => length > u64::from(u16::MAX) && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Violation::LengthEncoding);
        }
        let (mask, rest) = if masked {
            match rest.split_first_chunk() {
                Some((key, rest)) => (Some(*key), rest),
                None => return Ok(None),
            }
        } else {
            (None, rest)
        };
        let header = Self { fin, rsv1, opcode, mask, length };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Appends the header.
    pub fn write(&self, out: &mut BytesMut) {
        let (bytes, length) = self.encode();
        out.put_slice(&bytes[..length]);
    }

    /// The header's bytes, and how many of them are used.
    pub fn encode(&self) -> ([u8; MAX_HEADER], usize) {
        let mut bytes = [0; MAX_HEADER];
        bytes[0] = u8::from(self.fin) << 7 | u8::from(self.rsv1) << 6 | self.opcode.bits();
        let mut used = match self.length {
            0..=125 => {
                bytes[1] = self.length as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&self.length.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.mask {
            bytes[1] |= 0x80;
            bytes[used..used + 4].copy_from_slice(&key);
            used += 4;
        }
        (bytes, used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SERVER: Context = Context { masked: true, deflate: false, in_message: false };
    const CLIENT: Context = Context { masked: false, ..SERVER };

    fn violation(bytes: &[u8], context: Context) -> Violation {
        Header::parse(bytes, context).unwrap_err()
    }

    #[test]
    fn rfc6455_5_7_examples() {
        let (hello, used) = Header::parse(b"\x81\x05Hello", CLIENT).unwrap().unwrap();
        assert_eq!((hello.fin, hello.opcode, hello.length, used), (true, Opcode::Text, 5, 2));
        let (masked, used) = Header::parse(b"\x81\x85\x37\xfa\x21\x3d", SERVER).unwrap().unwrap();
        assert_eq!((masked.mask, used), (Some([0x37, 0xfa, 0x21, 0x3d]), 6));
        let (kilo, used) = Header::parse(b"\x82\x7e\x01\x00", CLIENT).unwrap().unwrap();
        assert_eq!((kilo.length, used), (256, 4));
        let (large, used) = Header::parse(b"\x82\x7f\0\0\0\0\0\x01\0\0", CLIENT).unwrap().unwrap();
        assert_eq!((large.length, used), (65536, 10));
    }

    #[test]
    fn rfc6455_5_1_masks_by_role() {
        assert_eq!(violation(b"\x81\x05", SERVER), Violation::Unmasked);
        assert_eq!(violation(b"\x81\x85", CLIENT), Violation::Masked);
    }

    #[test]
    fn rfc6455_5_2_bits_opcodes_and_lengths() {
        for rsv in [0x10, 0x20, 0x30, 0x40, 0x70] {
            assert_eq!(violation(&[0x81 | rsv], SERVER), Violation::ReservedBits);
        }
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(violation(&[0x80 | opcode], SERVER), Violation::ReservedOpcode(opcode));
        }
        assert_eq!(violation(b"\x82\x7e\0\x7d", CLIENT), Violation::LengthEncoding);
        assert_eq!(violation(b"\x82\x7f\0\0\0\0\0\0\xff\xff", CLIENT), Violation::LengthEncoding);
        assert_eq!(violation(b"\x82\x7f\x80\0\0\0\0\0\0\0", CLIENT), Violation::LengthEncoding);
    }

    #[test]
    fn rfc6455_5_4_sequence() {
        let open = Context { in_message: true, ..CLIENT };
        assert_eq!(violation(b"\x80", CLIENT), Violation::UnexpectedContinuation);
        assert_eq!(violation(b"\x81", open), Violation::UnfinishedMessage);
        assert_eq!(violation(b"\x02", open), Violation::UnfinishedMessage);
        assert!(Header::parse(b"\x89\x00", open).unwrap().is_some(), "control frames may interleave");
    }

    #[test]
    fn rfc6455_5_5_control_frames() {
        for opcode in [8, 9, 10] {
            assert_eq!(violation(&[opcode], CLIENT), Violation::ControlFragmented);
            assert_eq!(violation(&[0x80 | opcode, 126], CLIENT), Violation::ControlTooLong);
            assert!(Header::parse(&[0x80 | opcode, 125], CLIENT).unwrap().is_some());
        }
    }

    #[test]
    fn rfc7692_6_rsv1_only_on_the_first_data_frame() {
        let deflate = Context { deflate: true, ..CLIENT };
        assert!(Header::parse(b"\xc1\x00", deflate).unwrap().is_some());
        assert_eq!(violation(b"\xc9", deflate), Violation::ReservedBits);
        assert_eq!(violation(b"\xc0", Context { in_message: true, ..deflate }), Violation::ReservedBits);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fin: bool, rsv1: bool, binary: bool, mask: Option<[u8; 4]>, length in 0..=u64::MAX >> 1, shift in 0..63u32,
        ) {
            let opcode = if binary { Opcode::Binary } else { Opcode::Text };
            let header = Header { fin, rsv1, opcode, mask, length: length >> shift };
            let mut bytes = BytesMut::new();
            header.write(&mut bytes);
            let context = Context { masked: mask.is_some(), deflate: true, in_message: false };
            prop_assert_eq!(Header::parse(&bytes, context), Ok(Some((header, bytes.len()))));
            for at in 0..bytes.len() {
                prop_assert_eq!(Header::parse(&bytes[..at], context), Ok(None));
            }
        }
    }
}
