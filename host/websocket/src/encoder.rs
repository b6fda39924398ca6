//! Encodes messages to bytes (RFC 6455, 5 and 6.1; RFC 7692, 7.2.1).
//!
//! Contract: each call appends whole frames. A message is one frame unless the caller asks for more. Clients mask with
//! keys from the system's random source (RFC 6455, 5.3); servers do not mask.

use bytes::{Bytes, BytesMut};

use crate::close::{self, CloseCode};
use crate::config::Role;
use crate::deflate::{DeflateConfig, DeflateParams, Deflater};
use crate::frame::{Header, MAX_CONTROL, MAX_HEADER, Opcode};
use crate::mask;

/// The type of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Bytes.
    Binary,
    /// UTF-8 text.
    Text,
}

/// The error for a control frame with a payload of more than 125 bytes (RFC 6455, 5.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a control frame holds at most 125 bytes")]
pub struct ControlTooLong;

/// Encodes the messages of one side.
pub struct Encoder {
    deflater: Option<Deflater>,
    /// Messages of fewer bytes are not compressed.
    threshold: usize,
    keys: Option<MaskKeys>,
    /// A message that is compressed piece by piece.
    open: Option<OpenMessage>,
}

struct OpenMessage {
    kind: Kind,
    payload: Bytes,
    /// The part that has gone into the deflater.
    taken: usize,
    compressed: BytesMut,
}

impl Encoder {
    /// Makes an encoder for the side `role`. It compresses if permessage-deflate was agreed on, according to `config`.
    pub fn new(role: Role, deflate: Option<(&DeflateConfig, &DeflateParams)>) -> Self {
        Self {
            deflater: deflate.and_then(|(config, params)| Deflater::new(config.level, params.sending(role))),
            threshold: deflate.map_or(0, |(config, _)| config.threshold),
            keys: (role == Role::Client).then(MaskKeys::default),
            open: None,
        }
    }

    /// Appends a text message.
    pub fn text(&mut self, text: &str, out: &mut BytesMut) {
        self.message(Kind::Text, text.as_bytes(), out);
    }

    /// Appends a binary message.
    pub fn binary(&mut self, payload: &[u8], out: &mut BytesMut) {
        self.message(Kind::Binary, payload, out);
    }

    /// Appends a message in frames of at most `frame` bytes of payload (at least 1).
    ///
    /// `payload` must be UTF-8 if `kind` is text.
    pub fn fragmented(&mut self, kind: Kind, payload: &[u8], frame: usize, out: &mut BytesMut) {
        let compressed = self.compress(payload);
        let rsv1 = compressed.is_some();
        let mut rest = compressed.as_deref().unwrap_or(payload);
        let mut opcode = kind.opcode();
        loop {
            let (piece, next) = rest.split_at(rest.len().min(frame.max(1)));
            rest = next;
            let fin = rest.is_empty();
            // RFC 7692, 6.1: only the first frame of a message has RSV1 set.
            self.frame(fin, rsv1 && opcode != Opcode::Continuation, opcode, piece, out);
            if fin {
                return;
            }
            opcode = Opcode::Continuation;
        }
    }

