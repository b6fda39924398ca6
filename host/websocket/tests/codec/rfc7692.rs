//! RFC 7692, section 7.2: compressed messages. Negotiation is tested beside its code.

use bytes::BytesMut;
use roadrunner_websocket::{Decoder, DeflateConfig, Encoder, Frame, Kind, Limits, Role, Violation, WindowBits};

use crate::support::*;

fn decoder(config: &DeflateConfig) -> Decoder {
    Decoder::new(Role::Server, Limits::default(), Some(&agree(config)))
}

fn hellos(payloads: &[&[u8]], config: &DeflateConfig) {
    let stream: Vec<u8> = payloads.iter().flat_map(|payload| client(FIN | RSV1 | TEXT, payload)).collect();
    let (frames, violation) = decode(&mut decoder(config), [&stream[..]]);
    assert_eq!((frames, violation), (vec![text("Hello"); payloads.len()], None));
}

#[test]
fn section_7_2_3_1_one_block() {
    hellos(&[b"\xf2\x48\xcd\xc9\xc9\x07\x00"], &with_takeover());
}

#[test]
fn section_7_2_3_1_fragmented() {
    let stream = [client(RSV1 | TEXT, b"\xf2\x48\xcd"), client(FIN | CONTINUATION, b"\xc9\xc9\x07\x00")];
    let (frames, violation) = decode(&mut decoder(&with_takeover()), [&stream.concat()[..]]);
    assert_eq!((frames, violation), (vec![text("Hello")], None));
}

#[test]
fn section_7_2_3_2_shared_window() {
    hellos(&[b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x00\x11\x00\x00"], &with_takeover());
}

#[test]
fn section_7_2_3_3_no_compression() {
    hellos(&[b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"], &with_takeover());
}

#[test]
fn section_7_2_3_4_final_block() {
    // And the window outlives it: the third message refers to the second.
    hellos(
        &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"\xf2\x00\x11\x00\x00"],
        &with_takeover(),
    );
}

#[test]
fn section_7_2_3_4_final_block_without_an_empty_one() {
    hellos(&[b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x48\xcd\xc9\xc9\x07\x00"], &with_takeover());
}

#[test]
fn section_7_2_3_5_two_blocks() {
    hellos(&[b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"], &with_takeover());
}

#[test]
fn section_7_2_3_6_empty_message() {
    let (frames, violation) = decode(&mut decoder(&with_takeover()), [&client(FIN | RSV1 | TEXT, b"\x00")[..]]);
    assert_eq!((frames, violation), (vec![text("")], None));

    let config = with_takeover();
    let params = agree(&config);
    let mut encoder = Encoder::new(Role::Server, Some((&config, &params)));
    let mut out = BytesMut::new();
    for _ in 0..2 {
        encoder.text("", &mut out);
    }
    assert_eq!(&out[..], b"\xc1\x01\x00\xc1\x01\x00");
}

#[test]
fn section_7_1_1_without_takeover_the_window_is_forgotten() {
    let config = DeflateConfig { client_context_takeover: false, ..with_takeover() };
    let stream = [
        client(FIN | RSV1 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        client(FIN | RSV1 | TEXT, b"\xf2\x00\x11\x00\x00"),
    ];
    let (frames, violation) = decode(&mut decoder(&config), [&stream.concat()[..]]);
    assert_eq!((frames, violation), (vec![text("Hello")], Some(Violation::Inflate)));
}

#[test]
fn section_6_uncompressed_messages_may_stand_between() {
    let stream = [
        client(FIN | RSV1 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        client(FIN | TEXT, b"plain"),
        client(FIN | RSV1 | TEXT, b"\xf2\x00\x11\x00\x00"),
    ];
    let (frames, _) = decode(&mut decoder(&with_takeover()), [&stream.concat()[..]]);
    assert_eq!(frames, [text("Hello"), text("plain"), text("Hello")]);
}

#[test]
fn section_7_2_2_garbage_does_not_inflate() {
    let (frames, violation) = decode(&mut decoder(&with_takeover()), [&client(FIN | RSV1 | TEXT, &[0xff; 40])[..]]);
    assert_eq!((frames, violation), (vec![], Some(Violation::Inflate)));
}

#[test]
fn section_8_1_inflated_text_is_checked_before_the_message_ends() {
    let config = with_takeover();
    let params = agree(&config);
    let mut encoder = Encoder::new(Role::Client, Some((&config, &params)));
    let mut out = BytesMut::new();
    let noise: Vec<u8> = (0..40_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    encoder.fragmented(Kind::Binary, &noise, usize::MAX, &mut out);
    out[0] = FIN | RSV1 | TEXT;
    let mut decoder = decoder(&config);
    let (_, violation) = decode(&mut decoder, [&out[..out.len() / 2]]);
    assert_eq!(violation, Some(Violation::InvalidUtf8));
}

#[test]
fn a_window_of_eight_bits_is_received_and_never_sent() {
    let config = DeflateConfig { client_window: WindowBits::MIN, ..with_takeover() };
    let params = agree(&config);
    assert_eq!(params.client_max_window_bits, WindowBits::MIN);
    hellos(&[b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x00\x11\x00\x00"], &config);

    let mut client = Encoder::new(Role::Client, Some((&config, &params)));
    let mut out = BytesMut::new();
    client.text("sent as it is", &mut out);
    assert_eq!(out[0], FIN | TEXT);
    let mut server = Encoder::new(Role::Server, Some((&config, &params)));
    out.clear();
    server.text("sent compressed", &mut out);
    assert_eq!(out[0], FIN | RSV1 | TEXT);
}

#[test]
fn what_does_not_shrink_is_sent_as_it_is_where_the_window_is_forgotten() {
    let config = DeflateConfig { server_context_takeover: false, ..with_takeover() };
    let params = agree(&config);
    let mut encoder = Encoder::new(Role::Server, Some((&config, &params)));
    let mut out = BytesMut::new();
    encoder.binary(b"\x01\x93\xfe", &mut out);
    assert_eq!(&out[..], b"\x82\x03\x01\x93\xfe");
    out.clear();
    encoder.text(&"again and ".repeat(50), &mut out);
    assert!(out[0] == FIN | RSV1 | TEXT && out.len() < 60);
    let mut client = Decoder::new(Role::Client, Limits::default(), Some(&params));
    let (frames, violation) = decode(&mut client, [&out[..]]);
    assert_eq!((frames, violation), (vec![text(&"again and ".repeat(50))], None));
}

#[test]
fn rsv1_without_the_extension_is_a_violation() {
    let (_, violation) = served(&client(FIN | RSV1 | TEXT, b"\x00"));
    assert_eq!(violation, Some(Violation::ReservedBits));
    let ping = client(FIN | RSV1 | PING, b"");
    let (frames, violation) = decode(&mut decoder(&with_takeover()), [&ping[..]]);
    assert_eq!((frames, violation), (Vec::<Frame>::new(), Some(Violation::ReservedBits)));
}
