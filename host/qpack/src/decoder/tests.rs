use super::*;
use crate::instruction::{write_duplicate, write_insert, write_set_capacity};
use crate::line::{write_indexed, write_literal};

const CAPACITY: u64 = 256;

fn decoder() -> Decoder {
    Decoder::new(DecoderConfig { max_table_capacity: CAPACITY, max_blocked_streams: 2, max_field_section_size: 200 })
}

/// Instructions for a table with `count` entries `n: 0`, `n: 1` and so on, 34 bytes each.
fn entries(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write_set_capacity(&mut out, CAPACITY);
    for index in 0..count {
        write_insert(&mut out, None, b"n", index.to_string().as_bytes());
    }
    out
}

fn section(required_insert_count: u64, references: &[Reference]) -> Vec<u8> {
    let mut out = Vec::new();
    let prefix = SectionPrefix { required_insert_count, base: required_insert_count };
    prefix.write(&mut out, CAPACITY / 32);
    for &reference in references {
        write_indexed(&mut out, reference);
    }
    out
}

fn fails(result: Result<impl std::fmt::Debug, Error>, code: ErrorCode) -> Reason {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code);
    error.reason().clone()
}

#[test]
fn wire_codes() {
    assert_eq!(ErrorCode::DecompressionFailed.value(), 0x200);
    assert_eq!(ErrorCode::EncoderStreamError.value(), 0x201);
    assert_eq!(ErrorCode::DecoderStreamError.value(), 0x202);
}

/// RFC 9204 section 4.3.1.
#[test]
fn capacity_above_the_maximum_is_refused() {
    let mut bytes = Vec::new();
    write_set_capacity(&mut bytes, CAPACITY + 1);
    let reason = fails(decoder().on_encoder_stream(&bytes), ErrorCode::EncoderStreamError);
    assert_eq!(reason, Reason::CapacityAboveMaximum { capacity: 257, maximum: 256 });
}

/// RFC 9204 section 3.2.2.
#[test]
fn entries_larger_than_the_table_are_refused() {
    for (capacity, value) in [(0, 0), (33, 1), (CAPACITY, 224)] {
        let mut bytes = Vec::new();
        write_set_capacity(&mut bytes, capacity);
        write_insert(&mut bytes, None, b"n", &vec![0; value]);
        let reason = fails(decoder().on_encoder_stream(&bytes), ErrorCode::EncoderStreamError);
        let size = value as u64 + 33;
        assert_eq!(reason, Reason::EntryTooLarge { size, capacity });
    }
    let mut decoder = decoder();
    let mut bytes = entries(0);
    write_insert(&mut bytes, None, b"n", &[0; 223]);
    decoder.on_encoder_stream(&bytes).unwrap();
    // A Duplicate whose original no longer fits cannot exist: it was evicted.
    write_set_capacity(&mut bytes, 255);
    write_duplicate(&mut bytes, 0);
    fails(decoder.on_encoder_stream(&bytes), ErrorCode::EncoderStreamError);
}

#[test]
fn huffman_text_is_measured_decoded() {
    let mut bytes = Vec::new();
    write_set_capacity(&mut bytes, 40);
    // 10 bytes of text in 7 bytes of Huffman coding.
    write_insert(&mut bytes, None, b"n", b"aaaaaaaaaa");
    let reason = fails(decoder().on_encoder_stream(&bytes), ErrorCode::EncoderStreamError);
    assert_eq!(reason, Reason::EntryTooLarge { size: 43, capacity: 40 });
}

/// RFC 9204 sections 2.2.3 and 3.1.
#[test]
fn references_to_nothing_are_refused_on_the_encoder_stream() {
    let mut evicted = entries(8);
    write_duplicate(&mut evicted, 7);
    let mut too_far = entries(1);
    write_duplicate(&mut too_far, 1);
    let mut dynamic_name = entries(1);
    write_insert(&mut dynamic_name, Some(InsertName::Relative(1)), b"", b"v");
    let mut static_name = entries(0);
    write_insert(&mut static_name, Some(InsertName::Static(99)), b"", b"v");
    for (bytes, reason) in [
        (evicted, Reason::DynamicIndex { index: 7 }),
        (too_far, Reason::DynamicIndex { index: 1 }),
        (dynamic_name, Reason::DynamicIndex { index: 1 }),
        (static_name, Reason::StaticIndex { index: 99 }),
    ] {
        assert_eq!(fails(decoder().on_encoder_stream(&bytes), ErrorCode::EncoderStreamError), reason);
    }
}

