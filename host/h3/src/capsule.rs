//! Capsules (RFC 9297 section 3): typed pieces on the stream of a tunnel, as a state machine over its bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::code::{Code, Fault};
use crate::frame::{FrameParser, Piece};
use crate::varint;

/// The DATAGRAM capsule (section 3.5).
pub const DATAGRAM: u64 = 0x00;

/// A whole capsule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capsule {
    /// The capsule's type.
    pub kind: u64,
    /// The capsule's value.
    pub value: Bytes,
}

impl Capsule {
    /// Appends the capsule.
    pub fn write(&self, out: &mut impl BufMut) {
        varint::write(self.kind, out);
        varint::write(self.value.len() as u64, out);
        out.put_slice(&self.value);
    }
}

/// Splits the bytes of a tunnel into capsules. Capsules of unwanted types are skipped as they come (section 3.2).
#[derive(Clone, Debug)]
pub struct CapsuleReader {
    // A capsule has the layout of a frame: type, length, value.
    parser: FrameParser,
    wanted: &'static [u64],
    max_value: u64,
    capsule: Option<(u64, BytesMut)>,
}

impl CapsuleReader {
    /// Makes a reader for capsules of the types in `wanted`, with values of up to `max_value` bytes.
    pub fn new(wanted: &'static [u64], max_value: u64) -> CapsuleReader {
        CapsuleReader { parser: FrameParser::default(), wanted, max_value, capsule: None }
    }

    /// Takes a capsule from the front of `input`. `None` when it needs more, and then `input` is empty.
    ///
    /// # Errors
    /// `H3_EXCESSIVE_LOAD`, for the stream, when the declared length is over the limit; nothing of the value is kept.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Capsule>, Fault> {
        while let Some(piece) = self.parser.next(input) {
            match piece {
                Piece::Begin { kind, .. } if !self.wanted.contains(&kind.0) => self.parser.skip(),
                Piece::Begin { length, .. } if length > self.max_value => {
                    return Err(Fault::stream(Code::EXCESSIVE_LOAD, "a capsule is too large"));
                }
                Piece::Begin { kind, .. } => self.capsule = Some((kind.0, BytesMut::new())),
                Piece::Payload(bytes) => {
                    if let Some((_, value)) = &mut self.capsule {
                        value.extend_from_slice(&bytes);
                    }
                }
                Piece::End => {
                    if let Some((kind, value)) = self.capsule.take() {
                        return Ok(Some(Capsule { kind, value: value.freeze() }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    /// `H3_MESSAGE_ERROR` inside a capsule (section 3.3).
    pub fn finish(&self) -> Result<(), Fault> {
        self.parser.finish().map_err(|_| Fault::malformed("the stream ends inside a capsule"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_same_capsules(
            capsules in prop::collection::vec((0u64..4, prop::collection::vec(any::<u8>(), 0..80)), 0..6),
            step in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (kind, value) in capsules {
                let capsule = Capsule { kind, value: value.into() };
                capsule.write(&mut bytes);
                if kind < 2 {
                    expected.push(capsule);
                }
            }
            let mut reader = CapsuleReader::new(&[0, 1], 100);
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                let mut input = Bytes::copy_from_slice(piece);
                while let Some(capsule) = reader.next(&mut input).expect("they are small") {
                    found.push(capsule);
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn section_3_3_truncation_and_size() {
        let mut reader = CapsuleReader::new(&[DATAGRAM], 10);
        assert_eq!(reader.next(&mut Bytes::from_static(b"\0\x05ab")), Ok(None));
        assert_eq!(reader.finish().map_err(|fault| fault.code()), Err(Code::MESSAGE_ERROR));
        let mut reader = CapsuleReader::new(&[DATAGRAM], 10);
        let fault = reader.next(&mut Bytes::from_static(b"\0\x0b"));
        assert_eq!(fault.map_err(|fault| fault.code()), Err(Code::EXCESSIVE_LOAD));
        // A skipped capsule costs nothing, whatever its size.
        assert_eq!(CapsuleReader::new(&[DATAGRAM], 10).next(&mut Bytes::from_static(b"\x01\x3f")), Ok(None));
    }
}
