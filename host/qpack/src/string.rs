//! String literals (RFC 9204 section 4.1.2).

use bytes::{Bytes, BytesMut};

use crate::huffman;
use crate::reader::write_integer;

/// The longest Huffman code, in bits.
const LONGEST_CODE: u64 = 30;

/// A string in its form on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringLiteral<'a> {
    pub(crate) huffman: bool,
    pub(crate) bytes: &'a [u8],
}

impl StringLiteral<'_> {
    /// The least length of a text that takes `encoded` bytes on the wire.
    pub(crate) fn shortest_text(huffman: bool, encoded: u64) -> u64 {
        if huffman {
            // At most 7 bits are padding.
            (encoded.saturating_mul(8).saturating_sub(7)).div_ceil(LONGEST_CODE)
        } else {
            encoded
        }
    }

    /// Appends at most `limit` bytes of the text to `out` and returns the length of the whole text.
    pub(crate) fn decode(&self, out: &mut BytesMut, limit: usize) -> Result<usize, huffman::Invalid> {
        if self.huffman {
            return huffman::decode(self.bytes, out, limit);
        }
        out.extend_from_slice(&self.bytes[..self.bytes.len().min(limit)]);
        Ok(self.bytes.len())
    }

    /// The text in its own allocation, of exactly its size.
    ///
    /// Exactly, because a table entry outlives its neighbours: in a shared allocation, an entry of a few bytes would
    /// keep the memory of a large one.
    pub(crate) fn to_owned_text(self) -> Result<Bytes, huffman::Invalid> {
        if !self.huffman {
            return Ok(Bytes::copy_from_slice(self.bytes));
        }
        let mut text = BytesMut::with_capacity(self.bytes.len() * 8 / 5 + 1);
        self.decode(&mut text, usize::MAX)?;
        Ok(Bytes::copy_from_slice(&text))
    }
}

/// Appends `text`, Huffman coded if that is shorter, with the bits of `pattern` above the Huffman flag.
pub(crate) fn write_string(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, text: &[u8]) {
    let coded = huffman::encoded_len(text);
    if coded < text.len() {
        let pattern = pattern | 1 << prefix_bits;
        write_integer(out, pattern, prefix_bits, coded as u64);
        huffman::encode(text, out);
    } else {
        write_integer(out, pattern, prefix_bits, text.len() as u64);
        out.extend_from_slice(text);
    }
}
