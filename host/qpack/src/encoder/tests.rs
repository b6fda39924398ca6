use super::*;
use crate::{Decoded, Decoder, DecoderConfig, Reason};

/// An encoder and its peer's decoder; the tests move the bytes of their streams.
struct Pair {
    encoder: Encoder,
    decoder: Decoder,
}

impl Pair {
    fn new(config: EncoderConfig, capacity: u64, blocked: u64) -> Self {
        let mut encoder = Encoder::new(config);
        encoder.set_peer_settings(capacity, blocked);
        Self {
            encoder,
            decoder: Decoder::new(DecoderConfig {
                max_table_capacity: capacity,
                max_blocked_streams: blocked,
                ..DecoderConfig::default()
            }),
        }
    }

    fn encode(&mut self, stream_id: u64, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        self.encoder.encode(stream_id, fields.iter().copied(), &mut out);
        out
    }

    /// Delivers the encoder stream; returns its length.
    fn deliver(&mut self) -> usize {
        let bytes = self.encoder.take_encoder_stream();
        self.decoder.on_encoder_stream(&bytes).unwrap();
        bytes.len()
    }

    fn acknowledge(&mut self) {
        let bytes = self.decoder.take_decoder_stream();
        self.encoder.on_decoder_stream(&bytes).unwrap();
    }

    /// Encodes, delivers both ways in order, checks, and returns the section.
    fn exchange(&mut self, stream_id: u64, fields: &[(&str, &str)]) -> Vec<u8> {
        let section = self.encode(stream_id, fields);
        self.deliver();
        self.check(stream_id, &section, fields);
        self.acknowledge();
        section
    }

    fn check(&mut self, stream_id: u64, section: &[u8], fields: &[(&str, &str)]) {
        let Decoded::Fields(decoded) = self.decoder.decode(stream_id, section).unwrap() else {
            panic!("not decoded");
        };
        let decoded: Vec<_> = decoded
            .iter()
            .map(|field| (std::str::from_utf8(&field.name).unwrap(), std::str::from_utf8(&field.value).unwrap()))
            .collect();
        assert_eq!(decoded, fields);
    }
}

fn eager() -> EncoderConfig {
    EncoderConfig { insert_on_first_sight: true, ..EncoderConfig::default() }
}

#[test]
fn second_meeting_inserts_and_the_third_is_an_index() {
    let mut pair = Pair::new(EncoderConfig::default(), 4096, 0);
    let fields = [("x-custom", "some value")];
    assert!(pair.exchange(0, &fields).len() > 10);
    assert_eq!(pair.encoder.insert_count(), 0);
    assert!(pair.exchange(4, &fields).len() > 10);
    assert_eq!(pair.encoder.insert_count(), 1);
    assert_eq!(pair.exchange(8, &fields), [0x02, 0x00, 0x80]);
}

#[test]
fn unacknowledged_entries_are_not_used_without_a_budget() {
    let mut pair = Pair::new(eager(), 4096, 100);
    let fields = [("x-custom", "some value")];
    for stream_id in [0, 4, 8] {
        let section = pair.encode(stream_id, &fields);
        assert_eq!(section[..2], [0, 0]);
        assert_eq!(pair.encoder.insert_count(), 1);
    }
    pair.deliver();
    pair.acknowledge();
    assert_eq!(pair.encode(12, &fields), [0x02, 0x00, 0x80]);
}

/// RFC 9204 section 2.1.2.
#[test]
fn blocking_streams_stay_within_the_budget() {
    let config = EncoderConfig { max_blocked_streams: 10, ..eager() };
    let mut pair = Pair::new(config, 4096, 2);
    let fields = [("x-custom", "some value")];
    assert_eq!(pair.encode(0, &fields), [0x02, 0x80, 0x10]);
    assert_eq!(pair.encode(4, &fields), [0x02, 0x00, 0x80]);
    assert_eq!(pair.encode(8, &fields)[..2], [0, 0], "a third stream");
    assert_eq!(pair.encode(4, &fields), [0x02, 0x00, 0x80], "one of the two");
    assert_eq!(pair.encoder.blocking_streams(), 2);
    pair.deliver();
    pair.acknowledge();
    assert_eq!(pair.encoder.blocking_streams(), 0);
    assert_eq!(pair.encode(12, &fields), [0x02, 0x00, 0x80]);
}

