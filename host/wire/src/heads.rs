//! Tracks HTTP/1 requests, for faults that hyper tolerates and does not show: a line that ends without CR (RFC 9112,
//! 2.2), a request with both `Content-Length` and `Transfer-Encoding` (RFC 9112, 6.1), a chunk size followed by
//! anything but an extension (RFC 9112, 7.1), a target with a fragment (RFC 9112, 3.2). Each of them lets two parsers
//! in a row see different requests. Bytes in, verdicts out.
//!
//! To find the heads, this module also tracks the bodies. Where it and hyper could disagree it refuses, so that
//! accepted bytes can be framed in one way only. hyper judges whether they are a valid request at all.

use memchr::memchr;

use crate::extensions;
use crate::version::{self, TAIL};

/// Tracks the bytes of one connection.
#[derive(Debug)]
pub(crate) struct Heads {
    state: State,
    /// The beginning of a line whose end has not come yet.
    line: Line,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    /// The number of heads that have ended.
    heads: u64,
    /// The request line being read, or read last, names a major version other than 1.
    other_major: bool,
    /// The first such request, counted from 1.
    unsupported: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between requests; empty lines are skipped (RFC 9112, 2.2).
    Start,
    /// In the field lines of a head.
    Fields,
    /// In a body, with this many bytes left.
    Body(u64),
    ChunkSize,
    /// In a chunk, with this many bytes left, its CRLF included, before the next chunk size.
    Chunk(u64),
    Trailers,
    /// After a request to upgrade: the next bytes are a request or not HTTP at all, and only the answer tells.
    Held,
    Refused,
    /// The connection no longer carries HTTP.
    Tunnel,
}

/// How many of the bytes may pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of them.
    Pass,
    /// Only the bytes before this one; the rest when the exchange is over. See [`Heads::is_held`].
    Hold(usize),
    /// Only the bytes before this one; the rest never.
    Refuse(usize),
}

impl Heads {
    pub(crate) fn new() -> Heads {
        Heads {
            state: State::Start,
            line: Line::default(),
            length: None,
            chunked: false,
            upgrade: false,
            heads: 0,
            other_major: false,
            unsupported: None,
        }
    }

    /// Takes the next bytes. It rewrites a version that hyper does not know to 1.1: a minor version is to be read so
    /// (RFC 9110, 2.5), and [`Heads::unsupported`] reports a major one.
    pub(crate) fn feed(&mut self, bytes: &mut [u8]) -> Verdict {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &mut bytes[at..];
            match self.state {
                State::Tunnel => return Verdict::Pass,
                State::Refused => return Verdict::Refuse(at),
                State::Held => return Verdict::Hold(at),
                State::Body(left) => {
                    let skipped = left.min(rest.len() as u64);
                    at += skipped as usize;
                    self.state = State::Body(left - skipped);
                    if left == skipped {
                        self.request_ends();
                    }
                }
                State::Chunk(left) => {
                    let skipped = left.min(rest.len() as u64);
                    at += skipped as usize;
                    self.state = if left == skipped { State::ChunkSize } else { State::Chunk(left - skipped) };
                }
                State::Start | State::Fields | State::ChunkSize | State::Trailers => {
                    let Some(end) = memchr(b'\n', rest) else {
                        self.line.push(rest);
                        self.version(rest);
                        return Verdict::Pass;
                    };
                    let is_whole = self.line.length == 0;
                    if !is_whole {
                        self.line.push(&rest[..end]);
                    }
                    self.version(&mut rest[..end]);
                    let is_good = if is_whole {
                        without_cr(&rest[..end]).and_then(|line| self.line(line, line.len(), false))
                    } else {
                        let whole = std::mem::take(&mut self.line);
                        whole.without_cr().and_then(|line| self.line(line, whole.length - 1, whole.hash))
                    };
                    if is_good.is_none() {
                        self.state = State::Refused;
                        return Verdict::Refuse(at + end);
                    }
                    at += end + 1;
                }
            }
        }
        Verdict::Pass
    }

    /// The number of requests after which nothing may pass for now; `None` if bytes may pass.
    pub(crate) fn is_held(&self) -> Option<u64> {
        (self.state == State::Held).then_some(self.heads)
    }

    /// Resumes HTTP: the exchange is over and the connection still carries HTTP.
    pub(crate) fn resume(&mut self) {
        self.state = State::Start;
    }

    /// Ends the tracking: the connection no longer carries HTTP.
    pub(crate) fn become_tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    /// Whether all bytes so far are whole requests.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Start | State::Held) && self.line.length == 0
    }

    /// The first request, counted from 1, whose version is not served.
    pub(crate) fn unsupported(&self) -> Option<u64> {
        self.unsupported
    }

    /// Reads and corrects the version at the end of a request line; these bytes of the line came last.
    fn version(&mut self, piece: &mut [u8]) {
        if self.state != State::Start || piece.ends_with(b" HTTP/1.1\r") {
            return;
        }
        let mut own = [0; TAIL];
        let tail = if self.line.length == 0 {
            let own = &mut own[..piece.len().min(TAIL)];
            own.copy_from_slice(&piece[piece.len() - own.len()..]);
            &*own
        } else {
            self.line.tail()
        };
        self.other_major = version::mend(tail, piece);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Takes a line without its CR LF, given as its first bytes, its length, and, for a line put together from pieces,
    /// whether it contains a `#`. `None` if it is to be refused.
    fn line(&mut self, line: &[u8], length: usize, hash: bool) -> Option<()> {
        match (self.state, line) {
            (State::Start, []) => {}
            // The `http` crate would cut the target there.
            (State::Start, line) if hash || memchr(b'#', line).is_some() => return None,
            (State::Start, _) => self.state = State::Fields,
            (State::Fields, []) => self.head_ends(),
            (State::Fields, line) => self.field(line)?,
            (State::ChunkSize, line) => {
                self.state = match chunk_size(line).filter(|_| length <= LINE)? {
                    0 => State::Trailers,
                    size => State::Chunk(size + 2),
                };
            }
            (State::Trailers, []) => self.request_ends(),
            _ => {}
        }
        Some(())
    }

    fn field(&mut self, line: &[u8]) -> Option<()> {
        // For nearly every field, the first byte of its name shows that it is none of these.
        if !matches!(line[0] | 0x20, b'c' | b't' | b'u') {
            return Some(());
        }
        let Some(colon) = memchr(b':', line) else {
            return Some(());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            // RFC 9112, 6.3: digits, and several values must be equal.
            if value.is_empty() || value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let length: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
            if length > LONGEST_BODY {
                return None;
            }
            if self.chunked || self.length.is_some_and(|other| other != length) {
                return None;
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.length.is_some() {
                return None;
            }
            // hyper or `validate` refuses any other coding and closes the connection.
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Some(())
    }

    fn head_ends(&mut self) {
        self.heads += 1;
        if std::mem::take(&mut self.other_major) {
            self.unsupported.get_or_insert(self.heads);
        }
        self.state = match (self.chunked, self.length.take()) {
            (true, _) => State::ChunkSize,
            (false, None | Some(0)) => return self.request_ends(),
            (false, Some(length)) => State::Body(length),
        };
    }

    fn request_ends(&mut self) {
        self.state = if std::mem::take(&mut self.upgrade) { State::Held } else { State::Start };
        self.chunked = false;
        self.length = None;
    }
}

fn without_cr(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b"\r")
}

/// Parses a chunk size (RFC 9112, 7.1): hexadecimal digits with optional extensions; `None` for anything else.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return None;
    }
    let size = line[..digits].iter().fold(0, |size: u64, digit| {
        // A hexadecimal digit, as the count above shows.
        size << 4 | u64::from((*digit as char).to_digit(16).unwrap_or_default())
    });
    (size <= LONGEST_BODY && extensions::are_good(&line[digits..])).then_some(size)
}