/// RFC 9204 section 3.2.2: the insertion may evict the referenced entry.
#[test]
fn an_insertion_may_evict_what_it_refers_to() {
    let mut bytes = entries(7);
    write_insert(&mut bytes, Some(InsertName::Relative(6)), b"", b"7");
    write_duplicate(&mut bytes, 6);
    let mut decoder = decoder();
    decoder.on_encoder_stream(&bytes).unwrap();
    let section = section(9, &[Reference::Relative(0), Reference::Relative(1)]);
    let Decoded::Fields(fields) = decoder.decode(0, &section).unwrap() else {
        panic!("not decoded");
    };
    assert_eq!((&fields[0].name[..], &fields[0].value[..]), (&b"n"[..], &b"1"[..]));
    assert_eq!((&fields[1].name[..], &fields[1].value[..]), (&b"n"[..], &b"7"[..]));
}

/// RFC 9204 sections 2.2.3 and 3.1.
#[test]
fn references_to_nothing_are_refused_in_sections() {
    let name = |reference| {
        let mut bytes = section(9, &[]);
        write_literal(&mut bytes, Some(reference), b"", b"v", false);
        bytes
    };
    for (bytes, reason) in [
        (section(0, &[Reference::Static(99)]), Reason::StaticIndex { index: 99 }),
        (name(Reference::Static(99)), Reason::StaticIndex { index: 99 }),
        // Above the declared Required Insert Count, though in the table.
        (section(9, &[Reference::PostBase(0)]), Reason::DynamicIndex { index: 0 }),
        (name(Reference::PostBase(1)), Reason::DynamicIndex { index: 1 }),
        (section(0, &[Reference::Relative(0)]), Reason::DynamicIndex { index: 0 }),
        (section(0, &[Reference::PostBase(0)]), Reason::DynamicIndex { index: 0 }),
        // Evicted, and below the first.
        (section(10, &[Reference::Relative(9)]), Reason::DynamicIndex { index: 9 }),
        (section(10, &[Reference::Relative(10)]), Reason::DynamicIndex { index: 10 }),
    ] {
        let mut decoder = decoder();
        decoder.on_encoder_stream(&entries(10)).unwrap();
        assert_eq!(fails(decoder.decode(0, &bytes), ErrorCode::DecompressionFailed), reason);
    }
}

#[test]
fn malformed_sections_are_refused() {
    for bytes in [
        &b""[..],
        b"\x00",
        b"\x00\x00\xff",
        b"\x00\x00\x51\x05/ind",
        b"\x00\x00\x51\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x00\x00\x51\x81\xff",
        b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x12\x00",
        b"\x00\x80",
    ] {
        fails(decoder().decode(0, bytes), ErrorCode::DecompressionFailed);
    }
}

/// RFC 9204 section 2.2.1.
#[test]
fn blocked_streams_are_counted_and_freed() {
    let mut decoder = decoder();
    let section = section(1, &[Reference::Relative(0)]);
    let blocked = Decoded::Blocked { required_insert_count: 1 };
    assert_eq!(decoder.decode(0, &section).unwrap(), blocked);
    assert_eq!(decoder.decode(0, &section).unwrap(), blocked, "asked again");
    assert_eq!(decoder.decode(4, &section).unwrap(), blocked);
    let mut over = Decoder {
        table: DynamicTable::default(),
        encoder_stream: Reassembly::default(),
        blocked: decoder.blocked.clone(),
        instructions: Vec::new(),
        ..decoder
    };
    assert_eq!(fails(over.decode(8, &section), ErrorCode::DecompressionFailed), Reason::TooManyBlocked { limit: 2 });
    decoder.cancel_stream(4).unwrap();
    assert_eq!(decoder.decode(8, &section).unwrap(), blocked);
    assert_eq!(decoder.on_encoder_stream(&entries(1)).unwrap(), [0, 8]);
    assert_eq!(decoder.blocked_streams(), 0);
    assert!(matches!(decoder.decode(8, &section), Ok(Decoded::Fields(_))));
    // Stream Cancellation of 4, Section Acknowledgment of 8; the latter reports the insertion.
    assert_eq!(decoder.take_decoder_stream(), &[0x44, 0x88][..]);
}

