//! Percent-encoding (RFC 3986, 2.1), read leniently.

/// Decodes `%XX`. Anything that is not an escape stands for itself, and bytes that are not UTF-8 become U+FFFD. Split a
/// path at its slashes first, as a decoded segment may contain one; [`crate::Request::param`] is already decoded.
pub fn percent_decode(text: impl AsRef<[u8]>) -> String {
    percent_encoding::percent_decode(text.as_ref()).decode_utf8_lossy().into_owned()
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