/// The first bytes of a line, its last bytes, its length so far, and whether it has a `#`.
#[derive(Clone, Copy, Debug)]
struct Line {
    bytes: [u8; LINE],
    length: usize,
    /// The last bytes of the line, right-aligned.
    tail: [u8; TAIL],
    /// Whether the line contains a `#`.
    hash: bool,
}

impl Line {
    fn push(&mut self, more: &[u8]) {
        self.hash |= memchr(b'#', more).is_some();
        if let Some(room) = self.bytes.get_mut(self.length..) {
            let kept = room.len().min(more.len());
            room[..kept].copy_from_slice(&more[..kept]);
        }
        self.length = self.length.saturating_add(more.len());
        let newest = &more[more.len().saturating_sub(TAIL)..];
        self.tail.copy_within(newest.len().., 0);
        self.tail[TAIL - newest.len()..].copy_from_slice(newest);
    }

    fn tail(&self) -> &[u8] {
        &self.tail[TAIL - self.length.min(TAIL)..]
    }

    /// The kept bytes of the line, if it ends with CR.
    fn without_cr(&self) -> Option<&[u8]> {
        self.tail.ends_with(b"\r").then(|| &self.bytes[..(self.length - 1).min(LINE)])
    }
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: [0; LINE], length: 0, tail: [0; TAIL], hash: false }
    }
}

/// Longer than any line whose value matters here: `content-length`, white space, and 20 digits; or a chunk size with
/// extensions, which is refused if it is longer (RFC 9112, 7.1.1).
const LINE: usize = 256;

