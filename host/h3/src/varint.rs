//! Variable-length integers (RFC 9000 section 16), as far as HTTP/3 needs them: 0 to 2^62 - 1 in 1, 2, 4 or 8 bytes.

use bytes::{Buf, BufMut};

/// The largest integer that can be written.
pub const MAX: u64 = (1 << 62) - 1;

/// Appends `value` in its shortest form. Values above [`MAX`] are written as [`MAX`].
pub fn write(value: u64, out: &mut impl BufMut) {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(0x4000 | value as u16),
        0x4000..0x4000_0000 => out.put_u32(0x8000_0000 | value as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | value.min(MAX)),
    }
}

/// How many bytes [`write()`] appends for `value`.
pub fn size(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Takes an integer off the front of `input`; takes nothing if the integer is incomplete.
pub fn read(input: &mut impl Buf) -> Option<u64> {
    let first = *input.chunk().first()?;
    let length = 1 << (first >> 6);
    if input.remaining() < length {
        return None;
    }
    Some(match length {
        1 => u64::from(input.get_u8()),
        2 => u64::from(input.get_u16() & 0x3fff),
        4 => u64::from(input.get_u32() & 0x3fff_ffff),
        _ => input.get_u64() & MAX,
    })
}

/// Collects one integer from pieces.
#[derive(Clone, Debug, Default)]
pub struct Partial {
    bytes: [u8; 8],
    length: u8,
}

impl Partial {
    /// Takes exactly the bytes it needs from `input`, and returns the integer once it is complete.
    pub fn read(&mut self, input: &mut impl Buf) -> Option<u64> {
        while input.has_remaining() {
            self.bytes[usize::from(self.length)] = input.get_u8();
            self.length += 1;
            let mut bytes = &self.bytes[..usize::from(self.length)];
            if let Some(value) = read(&mut bytes) {
                self.length = 0;
                return Some(value);
            }
        }
        None
    }

    /// Whether an integer has begun and not ended.
    pub fn is_pending(&self) -> bool {
        self.length > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_9000_appendix_a_1() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            let mut input = bytes;
            assert_eq!(read(&mut input), Some(value));
            assert!(input.is_empty());
        }
    }

    proptest! {
        #[test]
        fn round_trip(value in 0..=MAX) {
            let mut bytes = Vec::new();
            write(value, &mut bytes);
            prop_assert_eq!(bytes.len(), size(value));
            prop_assert_eq!(read(&mut &bytes[..]), Some(value));
            for end in 0..bytes.len() {
                prop_assert_eq!(read(&mut &bytes[..end]), None);
            }
            let mut partial = Partial::default();
            for (index, byte) in bytes.iter().enumerate() {
                let read = partial.read(&mut &[*byte][..]);
                prop_assert_eq!(read, (index + 1 == bytes.len()).then_some(value));
                prop_assert_eq!(partial.is_pending(), read.is_none());
            }
        }
    }
}