    /// Appends a ping.
    pub fn ping(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<(), ControlTooLong> {
        self.control(Opcode::Ping, payload, out)
    }

    /// Appends a pong.
    pub fn pong(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<(), ControlTooLong> {
        self.control(Opcode::Pong, payload, out)
    }

    /// Appends a close frame; an empty one without a code. A reason longer than [`close::MAX_REASON`] bytes is cut at a
    /// character. Send nothing after it (RFC 6455, 5.5.1).
    pub fn close(&mut self, why: Option<(CloseCode, &str)>, out: &mut BytesMut) {
        let payload = why.map_or_else(BytesMut::new, |(code, reason)| close::payload(code, reason));
        self.frame(true, false, Opcode::Close, &payload, out);
    }

    /// Frees memory that an idle session does not need: a deflater that keeps no context.
    pub fn release(&mut self) {
        if self.open.is_none()
            && let Some(deflater) = &mut self.deflater
        {
            deflater.release();
        }
    }

    /// Frees all memory; messages are no longer compressed.
    pub(crate) fn discard(&mut self) {
        self.deflater = None;
        self.open = None;
    }

    /// Begins a message that is compressed in pieces: see [`Self::work`]. A message that is short, or is not
    /// compressed, is appended at once. No other message may be begun meanwhile.
    pub(crate) fn begin(&mut self, kind: Kind, payload: Bytes, out: &mut BytesMut) {
        if self.deflater.is_none() || payload.len() <= PIECE || payload.len() < self.threshold {
            return self.message(kind, &payload, out);
        }
        self.open = Some(OpenMessage { kind, payload, taken: 0, compressed: BytesMut::new() });
    }

    /// Whether a message was begun and is not yet appended.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Compresses another piece of the open message, and appends the message once it is whole.
    pub(crate) fn work(&mut self, out: &mut BytesMut) {
        let (Some(mut open), Some(deflater)) = (self.open.take(), &mut self.deflater) else { return };
        let rest = &open.payload[open.taken..];
        let piece = &rest[..rest.len().min(PIECE)];
        let last = piece.len() == rest.len();
        deflater.piece(piece, last, &mut open.compressed);
        open.taken += piece.len();
        if !last {
            self.open = Some(open);
            return;
        }
        let is_worth_it = !deflater.forgets() || open.compressed.len() < open.payload.len();
        let payload = if is_worth_it { &open.compressed[..] } else { &open.payload[..] };
        self.frame(true, is_worth_it, open.kind.opcode(), payload, out);
    }

    /// An estimate of the bytes held, besides the encoder itself.
    pub fn memory(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.payload.len() + open.compressed.capacity());
        self.deflater.as_ref().map_or(0, Deflater::memory) + open
    }

    /// Appends a message in one frame.
    pub(crate) fn message(&mut self, kind: Kind, payload: &[u8], out: &mut BytesMut) {
        let opcode = kind.opcode();
        match &mut self.deflater {
            Some(deflater) if payload.len() >= self.threshold => {
                let start = out.len();
                // The header's length is known only afterwards; a good guess usually avoids moving the payload.
                let key = self.keys.as_mut().map(MaskKeys::next);
                let gap = header_length(payload.len() as u64 / 2, key);
                out.resize(start + gap, 0);
                deflater.compress(payload, out);
                let compressed = out.len() - start - gap;
                if deflater.forgets() && compressed >= payload.len() {
                    // The peer's window does not need this message, so the smaller form can be sent.
                    out.truncate(start);
                } else {
                    let header = Header { fin: true, rsv1: true, opcode, mask: key, length: compressed as u64 };
                    place_header(header, start, gap, out);
                    return;
                }
            }
            _ => {}
        }
        self.frame(true, false, opcode, payload, out);
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8], out: &mut BytesMut) -> Result<(), ControlTooLong> {
        if payload.len() > MAX_CONTROL {
            return Err(ControlTooLong);
        }
        self.frame(true, false, opcode, payload, out);
        Ok(())
    }

    /// The compressed form of a message, if compression is worthwhile.
    fn compress(&mut self, payload: &[u8]) -> Option<BytesMut> {
        let deflater = self.deflater.as_mut().filter(|_| payload.len() >= self.threshold)?;
        let mut compressed = BytesMut::new();
        deflater.compress(payload, &mut compressed);
        Some(compressed)
    }

    fn frame(&mut self, fin: bool, rsv1: bool, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
        let mask = self.keys.as_mut().map(MaskKeys::next);
        let header = Header { fin, rsv1, opcode, mask, length: payload.len() as u64 };
        out.reserve(MAX_HEADER + payload.len());
        header.write(out);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = mask {
            mask::apply(&mut out[start..], key, 0);
        }
    }
}

impl Kind {
    const fn opcode(self) -> Opcode {
        match self {
            Self::Binary => Opcode::Binary,
            Self::Text => Opcode::Text,
        }
    }
}

/// The bytes of a message that are compressed at once.
const PIECE: usize = 64 << 10;

/// Puts a header before a payload that starts `gap` bytes after `start`, closing or widening the gap, and masks it.
fn place_header(header: Header, start: usize, gap: usize, out: &mut BytesMut) {
    let (bytes, used) = header.encode();
    let payload = out.len() - start - gap;
    if used > gap {
        out.resize(out.len() + used - gap, 0);
    }
    if used != gap {
        out.copy_within(start + gap..start + gap + payload, start + used);
        out.truncate(start + used + payload);
    }
    out[start..start + used].copy_from_slice(&bytes[..used]);
    if let Some(key) = header.mask {
        mask::apply(&mut out[start + used..], key, 0);
    }
}

fn header_length(payload: u64, key: Option<[u8; 4]>) -> usize {
    let key = if key.is_some() { 4 } else { 0 };
    key + match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Masking keys, drawn from the system's random source in batches.
struct MaskKeys {
    pool: [[u8; 4]; 16],
    used: usize,
}

impl MaskKeys {
    fn next(&mut self) -> [u8; 4] {
        if self.used == self.pool.len() {
            // A client without randomness must not continue: a script that it runs could choose its bytes (10.3).
            getrandom::fill(self.pool.as_flattened_mut())
                .expect("every supported system has a random source once it has booted");
            self.used = 0;
        }
        let key = self.pool[self.used];
        self.used += 1;
        key
    }
}

impl Default for MaskKeys {
    fn default() -> Self {
        let pool = [[0; 4]; 16];
        Self { pool, used: pool.len() }
    }
}
