//! Incremental UTF-8 validation (RFC 6455, 8.1; RFC 3629).
//!
//! Contract: text may arrive in any pieces. An error is reported with the first byte that proves the text invalid, even
//! inside an incomplete character: `F4 90` fails without waiting for its third byte.

use std::str::from_utf8;

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidUtf8;

/// Checks a text that arrives in pieces.
///
/// # Examples
/// ```
/// use roadrunner_websocket::utf8::Utf8Validator;
///
/// let mut validator = Utf8Validator::default();
/// validator.push(&[0xe2, 0x82]).unwrap();
/// assert!(validator.finish().is_err());
/// validator.push(&[0xac]).unwrap();
/// assert!(validator.finish().is_ok());
/// assert!(validator.push(&[0xf4, 0x90]).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Utf8Validator {
    /// The first bytes of a character whose end has not arrived.
    partial: [u8; 4],
    length: u8,
}

impl Utf8Validator {
    /// Checks the next piece. After an error the validator must not be used again.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), InvalidUtf8> {
        while self.length > 0 {
            let Some((first, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.partial[usize::from(self.length)] = *first;
            self.length += 1;
            // No more than four bytes get here: std never calls four bytes an incomplete character.
            match from_utf8(&self.partial[..usize::from(self.length)]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(InvalidUtf8),
            }
        }
        if let Err(error) = from_utf8(piece) {
            // An error length means that the bytes there can never become a character.
            if error.error_len().is_some() {
                return Err(InvalidUtf8);
            }
            let tail = &piece[error.valid_up_to()..];
            self.partial[..tail.len()].copy_from_slice(tail);
            self.length = tail.len() as u8;
        }
        Ok(())
    }

    /// Whether the text may end here: not inside a character.
    pub fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.length == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_in_two(text: &[u8], at: usize) -> Result<(), InvalidUtf8> {
        let mut validator = Utf8Validator::default();
        validator.push(&text[..at])?;
        validator.push(&text[at..])?;
        validator.finish()
    }

    fn fails_at(text: &[u8]) -> Option<usize> {
        let mut validator = Utf8Validator::default();
        text.iter().position(|byte| validator.push(&[*byte]).is_err())
    }

    #[test]
    fn fails_with_the_first_impossible_byte() {
        assert_eq!(fails_at(b"\xf4\x90"), Some(1), "above U+10FFFF");
        assert_eq!(fails_at(b"\xed\xa0"), Some(1), "surrogate");
        assert_eq!(fails_at(b"\xe0\x80"), Some(1), "overlong, three bytes");
        assert_eq!(fails_at(b"\xf0\x80"), Some(1), "overlong, four bytes");
        assert_eq!(fails_at(b"\xc0"), Some(0), "overlong, two bytes");
        assert_eq!(fails_at(b"a\x80"), Some(1), "lone continuation");
        assert_eq!(fails_at(b"\xf5"), Some(0), "no character starts so");
        assert_eq!(fails_at("\u{10ffff}κόσμε".as_bytes()), None);
    }

    #[test]
    fn agrees_with_std_on_every_two_byte_and_boundary_sequence() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                for tail in [&[][..], &[0x80], &[0xbf], &[0x80, 0x80], &[0xbf, 0xbf], b"a"] {
                    let mut text = vec![first, second];
                    text.extend_from_slice(tail);
                    for at in 0..=text.len() {
                        assert_eq!(check_in_two(&text, at).is_ok(), from_utf8(&text).is_ok(), "{text:x?} at {at}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_std_at_every_split(
            text in "\\PC{0,24}",
            mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes = text.into_bytes();
            for (index, byte) in mutations {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            for at in 0..=bytes.len() {
                prop_assert_eq!(check_in_two(&bytes, at).is_ok(), from_utf8(&bytes).is_ok());
            }
        }

        #[test]
        fn agrees_with_std_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            for at in 0..=bytes.len() {
                prop_assert_eq!(check_in_two(&bytes, at).is_ok(), from_utf8(&bytes).is_ok());
            }
        }

        /// Accepted text can still become valid: some continuation completes it.
        #[test]
        fn passes_only_prefixes_of_valid_text(bytes in prop::collection::vec(any::<u8>(), 0..6)) {
            let mut validator = Utf8Validator::default();
            if validator.push(&bytes).is_ok() {
                let valid_up_to = from_utf8(&bytes).map_or_else(|e| e.valid_up_to(), str::len);
                let open = &bytes[valid_up_to..];
                let completed = (0..=0xffffu32).any(|tail| {
                    let tail = [0x80 | (tail & 0x3f) as u8, 0x80 | (tail >> 6 & 0x3f) as u8, 0x80 | (tail >> 12) as u8];
                    (0..=3).any(|n| from_utf8(&[open, &tail[..n]].concat()).is_ok())
                });
                prop_assert!(completed);
            }
        }
    }
}
