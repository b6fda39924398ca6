//! The paths and queries that a request may ask for.
//!
//! Router, middlewares, static files and guests each look at the path. A guest may read it with a URL parser, which
//! resolves dot segments and takes `\` for `/`. So a path that such a parser would change is refused: the guest then
//! sees the same path that was matched.
//!
//! Browsers send a few bytes unescaped that RFC 3986 allows in no URI (WHATWG URL, path and query percent-encode sets);
//! those pass. Any other such byte is a fault of the client, or an attempt to make two parsers disagree.

use http::uri::PathAndQuery;
use roadrunner_values::PathRule;

/// Checks a path, other than `*`, and a query.
///
/// # Errors
/// The fault, as a sentence for the client.
pub(crate) fn check(target: &PathAndQuery, rule: PathRule) -> Result<(), &'static str> {
    let path = target.path();
    if !path.bytes().all(|byte| IN_PATH[usize::from(byte)] || byte == b'\\' && rule == PathRule::AsSent) {
        return Err("the path has a byte that must be percent-encoded");
    }
    if target.query().is_some_and(|query| !query.bytes().all(|byte| IN_QUERY[usize::from(byte)])) {
        return Err("the query has a byte that must be percent-encoded");
    }
    if rule == PathRule::AsSent {
        return Ok(());
    }
    if path.starts_with("//") {
        return Err("the path begins with two slashes");
    }
    if path.split('/').any(is_dot_segment) {
        return Err("the path has a dot segment");
    }
    Ok(())
}

/// Whether a segment is `.` or `..`, each dot possibly as `%2e` (WHATWG URL, single-dot and double-dot URL path
/// segments).
fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment.as_bytes();
    for _ in 0..2 {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        if rest.is_empty() {
            return true;
        }
    }
    false
}

/// Bytes allowed in a path: RFC 3986, 3.3, and those that browsers do not escape: `[`, `]`, `|`.
static IN_PATH: [bool; 256] = table(b"-._~!$&'()*+,;=:@%/[]|");

/// Bytes allowed in a query: RFC 3986, 3.4, and those that browsers do not escape, which are more than in a path.
static IN_QUERY: [bool; 256] = table(b"-._~!$&'()*+,;=:@%/?[]|\\^`{}");

/// A table of letters, digits and these.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(target: &str, rule: PathRule) -> bool {
        // The `http` crate itself already refuses some bytes in a target.
        target.parse().is_ok_and(|target| check(&target, rule).is_ok())
    }

    #[test]
    fn strict_paths_mean_one_thing() {
        for good in
            ["/", "/a/b", "/a//b", "/.a", "/a.", "/...", "/%2e%2e%2e", "/a%5cb", "/..%2f", "/~a", "/a|b[c]", "/%zz"]
        {
            assert!(verdict(good, PathRule::Strict), "{good}");
        }
        for changed in
            ["/.", "/..", "/a/./b", "/a/../b", "/a/%2e", "/%2E%2e/a", "/.%2e", "/a/..?b", "//", "//a/b", "/a\\b"]
        {
            assert!(!verdict(changed, PathRule::Strict), "{changed}");
            assert!(verdict(changed, PathRule::AsSent), "{changed}");
        }
    }

    #[test]
    fn bytes_of_no_uri() {
        for rule in [PathRule::AsSent, PathRule::Strict] {
            for bad in ["/\u{e9}", "/a?\u{e9}", "/a\"", "/a{", "/a}", "/a^b", "/\u{7f}", "/a?\u{7f}"] {
                assert!(!verdict(bad, rule), "{bad}");
            }
            for good in ["/a?b=c/d?e", "/a?b={c}|[d]^`e\\'", "/?", "/a?%00"] {
                assert!(verdict(good, rule), "{good}");
            }
        }
    }
}
