//! Arbitrary bytes, whole and in pieces: the same frames, the same end, bounded memory.
//!
//! Input: a byte of settings, a byte for the size of the pieces, the stream.
#![no_main]

use std::num::NonZeroU32;

use libfuzzer_sys::fuzz_target;
use roadrunner_websocket::handshake::Extension;
use roadrunner_websocket::{Decoder, DeflateConfig, DeflateParams, Frame, Limits, Role, Violation};

fuzz_target!(|data: &[u8]| {
    let [settings, piece, stream @ ..] = data else {
        return;
    };
    let role = if settings & 1 == 0 { Role::Server } else { Role::Client };
    let params = params(*settings);
    let limits = Limits {
        frame_size: 40_000,
        message_size: 60_000,
        fragments: 8,
        compression_ratio: NonZeroU32::new(50),
        compression_floor: 20_000,
        ..Limits::default()
    };
    let decoder = || Decoder::new(role, limits.clone(), params.as_ref());
    let whole = run(decoder(), [stream]);
    let pieces = run(decoder(), stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(whole, pieces);
});

fn run<'a>(mut decoder: Decoder, reads: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Violation>) {
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
        assert!(decoder.buffered() <= (16 << 10) + 14);
        // The input, a message that doubles as it grows, an inflater.
        assert!(decoder.memory() <= 2 * (read.len() + (32 << 10)) + 2 * 60_000 + (64 << 10));
    }
    (frames, None)
}

fn params(settings: u8) -> Option<DeflateParams> {
    let takeover = DeflateConfig {
        server_context_takeover: settings & 4 != 0,
        client_context_takeover: settings & 8 != 0,
        ..DeflateConfig::default()
    };
    let offer = match settings >> 4 & 3 {
        0 => "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8",
        1 => "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        _ => "permessage-deflate",
    };
    let offers = Extension::parse(offer.as_bytes()).expect("well-formed");
    takeover.accept(&offers).filter(|_| settings & 2 != 0)
}
