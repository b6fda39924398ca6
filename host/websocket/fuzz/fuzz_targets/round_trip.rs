//! Arbitrary messages under arbitrary parameters, in arbitrary fragments: every message arrives as it was sent.
//!
//! Input: three bytes of settings, then messages, each two bytes of shape and a length, a byte that is repeated or not.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roadrunner_websocket::handshake::Extension;
use roadrunner_websocket::{Decoder, DeflateConfig, Encoder, Frame, Kind, Level, Limits, Message, Role, WindowBits};

fuzz_target!(|data: &[u8]| {
    let [settings, windows, level, steps @ ..] = data else {
        return;
    };
    let bits = |bits: u8| WindowBits::new(9 + bits % 7).expect("in range");
    let config = DeflateConfig {
        level: Level::new(1 + level % 9).expect("in range"),
        threshold: usize::from(level >> 4),
        server_context_takeover: settings & 1 != 0,
        client_context_takeover: settings & 2 != 0,
        server_window: bits(*windows),
        client_window: bits(windows >> 4),
    };
    let offers = Extension::parse(config.offer().as_bytes()).expect("well-formed");
    let params = config.accept(&offers).expect("acceptable");
    let (from, to) = match settings & 4 {
        0 => (Role::Client, Role::Server),
        _ => (Role::Server, Role::Client),
    };
    let limits = Limits { compression_ratio: None, ..Limits::default() };
    let mut encoder = Encoder::new(from, Some((&config, &params)));
    let mut decoder = Decoder::new(to, limits, Some(&params));
    let mut out = BytesMut::new();
    let mut rest = steps;
    while let [shape, length, next @ ..] = rest {
        let (piece, next) = next.split_at(next.len().min(usize::from(*length)));
        rest = next;
        // Repeats reach back through windows of every size.
        let payload = piece.repeat(1 << (shape >> 5));
        match shape & 3 {
            0 => encoder.binary(&payload, &mut out),
            1 => encoder.fragmented(Kind::Binary, &payload, 1 + usize::from(shape & 28), &mut out),
            2 => encoder.release(),
            _ => decoder.release(),
        }
        decoder.feed(&out);
        if !out.is_empty() {
            let frame = decoder.decode().expect("what is sent is in order");
            assert_eq!(frame, Some(Frame::Message(Message::Binary(payload.into()))));
        }
        assert_eq!(decoder.decode(), Ok(None));
        out.clear();
    }
});
