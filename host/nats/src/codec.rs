//! The client's side of the NATS protocol, bytes in and operations out.
//!
//! A line of text with a verb, and after some verbs a payload of the length that the line says, both ended by CRLF.
//! Headers stand in front of a payload, with their own length. Contract: [`Decoder::next`] never needs more than
//! [`MAX_LINE`] and one message of the largest size in its buffer; a larger message is skipped as it arrives, and told.

use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// The longest line that a server may send. `INFO` names the servers of a cluster.
const MAX_LINE: usize = 64 << 10;

/// What ends a line and a payload.
const CRLF: &[u8] = b"\r\n";

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    /// Something is wrong, in the server's words.
    Error(String),
    /// What the server is.
    Info(Box<Info>),
    /// A message for the subscription with this id.
    Message { sid: u64, headers: Bytes, payload: Bytes },
    /// Answer with a PONG.
    Ping,
    /// The answer to a PING.
    Pong,
    /// A message for the subscription with this id was larger than it may be, and is dropped.
    Skipped { sid: u64 },
}

/// What matters of a server's `INFO`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Info {
    /// The largest payload that it takes, headers included.
    pub(crate) max_payload: usize,
    /// Whether it knows headers.
    pub(crate) headers: bool,
    /// Whether it speaks on only after a TLS handshake.
    pub(crate) tls_required: bool,
    /// Whether it can be asked for TLS.
    pub(crate) tls_available: bool,
    /// What it calls itself.
    pub(crate) server_name: String,
}

/// `CONNECT`: who we are, and what we want of the server.
#[derive(Debug, Serialize)]
pub(crate) struct Connect<'a> {
    pub(crate) verbose: bool,
    pub(crate) pedantic: bool,
    pub(crate) tls_required: bool,
    pub(crate) name: &'a str,
    pub(crate) lang: &'static str,
    pub(crate) version: &'static str,
    /// 1: `INFO` may come again.
    pub(crate) protocol: u8,
    /// Whether our own messages come back to us.
    pub(crate) echo: bool,
    pub(crate) headers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_token: Option<&'a str>,
}

/// Why what came cannot be NATS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A line does not end.
    #[error("a line of more than {MAX_LINE} bytes")]
    LongLine,
    /// A line is no operation.
    #[error("not an operation of the NATS protocol: {0:?}")]
    Malformed(String),
    /// A payload does not end where it says.
    #[error("a payload without its end")]
    Unterminated,
}

/// Operations from bytes.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The largest payload with its headers that is delivered.
    max_message: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Line,
    /// After the line of a message.
    Payload {
        sid: u64,
        headers: usize,
        total: usize,
    },
    /// In a message that is too large: so many bytes are left of it and its end.
    Skip(u64),
}

impl Decoder {
    /// Messages with more bytes than this are skipped.
    pub(crate) fn new(max_message: usize) -> Self {
        Self { max_message, state: State::Line }
    }