/// The longest body, and the longest chunk: a larger value is negative to a parser that uses signed numbers.
const LONGEST_BODY: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many bytes pass when they come in pieces of this size, and the last verdict.
    fn passes(bytes: &[u8], step: usize) -> (usize, Verdict) {
        let mut heads = Heads::new();
        let mut passed = 0;
        for piece in bytes.to_vec().chunks_mut(step) {
            match heads.feed(piece) {
                Verdict::Pass => passed += piece.len(),
                Verdict::Hold(at) => return (passed + at, Verdict::Hold(at)),
                Verdict::Refuse(at) => return (passed + at, Verdict::Refuse(at)),
            }
        }
        (passed, Verdict::Pass)
    }

    fn good(text: &str) {
        for step in 1..=text.len() {
            assert_eq!(passes(text.as_bytes(), step), (text.len(), Verdict::Pass), "{text:?} by {step}");
        }
    }

    /// Checks that the text is refused before its end, in pieces of any size.
    fn bad(text: &str) {
        for step in 1..=text.len() {
            let (passed, verdict) = passes(text.as_bytes(), step);
            assert!(matches!(verdict, Verdict::Refuse(_)), "{text:?} by {step}: {verdict:?}");
            assert!(passed < text.len());
        }
    }

    #[test]
    fn requests_in_a_row() {
        let long = "v".repeat(300);
        let extension = "v".repeat(200);
        good(&format!(
            "\r\nGET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\nUser-Agent: b\r\n\r\n\
             POST / HTTP/1.1\r\nContent-Length: 4\r\ncontent-length:\t4 \r\n\r\n\n\n\n\n\
             POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA;x={extension}\r\n\n\n\n\n\n\n\n\n\n\n\r\n0\r\nx: y\r\n\r\n\
             GET / HTTP/1.1\r\n\r\n"
        ));
    }

    #[test]
    fn lines_without_cr() {
        let long = "v".repeat(300);
        bad("\nGET / HTTP/1.1\r\n\r\n");
        bad("GET / HTTP/1.1\nhost: a\r\n\r\n");
        bad("GET / HTTP/1.1\r\nhost: a\n\r\n");
        bad("GET / HTTP/1.1\r\nhost: a\r\n\n");
        bad(&format!("GET / HTTP/1.1\r\nx: {long}\nhost: a\r\n\r\n"));
        bad(&format!("GET /{long}\nhost: a\r\n\r\n"));
        bad("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n");
        bad("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n");
        bad("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\n\r\n");
    }

    #[test]
    fn lengths_and_codings() {
        bad("POST / HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n");
        bad("POST / HTTP/1.1\r\nTransfer-encoding: chunked\r\nCONTENT-LENGTH: 4\r\n\r\n");
        bad("POST / HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n");
        bad("POST / HTTP/1.1\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n");
        bad("POST / HTTP/1.1\r\ncontent-length: +4\r\n\r\n");
        bad(&format!("POST / HTTP/1.1\r\ncontent-length: {}4\r\n\r\n", "0".repeat(200)));
        bad("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n");
        bad("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n10000000000000000\r\n");
        bad("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n");
        bad("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n8000000000000000\r\n");
        bad("POST / HTTP/1.1\r\ncontent-length: 9223372036854775808\r\n\r\n");
    }

    #[test]
    fn chunk_sizes() {
        let size = |line: &str| chunk_size(line.as_bytes());
        for (line, expected) in [
            ("0", 0),
            ("1F", 31),
            ("0000000000000005", 5),
            ("7fffffffffffffff", i64::MAX as u64),
            ("5;a", 5),
            ("5;a=b;c", 5),
            ("5 \t; a=\"b\\\"c;\"", 5),
            ("5;a=\"\u{e9}\"", 5),
            ("5;a = b", 5),
        ] {
            assert_eq!(size(line), Some(expected), "{line:?}");
        }
        for line in [
            "",
            " 5",
            "5 ",
            "5\t",
            "5 5",
            "5,5",
            "5_5",
            "+5",
            "-5",
            "0x5",
            "g",
            ";a",
            "5;",
            "5;;a",
            "5; ",
            "5;a ",
            "5;a=",
            "5;bad[=x",
            "5;=b",
            "5;a=b c",
            "5;a=b=c",
            "5;a=\"b\"c",
            "5;\u{e9}",
            "5;a\0",
            "5;a\rb",
            "5;a\u{7f}",
            "5;a=\"b",
            "5;a=\"b\\\"",
            "5;a=\"\\\0\"",
            "8000000000000000",
            "00000000000000005",
        ] {
            assert_eq!(size(line), None, "{line:?}");
        }
        bad(&format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;{}\r\n", "a".repeat(300)));
    }

    #[test]
    fn targets_without_fragments() {
        bad("GET /a#b HTTP/1.1\r\n\r\n");
        bad(&format!("GET /{}#b HTTP/1.1\r\n\r\n", "a".repeat(300)));
        good("GET / HTTP/1.1\r\nx: #\r\n\r\n");
    }

    #[test]
    fn what_follows_an_upgrade_is_held() {
        let head = "GET / HTTP/1.1\r\nupgrade: x\r\n\r\n";
        let text = format!("{head}more\n");
        for step in 1..=text.len() {
            let (passed, verdict) = passes(text.as_bytes(), step);
            assert!(matches!(verdict, Verdict::Hold(_)) && passed == head.len(), "by {step}");
        }
        let mut heads = Heads::new();
        assert_eq!(heads.feed(&mut head.as_bytes().to_vec()), Verdict::Pass);
        assert_eq!(heads.is_held(), Some(1));
        heads.resume();
        assert_eq!(heads.feed(&mut b"more\n".to_vec()), Verdict::Refuse(4));
        heads.become_tunnel();
        assert_eq!(heads.feed(&mut b"more\n".to_vec()), Verdict::Pass);
    }
}
