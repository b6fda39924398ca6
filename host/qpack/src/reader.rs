//! Prefixed integers and length-delimited strings, read from the front of a slice (RFC 9204 section 4.1).

use crate::error::Reason;
use crate::string::StringLiteral;

/// RFC 9204 section 4.1.1: integers of up to 62 bits must be decodable; nothing in QPACK needs more.
const MAX_INTEGER: u64 = (1 << 62) - 1;
/// The most bytes after the prefix that a 62-bit integer can take; more is padding with zeros, which is pure waste.
const MAX_CONTINUATION: usize = 9;

/// A position in encoded bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

/// Why a value could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The input ends early; at least this many bytes, counted from the start of the input, are necessary.
    Incomplete { need: usize },
    /// The input is invalid, and no further input can repair it.
    Invalid(Reason),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Reads an integer from the low `prefix_bits` of the next byte and the bytes after it (RFC 7541 section 5.1).
    pub(crate) fn integer(&mut self, prefix_bits: u32) -> Result<u64, ReadError> {
        let mask = (1u64 << prefix_bits) - 1;
        let prefix = u64::from(self.next_byte()?) & mask;
        if prefix < mask {
            return Ok(prefix);
        }
        let mut value = mask;
        for index in 0..MAX_CONTINUATION {
            let byte = self.next_byte()?;
            // Nine groups of 7 bits and the prefix stay below 2^64.
            value += u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return match value {
                    0..=MAX_INTEGER => Ok(value),
                    _ => Err(ReadError::Invalid(Reason::Integer)),
                };
            }
        }
        Err(ReadError::Invalid(Reason::Integer))
    }

    /// Reads a string whose length has a prefix of `prefix_bits` and whose Huffman flag is the bit above it (RFC 9204
    /// section 4.1.2).
    ///
    /// A string whose text must be longer than `max` bytes is refused as soon as its length is known, so that it is
    /// never buffered: `too_long` turns the least possible length of the text into the reason.
    pub(crate) fn string(
        &mut self,
        prefix_bits: u32,
        max: u64,
        too_long: impl FnOnce(u64) -> Reason,
    ) -> Result<StringLiteral<'a>, ReadError> {
        let huffman = self.peek()? & (1 << prefix_bits) != 0;
        let length = self.integer(prefix_bits)?;
        let shortest = StringLiteral::shortest_text(huffman, length);
        if shortest > max {
            return Err(ReadError::Invalid(too_long(shortest)));
        }
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length))
            .ok_or(ReadError::Invalid(Reason::Integer))?;
        let bytes = self.input.get(self.at..end).ok_or(ReadError::Incomplete { need: end })?;
        self.at = end;
        Ok(StringLiteral { huffman, bytes })
    }

    /// The next byte, without consuming it.
    pub(crate) fn peek(&self) -> Result<u8, ReadError> {
        self.input.get(self.at).copied().ok_or(ReadError::Incomplete { need: self.at + 1 })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.input.len()
    }

    /// The number of bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn next_byte(&mut self) -> Result<u8, ReadError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }
}

/// Appends `value` after the bits of `pattern`, in a prefix of `prefix_bits` (RFC 7541 section 5.1).
pub(crate) fn write_integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: u64) {
    let mask = (1u64 << prefix_bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.1.
    #[test]
    fn examples() {
        for (pattern, prefix_bits, value, bytes) in
            [(0xe0, 5, 10, &[0xea][..]), (0x00, 5, 1337, &[0x1f, 0x9a, 0x0a]), (0x00, 8, 42, &[0x2a])]
        {
            let mut out = Vec::new();
            write_integer(&mut out, pattern, prefix_bits, value);
            assert_eq!(out, bytes);
            assert_eq!(Reader::new(bytes).integer(prefix_bits), Ok(value));
        }
    }

    #[test]
    fn integers_survive_at_every_prefix_and_edge() {
        for prefix_bits in 1..=8 {
            for shift in 0..62 {
                for offset in [-1i64, 0, 1] {
                    let value = (1u64 << shift).wrapping_add_signed(offset);
                    let mut out = Vec::new();
                    write_integer(&mut out, 0, prefix_bits, value);
                    let mut reader = Reader::new(&out);
                    assert_eq!(reader.integer(prefix_bits), Ok(value));
                    assert!(reader.is_empty());
                    for cut in 0..out.len() {
                        assert_eq!(
                            Reader::new(&out[..cut]).integer(prefix_bits),
                            Err(ReadError::Incomplete { need: cut + 1 })
                        );
                    }
                }
            }
            let mut out = Vec::new();
            write_integer(&mut out, 0, prefix_bits, MAX_INTEGER);
            assert_eq!(Reader::new(&out).integer(prefix_bits), Ok(MAX_INTEGER));
            let mut out = Vec::new();
            write_integer(&mut out, 0, prefix_bits, MAX_INTEGER + 1);
            assert_eq!(Reader::new(&out).integer(prefix_bits), Err(ReadError::Invalid(Reason::Integer)));
        }
    }

    #[test]
    fn endless_integers_are_refused() {
        for filler in [0x80, 0xff] {
            let mut bytes = vec![0xff];
            bytes.extend([filler; 20]);
            assert_eq!(Reader::new(&bytes).integer(8), Err(ReadError::Invalid(Reason::Integer)));
        }
    }

    #[test]
    fn long_strings_are_refused_before_their_bytes_arrive() {
        let reason = |size| Reason::EntryTooLarge { size, capacity: 0 };
        // Plain, 11 bytes against 10.
        assert_eq!(Reader::new(&[0x0b]).string(7, 10, reason), Err(ReadError::Invalid(reason(11))));
        // Huffman: 38 bytes are at least 10 symbols of 30 bits and padding.
        assert_eq!(Reader::new(&[0x80 | 39]).string(7, 10, reason), Err(ReadError::Invalid(reason(11))));
        assert_eq!(Reader::new(&[0x80 | 38]).string(7, 10, reason), Err(ReadError::Incomplete { need: 39 }));
        let mut huge = Vec::new();
        write_integer(&mut huge, 0, 7, MAX_INTEGER);
        assert!(matches!(Reader::new(&huge).string(7, u64::MAX, reason), Err(ReadError::Incomplete { .. })));
    }
}
