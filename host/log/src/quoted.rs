//! Text of a guest or a client within a message of the host.

use std::fmt::{self, Write as _};

use crate::escape::{Escaper, Style, tell_cut};

/// The most characters of escaped text that are kept.
pub const MAX_QUOTED: usize = 512;

/// Foreign text: cut, escaped and between quotes, so that it can be neither long, nor a field, nor a separate line. The
/// length of the cut part follows the quotes.
#[derive(Clone, Eq, PartialEq)]
pub struct Quoted(String);

impl Quoted {
    /// Quotes text. Long text takes no longer.
    pub fn text(text: &str) -> Self {
        Self::display(text)
    }

    /// Quotes bytes that may be text.
    pub fn bytes(bytes: &[u8]) -> Self {
        // No character has more than four bytes, so this many are more than enough.
        let (seen, rest) = bytes.split_at(bytes.len().min(4 * MAX_QUOTED + 4));
        Self::made(rest.len(), |escaper| {
            seen.utf8_chunks().try_for_each(|chunk| {
                escaper.write_str(chunk.valid())?;
                if chunk.invalid().is_empty() { Ok(()) } else { escaper.write_char(char::REPLACEMENT_CHARACTER) }
            })
        })
    }

    /// Quotes a value that contains foreign text, such as an error. It is formatted only as far as it is kept.
    pub fn display(value: impl fmt::Display) -> Self {
        Self::made(0, |escaper| write!(escaper, "{value}"))
    }

    /// The same for a value without another form.
    pub fn debug(value: impl fmt::Debug) -> Self {
        Self::display(format_args!("{value:?}"))
    }

    fn made(unseen: usize, write: impl FnOnce(&mut Escaper<'_>) -> fmt::Result) -> Self {
        let mut out = vec![b'"'];
        let mut escaper = Escaper::new(&mut out, Style::Quotes, MAX_QUOTED);
        // It fails when it is cut, and the result says so.
        let _ = write(&mut escaper);
        let cut = escaper.cut();
        out.push(b'"');
        if cut > 0 {
            tell_cut(&mut out, cut + unseen);
        }
        Self(String::from_utf8_lossy(&out).into_owned())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_quoted_ends_with_its_quotes() {
        for (text, quoted) in [
            ("", r#""""#),
            ("x", r#""x""#),
            ("x\" outcome=ok \"", r#""x\" outcome=ok \"""#),
            ("a\\", r#""a\\""#),
            ("a\nb\u{1b}", r#""a\nb\u{1b}""#),
        ] {
            assert_eq!(Quoted::text(text).to_string(), quoted);
            assert_eq!(Quoted::bytes(text.as_bytes()).to_string(), quoted);
        }
        assert_eq!(Quoted::bytes(b"a\xffb").to_string(), "\"a\u{fffd}b\"");
    }

    #[test]
    fn what_is_long_is_cut_and_counted() {
        let long = "x".repeat(15 << 20);
        let quoted = format!("\"{}\"… ({} more bytes)", "x".repeat(512), (15 << 20) - 512);
        assert_eq!(Quoted::text(&long).to_string(), quoted);
        assert_eq!(Quoted::bytes(long.as_bytes()).to_string(), quoted);
        let escapes = Quoted::text(&"\u{1b}".repeat(15 << 20)).to_string();
        assert!(escapes.len() < 560 && escapes.contains("15728555 more bytes"), "{escapes}");
    }

    /// All of it would take as much memory as it has, or more.
    #[test]
    fn what_is_cut_is_not_made() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("frame ")?;
                }
            }
        }
        assert!(Quoted::display(Endless).to_string().len() < 560);
    }

    proptest! {
        #[test]
        fn quotes_are_the_first_and_the_last(bytes in any::<Vec<u8>>()) {
            let quoted = Quoted::bytes(&bytes).to_string();
            let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("quotes");
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                prop_assert_ne!(character, '"');
                if character == '\\' {
                    prop_assert!(characters.next().is_some());
                }
            }
        }
    }
}
