//! A peer that sends arbitrary bytes on its encoder stream and as field sections.
//!
//! Invariants: no panic; fields within the advertised size; blocked streams within the advertised number; the meaning
//! of encoder stream bytes does not depend on how they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig};

const CONFIG: DecoderConfig = DecoderConfig {
    max_table_capacity: 512,
    max_blocked_streams: 4,
    max_field_section_size: 4096,
};

fuzz_target!(|data: &[u8]| {
    let mut whole = Decoder::new(CONFIG);
    let mut split = Decoder::new(CONFIG);
    let mut rest = data;
    // Each step: its kind, its length, its bytes.
    while let [kind, length, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let stream_id = u64::from(kind >> 2);
        match kind & 3 {
            0 | 1 => {
                let expected = whole.on_encoder_stream(bytes);
                let mut ready = Ok(Vec::new());
                for byte in bytes.chunks(1) {
                    match (&mut ready, split.on_encoder_stream(byte)) {
                        (Ok(ready), Ok(more)) => ready.extend(more),
                        (_, Err(error)) => ready = Err(error),
                        (Err(_), Ok(_)) => unreachable!("the loop ends at the first error"),
                    }
                    if ready.is_err() {
                        break;
                    }
                }
                assert_eq!(expected.is_err(), ready.is_err());
                if let (Ok(mut expected), Ok(mut ready)) = (expected, ready) {
                    expected.sort_unstable();
                    ready.sort_unstable();
                    assert_eq!(expected, ready);
                } else {
                    return;
                }
            }
            2 => {
                let decoded = whole.decode(stream_id, bytes);
                assert_eq!(decoded, split.decode(stream_id, bytes));
                match decoded {
                    Ok(Decoded::Fields(fields)) => {
                        let size: u64 = fields.iter().map(|field| field.size()).sum();
                        assert!(size <= CONFIG.max_field_section_size);
                    }
                    Ok(Decoded::Blocked { .. } | Decoded::TooLarge { .. }) => {}
                    Err(_) => return,
                }
                assert!(whole.blocked_streams() as u64 <= CONFIG.max_blocked_streams);
            }
            _ => {
                whole
                    .cancel_stream(stream_id)
                    .expect("nothing piles up here");
                split
                    .cancel_stream(stream_id)
                    .expect("nothing piles up here");
            }
        }
        assert_eq!(whole.take_decoder_stream(), split.take_decoder_stream());
    }
});
