//! The Huffman code of RFC 7541 appendix B, which QPACK uses unmodified (RFC 9204 section 4.1.2).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and shorter
//! lengths come first. So the table consists of the lengths alone; everything else is computed from them at compile
//! time.

use bytes::BytesMut;

/// The string cannot be the output of a Huffman encoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// The number of bytes that `text` takes when Huffman coded.
pub(crate) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the Huffman coding of `text`.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut pending = 0u64;
    let mut bits = 0u32;
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        pending = pending << length | u64::from(CODES[usize::from(byte)]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((pending >> bits) as u8);
        }
    }
    if bits > 0 {
        // RFC 7541 section 5.2: the padding is the most significant bits of EOS, which are ones.
        let padding = 8 - bits;
        out.push((pending << padding) as u8 | ((1u16 << padding) - 1) as u8);
    }
}

/// Decodes `coded`, appends at most `limit` bytes of the text to `out` and returns the length of the whole text.
///
/// A text longer than `limit` is still checked to its end, so that the caller can tell "too large" from "invalid".
pub(crate) fn decode(coded: &[u8], out: &mut BytesMut, limit: usize) -> Result<usize, Invalid> {
    let mut input = coded;
    // The unread bits, left-aligned, followed by ones, so that padding reads as the start of EOS.
    let mut window = u64::MAX;
    let mut bits = 0u32;
    let mut length = 0;
    let mut chunk = [0u8; 128];
    let mut filled = 0;
    loop {
        // No code is longer than 30 bits.
        if bits < 32 {
            if let Some((&word, rest)) = input.split_first_chunk() {
                let shift = 32 - bits;
                let fresh = u64::from(u32::from_be_bytes(word)) << shift;
                window = window & !(u64::from(u32::MAX) << shift) | fresh;
                bits += 32;
                input = rest;
            }
            while bits < 32
                && let Some((&byte, rest)) = input.split_first()
            {
                let shift = 56 - bits;
                window = window & !(0xff << shift) | u64::from(byte) << shift;
                bits += 8;
                input = rest;
            }
        }
        let (symbol, code_bits) = match SHORT[(window >> 56) as usize] {
            (_, 0) => long_code((window >> 32) as u32),
            (symbol, code_bits) => (u16::from(symbol), u32::from(code_bits)),
        };
        if code_bits > bits {
            break;
        }
        // RFC 7541 section 5.2: a string that contains EOS is a decoding error.
        let Ok(symbol) = u8::try_from(symbol) else {
            return Err(Invalid);
        };
        window = window << code_bits | ((1 << code_bits) - 1);
        bits -= code_bits;
        if length < limit {
            chunk[filled] = symbol;
            filled += 1;
            if filled == chunk.len() {
                out.extend_from_slice(&chunk);
                filled = 0;
            }
        }
        length += 1;
    }
    // RFC 7541 section 5.2: padding of more than 7 bits, or with a bit that is not one, is a decoding error.
    if bits > 7 || window != u64::MAX {
        return Err(Invalid);
    }
    out.extend_from_slice(&chunk[..filled]);
    Ok(length)
}

/// The symbol and length of the code of more than 8 bits that `window` starts with.
fn long_code(window: u32) -> (u16, u32) {
    let mut length = SHORTEST_LONG;
    while length < LONGEST && window >= LEVELS[length].end {
        length += 1;
    }
    let level = &LEVELS[length];
    let offset = (window >> (32 - length)) - level.first_code;
    (BY_CODE[level.first_position + offset as usize], length as u32)
}

const SYMBOLS: usize = 257;
/// The shortest length above the 8-bit lookup: codes of 9 bits do not exist.
const SHORTEST_LONG: usize = 10;
const LONGEST: usize = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Level {
    first_code: u32,
    /// Position of the first code's symbol in [`BY_CODE`].
    first_position: usize,
    /// The first left-aligned 32-bit window past this length's codes.
    end: u32,
}

/// Symbols in the order of their codes.
static BY_CODE: [u16; SYMBOLS] = by_code();
static CODES: [u32; SYMBOLS] = codes();
static LEVELS: [Level; LONGEST + 1] = levels();
/// Symbol and code length by the next 8 bits; length 0 if the code is longer.
static SHORT: [(u8, u8); 256] = short();

const fn by_code() -> [u16; SYMBOLS] {
    let mut sorted = [0; SYMBOLS];
    let mut position = 0;
    let mut length = 1;
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                sorted[position] = symbol as u16;
                position += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
}

const fn codes() -> [u32; SYMBOLS] {
    let sorted = by_code();
    let mut codes = [0; SYMBOLS];
    let mut code = 0u32;
    let mut position = 0;
    while position < SYMBOLS {
        let symbol = sorted[position] as usize;
        codes[symbol] = code;
        if position + 1 < SYMBOLS {
            let next = sorted[position + 1] as usize;
            code = (code + 1) << (LENGTHS[next] - LENGTHS[symbol]);
        }
        position += 1;
    }
    codes
}