/// RFC 9204 section 2.1.1.
#[test]
fn entries_in_use_are_never_evicted() {
    // Room for two entries of 40, both outside the draining quarter.
    let mut pair = Pair::new(eager(), 112, 0);
    pair.exchange(0, &[("x-a", "aaaaa")]);
    pair.exchange(0, &[("x-b", "bbbbb")]);
    // Not acknowledged from here on.
    let held = pair.encode(4, &[("x-a", "aaaaa")]);
    assert_eq!(held, [0x02, 0x01, 0x81]);
    for stream_id in [8, 12, 16] {
        pair.encode(stream_id, &[("x-c", "ccccc")]);
    }
    assert_eq!(pair.encoder.insert_count(), 2, "x-a is referenced");
    pair.deliver();
    pair.check(4, &held, &[("x-a", "aaaaa")]);
    pair.acknowledge();
    pair.encode(20, &[("x-c", "ccccc")]);
    assert_eq!(pair.encoder.insert_count(), 3);
    // Entry 1 could go, entry 2 was not acknowledged.
    pair.encode(24, &[("x-d", "ddddd"), ("x-e", "eeeee")]);
    assert_eq!(pair.encoder.insert_count(), 4);
}

#[test]
fn a_cancellation_frees_references() {
    let mut pair = Pair::new(eager(), 112, 0);
    pair.exchange(0, &[("x-a", "aaaaa")]);
    pair.exchange(0, &[("x-b", "bbbbb")]);
    pair.encode(4, &[("x-a", "aaaaa")]);
    pair.decoder.cancel_stream(4).unwrap();
    pair.acknowledge();
    pair.encode(8, &[("x-c", "ccccc")]);
    assert_eq!(pair.encoder.insert_count(), 3);

    let mut pair = Pair::new(eager(), 112, 0);
    pair.exchange(0, &[("x-a", "aaaaa")]);
    pair.exchange(0, &[("x-b", "bbbbb")]);
    pair.encode(4, &[("x-a", "aaaaa")]);
    pair.encoder.cancel(4);
    pair.encode(8, &[("x-c", "ccccc")]);
    assert_eq!(pair.encoder.insert_count(), 3);
}

/// RFC 9204 section 2.1.1.1.
#[test]
fn a_used_entry_survives_a_stream_of_new_ones() {
    let mut pair = Pair::new(eager(), 1024, 0);
    let hot = ("x-hot", "the same in every section");
    pair.exchange(0, &[hot]);
    let mut literals = 0;
    for index in 1..500u64 {
        let value = format!("{index:030}");
        pair.exchange(4 * index, &[("x-cold", &value)]);
        let section = pair.exchange(4 * index, &[hot]);
        literals += usize::from(section.len() > 4);
    }
    assert!(pair.encoder.insert_count() > 500, "new ones went in");
    assert!(literals <= 5, "{literals} of 500 sections were literals");
}

/// RFC 9204 section 7.1.3.
#[test]
fn credentials_are_never_indexed() {
    let mut pair = Pair::new(eager(), 4096, 0);
    let fields = [
        ("set-cookie", "id=1; HttpOnly"),
        ("authorization", "Bearer abc"),
        ("authorization", ""),
        ("proxy-authorization", "Basic abc"),
        ("cookie", "id=short"),
    ];
    for stream_id in [0, 4, 8] {
        let section = pair.encode(stream_id, &fields);
        let Decoded::Fields(decoded) = pair.decoder.decode(stream_id, &section).unwrap() else {
            panic!("not decoded");
        };
        assert!(decoded.iter().all(|field| field.never_indexed));
    }
    assert_eq!(pair.encoder.insert_count(), 0);
    pair.exchange(12, &[("cookie", "a-long-session-identifier=0123456789")]);
    assert_eq!(pair.encoder.insert_count(), 1);
}

