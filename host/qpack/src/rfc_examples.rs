//! RFC 9204 appendix B, byte for byte, through both halves.
//!
//! The examples' encoder follows another policy than ours, so its bytes are written here instruction by instruction;
//! the decoder is the real one.

use bytes::Bytes;

use crate::instruction::{InsertName, write_duplicate, write_insert, write_set_capacity};
use crate::line::{Reference, write_indexed};
use crate::prefix::SectionPrefix;
use crate::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};

fn fields(decoded: Decoded) -> Vec<(String, String)> {
    let Decoded::Fields(fields) = decoded else {
        panic!("not fields: {decoded:?}");
    };
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    fields.iter().map(|field| (text(&field.name), text(&field.value))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn section(required_insert_count: u64, base: u64, references: &[Reference]) -> Vec<u8> {
    let mut out = Vec::new();
    let prefix = SectionPrefix { required_insert_count, base };
    prefix.write(&mut out, 220 / 32);
    for &reference in references {
        write_indexed(&mut out, reference);
    }
    out
}

fn decoder() -> Decoder {
    Decoder::new(DecoderConfig { max_table_capacity: 220, max_blocked_streams: 1, ..DecoderConfig::default() })
}

/// Appendix B.1: literal field line with name reference.
#[test]
fn b1() {
    let bytes = b"\x00\x00\x51\x0b/index.html";
    let mut decoder = decoder();
    assert_eq!(fields(decoder.decode(0, bytes).unwrap()), pairs(&[(":path", "/index.html")]));
    assert!(decoder.take_decoder_stream().is_empty());
    // Our encoder differs only in the Huffman coding, which the example omits.
    let mut out = Vec::new();
    let mut encoder = Encoder::new(EncoderConfig::default());
    encoder.encode(0, [(":path", "/index.html")], &mut out);
    assert_eq!(out[..3], bytes[..3]);
    assert_eq!(fields(decoder.decode(4, &out).unwrap()), pairs(&[(":path", "/index.html")]));
}

/// Appendices B.2 to B.5: one connection.
#[test]
fn b2_to_b5() {
    let mut decoder = decoder();

    // B.2: dynamic table. The example's strings are plain.
    let inserts = b"\x3f\xbd\x01\xc0\x0fwww.example.com\xc1\x0c/sample/path";
    let mut capacity = Vec::new();
    write_set_capacity(&mut capacity, 220);
    assert_eq!(capacity, inserts[..3]);
    let bytes = section(2, 0, &[Reference::PostBase(0), Reference::PostBase(1)]);
    assert_eq!(bytes, b"\x03\x81\x10\x11");
    assert_eq!(decoder.decode(4, &bytes).unwrap(), Decoded::Blocked { required_insert_count: 2 });
    assert_eq!(decoder.on_encoder_stream(inserts).unwrap(), [4]);
    assert_eq!(
        fields(decoder.decode(4, &bytes).unwrap()),
        pairs(&[(":authority", "www.example.com"), (":path", "/sample/path")])
    );
    assert_eq!(decoder.take_decoder_stream(), &b"\x84"[..]);

    // B.3: speculative insert.
    let insert = b"\x4a\x63ustom-key\x0c\x63ustom-value";
    assert!(decoder.on_encoder_stream(insert).unwrap().is_empty());
    assert_eq!(decoder.take_decoder_stream(), &b"\x01"[..]);

    // B.4: duplicate instruction, stream cancellation.
    let mut duplicate = Vec::new();
    write_duplicate(&mut duplicate, 2);
    assert_eq!(duplicate, b"\x02");
    let bytes = section(4, 4, &[Reference::Relative(0), Reference::Static(1), Reference::Relative(1)]);
    assert_eq!(bytes, b"\x05\x00\x80\xc1\x81");
    assert!(matches!(decoder.decode(8, &bytes).unwrap(), Decoded::Blocked { .. }));
    decoder.cancel_stream(8).unwrap();
    assert_eq!(decoder.take_decoder_stream(), &b"\x48"[..]);
    assert!(decoder.on_encoder_stream(&duplicate).unwrap().is_empty());
    // Without the cancellation, it would read:
    assert_eq!(
        fields(decoder.decode(12, &bytes).unwrap()),
        pairs(&[(":authority", "www.example.com"), (":path", "/"), ("custom-key", "custom-value")])
    );

    // B.5: dynamic table insert, eviction.
    let insert = b"\x81\x0d\x63ustom-value2";
    let mut ours = Vec::new();
    write_insert(&mut ours, Some(InsertName::Relative(1)), b"", b"custom-value2");
    assert_eq!(ours[0], insert[0]);
    decoder.on_encoder_stream(insert).unwrap();
    assert_eq!(decoder.insert_count(), 5);
    let evicted = section(5, 5, &[Reference::Relative(4)]);
    assert!(decoder.decode(16, &evicted).is_err(), "absolute index 0");
}

/// The decoder instructions of B.2 to B.4, as input of the encoder.
#[test]
fn acknowledgments() {
    let mut encoder =
        Encoder::new(EncoderConfig { max_table_capacity: 220, max_blocked_streams: 1, insert_on_first_sight: true });
    encoder.set_peer_settings(220, 1);
    let mut out = Vec::new();
    let request = [(":authority", "www.example.com"), (":path", "/sample/path")];
    encoder.encode(4, request, &mut out);
    assert_eq!(out, b"\x03\x81\x10\x11", "as in B.2");
    assert_eq!(encoder.known_received_count(), 0);
    encoder.on_decoder_stream(b"\x84").unwrap();
    assert_eq!(encoder.known_received_count(), 2);
    encoder.encode(6, [("custom-key", "custom-value")], &mut Vec::new());
    encoder.on_decoder_stream(b"\x01").unwrap();
    assert_eq!(encoder.known_received_count(), 3);
    encoder.encode(8, request, &mut out);
    encoder.on_decoder_stream(b"\x48").unwrap();
    assert!(encoder.on_decoder_stream(b"\x88").is_err());
}
