//! Encoder and decoder instructions (RFC 9204 sections 4.3 and 4.4) and their reassembly from arbitrary splits.

use crate::error::Reason;
use crate::field::FIELD_OVERHEAD;
use crate::reader::{ReadError, Reader, write_integer};
use crate::string::{StringLiteral, write_string};

/// An instruction of the encoder to the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EncoderInstruction<'a> {
    Duplicate { relative: u64 },
    InsertWithLiteralName { name: StringLiteral<'a>, value: StringLiteral<'a> },
    InsertWithNameReference { name: InsertName, value: StringLiteral<'a> },
    SetCapacity(u64),
}

/// The referenced name of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InsertName {
    /// Downwards from the newest entry (RFC 9204 section 3.2.5).
    Relative(u64),
    Static(u64),
}

impl<'a> EncoderInstruction<'a> {
    /// Reads one instruction for a table of `capacity` bytes.
    ///
    /// A string that cannot fit into the table is refused once its length is known.
    pub(crate) fn read(reader: &mut Reader<'a>, capacity: u64) -> Result<Self, ReadError> {
        let max = capacity.saturating_sub(FIELD_OVERHEAD);
        let too_long = |length: u64| Reason::EntryTooLarge { size: length.saturating_add(FIELD_OVERHEAD), capacity };
        let first = reader.peek()?;
        Ok(if first & 0x80 != 0 {
            // Section 4.3.2: 1 T index(6+), value.
            let index = reader.integer(6)?;
            Self::InsertWithNameReference {
                name: match first & 0x40 != 0 {
                    true => InsertName::Static(index),
                    false => InsertName::Relative(index),
                },
                value: reader.string(7, max, too_long)?,
            }
        } else if first & 0x40 != 0 {
            // Section 4.3.3: 01 H length(5+), name, value.
            let name = reader.string(5, max, too_long)?;
            let taken = StringLiteral::shortest_text(name.huffman, name.bytes.len() as u64);
            Self::InsertWithLiteralName {
                name,
                value: reader.string(7, max - taken, |length| too_long(length + taken))?,
            }
        } else if first & 0x20 != 0 {
            // Section 4.3.1: 001 capacity(5+).
            Self::SetCapacity(reader.integer(5)?)
        } else {
            // Section 4.3.4: 000 index(5+).
            Self::Duplicate { relative: reader.integer(5)? }
        })
    }
}

pub(crate) fn write_duplicate(out: &mut Vec<u8>, relative: u64) {
    write_integer(out, 0, 5, relative);
}

/// Writes an insertion; its name is `name`, unless `reference` replaces it.
pub(crate) fn write_insert(out: &mut Vec<u8>, reference: Option<InsertName>, name: &[u8], value: &[u8]) {
    match reference {
        Some(InsertName::Relative(index)) => write_integer(out, 0x80, 6, index),
        Some(InsertName::Static(index)) => write_integer(out, 0xc0, 6, index),
        None => write_string(out, 0x40, 5, name),
    }
    write_string(out, 0, 7, value);
}

pub(crate) fn write_set_capacity(out: &mut Vec<u8>, capacity: u64) {
    write_integer(out, 0x20, 5, capacity);
}

/// An instruction of the decoder to the encoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecoderInstruction {
    InsertCountIncrement(u64),
    SectionAcknowledgment { stream_id: u64 },
    StreamCancellation { stream_id: u64 },
}

impl DecoderInstruction {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let first = reader.peek()?;
        Ok(if first & 0x80 != 0 {
            // Section 4.4.1: 1 stream(7+).
            Self::SectionAcknowledgment { stream_id: reader.integer(7)? }
        } else if first & 0x40 != 0 {
            // Section 4.4.2: 01 stream(6+).
            Self::StreamCancellation { stream_id: reader.integer(6)? }
        } else {
            // Section 4.4.3: 00 increment(6+).
            Self::InsertCountIncrement(reader.integer(6)?)
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::InsertCountIncrement(increment) => write_integer(out, 0x00, 6, increment),
            Self::SectionAcknowledgment { stream_id } => write_integer(out, 0x80, 7, stream_id),
            Self::StreamCancellation { stream_id } => write_integer(out, 0x40, 6, stream_id),
        }
    }
}

/// Cuts a stream into instructions, holding at most one incomplete instruction.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// The start of an instruction.
    held: Vec<u8>,
    /// The length that `held` must reach before it can be read any further.
    need: usize,
}

