//! Frames (RFC 9114 section 7): the header parser, which never holds more than the 16 bytes of a header.

use bytes::{BufMut, Bytes};

use crate::code::{Code, Fault};
use crate::varint;

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameType(pub u64);

impl FrameType {
    /// DATA (section 7.2.1).
    pub const DATA: FrameType = FrameType(0x0);
    /// HEADERS (section 7.2.2).
    pub const HEADERS: FrameType = FrameType(0x1);
    /// CANCEL_PUSH (section 7.2.3).
    pub const CANCEL_PUSH: FrameType = FrameType(0x3);
    /// SETTINGS (section 7.2.4).
    pub const SETTINGS: FrameType = FrameType(0x4);
    /// PUSH_PROMISE (section 7.2.5).
    pub const PUSH_PROMISE: FrameType = FrameType(0x5);
    /// GOAWAY (section 7.2.6).
    pub const GOAWAY: FrameType = FrameType(0x7);
    /// MAX_PUSH_ID (section 7.2.7).
    pub const MAX_PUSH_ID: FrameType = FrameType(0xd);
    /// WEBTRANSPORT_STREAM (draft-ietf-webtrans-http3-02 section 4.2): the first bytes of a bidirectional stream of a
    /// session. Without an offer of WebTransport, the type is unknown to the server.
    pub const WEBTRANSPORT_STREAM: FrameType = FrameType(0x41);
    /// PRIORITY_UPDATE for a request stream (RFC 9218 section 7.2).
    pub const PRIORITY_UPDATE_REQUEST: FrameType = FrameType(0xf0700);
    /// PRIORITY_UPDATE for a push stream (RFC 9218 section 7.2).
    pub const PRIORITY_UPDATE_PUSH: FrameType = FrameType(0xf0701);

    /// Whether HTTP/3 reserves this type of HTTP/2 (section 7.2.8): its arrival is an error everywhere.
    pub fn is_reserved(self) -> bool {
        matches!(self.0, 0x2 | 0x6 | 0x8 | 0x9)
    }

    /// Whether this server does not know the type; such a frame is skipped everywhere (section 9).
    pub fn is_unknown(self) -> bool {
        !self.is_reserved() && !matches!(self.0, 0x0 | 0x1 | 0x3 | 0x4 | 0x5 | 0x7 | 0xd | 0xf0700 | 0xf0701)
    }
}

/// Appends the header of a frame.
pub fn write_header(kind: FrameType, length: u64, out: &mut impl BufMut) {
    varint::write(kind.0, out);
    varint::write(length, out);
}

/// A result of [`FrameParser::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame begins. Its payload follows, unless [`FrameParser::skip`] is called.
    Begin {
        /// The type of the frame.
        kind: FrameType,
        /// The declared length of its payload, in bytes.
        length: u64,
    },
    /// Some of the payload of the frame that began last; never empty.
    Payload(Bytes),
    /// The frame has ended. Comes for each frame that was not skipped.
    End,
}

/// Splits the bytes of one stream into frames, however the bytes are cut.
#[derive(Clone, Debug, Default)]
pub struct FrameParser {
    kind: Option<u64>,
    partial: varint::Partial,
    payload: Option<Payload>,
}

#[derive(Clone, Debug)]
struct Payload {
    left: u64,
    skipped: bool,
}

impl FrameParser {
    /// Takes a piece from the front of `input`. `None` when it needs more, and then `input` is empty.
    pub fn next(&mut self, input: &mut Bytes) -> Option<Piece> {
        loop {
            if let Some(payload) = &mut self.payload {
                if payload.left == 0 {
                    let skipped = payload.skipped;
                    self.payload = None;
                    if skipped {
                        continue;
                    }
                    return Some(Piece::End);
                }
                if input.is_empty() {
                    return None;
                }
                let take = usize::try_from(payload.left).unwrap_or(usize::MAX).min(input.len());
                payload.left -= take as u64;
                let skipped = payload.skipped;
                let bytes = input.split_to(take);
                if skipped {
                    continue;
                }
                return Some(Piece::Payload(bytes));
            }
            let value = self.partial.read(input)?;
            match self.kind.take() {
                None => self.kind = Some(value),
                Some(kind) => {
                    self.payload = Some(Payload { left: value, skipped: false });
                    return Some(Piece::Begin { kind: FrameType(kind), length: value });
                }
            }
        }
    }

    /// Drops the payload of the frame that has just begun, as it comes.
    pub fn skip(&mut self) {
        if let Some(payload) = &mut self.payload {
            payload.skipped = true;
        }
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    /// `H3_FRAME_ERROR` inside a frame (section 7.1).
    pub fn finish(&self) -> Result<(), Fault> {
        let inside = self.payload.as_ref().is_some_and(|payload| payload.left > 0);
        match inside || self.kind.is_some() || self.partial.is_pending() {
            true => Err(Fault::connection(Code::FRAME_ERROR, "the stream ends inside a frame")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parses pieces and joins their payloads, so that the result does not depend on how the input was cut.
    fn parse(pieces: &[&[u8]], skip: u64) -> (Vec<(u64, u64, Vec<u8>)>, bool) {
        let mut parser = FrameParser::default();
        let mut frames: Vec<(u64, u64, Vec<u8>)> = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(piece) = parser.next(&mut input) {
                match piece {
                    Piece::Begin { kind, length } => {
                        frames.push((kind.0, length, Vec::new()));
                        if kind.0 == skip {
                            parser.skip();
                        }
                    }
                    Piece::Payload(bytes) => frames.last_mut().expect("a frame").2.extend_from_slice(&bytes),
                    Piece::End => {}
                }
            }
            assert!(input.is_empty());
        }
        (frames, parser.finish().is_ok())
    }

    #[test]
    fn a_giant_length_costs_nothing() {
        let mut bytes = Vec::new();
        write_header(FrameType(0x21), varint::MAX, &mut bytes);
        bytes.extend_from_slice(&[0; 100]);
        let (frames, complete) = parse(&[&bytes], 0x21);
        assert_eq!(frames, [(0x21, varint::MAX, Vec::new())]);
        assert!(!complete, "section 7.1: it ends inside a frame");
    }

    #[test]
    fn reserved_and_unknown_types() {
        for reserved in [0x2, 0x6, 0x8, 0x9] {
            assert!(FrameType(reserved).is_reserved() && !FrameType(reserved).is_unknown());
        }
        for unknown in [0x21, 0x40, 0x41, 0xa, 0xe, 0x1f * 7 + 0x21] {
            assert!(FrameType(unknown).is_unknown());
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec((0..=varint::MAX, prop::collection::vec(any::<u8>(), 0..70)), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                write_header(FrameType(*kind), payload.len() as u64, &mut bytes);
                bytes.extend_from_slice(payload);
            }
            let expected: Vec<_> = frames.iter().map(|(kind, payload)| (*kind, payload.len() as u64, payload.clone())).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(parse(&pieces, u64::MAX), (expected, true));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let whole = parse(&[&bytes], u64::MAX);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(parse(&single, u64::MAX), whole);
        }
    }
}
