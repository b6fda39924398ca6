//! A peer that sends arbitrary bytes: no panic, and no more memory than the configuration allows.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::prelude::*;
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};
use support::Random;

/// Counts the bytes that this thread holds, so that tests can run in parallel.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let held = HELD.get() + change;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call goes to the system allocator unchanged; counting allocates nothing, since the counters are
// constant-initialised thread locals without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `run` held at once, beyond those held before.
fn peak(run: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    run();
    (PEAK.get() - before) as usize
}

const CONFIG: DecoderConfig =
    DecoderConfig { max_table_capacity: 4096, max_blocked_streams: 16, max_field_section_size: 16_384 };

/// A half-received instruction of up to 4 x capacity (twice that while its buffer grows), its text, and entries at
/// their real size.
const STREAM_BUDGET: usize = 16 * 4096;

fn capacity_instruction() -> Vec<u8> {
    vec![0x3f, 0xe1, 0x1f]
}

#[test]
fn an_endless_string_is_refused_when_its_length_is_known() {
    for start in [
        &b"\x7f\xff\xff\xff\xff\xff\xff\xff\x7f"[..],
        b"\xc0\x7f\xff\xff\xff\xff\xff\xff\x7f",
        b"\xc0\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        let used = peak(|| {
            let mut decoder = Decoder::new(CONFIG);
            decoder.on_encoder_stream(&capacity_instruction()).unwrap();
            decoder.on_encoder_stream(start).unwrap_err();
        });
        assert!(used < 4096, "{used} bytes");
    }
}

#[test]
fn a_slow_instruction_of_the_largest_size_stays_within_the_budget() {
    let mut bytes = capacity_instruction();
    // 4064 symbols of 30 bits are 15240 bytes of Huffman coding: the most that may be waited for.
    bytes.extend([0xc0, 0xff]);
    let mut rest = 15_240 - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes.extend([0xff; 15_239]);
    let used = peak(|| {
        let mut decoder = Decoder::new(CONFIG);
        for piece in bytes.chunks(7) {
            decoder.on_encoder_stream(piece).unwrap();
        }
    });
    assert!(used < STREAM_BUDGET, "{used} bytes");
}

#[test]
fn insertions_without_end_stay_within_the_budget() {
    let mut random = Random(1);
    let used = peak(|| {
        let mut decoder = Decoder::new(CONFIG);
        decoder.on_encoder_stream(&capacity_instruction()).unwrap();
        for _ in 0..20_000 {
            let mut bytes = match random.below(3) {
                // A literal name of 20 bytes and a value of up to 2000.
                0 => {
                    let mut bytes = vec![0x54];
                    bytes.extend([b'n'; 20]);
                    bytes
                }
                // The newest entry's name, and a small value: the reference that would keep a large entry alive.
                1 => vec![0x80],
                _ => vec![0xc0],
            };
            let length = if random.chance(50) { 2000 } else { 1 };
            if length == 1 {
                bytes.push(1);
            } else {
                bytes.extend([0x7f, 0xd1, 0x0e]);
            }
            bytes.extend(std::iter::repeat_n(b'v', length));
            let _ = decoder.on_encoder_stream(&bytes);
            let _ = decoder.take_decoder_stream();
        }
        assert!(decoder.insert_count() > 10_000);
    });
    assert!(used < STREAM_BUDGET, "{used} bytes");
}

/// A small section that represents a large list: each byte repeats an entry of 4 KiB.
#[test]
fn a_bomb_costs_the_limit_and_not_its_size() {
    let mut decoder = Decoder::new(CONFIG);
    let mut bytes = capacity_instruction();
    bytes.extend([0xc0, 0x7f, 0xa1, 0x1e]);
    bytes.extend([b'v'; 4000]);
    decoder.on_encoder_stream(&bytes).unwrap();
    let mut section = vec![0x02, 0x00];
    section.extend([0x80; 60_000]);
    let used = peak(|| {
        let decoded = decoder.decode(0, &section).unwrap();
        assert!(matches!(decoded, Decoded::TooLarge { size } if size > 200_000_000));
    });
    assert!(used < 4 * 16_384, "{used} bytes");
    // Fields without any bytes still cost 32 each.
    let mut section = vec![0x00, 0x00];
    section.extend([0xc5; 60_000]);
    let used = peak(|| {
        let decoded = decoder.decode(0, &section).unwrap();
        assert!(matches!(decoded, Decoded::TooLarge { .. }));
    });
    assert!(used < 16 * 16_384, "{used} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        capacity in prop_oneof![Just(0u64), 0..300u64, Just(4096)],
        pieces in prop::collection::vec(
            (0..3u8, prop::collection::vec(byte(), 0..80)),
            0..20,
        ),
    ) {
        let mut decoder = Decoder::new(DecoderConfig { max_table_capacity: capacity, ..CONFIG });
        let mut encoder = Encoder::new(EncoderConfig::default());
        encoder.set_peer_settings(capacity, 4);
        for (index, (kind, bytes)) in pieces.iter().enumerate() {
            let stream_id = index as u64 % 5;
            let failed = match kind {
                0 => decoder.on_encoder_stream(bytes).is_err(),
                1 => decoder.decode(stream_id, bytes).is_err(),
                _ => {
                    encoder.encode(stream_id, [("x-name", "value"), ("x-other", "value")], &mut Vec::new());
                    encoder.on_decoder_stream(bytes).is_err()
                }
            };
            if failed {
                break;
            }
        }
        let _ = decoder.take_decoder_stream();
    }

    /// Valid traffic with one changed byte, which gets further than noise.
    #[test]
    fn damaged_traffic_never_panics(seed: u64, damage in prop::collection::vec((any::<usize>(), byte()), 0..3)) {
        let mut random = Random(seed);
        let mut encoder = Encoder::new(EncoderConfig {
            insert_on_first_sight: true,
            max_blocked_streams: 100,
            ..EncoderConfig::default()
        });
        encoder.set_peer_settings(512, 100);
        let mut decoder = Decoder::new(DecoderConfig { max_table_capacity: 512, ..CONFIG });
        for stream_id in 0..20 {
            let list = random.list();
            let mut section = Vec::new();
            encoder.encode(stream_id, list.iter().map(|(name, value)| (&name[..], &value[..])), &mut section);
            let mut instructions = encoder.take_encoder_stream().to_vec();
            if stream_id == 10 {
                for &(at, byte) in &damage {
                    let target = if at % 2 == 0 { &mut section } else { &mut instructions };
                    if !target.is_empty() {
                        let at = at / 2 % target.len();
                        target[at] = byte;
                    }
                }
            }
            if decoder.on_encoder_stream(&instructions).is_err() || decoder.decode(stream_id, &section).is_err() {
                break;
            }
            if encoder.on_decoder_stream(&decoder.take_decoder_stream()).is_err() {
                break;
            }
        }
    }
}

/// Any byte, with the boundaries of prefixes more often.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0x00, 0x01, 0x02, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff,]),
    ]
}
