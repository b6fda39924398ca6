//! The grammar of the header fields of a handshake (RFC 6455, 9.1; RFC 9110, 5.6).
//!
//! Contract: a field that violates its grammar is an error, never a guess: RFC 6455, 9.1 requires the handshake to
//! fail. A list may take one line or several, and may have empty elements.

use http::header::{HeaderMap, HeaderName};

/// The error for a header field that violates its grammar.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a handshake field is malformed")]
pub struct MalformedField;

/// An extension with its parameters, as offered or answered (RFC 6455, 9.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extension {
    /// The extension's name.
    pub name: String,
    /// The parameters in their order, with the value's quotes removed.
    pub params: Vec<(String, Option<String>)>,
}

impl Extension {
    /// Reads one line of `Sec-WebSocket-Extensions`.
    pub fn parse(line: &[u8]) -> Result<Vec<Self>, MalformedField> {
        let mut cursor = Cursor { rest: line };
        let mut extensions = Vec::new();
        loop {
            cursor.skip_space();
            // RFC 9110, 5.6.1: empty elements do not count.
            if cursor.take(b',') {
                continue;
            }
            if cursor.rest.is_empty() {
                return Ok(extensions);
            }
            extensions.push(cursor.extension()?);
            if !cursor.take(b',') && !cursor.rest.is_empty() {
                return Err(MalformedField);
            }
        }
    }

    /// Reads all lines of `Sec-WebSocket-Extensions`.
    pub(crate) fn parse_all(headers: &HeaderMap) -> Result<Vec<Self>, MalformedField> {
        let mut extensions = Vec::new();
        for line in headers.get_all(http::header::SEC_WEBSOCKET_EXTENSIONS) {
            extensions.append(&mut Self::parse(line.as_bytes())?);
        }
        Ok(extensions)
    }
}

/// Whether a list, over all its lines, has this element, ignoring case.
pub(crate) fn list_has(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    elements(headers, name).any(|other| other.eq_ignore_ascii_case(element.as_bytes()))
}

/// Whether `Upgrade` names this protocol, in any version (RFC 9110, 7.8).
pub(crate) fn upgrades_to(headers: &HeaderMap, protocol: &str) -> bool {
    elements(headers, &http::header::UPGRADE)
        .filter_map(|element| element.split(|byte| *byte == b'/').next())
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(protocol.as_bytes()))
}

/// The tokens of a list over all its lines, in order, each once.
pub(crate) fn tokens(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, MalformedField> {
    let mut tokens: Vec<String> = Vec::new();
    for element in elements(headers, name) {
        let token = token(element).ok_or(MalformedField)?;
        if !tokens.iter().any(|other| other == token) {
            tokens.push(token.to_owned());
        }
    }
    Ok(tokens)
}

/// Whether these bytes are a token (RFC 9110, 5.6.2).
pub(crate) fn token(bytes: &[u8]) -> Option<&str> {
    let valid = !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte));
    std::str::from_utf8(bytes).ok().filter(|_| valid)
}

/// The elements of a list without quoted strings, over all its lines.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    /// `token *( ";" token [ "=" ( token / quoted-string ) ] )`
    fn extension(&mut self) -> Result<Extension, MalformedField> {
        let name = self.token()?;
        let mut params = Vec::new();
        while self.take(b';') {
            let name = self.token()?;
            let value = match self.take(b'=') {
                true => Some(self.value()?),
                false => None,
            };
            params.push((name, value));
        }
        Ok(Extension { name, params })
    }

    fn token(&mut self) -> Result<String, MalformedField> {
        self.skip_space();
        let length = self.rest.iter().take_while(|byte| is_token(**byte)).count();
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        self::token(token).map(str::to_owned).ok_or(MalformedField)
    }

    fn value(&mut self) -> Result<String, MalformedField> {
        self.skip_space();
        if self.take(b'"') { self.quoted() } else { self.token() }
    }

    /// The rest of a quoted string, whose content must be a token once it is unescaped (RFC 6455, 9.1).
    fn quoted(&mut self) -> Result<String, MalformedField> {
        let mut content = Vec::new();
        loop {
            let (byte, rest) = self.rest.split_first().ok_or(MalformedField)?;
            self.rest = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first().ok_or(MalformedField)?;
                    self.rest = rest;
                    content.push(*escaped);
                }
                byte => content.push(*byte),
            }
        }
        token(&content).map(str::to_owned).ok_or(MalformedField)
    }

    /// Takes this byte if it is next, with or without spaces around it.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn skip_space(&mut self) {
        let spaces = self.rest.iter().take_while(|byte| matches!(**byte, b' ' | b'\t')).count();
        self.rest = &self.rest[spaces..];
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(name: &str, params: &[(&str, Option<&str>)]) -> Extension {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        Extension { name: name.to_owned(), params: params.collect() }
    }

    #[test]
    fn rfc6455_9_1_extension_lists() {
        for (line, expected) in [
            ("", vec![]),
            (" , ,", vec![]),
            ("foo", vec![extension("foo", &[])]),
            ("foo, bar; baz=2", vec![extension("foo", &[]), extension("bar", &[("baz", Some("2"))])]),
            (
                "foo ; a ;b = \"1\\5\" ,, x",
                vec![extension("foo", &[("a", None), ("b", Some("15"))]), extension("x", &[])],
            ),
        ] {
            assert_eq!(Extension::parse(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn rfc6455_9_1_malformed_lists() {
        for line in [
            "foo bar",
            "foo;",
            "foo; =1",
            "foo; a=",
            "foo; a=\"1",
            "foo; a=\"\"",
            "foo; a=\"1 2\"",
            "foo; a=\"1\\",
            "foo; a=1 2",
            "=1",
            ";a",
            "foo/1",
            "foo; a=\"1\"x",
            "f\u{f6}o",
        ] {
            assert_eq!(Extension::parse(line.as_bytes()), Err(MalformedField), "{line}");
        }
    }
}