const fn levels() -> [Level; LONGEST + 1] {
    let sorted = by_code();
    let codes = codes();
    let mut levels = [Level { first_code: 0, first_position: 0, end: 0 }; LONGEST + 1];
    let mut position = 0;
    while position < SYMBOLS {
        let symbol = sorted[position] as usize;
        let length = LENGTHS[symbol] as usize;
        let level = &mut levels[length];
        if level.end == 0 {
            level.first_code = codes[symbol];
            level.first_position = position;
        }
        // The very last code is all ones, so its end does not fit; nothing is compared against it.
        level.end = (((codes[symbol] as u64 + 1) << (32 - length)) & 0xffff_ffff) as u32;
        position += 1;
    }
    levels
}

const fn short() -> [(u8, u8); 256] {
    let codes = codes();
    let mut table = [(0, 0); 256];
    let mut symbol = 0;
    while symbol < 256 {
        let length = LENGTHS[symbol];
        if length <= 8 {
            let first = (codes[symbol] as usize) << (8 - length);
            let mut index = first;
            while index < first + (1 << (8 - length)) {
                table[index] = (symbol as u8, length);
                index += 1;
            }
        }
        symbol += 1;
    }
    table
}

/// Code lengths in bits by symbol; 256 is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = BytesMut::new();
        let length = decode(coded, &mut out, usize::MAX)?;
        assert_eq!(length, out.len());
        Ok(out.to_vec())
    }

    /// Samples of RFC 7541 appendix B: a code for each of several lengths, and the last code.
    #[test]
    fn codes_are_those_of_the_table() {
        for (symbol, code) in [
            (b'0' as usize, 0x0),
            (b' ' as usize, 0x14),
            (b'~' as usize, 0x1ffd),
            (b'&' as usize, 0xf8),
            (0, 0x1ff8),
            (9, 0xff_ffea),
            (10, 0x3fff_fffc),
            (195, 0x7fff1),
            (255, 0x3ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODES[symbol], code, "symbol {symbol}");
        }
        let kraft: u64 = LENGTHS.iter().map(|&length| 1u64 << (32 - length)).sum();
        assert_eq!(kraft, 1 << 32, "the code is complete");
    }

    /// RFC 7541 appendix C.4.1.
    #[test]
    fn example() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        let mut out = Vec::new();
        encode(b"www.example.com", &mut out);
        assert_eq!(out, coded);
        assert_eq!(encoded_len(b"www.example.com"), coded.len());
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
    }

    #[test]
    fn every_pair_of_bytes_survives() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let text = [first, second, first];
                let mut coded = Vec::new();
                encode(&text, &mut coded);
                assert_eq!(coded.len(), encoded_len(&text));
                assert_eq!(decoded(&coded).unwrap(), text);
            }
        }
    }

    #[test]
    fn padding_is_checked() {
        assert_eq!(decoded(&[]).unwrap(), b"");
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a", "3 ones");
        // 'a', then 000, which is neither a code nor padding.
        assert_eq!(decoded(&[0b0001_1000]), Err(Invalid));
        assert_eq!(decoded(&[0b0001_1110]), Err(Invalid));
        // Eight ones on their own, and after a whole symbol.
        assert_eq!(decoded(&[0xff]), Err(Invalid));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(Invalid));
        // '&' has 8 bits: nothing to pad.
        assert_eq!(decoded(&[0xf8]).unwrap(), b"&");
        // The start of a long code that ends too early.
        assert_eq!(decoded(&[0xff, 0xff, 0xea]).unwrap(), [9]);
        assert_eq!(decoded(&[0xff, 0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff, 0xc0]), Err(Invalid));
    }

    #[test]
    fn eos_is_refused() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(Invalid));
        // 'a', EOS, five ones.
        assert_eq!(decoded(&[0b0001_1111, 0xff, 0xff, 0xff, 0xff]), Err(Invalid));
    }

    #[test]
    fn text_past_the_limit_is_counted_and_checked() {
        let text = vec![b'a'; 1000];
        let mut coded = Vec::new();
        encode(&text, &mut coded);
        for limit in [0, 1, 127, 128, 129, 999, 1000] {
            let mut out = BytesMut::new();
            assert_eq!(decode(&coded, &mut out, limit), Ok(1000));
            assert_eq!(out.len(), limit);
        }
        coded.extend([0xff, 0xff, 0xff, 0xff]);
        assert_eq!(decode(&coded, &mut BytesMut::new(), 10), Err(Invalid));
    }
}