    /// The next operation of what was read; none when more has to be read.
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Operation>, Violation> {
        loop {
            match self.state {
                State::Line => {
                    let Some(line) = take_line(read)? else { return Ok(None) };
                    match self.line(&line)? {
                        Some(operation) => return Ok(Some(operation)),
                        None => continue,
                    }
                }
                State::Payload { sid, headers, total } => {
                    if read.len() < total + CRLF.len() {
                        read.reserve(total + CRLF.len() - read.len());
                        return Ok(None);
                    }
                    let mut message = read.split_to(total).freeze();
                    if !read.starts_with(CRLF) {
                        return Err(Violation::Unterminated);
                    }
                    read.advance(CRLF.len());
                    self.state = State::Line;
                    let headers = message.split_to(headers);
                    return Ok(Some(Operation::Message { sid, headers, payload: message }));
                }
                State::Skip(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(read.len());
                    read.advance(here);
                    let left = left - here as u64;
                    self.state = if left == 0 { State::Line } else { State::Skip(left) };
                    if left > 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The operation of a line; none where a payload follows.
    fn line(&mut self, line: &[u8]) -> Result<Option<Operation>, Violation> {
        let malformed = || Violation::Malformed(String::from_utf8_lossy(&line[..line.len().min(64)]).into_owned());
        let text = std::str::from_utf8(line).map_err(|_| malformed())?;
        let (verb, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        if is("MSG") || is("HMSG") {
            return self.message(rest, is("HMSG")).ok_or_else(malformed)?;
        }
        Ok(Some(match () {
            () if is("PING") => Operation::Ping,
            () if is("PONG") => Operation::Pong,
            () if is("+OK") => return Ok(None),
            () if is("INFO") => Operation::Info(serde_json::from_str(rest.trim()).map_err(|_| malformed())?),
            () if is("-ERR") => Operation::Error(rest.trim().trim_matches('\'').to_owned()),
            () => return Err(malformed()),
        }))
    }

    /// `MSG subject sid [reply-to] bytes`, or `HMSG subject sid [reply-to] header-bytes bytes`.
    fn message(&mut self, rest: &str, has_headers: bool) -> Option<Result<Option<Operation>, Violation>> {
        let words: Vec<&str> = rest.split_ascii_whitespace().take(6).collect();
        let numbers = if has_headers { 2 } else { 1 };
        if !(numbers + 2..=numbers + 3).contains(&words.len()) {
            return None;
        }
        let sid = words[1].parse().ok()?;
        let total: u64 = words[words.len() - 1].parse().ok()?;
        let headers: u64 = if has_headers { words[words.len() - 2].parse().ok()? } else { 0 };
        if headers > total {
            return None;
        }
        if total > self.max_message as u64 {
            self.state = State::Skip(total.checked_add(CRLF.len() as u64)?);
            return Some(Ok(Some(Operation::Skipped { sid })));
        }
        // Both fit: they are not above `max_message`, which is a usize.
        self.state = State::Payload { sid, headers: headers as usize, total: total as usize };
        Some(Ok(None))
    }
}

/// A line without its end; none while it is not all there.
fn take_line(read: &mut BytesMut) -> Result<Option<Bytes>, Violation> {
    let Some(end) = read.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if read.len() >= MAX_LINE { Err(Violation::LongLine) } else { Ok(None) };
    };
    let line = read.split_to(end + 1).freeze();
    let line = line.slice(..end);
    Ok(Some(if line.ends_with(b"\r") { line.slice(..end - 1) } else { line }))
}

/// `PUB`, or `HPUB` where there are headers. The subject is a valid one.
pub(crate) fn publish(out: &mut Vec<u8>, subject: &str, headers: &[u8], payload: &[u8]) {
    if headers.is_empty() {
        out.extend_from_slice(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
    } else {
        let total = headers.len() + payload.len();
        out.extend_from_slice(format!("HPUB {subject} {} {total}\r\n", headers.len()).as_bytes());
        out.extend_from_slice(headers);
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// `SUB`.
pub(crate) fn subscribe(out: &mut Vec<u8>, subject: &str, sid: u64) {
    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
}

/// `UNSUB`.
pub(crate) fn unsubscribe(out: &mut Vec<u8>, sid: u64) {
    out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
}

/// `CONNECT`.
pub(crate) fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let text = serde_json::to_string(connect).expect("strings, numbers and booleans are always JSON");
    out.extend_from_slice(format!("CONNECT {text}\r\n").as_bytes());
}

/// `PING`.
pub(crate) const PING: &[u8] = b"PING\r\n";

/// `PONG`.
pub(crate) const PONG: &[u8] = b"PONG\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All operations of these bytes, given in pieces of this size.
    fn decode(bytes: &[u8], piece: usize, max_message: usize) -> Result<Vec<Operation>, Violation> {
        let mut decoder = Decoder::new(max_message);
        let mut read = BytesMut::new();
        let mut operations = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            read.extend_from_slice(piece);
            while let Some(operation) = decoder.next(&mut read)? {
                operations.push(operation);
            }
        }
        Ok(operations)
    }

    fn message(sid: u64, headers: &'static str, payload: &'static str) -> Operation {
        Operation::Message { sid, headers: Bytes::from(headers), payload: Bytes::from(payload) }
    }

    #[test]
    fn operations_come_out_of_any_split() {
        let bytes = b"INFO {\"max_payload\":1048576,\"headers\":true,\"unknown\":[1]}\r\n+OK\r\nPING\r\nPONG\r\n\
            MSG a.b 7 5\r\nhel\r\n\r\nmsg a.b 8 reply.to 0\r\n\r\nHMSG x 9 12 14\r\nNATS/1.0\r\n\r\nhi\r\n\
            -ERR 'Slow Consumer'\r\n";
        let info = Info { max_payload: 1_048_576, headers: true, ..Info::default() };
        let expected = vec![
            Operation::Info(Box::new(info)),
            Operation::Ping,
            Operation::Pong,
            message(7, "", "hel\r\n"),
            message(8, "", ""),
            message(9, "NATS/1.0\r\n\r\n", "hi"),
            Operation::Error("Slow Consumer".to_owned()),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(decode(bytes, piece, 100).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_too_large_is_skipped_and_told() {
        let mut bytes = b"MSG a 1 1000\r\n".to_vec();
        bytes.extend_from_slice(&[b'x'; 1000]);
        bytes.extend_from_slice(b"\r\nMSG a 1 2\r\nok\r\n");
        for piece in [1, 7, 500, 5000] {
            let operations = decode(&bytes, piece, 999).unwrap();
            assert_eq!(operations, [Operation::Skipped { sid: 1 }, message(1, "", "ok")]);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            "GET / HTTP/1.1\r\n",
            "MSG\r\n",
            "MSG a\r\n",
            "MSG a 1\r\n",
            "MSG a x 1\r\n",
            "MSG a 1 -1\r\n",
            "MSG a 1 2 3 4\r\n",
            "MSG a 1 99999999999999999999\r\n",
            "MSG a 1 18446744073709551615\r\n",
            "HMSG a 1 5\r\n",
            "HMSG a 1 6 5\r\n",
            "INFO {\r\n",
            "\r\n",
            "MSG a 1 2\r\nhello\r\n",
        ] {
            assert!(decode(bytes.as_bytes(), 3, 100).is_err(), "{bytes:?}");
        }
        assert_eq!(decode(&[b'x'; MAX_LINE], 4096, 100), Err(Violation::LongLine));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, piece in 1..64_usize) {
            let _ = decode(&bytes, piece, 64);
        }

        #[test]
        fn what_is_published_is_a_message_to_a_server(headers in "[a-z\r\n]{0,20}", payload: Vec<u8>) {
            let mut out = Vec::new();
            publish(&mut out, "a.b", headers.as_bytes(), &payload);
            let text = out.split(|byte| *byte == b'\n').next().unwrap();
            let words: Vec<_> = std::str::from_utf8(text).unwrap().trim().split(' ').map(str::to_owned).collect();
            let total: usize = words.last().unwrap().parse().unwrap();
            prop_assert_eq!(total, headers.len() + payload.len());
            prop_assert_eq!(&words[0], if headers.is_empty() { "PUB" } else { "HPUB" });
            prop_assert_eq!(out.len(), text.len() + 1 + total + 2);
        }
    }
}