/// RFC 9204 section 2.2.2.3.
#[test]
fn insertions_are_reported_once() {
    let mut decoder = decoder();
    decoder.on_encoder_stream(&entries(3)).unwrap();
    decoder.decode(0, &section(2, &[Reference::Relative(0)])).unwrap();
    assert_eq!(decoder.take_decoder_stream(), &[0x80, 0x01][..]);
    assert!(decoder.take_decoder_stream().is_empty());
}

#[test]
fn a_section_that_is_too_large_leaves_the_state_right() {
    let mut decoder = decoder();
    decoder.on_encoder_stream(&entries(2)).unwrap();
    // 34 bytes each: five fit into 200, six do not.
    let references = [Reference::Relative(0); 6];
    let Decoded::Fields(fields) = decoder.decode(0, &section(2, &references[..5])).unwrap() else {
        panic!("170 bytes are within the limit");
    };
    assert_eq!(fields.len(), 5);
    assert_eq!(decoder.decode(4, &section(2, &references)).unwrap(), Decoded::TooLarge { size: 204 });
    assert_eq!(decoder.take_decoder_stream(), &[0x80, 0x84][..], "both acknowledged");
    // Literals of any coding, alone and behind others.
    for value in [&[1u8; 200][..], &[b'a'; 200]] {
        let mut bytes = section(0, &[]);
        write_literal(&mut bytes, None, b"n", value, false);
        write_literal(&mut bytes, None, b"m", b"v", false);
        assert_eq!(decoder.decode(8, &bytes).unwrap(), Decoded::TooLarge { size: 267 });
    }
    // The bytes after the limit are still checked.
    let mut bytes = section(2, &references);
    write_indexed(&mut bytes, Reference::Static(99));
    fails(decoder.decode(12, &bytes), ErrorCode::DecompressionFailed);
}

#[test]
fn a_field_at_the_limit_is_kept() {
    let mut bytes = section(0, &[]);
    write_literal(&mut bytes, None, b"n", &[b'a'; 167], false);
    assert!(matches!(decoder().decode(0, &bytes), Ok(Decoded::Fields(_))));
    let mut bytes = section(0, &[]);
    write_literal(&mut bytes, None, b"n", &[b'a'; 168], false);
    assert_eq!(decoder().decode(0, &bytes).unwrap(), Decoded::TooLarge { size: 201 });
}

/// RFC 9204 section 2.2.2.2.
#[test]
fn without_a_table_no_cancellations_are_sent() {
    let mut decoder = Decoder::new(DecoderConfig { max_table_capacity: 0, ..DecoderConfig::default() });
    decoder.cancel_stream(0).unwrap();
    assert!(decoder.take_decoder_stream().is_empty());
}

#[test]
fn acknowledgments_that_nobody_takes_are_bounded() {
    let mut decoder = decoder();
    decoder.on_encoder_stream(&entries(1)).unwrap();
    let section = section(1, &[Reference::Relative(0)]);
    let error = (0..1_000_000u64)
        .find_map(|stream_id| decoder.decode(stream_id, &section).err())
        .expect("it must not go on forever");
    assert_eq!(error.code(), ErrorCode::ExcessiveLoad);
    assert!(decoder.instructions.len() < MAX_BACKLOG + 16);
}

/// An entry must not keep a larger neighbour's memory: its name has its own allocation.
#[test]
fn a_referenced_name_does_not_hold_its_entry() {
    let mut bytes = entries(0);
    write_insert(&mut bytes, None, b"n", &[0; 200]);
    write_insert(&mut bytes, Some(InsertName::Relative(0)), b"", b"v");
    let mut decoder = decoder();
    decoder.on_encoder_stream(&bytes).unwrap();
    let entry = decoder.table.entry(1).unwrap();
    assert!(decoder.table.entry(0).is_none());
    assert!(entry.name.clone().try_into_mut().is_err(), "two handles");
    let unique = decoder.table.evict_oldest().unwrap();
    assert_eq!(unique.name.try_into_mut().unwrap().capacity(), 1);
}
