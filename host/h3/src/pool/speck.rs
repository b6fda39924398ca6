//! Speck64/128 (Beaulieu and others, IACR ePrint 2013/404): a block cipher of 64 bits. It consists only of 32-bit
//! additions, rotations and exclusive ors, so a classic BPF program can compute it.

/// The round keys of one key.
#[derive(Clone)]
pub(super) struct Speck {
    pub(super) round_keys: [u32; ROUNDS],
}

/// Two words, `x` and `y` of the paper.
pub(super) type Block = (u32, u32);

pub(super) const ROUNDS: usize = 27;

impl Speck {
    /// Makes the cipher from the key's words, `k[0]` first: the reverse of the paper's notation.
    pub(super) fn new(key: [u32; 4]) -> Speck {
        let mut round_keys = [key[0]; ROUNDS];
        let mut schedule = [key[1], key[2], key[3]];
        for round in 0..ROUNDS - 1 {
            let word = &mut schedule[round % 3];
            // Below 27, so it fits.
            *word = round_keys[round].wrapping_add(word.rotate_right(8)) ^ round as u32;
            round_keys[round + 1] = round_keys[round].rotate_left(3) ^ *word;
        }
        Speck { round_keys }
    }

    pub(super) fn encrypt(&self, (mut x, mut y): Block) -> Block {
        for key in &self.round_keys {
            x = x.rotate_right(8).wrapping_add(y) ^ key;
            y = y.rotate_left(3) ^ x;
        }
        (x, y)
    }

    pub(super) fn decrypt(&self, (mut x, mut y): Block) -> Block {
        for key in self.round_keys.iter().rev() {
            y = (y ^ x).rotate_right(3);
            x = (x ^ key).wrapping_sub(y).rotate_left(8);
        }
        (x, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix C of the paper.
    #[test]
    fn the_papers_test_vector() {
        let speck = Speck::new([0x0302_0100, 0x0b0a_0908, 0x1312_1110, 0x1b1a_1918]);
        assert_eq!(speck.encrypt((0x3b72_6574, 0x7475_432d)), (0x8c6f_a548, 0x454e_028b));
        assert_eq!(speck.decrypt((0x8c6f_a548, 0x454e_028b)), (0x3b72_6574, 0x7475_432d));
    }
}
