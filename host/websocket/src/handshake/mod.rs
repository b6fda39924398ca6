//! The opening handshake (RFC 6455, 4; RFC 8441 for HTTP/2, RFC 9220 for HTTP/3) as functions on header maps.
//!
//! | | HTTP/1.1 | HTTP/2 and 3 |
//! |---|---|---|
//! | request | `GET`, `Upgrade: websocket`, `Connection: upgrade`, a key | `CONNECT`, `:protocol` websocket, no key |
//! | answer | 101 with `Sec-WebSocket-Accept` | 200 |
//! | both | version 13, subprotocols, extensions | the same |
//!
//! Not covered: `Origin`, whose policy the application decides, and the sockets.

mod client;
mod fields;
mod server;

pub use self::client::{AnswerError, ClientHandshake, Opened};
pub use self::fields::{Extension, MalformedField};
pub use self::server::{NotOffered, Refusal, ServerHandshake, is_upgrade};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The value of `Sec-WebSocket-Accept` that answers `key`, the value of `Sec-WebSocket-Key` (RFC 6455, 4.2.2).
///
/// # Examples
/// ```
/// let accept = roadrunner_websocket::handshake::accept_key("dGhlIHNhbXBsZSBub25jZQ==");
/// assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// The only existing version (RFC 6455, 4.1).
const VERSION: &str = "13";
