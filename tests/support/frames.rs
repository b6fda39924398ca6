//! HTTP/2 by hand, for clients that no library can play. Field sections are plain literals (RFC 7541, 6.2.2),
//! independent of any table.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Io, Way};
use crate::soon;

/// The preface (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, 6).
pub const DATA: u8 = 0;
/// A field section.
pub const HEADERS: u8 = 1;
/// The end of one stream.
pub const RST_STREAM: u8 = 3;
/// Settings.
pub const SETTINGS: u8 = 4;
/// A ping.
pub const PING: u8 = 6;
/// The end of the connection.
pub const GOAWAY: u8 = 7;

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM, or of GOAWAY.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload.get(at..at + 4).and_then(|code| code.try_into().ok()).map_or(u32::MAX, u32::from_be_bytes)
    }
}

/// A frame as it is written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame is small").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface, and SETTINGS with these values.
pub fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat()).collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// Makes the HEADERS of a request; with END_STREAM unless a body follows.
pub fn request(way: Way, stream: u32, method: &str, path: &str, ends: bool) -> Vec<u8> {
    let mut block = Vec::new();
    let scheme = if way.is_tls() { "https" } else { "http" };
    for (name, value) in [(":method", method), (":scheme", scheme), (":path", path), (":authority", "localhost")] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a test's field is short"));
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, 4 | u8::from(ends), stream, &block)
}

/// Sends bytes.
pub async fn send(io: &mut Io, bytes: &[u8]) {
    soon(io.write_all(bytes)).await.expect("the server reads");
    soon(io.flush()).await.expect("the server reads");
}

/// Reads the next frame; `None` at the end.
pub async fn next(io: &mut Io) -> Option<Frame> {
    soon(async {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    })
    .await
}

/// Reads up to the next frame of this type; `None` when the connection ends before.
pub async fn until(io: &mut Io, kind: u8) -> Option<Frame> {
    loop {
        let frame = next(io).await?;
        if frame.kind == kind {
            return Some(frame);
        }
    }
}
