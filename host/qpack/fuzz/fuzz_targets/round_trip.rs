//! Our encoder against our decoder, with the input as fields and as the order in which bytes arrive.
//!
//! Invariants: every section decodes to its input, and no limit of the decoder is exceeded.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};

type List = Vec<(Vec<u8>, Vec<u8>)>;

fuzz_target!(|data: &[u8]| {
    let [capacity, blocked, eager, steps @ ..] = data else {
        return;
    };
    let capacity = u64::from(*capacity) * 4;
    let blocked = u64::from(blocked % 5);
    let mut encoder = Encoder::new(EncoderConfig {
        max_blocked_streams: blocked,
        insert_on_first_sight: eager & 1 == 1,
        ..EncoderConfig::default()
    });
    encoder.set_peer_settings(capacity, blocked);
    let mut decoder = Decoder::new(DecoderConfig {
        max_table_capacity: capacity,
        max_blocked_streams: blocked,
        ..DecoderConfig::default()
    });
    let mut wire = Vec::new();
    let mut waiting: BTreeMap<u64, (Vec<u8>, List)> = BTreeMap::new();
    let mut next_stream = 0;
    let mut rest = steps;
    while let [step, tail @ ..] = rest {
        rest = tail;
        match step & 3 {
            0 | 1 => {
                let list = fields(&mut rest, usize::from(step >> 5));
                let mut section = Vec::new();
                let refs = list.iter().map(|(name, value)| (&name[..], &value[..]));
                encoder.encode(next_stream, refs, &mut section);
                wire.extend(encoder.take_encoder_stream());
                waiting.insert(next_stream, (section, list));
                deliver(&mut decoder, next_stream, &mut waiting);
                next_stream += 1;
            }
            2 => {
                let count = usize::from(step >> 2).min(wire.len());
                for stream in decoder.on_encoder_stream(&wire[..count]).unwrap() {
                    deliver(&mut decoder, stream, &mut waiting);
                    assert!(!waiting.contains_key(&stream), "it was said to be ready");
                }
                wire.drain(..count);
            }
            _ if step & 4 == 0 => encoder
                .on_decoder_stream(&decoder.take_decoder_stream())
                .unwrap(),
            _ => {
                if let Some((stream, _)) = waiting.pop_last() {
                    decoder.cancel_stream(stream).unwrap();
                }
            }
        }
    }
});

fn fields(rest: &mut &[u8], count: usize) -> List {
    let mut text = || {
        let [length, tail @ ..] = *rest else {
            return Vec::new();
        };
        let (text, tail) = tail.split_at(usize::from(length % 16).min(tail.len()));
        *rest = tail;
        text.to_vec()
    };
    (0..count).map(|_| (text(), text())).collect()
}

fn deliver(decoder: &mut Decoder, stream: u64, waiting: &mut BTreeMap<u64, (Vec<u8>, List)>) {
    let Some((section, list)) = waiting.get(&stream) else {
        return;
    };
    match decoder.decode(stream, section).unwrap() {
        Decoded::Fields(fields) => {
            assert_eq!(fields.len(), list.len());
            for (field, (name, value)) in fields.iter().zip(list) {
                assert_eq!((&field.name[..], &field.value[..]), (&name[..], &value[..]));
            }
            waiting.remove(&stream);
        }
        Decoded::Blocked { .. } => {}
        Decoded::TooLarge { size } => panic!("{size} bytes are not too large"),
    }
}
