//! Frames made by hand, independently of the encoder, and decoders run to their end.

use roadrunner_websocket::handshake::Extension;
use roadrunner_websocket::{Decoder, DeflateConfig, DeflateParams, Frame, Limits, Message, Role, Violation};

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A frame as the side `from` sends it, with these bits in its first byte.
pub fn frame(from: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = if from == Role::Client { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => bytes.push(masked | length as u8),
        length @ 126..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if from == Role::Client {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(key);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// A client's frame.
pub fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(Role::Client, first, payload)
}

/// Everything that a decoder makes of these reads, and how it ends.
pub fn decode<'a>(decoder: &mut Decoder, reads: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Violation>) {
    let mut frames = Vec::new();
    for read in reads {
        decoder.feed(read);
        loop {
            match decoder.decode() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => return (frames, Some(violation)),
            }
        }
    }
    (frames, None)
}

/// The result of a server for these bytes in one read.
pub fn served(bytes: &[u8]) -> (Vec<Frame>, Option<Violation>) {
    decode(&mut Decoder::new(Role::Server, Limits::default(), None), [bytes])
}

pub fn text(text: &str) -> Frame {
    Frame::Message(Message::Text(text.into()))
}

pub fn binary(payload: &[u8]) -> Frame {
    Frame::Message(Message::Binary(payload.to_vec().into()))
}

/// The agreed parameters of a client with this configuration and a server that agrees to all of it.
pub fn agree(client: &DeflateConfig) -> DeflateParams {
    let offers = Extension::parse(client.offer().as_bytes()).expect("an offer is well-formed");
    with_takeover().accept(&offers).expect("the offer is acceptable")
}

/// A configuration that compresses everything, with context takeover.
pub fn with_takeover() -> DeflateConfig {
    DeflateConfig {
        threshold: 0,
        server_context_takeover: true,
        client_context_takeover: true,
        ..DeflateConfig::default()
    }
}
