//! The version at the end of an HTTP/1 request line, which comes in arbitrary pieces. hyper knows 1.0 and 1.1 and
//! treats any other version as malformed. Bytes in, bytes out.

use memchr::memmem;

/// Most bytes at the end of a line that matter: ` HTTP/1.1` and CR.
pub(crate) const TAIL: usize = 10;

/// Replaces any other version with 1.1: a minor version is to be read as the highest known (RFC 9110, 2.5), and a major
/// version has to be answered (RFC 9110, 15.6.6). Returns whether the whole line names another major version.
///
/// `tail` is the end of the line received so far, unchanged; `piece` ends with it, and is the part that can be changed.
pub(crate) fn mend(tail: &[u8], piece: &mut [u8]) -> bool {
    let line = tail.strip_suffix(b"\r").unwrap_or(tail);
    let from = line.len().saturating_sub(TAIL - 1);
    let Some(at) = memmem::find(&line[from..], NAME) else {
        return false;
    };
    let at = from + at + NAME.len();
    let mut put_one = |index: usize| {
        if let Some(byte) = (piece.len() + index).checked_sub(tail.len()).and_then(|index| piece.get_mut(index)) {
            *byte = b'1';
        }
    };
    let (major, rest) = match &line[at..] {
        [major, rest @ ..] if major.is_ascii_digit() => (*major, rest),
        _ => return false,
    };
    let is_other = major != b'1';
    if is_other {
        put_one(at);
    }
    match rest {
        [b'.', minor] if minor.is_ascii_digit() => {
            if is_other || *minor > b'1' {
                put_one(at + 2);
            }
            is_other
        }
        _ => false,
    }
}

const NAME: &[u8] = b" HTTP/";

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the line after it came in pieces of this size, and whether it names another major version.
    fn mended(line: &str, step: usize) -> (String, bool) {
        let mut passed = Vec::new();
        let mut came = Vec::new();
        let mut is_other = false;
        for piece in line.as_bytes().chunks(step) {
            came.extend_from_slice(piece);
            let mut piece = piece.to_vec();
            is_other = mend(&came[came.len().saturating_sub(TAIL)..], &mut piece);
            passed.extend(piece);
        }
        (String::from_utf8(passed).expect("it was text"), is_other)
    }

    #[test]
    fn versions_in_any_pieces() {
        for (version, expected, is_other) in [
            ("HTTP/1.1", "HTTP/1.1", false),
            ("HTTP/1.0", "HTTP/1.0", false),
            ("HTTP/1.2", "HTTP/1.1", false),
            ("HTTP/1.9", "HTTP/1.1", false),
            ("HTTP/2.0", "HTTP/1.1", true),
            ("HTTP/0.9", "HTTP/1.1", true),
            ("HTTP/9.1", "HTTP/1.1", true),
            ("HTTP/1.10", "HTTP/1.10", false),
            ("http/2.0", "http/2.0", false),
            ("HTTP/a.0", "HTTP/a.0", false),
            ("HTTP/1", "HTTP/1", false),
        ] {
            let line = format!("GET /a {version}\r");
            for step in 1..=line.len() {
                let expected = format!("GET /a {expected}\r");
                // Digits followed by more digits are malformed either way.
                let (line, other) = mended(&line, step);
                assert!(line == expected || version.len() > 8, "{version} by {step}: {line}");
                assert_eq!(other, is_other, "{version} by {step}");
            }
        }
    }
}