/// The largest buffer, in bytes, that is kept after the instruction that needed it.
const KEPT_BUFFER: usize = 256;

impl Reassembly {
    /// Calls `step` with the next instruction's bytes, repeatedly until `input` is used up.
    ///
    /// `step` reads exactly one instruction from the front and acts on it. It sees an instruction's start again
    /// whenever more of it has come, but only after the requested bytes have arrived: it waits for a string as a whole,
    /// so the work does not grow with the number of splits.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        mut step: impl FnMut(&mut Reader<'_>) -> Result<(), ReadError>,
    ) -> Result<(), Reason> {
        while !input.is_empty() {
            if self.held.is_empty() {
                let mut reader = Reader::new(input);
                match step(&mut reader) {
                    Ok(()) => input = &input[reader.position()..],
                    Err(ReadError::Incomplete { need }) => {
                        self.held.extend_from_slice(input);
                        self.need = need;
                        return Ok(());
                    }
                    Err(ReadError::Invalid(reason)) => return Err(reason),
                }
                continue;
            }
            let missing = self.need.saturating_sub(self.held.len()).min(input.len());
            self.held.extend_from_slice(&input[..missing]);
            input = &input[missing..];
            if self.held.len() < self.need {
                return Ok(());
            }
            let mut reader = Reader::new(&self.held);
            match step(&mut reader) {
                // `held` never has a byte more than `need`, so a whole instruction uses it up.
                Ok(()) if self.held.capacity() > KEPT_BUFFER => self.held = Vec::new(),
                Ok(()) => self.held.clear(),
                Err(ReadError::Incomplete { need }) => self.need = need,
                Err(ReadError::Invalid(reason)) => return Err(reason),
            }
        }
        Ok(())
    }

    /// The bytes of memory in use.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.held.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pieces: &[&[u8]], capacity: u64) -> Result<Vec<String>, Reason> {
        let mut reassembly = Reassembly::default();
        let mut seen = Vec::new();
        for piece in pieces {
            reassembly.feed(piece, |reader| {
                let instruction = EncoderInstruction::read(reader, capacity)?;
                seen.push(format!("{instruction:?}"));
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn any_split_gives_the_same_instructions() {
        let mut bytes = Vec::new();
        write_set_capacity(&mut bytes, 1 << 20);
        write_insert(&mut bytes, Some(InsertName::Static(98)), b"", &[b'x'; 300]);
        write_insert(&mut bytes, None, b"custom-name", b"custom value");
        write_insert(&mut bytes, Some(InsertName::Relative(700)), b"", b"");
        write_duplicate(&mut bytes, 31);
        let whole = read_all(&[&bytes], 4096).unwrap();
        assert_eq!(whole.len(), 5);
        for cut in 0..bytes.len() {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(read_all(&[front, back], 4096).unwrap(), whole, "{cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read_all(&single, 4096).unwrap(), whole);
    }

    #[test]
    fn name_and_value_share_the_limit() {
        let mut bytes = Vec::new();
        // Bytes that Huffman coding would only lengthen stay plain.
        write_insert(&mut bytes, None, &[1; 40], &[1; 40]);
        assert_eq!(read_all(&[&bytes], 32 + 80).unwrap().len(), 1);
        assert_eq!(read_all(&[&bytes[..44]], 32 + 79), Err(Reason::EntryTooLarge { size: 112, capacity: 111 }));
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut bytes = Vec::new();
        write_insert(&mut bytes, None, b"n", &[1; 3000]);
        let mut reassembly = Reassembly::default();
        for piece in bytes.chunks(100) {
            reassembly.feed(piece, |reader| EncoderInstruction::read(reader, 4096).map(drop)).unwrap();
        }
        assert_eq!(reassembly.capacity(), 0);
    }

    #[test]
    fn decoder_instructions_survive() {
        for instruction in [
            DecoderInstruction::InsertCountIncrement(64),
            DecoderInstruction::SectionAcknowledgment { stream_id: 1 << 40 },
            DecoderInstruction::StreamCancellation { stream_id: 8 },
        ] {
            let mut bytes = Vec::new();
            instruction.write(&mut bytes);
            assert_eq!(DecoderInstruction::read(&mut Reader::new(&bytes)), Ok(instruction));
        }
    }
}
