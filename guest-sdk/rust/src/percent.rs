//! Percent-encoding (RFC 3986, 2.1), read leniently.

/// Decodes `%XX`. Anything that is not an escape stands for itself, and bytes that are not UTF-8 become U+FFFD. Split a
/// path at its slashes first, as a decoded segment may contain one; [`crate::Request::param`] is already decoded.
pub fn percent_decode(text: impl AsRef<[u8]>) -> String {
    decode(text.as_ref(), |byte| byte)
}

/// Decodes `%XX`, and every other byte with `plain`.
pub(crate) fn decode(input: &[u8], plain: impl Fn(u8) -> u8) -> String {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                output.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => output.push(plain(first)),
        }
    }
    String::from_utf8(output).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The value of a byte that is known to be a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_and_nothing_else() {
        assert_eq!(percent_decode("a%20b+c%2Fd%C3%a9"), "a b+c/dé");
    }

    #[test]
    fn wrong_escapes_stand_for_themselves() {
        for text in ["%", "%4", "%zz", "%%", "a%2"] {
            assert_eq!(percent_decode(text), text);
        }
        assert_eq!(percent_decode("%%41"), "%A");
        assert_eq!(percent_decode("%ff"), "\u{fffd}");
    }
}
