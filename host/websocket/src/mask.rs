//! Masking of client payloads (RFC 6455, 5.3): XOR with a four-byte key that repeats.
//!
//! Contract: `apply` is its own inverse, and a payload may be masked in pieces when each piece names its offset in the
//! payload. The encoder makes the random key (`crate::encoder`).

/// Masks or unmasks `piece`, which starts `offset` bytes into its frame's payload.
pub(crate) fn apply(piece: &mut [u8], key: [u8; 4], offset: u64) {
    let mut wide = [0; LANE];
    for (at, byte) in wide.iter_mut().enumerate() {
        // RFC 6455, 5.3: octet i is masked with octet i MOD 4 of the key.
        *byte = key[(at + (offset % 4) as usize) % 4];
    }
    // The compiler turns fixed-size lanes without branches into vector instructions. A lane is a multiple of the key's
    // length, so that every lane, and the rest, starts in the same phase.
    let (lanes, rest) = piece.as_chunks_mut::<LANE>();
    for lane in lanes {
        for (byte, key) in lane.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

const LANE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_like_the_definition_at_every_length_and_offset() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..100 {
            for offset in 0..9u64 {
                let plain: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
                let expected: Vec<u8> =
                    plain.iter().enumerate().map(|(at, byte)| byte ^ key[(at as u64 + offset) as usize % 4]).collect();
                let mut masked = plain.clone();
                apply(&mut masked, key, offset);
                assert_eq!(masked, expected, "length {length}, offset {offset}");
                apply(&mut masked, key, offset);
                assert_eq!(masked, plain);
            }
        }
    }

    #[test]
    fn rfc6455_5_7_masked_hello() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&payload, b"Hello");
    }
}
