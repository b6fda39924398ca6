//! Escapes characters that could end a line, control a terminal, reverse text or hide.

use std::fmt;

/// The style of written text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// Within a string of JSON.
    Json,
    /// Without quotes.
    Plain,
    /// Between quotes.
    Quotes,
}

/// Writes text in a style, up to a number of bytes.
pub(crate) struct Escaper<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
    left: usize,
    /// The number of bytes that were not written, as far as they were seen.
    cut: usize,
}

impl<'a> Escaper<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, style: Style, most: usize) -> Self {
        Self { out, style, left: most, cut: 0 }
    }

    /// Appends how much was cut.
    pub(crate) fn end(self) {
        if self.cut > 0 {
            tell_cut(self.out, self.cut);
        }
    }

    pub(crate) fn cut(&self) -> usize {
        self.cut
    }
}

/// Appends how many bytes were cut.
pub(crate) fn tell_cut(out: &mut Vec<u8>, bytes: usize) {
    out.extend_from_slice("… (".as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
    out.extend_from_slice(b" more bytes)");
}

impl fmt::Write for Escaper<'_> {
    /// Fails once the text is cut, so that the rest of it is not even formatted.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut start = 0;
        while start < text.len() {
            let rest = &text.as_bytes()[start..];
            // Most text needs no escapes, and is copied as one piece.
            let run = rest.iter().take(self.left).take_while(|byte| is_ordinary(**byte)).count();
            self.out.extend_from_slice(&rest[..run]);
            self.left -= run;
            start += run;
            let Some(character) = text[start..].chars().next() else { break };
            let mut buffer = [0; 12];
            let escape = escape(character, self.style, &mut buffer);
            if escape.len() > self.left {
                self.left = 0;
                self.cut += text.len() - start;
                return Err(fmt::Error);
            }
            self.left -= escape.len();
            self.out.extend_from_slice(escape);
            start += character.len_utf8();
        }
        Ok(())
    }
}

/// Text on one line, with escapes for characters that could forge another line, up to a number of bytes.
pub fn escaped(text: &str, most: usize) -> String {
    let mut out = Vec::with_capacity(text.len().min(most));
    let mut escaper = Escaper::new(&mut out, Style::Plain, most);
    let _ = fmt::Write::write_str(&mut escaper, text);
    escaper.end();
    String::from_utf8_lossy(&out).into_owned()
}

/// The beginning of a value's text, up to a number of bytes. The rest of it is not even formatted.
pub fn shortened(value: impl fmt::Display, most: usize) -> String {
    struct Start(String, usize);
    impl fmt::Write for Start {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = self.1 - self.0.len();
            self.0.push_str(&text[..text.floor_char_boundary(left)]);
            if text.len() <= left { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut start = Start(String::new(), most);
    // It fails when it is cut.
    let _ = fmt::Write::write_fmt(&mut start, format_args!("{value}"));
    start.0
}

/// Visible ASCII without a special meaning in any style.
fn is_ordinary(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

/// Control characters, characters that separate lines or change the direction of text, and invisible ones.
fn is_dangerous(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn escape(character: char, style: Style, buffer: &mut [u8; 12]) -> &[u8] {
    match character {
        '"' | '\\' if style != Style::Plain => {
            buffer[..2].copy_from_slice(&[b'\\', character as u8]);
            return &buffer[..2];
        }
        '\n' => return b"\\n",
        '\r' => return b"\\r",
        '\t' => return b"\\t",
        _ if !is_dangerous(character) => return character.encode_utf8(&mut buffer[..4]).as_bytes(),
        _ => {}
    }
    use std::io::Write as _;
    let room = buffer.len();
    let mut free = &mut buffer[..];
    // Twelve bytes are enough for each of them.
    let written = match style {
        Style::Json => {
            let mut units = [0; 2];
            character.encode_utf16(&mut units).iter().try_for_each(|unit| write!(free, "\\u{unit:04x}"))
        }
        Style::Plain | Style::Quotes => write!(free, "\\u{{{:x}}}", u32::from(character)),
    };
    debug_assert!(written.is_ok());
    let left = free.len();
    &buffer[..room - left]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_on_its_line() {
        assert_eq!(escaped("a\r\nb\u{1b}[2J\u{85}\tü", 100), "a\\r\\nb\\u{1b}[2J\\u{85}\\tü");
        assert_eq!(
            escaped("\u{2028}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}", 100),
            "\\u{2028}\\u{202e}\\u{2066}\\u{200b}\\u{feff}\\u{e0041}"
        );
        assert_eq!(escaped("it \"is\" C:\\", 100), "it \"is\" C:\\");
    }

    #[test]
    fn text_is_cut_and_says_so() {
        assert_eq!(escaped("abcdef", 6), "abcdef");
        assert_eq!(escaped("abcdef", 4), "abcd… (2 more bytes)");
        assert_eq!(escaped("ab\u{1b}cd", 4), "ab… (3 more bytes)");
        assert_eq!(escaped(&"\u{1b}".repeat(1 << 20), 12), "\\u{1b}\\u{1b}… (1048574 more bytes)");
    }

    proptest! {
        #[test]
        fn nothing_dangerous_is_left(text in any::<String>(), most in 0usize..200) {
            let out = escaped(&text, most);
            prop_assert!(!out.chars().any(is_dangerous), "{out:?}");
            prop_assert!(out.len() <= most + "… (99999 more bytes)".len());
        }

        #[test]
        fn json_gives_the_text_back(text in any::<String>()) {
            let mut out = vec![b'"'];
            let mut escaper = Escaper::new(&mut out, Style::Json, usize::MAX);
            fmt::Write::write_str(&mut escaper, &text).expect("there is room");
            escaper.end();
            out.push(b'"');
            prop_assert!(!String::from_utf8(out.clone()).expect("text").chars().any(is_dangerous));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }
    }
}
