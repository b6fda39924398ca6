//! A peer that sends arbitrary bytes on its decoder stream, to an encoder at work.
//!
//! Invariants: no panic; no insertion counts as received before it was sent; blocking streams within the peer's number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadrunner_qpack::{Encoder, EncoderConfig};

const BLOCKED: u64 = 3;

fuzz_target!(|data: &[u8]| {
    let mut encoder = Encoder::new(EncoderConfig {
        max_blocked_streams: BLOCKED,
        insert_on_first_sight: true,
        ..EncoderConfig::default()
    });
    encoder.set_peer_settings(256, BLOCKED);
    let mut section = Vec::new();
    for step in data.chunks(3) {
        let stream_id = u64::from(step[0] >> 4);
        let value = [b'a' + (step[0] & 15)];
        section.clear();
        let fields = [(&b"x-name"[..], &value[..]), (b"x-fixed", b"value")];
        encoder.encode(stream_id, fields, &mut section);
        if encoder.on_decoder_stream(&step[1..]).is_err() {
            return;
        }
        if step[0] == 0xff {
            encoder.cancel(stream_id);
        }
        assert!(encoder.known_received_count() <= encoder.insert_count());
        assert!(encoder.blocking_streams() as u64 <= BLOCKED);
    }
});
