//! The grammar of chunk extensions (RFC 9112, 7.1.1). They have no meaning here, but bytes that another parser takes
//! for the end of an extension would move the chunk's boundary.

/// Whether these bytes, which follow a chunk's size, are extensions or empty: `*( BWS ";" BWS token [ BWS "=" BWS (
/// token / quoted-string ) ] )`.
pub(crate) fn are_good(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = extension(rest) else { return false };
        rest = after;
    }
    true
}

/// The bytes after one extension; `None` if there is none.
fn extension(bytes: &[u8]) -> Option<&[u8]> {
    let name = after_space(bytes).strip_prefix(b";")?;
    let rest = after_token(after_space(name))?;
    match after_space(rest).strip_prefix(b"=") {
        None => Some(rest),
        Some(value) => match after_space(value) {
            [b'"', quoted @ ..] => after_quoted(quoted),
            value => after_token(value),
        },
    }
}

fn after_space(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[spaces..]
}

/// The bytes after a token (RFC 9110, 5.6.2).
fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = bytes.iter().take_while(is_token).count();
    (length > 0).then(|| &bytes[length..])
}

/// The bytes after a quoted string (RFC 9110, 5.6.4); the input starts behind its first quote.
fn after_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            0..=8 | 10..=31 | 127 => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(&bytes[index + 1..]),
            _ => {}
        }
    }
    None
}
