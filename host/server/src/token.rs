//! Tokens of the admin listener: a line in a file, shown as `authorization: Bearer TOKEN` (RFC 6750, 2.1).
//!
//! The host keeps and compares only their SHA-256: the duration of a comparison reveals nothing of the token.

use std::path::Path;

use anyhow::{Result, ensure};
use http::{HeaderMap, header};
use roadrunner_account::Digest;

/// The shortest token, in bytes.
const SHORTEST: usize = 16;

/// The longest token, in bytes.
const LONGEST: usize = 4096;

/// A token that a caller has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token(Digest);

/// A token that a request shows.
#[derive(Debug)]
pub(crate) struct Shown(Digest);

impl Token {
    /// Loads the token in a file, as [`read`] does.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        Ok(Self::of(&read(path)?))
    }

    pub(crate) fn of(token: &str) -> Self {
        Self(Digest::of(token.as_bytes()))
    }

    /// Whether the shown token is this token.
    pub(crate) fn is(&self, shown: &Shown) -> bool {
        let pairs = shown.0.bytes().iter().zip(self.0.bytes());
        pairs.fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
    }
}

impl Shown {
    /// The token that a request shows; none if it shows none.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, shown) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| Self(Digest::of(shown)))
    }
}

/// Reads the token in a file: one line of visible ASCII.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = roadrunner_private::read(path, LONGEST)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let token = text.trim();
    ensure!(
        token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic()),
        "the token in {path} has to be one word of at least {SHORTEST} characters; run: openssl rand -hex 32 > {path}",
        path = path.display()
    );
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::of("0123456789abcdef");
        let shows = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            Shown::of(&headers).is_some_and(|shown| token.is(&shown))
        };
        assert!(shows("Bearer 0123456789abcdef") && shows("bearer 0123456789abcdef"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"]
        {
            assert!(!shows(wrong), "{wrong:?}");
        }
        assert!(Shown::of(&HeaderMap::new()).is_none());
    }
}
