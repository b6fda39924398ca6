//! The token of the admin listener: a line in a file, shown as `authorization: Bearer TOKEN` (RFC 6750, 2.1).
//!
//! The host keeps its SHA-256 alone, and compares that: how long a comparison takes says nothing of the token.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, header};
use roadrunner_sandbox::Digest;

/// The shortest token, in bytes.
const SHORTEST: usize = 16;

/// The longest token, in bytes.
const LONGEST: u64 = 4096;

/// What clients have to know.
#[derive(Clone, Debug)]
pub(crate) struct Token(Digest);

impl Token {
    /// That of a file, as [`read`] finds it.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        Ok(Self(Digest::of(read(path)?.as_bytes())))
    }

    /// Whether a request shows it.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        let Some((scheme, shown)) = shown else { return false };
        let differ = |one: &Digest, other: &Digest| {
            one.bytes().iter().zip(other.bytes()).fold(0, |differ, (one, other)| differ | one ^ other)
        };
        scheme.eq_ignore_ascii_case(b"Bearer ") && differ(&Digest::of(shown), &self.0) == 0
    }
}

/// The token in a file: one line of visible ASCII, in a file that others cannot read.
pub(crate) fn read(path: &Path) -> Result<String> {
    let failed = || format!("cannot read the token in {}", path.display());
    let mut file = fs::File::open(path).with_context(failed)?;
    let mode = file.metadata().with_context(failed)?.mode();
    ensure!(mode & 0o007 == 0, "others can read the token in {path}; run: chmod 600 {path}", path = path.display());
    let mut text = String::new();
    file.by_ref().take(LONGEST).read_to_string(&mut text).with_context(failed)?;
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
        let token = Token(Digest::of(b"0123456789abcdef"));
        let shows = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            token.is_shown(&headers)
        };
        assert!(shows("Bearer 0123456789abcdef") && shows("bearer 0123456789abcdef"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"]
        {
            assert!(!shows(wrong), "{wrong:?}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
    }
}
