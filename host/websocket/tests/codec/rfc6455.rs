//! RFC 6455, sections 5 and 8: the decoder's output. Header rules are tested beside the header's parser.

use roadrunner_websocket::{CloseCode, Decoder, Frame, Limits, Role, Violation};

use crate::support::*;

#[test]
fn section_5_7_examples() {
    let (frames, violation) = served(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!((frames, violation), (vec![text("Hello")], None));

    let mut client = Decoder::new(Role::Client, Limits::default(), None);
    let reads = [&b"\x81\x05Hello"[..], b"\x01\x03Hel", b"\x80\x02lo", b"\x89\x05Hello"];
    let (frames, violation) = decode(&mut client, reads);
    let ping = Frame::Ping(b"Hello"[..].into());
    assert_eq!((frames, violation), (vec![text("Hello"), text("Hello"), ping], None));
}

#[test]
fn section_5_4_control_frames_interleave_with_fragments() {
    let stream = [
        client(TEXT, b"a"),
        client(FIN | PING, b"1"),
        client(CONTINUATION, b"b"),
        client(FIN | PONG, b"2"),
        client(FIN | CONTINUATION, b""),
    ];
    let (frames, violation) = served(&stream.concat());
    let expected = vec![Frame::Ping(b"1"[..].into()), Frame::Pong(b"2"[..].into()), text("ab")];
    assert_eq!((frames, violation), (expected, None));
}

#[test]
fn section_5_4_messages_do_not_nest() {
    let (frames, violation) = served(&[client(TEXT, b"a"), client(FIN | TEXT, b"b")].concat());
    assert_eq!((frames, violation), (vec![], Some(Violation::UnfinishedMessage)));
    let (frames, violation) = served(&client(FIN | CONTINUATION, b"b"));
    assert_eq!((frames, violation), (vec![], Some(Violation::UnexpectedContinuation)));
}

#[test]
fn section_5_5_1_nothing_follows_a_close_frame() {
    let stream = [client(FIN | CLOSE, b"\x03\xe8bye"), client(FIN | TEXT, b"late"), vec![0xff; 9]];
    let (frames, violation) = served(&stream.concat());
    let [Frame::Close(Some(close))] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!((close.code, close.reason.as_str(), violation), (CloseCode::NORMAL, "bye", None));
}

#[test]
fn section_5_5_1_close_payloads() {
    assert_eq!(served(&client(FIN | CLOSE, b"")), (vec![Frame::Close(None)], None));
    for (payload, violation) in [
        (&b"\x03"[..], Violation::ClosePayload),
        (b"\x03\xed", Violation::CloseCode(1005)),
        (b"\x03\xee", Violation::CloseCode(1006)),
        (b"\x03\xf7", Violation::CloseCode(1015)),
        (b"\x03\xe8\xff", Violation::InvalidUtf8),
    ] {
        assert_eq!(served(&client(FIN | CLOSE, payload)), (vec![], Some(violation)));
    }
}

#[test]
fn section_7_1_7_what_came_before_a_violation_is_delivered_in_the_same_read() {
    let stream = [client(FIN | TEXT, b"one"), client(FIN | BINARY, b"two"), vec![0xff]];
    let (frames, violation) = served(&stream.concat());
    assert_eq!(frames, [text("one"), binary(b"two")]);
    assert_eq!(violation, Some(Violation::ReservedOpcode(15)));
}

#[test]
fn section_8_1_text_fails_with_its_first_impossible_byte() {
    // The header announces more bytes than will come: the failure must not wait for them.
    for length in [8, 100_000] {
        let whole = client(FIN | TEXT, &[&b"ok \xf4\x90"[..], &vec![b'x'; length]].concat());
        let header = whole.len() - length - 5;
        let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
        let (_, violation) = decode(&mut decoder, [&whole[..header + 4]]);
        assert_eq!(violation, None, "F4 alone may become a character");
        let (_, violation) = decode(&mut decoder, [&whole[header + 4..header + 5]]);
        assert_eq!(violation, Some(Violation::InvalidUtf8));
    }
}

#[test]
fn section_8_1_characters_may_cross_fragments_and_must_end() {
    let euro = "€".as_bytes();
    let stream = [client(TEXT, &euro[..1]), client(FIN | CONTINUATION, &euro[1..])];
    assert_eq!(served(&stream.concat()), (vec![text("€")], None));
    assert_eq!(served(&client(FIN | TEXT, &euro[..2])), (vec![], Some(Violation::InvalidUtf8)));
}

#[test]
fn messages_of_every_length_class() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let bytes = client(FIN | BINARY, &payload);
        assert_eq!(served(&bytes), (vec![binary(&payload)], None));
        let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
        let (frames, violation) = decode(&mut decoder, bytes.chunks(1000));
        assert_eq!((frames, violation), (vec![binary(&payload)], None));
    }
}