#[test]
fn the_n_bit_is_kept_from_the_decoder_to_the_encoder() {
    let mut pair = Pair::new(eager(), 4096, 0);
    let fields =
        [(&b":method"[..], &b"GET"[..], true), (b"x-custom", b"secret", true), (b"x-custom", b"public", false)];
    let mut section = Vec::new();
    let refs = fields.map(|(name, value, never_indexed)| FieldRef { name, value, never_indexed });
    pair.encoder.encode(0, refs, &mut section);
    let Decoded::Fields(decoded) = pair.decoder.decode(0, &section).unwrap() else {
        panic!("not decoded");
    };
    let mut again = Vec::new();
    Encoder::new(EncoderConfig::default()).encode(0, &decoded, &mut again);
    let Decoded::Fields(twice) = pair.decoder.decode(0, &again).unwrap() else {
        panic!("not decoded");
    };
    for decoded in [decoded, twice] {
        let flags: Vec<bool> = decoded.iter().map(|field| field.never_indexed).collect();
        assert_eq!(flags, [true, true, false]);
    }
    assert_eq!(pair.encoder.insert_count(), 1);
}

/// RFC 9204 section 3.2.3.
#[test]
fn nothing_is_sent_to_a_peer_without_a_table() {
    for capacity in [0, 31] {
        let mut pair = Pair::new(eager(), capacity, 100);
        for stream_id in [0, 4, 8] {
            let section = pair.encode(stream_id, &[("x-custom", "value")]);
            assert_eq!(section[..2], [0, 0]);
        }
        assert!(pair.encoder.take_encoder_stream().is_empty());
    }
}

#[test]
fn a_first_capacity_of_zero_is_replaced() {
    let mut encoder = Encoder::new(eager());
    encoder.set_peer_settings(0, 0);
    assert!(encoder.take_encoder_stream().is_empty());
    encoder.set_peer_settings(100, 0);
    assert_eq!(encoder.take_encoder_stream(), &[0x3f, 100 - 31][..]);
    encoder.set_peer_settings(50, 0);
    assert!(encoder.take_encoder_stream().is_empty());
}

/// RFC 9204 section 2.1.3.
#[test]
fn insertion_stops_while_the_encoder_stream_is_stuck() {
    let config = EncoderConfig { max_table_capacity: 1 << 20, ..eager() };
    let mut pair = Pair::new(config, 1 << 20, 0);
    for index in 0..2000u64 {
        pair.encode(4 * index, &[("x-custom", &format!("{index:0100}"))]);
    }
    let stuck = pair.encoder.insert_count();
    assert!(stuck < 1000);
    assert!(pair.deliver() < MAX_BACKLOG + 200);
    pair.encode(0, &[("x-custom", "goes in again")]);
    assert_eq!(pair.encoder.insert_count(), stuck + 1);
}

#[test]
fn unacknowledged_sections_are_bounded() {
    let mut pair = Pair::new(eager(), 4096, 0);
    pair.exchange(0, &[("x-custom", "value")]);
    for stream_id in 1..10_000 {
        pair.encode(stream_id, &[("x-custom", "value")]);
    }
    assert_eq!(pair.encoder.outstanding.len(), MAX_OUTSTANDING);
    assert_eq!(pair.encode(0, &[("x-custom", "value")])[..2], [0, 0]);
}

#[test]
fn false_acknowledgments_are_errors() {
    // RFC 9204 sections 4.4.1 and 4.4.3.
    for (bytes, reason) in [
        (&[0x84][..], Reason::AcknowledgedNothing { stream_id: 4 }),
        (&[0x00], Reason::Increment { increment: 0, unacknowledged: 1 }),
        (&[0x02], Reason::Increment { increment: 2, unacknowledged: 1 }),
        (&[0xff; 12], Reason::Integer),
    ] {
        let mut pair = Pair::new(eager(), 4096, 0);
        pair.encode(4, &[("x-custom", "value")]);
        let error = pair.encoder.on_decoder_stream(bytes).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DecoderStreamError);
        assert_eq!(*error.reason(), reason);
    }
    let mut pair = Pair::new(eager(), 4096, 0);
    pair.encoder.on_decoder_stream(&[0x44]).unwrap();
}
