//! Every limit of the codec, just kept and just exceeded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use roadrunner_websocket::{
    CloseCode, Config, Decoder, Encoder, End, Event, Frame, Kind, Limits, Rate, Role, SendError, Session, Violation,
};

use crate::support::*;

fn decoded(limits: Limits, bytes: &[u8]) -> (Vec<Frame>, Option<Violation>) {
    decode(&mut Decoder::new(Role::Server, limits, None), [bytes])
}

/// A client's compressed message, and a server's decoder for it.
fn compressed(limits: Limits, kind: Kind, payload: &[u8]) -> (Decoder, BytesMut) {
    let config = with_takeover();
    let params = agree(&config);
    let mut out = BytesMut::new();
    Encoder::new(Role::Client, Some((&config, &params))).fragmented(kind, payload, usize::MAX, &mut out);
    (Decoder::new(Role::Server, limits, Some(&params)), out)
}

fn session(limits: Limits, now: Instant) -> Session {
    let config = Config { limits, ..Config::default() };
    Session::new(Role::Server, Arc::new(config), None, now)
}

fn violation(session: &mut Session, now: Instant) -> Option<Violation> {
    loop {
        match session.next_event(now) {
            Some(Event::Ended(End::Violation(violation))) => return Some(violation),
            Some(_) => {}
            None => return None,
        }
    }
}

#[test]
fn frame_size_is_judged_on_the_header() {
    let limits = Limits { frame_size: 1000, ..Limits::default() };
    let (frames, violation) = decoded(limits.clone(), &client(FIN | BINARY, &[0; 1000]));
    assert_eq!((frames.len(), violation), (1, None));
    let header = &client(FIN | BINARY, &[0; 1001])[..8];
    let (_, violation) = decoded(limits.clone(), header);
    assert_eq!(violation, Some(Violation::FrameTooLarge { length: 1001, limit: 1000 }));
    assert_eq!(violation.unwrap().close_code(), CloseCode::TOO_BIG);
    let (_, violation) = decoded(limits, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0");
    assert!(matches!(violation, Some(Violation::FrameTooLarge { .. })));
}

#[test]
fn message_size_is_judged_on_the_header_of_the_fragment_that_passes_it() {
    let limits = Limits { message_size: 1000, ..Limits::default() };
    let stream = [client(BINARY, &[0; 600]), client(FIN | CONTINUATION, &[0; 400])].concat();
    let (frames, violation) = decoded(limits.clone(), &stream);
    assert_eq!((frames.len(), violation), (1, None));
    let stream = [client(BINARY, &[0; 600]), client(FIN | CONTINUATION, &[0; 401])].concat();
    let (frames, violation) = decoded(limits, &stream[..608 + 8]);
    assert_eq!((frames.len(), violation), (0, Some(Violation::MessageTooLarge { limit: 1000 })));
}

#[test]
fn message_size_is_judged_while_inflating() {
    let limits = Limits { message_size: 100_000, compression_ratio: None, ..Limits::default() };
    let (mut decoder, bytes) = compressed(limits.clone(), Kind::Text, &[b'x'; 100_000]);
    let (frames, violation) = decode(&mut decoder, [&bytes[..]]);
    assert_eq!((frames.len(), violation), (1, None));
    let (mut decoder, bytes) = compressed(limits, Kind::Text, &[b'x'; 100_001]);
    let (frames, violation) = decode(&mut decoder, [&bytes[..]]);
    assert_eq!((frames.len(), violation), (0, Some(Violation::MessageTooLarge { limit: 100_000 })));
}

#[test]
fn a_bomb_costs_no_more_than_the_message_limit() {
    let limits = Limits { message_size: 64 << 10, compression_ratio: None, ..Limits::default() };
    let (mut decoder, bytes) = compressed(limits, Kind::Binary, &vec![0; 64 << 20]);
    let mut most = 0;
    for byte in bytes.chunks(100) {
        decoder.feed(byte);
        if decoder.decode().is_err() {
            assert!(most <= (64 << 10) + (100 << 10), "{most}");
            return;
        }
        most = most.max(decoder.memory());
    }
    panic!("the bomb went through");
}

/// DEFLATE reaches about 1030, and browsers send such messages as a matter of course.
#[test]
fn a_message_of_one_byte_repeated_is_taken_by_default() {
    let message = vec![b'x'; 5_000_000];
    let (mut decoder, bytes) = compressed(Limits::default(), Kind::Text, &message);
    assert!(bytes.len() < message.len() / 500, "{}", bytes.len());
    let (frames, violation) = decode(&mut decoder, [&bytes[..]]);
    assert_eq!((frames.len(), violation), (1, None));
}

#[test]
fn compression_ratio_spares_small_messages() {
    let limits = Limits { compression_ratio: NonZeroU32::new(20), compression_floor: 64 << 10, ..Limits::default() };
    let (mut decoder, bytes) = compressed(limits.clone(), Kind::Text, &[b'x'; 64 << 10]);
    assert_eq!(decode(&mut decoder, [&bytes[..]]).1, None);
    let (mut decoder, bytes) = compressed(limits.clone(), Kind::Text, &[b'x'; 200 << 10]);
    let (frames, violation) = decode(&mut decoder, [&bytes[..]]);
    assert_eq!((frames.len(), violation), (0, Some(Violation::CompressionRatio { limit: 20 })));
    assert_eq!(violation.unwrap().close_code(), CloseCode::POLICY);
    // A message that compresses like ordinary text passes.
    let ordinary: String = (0..40_000).map(|at| format!("{at} ")).collect();
    let (mut decoder, bytes) = compressed(limits, Kind::Text, ordinary.as_bytes());
    assert_eq!(decode(&mut decoder, [&bytes[..]]), (vec![text(&ordinary)], None));
}

#[test]
fn fragments_per_message() {
    let limits = Limits { fragments: 3, ..Limits::default() };
    let [first, middle, last] = [client(BINARY, b"a"), client(CONTINUATION, b"b"), client(FIN | CONTINUATION, b"c")];
    let kept = [&first[..], &middle, &last].concat();
    let (frames, violation) = decoded(limits.clone(), &[&kept[..], &kept].concat());
    assert_eq!((frames, violation), (vec![binary(b"abc"), binary(b"abc")], None));
    let (_, violation) = decoded(limits, &[&first[..], &middle, &middle, &last].concat());
    assert_eq!(violation, Some(Violation::Fragments { limit: 3 }));
    assert_eq!(violation.unwrap().close_code(), CloseCode::POLICY);
}

#[test]
fn empty_fragments_are_charged() {
    let limits = Limits { message_size: 6400, ..Limits::default() };
    let mut decoder = Decoder::new(Role::Server, limits, None);
    decoder.feed(&client(BINARY, b""));
    for _ in 0..100 {
        decoder.feed(&client(CONTINUATION, b""));
        assert_eq!(decoder.decode(), Ok(None));
    }
    decoder.feed(&client(CONTINUATION, b""));
    assert_eq!(decoder.decode(), Err(Violation::MessageTooLarge { limit: 6400 }));
}

#[test]
fn compressed_data_that_inflates_to_nothing_ends_too() {
    let limits = Limits { message_size: 1000, ..Limits::default() };
    let params = agree(&with_takeover());
    let mut decoder = Decoder::new(Role::Server, limits, Some(&params));
    let empty_blocks = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(100);
    decoder.feed(&client(RSV1 | BINARY, &empty_blocks));
    for _ in 0..10 {
        decoder.feed(&client(CONTINUATION, &empty_blocks));
        if let Err(violation) = decoder.decode() {
            assert_eq!(violation, Violation::MessageTooLarge { limit: 1000 });
            return;
        }
    }
    panic!("endless empty blocks went through");
}

#[test]
fn control_frames_per_second() {
    let limits = Limits { control_rate: Rate::new(10, 5), ..Limits::default() };
    let now = Instant::now();
    let mut session = session(limits, now);
    session.feed(&client(FIN | PING, b"").repeat(5));
    assert_eq!(violation(&mut session, now), None);
    let later = now + Duration::from_millis(100);
    session.feed(&client(FIN | PONG, b""));
    assert_eq!(violation(&mut session, later), None);
    session.feed(&client(FIN | PING, b""));
    assert_eq!(violation(&mut session, later), Some(Violation::ControlRate));
    assert_eq!(Violation::ControlRate.close_code(), CloseCode::POLICY);
}

#[test]
fn messages_per_second() {
    let limits = Limits { message_rate: Rate::new(2, 2), ..Limits::default() };
    let now = Instant::now();
    let mut session = session(limits, now);
    session.feed(&client(FIN | TEXT, b"x").repeat(3));
    assert!(matches!(session.next_event(now), Some(Event::Message(_))));
    assert!(matches!(session.next_event(now), Some(Event::Message(_))));
    assert_eq!(session.next_event(now), Some(Event::Ended(End::Violation(Violation::MessageRate))));
}

#[test]
fn a_message_over_its_rate_waits_while_the_application_is_busy() {
    let limits = Limits { message_rate: Rate::new(2, 2), ..Limits::default() };
    let now = Instant::now();
    for (pause, passes) in [(Duration::from_millis(400), false), (Duration::from_millis(600), true)] {
        let mut session = session(limits.clone(), now);
        session.feed(&client(FIN | TEXT, b"x").repeat(3));
        session.feed(&client(FIN | PING, b""));
        for busy in 1..3 {
            assert!(matches!(session.next_event(now), Some(Event::Message(_))));
            session.set_busy(busy, now);
        }
        assert_eq!(session.next_event(now), None);
        assert!(session.is_ending(), "nothing more is read");
        assert_eq!(session.send_text("answer", now), Ok(()));
        let later = now + pause;
        session.handle_timeout(later);
        assert_eq!(session.next_event(later), None, "it waits for as long as the application is busy");
        session.set_busy(0, later);
        let event = session.next_event(later);
        assert_eq!(matches!(event, Some(Event::Message(_))), passes, "{event:?}");
        assert_eq!(event == Some(Event::Ended(End::Violation(Violation::MessageRate))), !passes, "{event:?}");
        assert!(session.outgoing().starts_with(b"\x81\x06answer"));
    }
}

#[test]
fn control_frames_over_their_rate_end_a_busy_session_after_its_answer() {
    let limits = Limits { control_rate: Rate::new(1, 1), ..Limits::default() };
    let now = Instant::now();
    let mut session = session(limits, now);
    session.feed(&[client(FIN | TEXT, b"x"), client(FIN | PING, b"").repeat(3)].concat());
    assert!(matches!(session.next_event(now), Some(Event::Message(_))));
    session.set_busy(1, now);
    assert_eq!(session.next_event(now), None);
    assert_eq!(session.send_text("answer", now), Ok(()));
    session.set_busy(0, now);
    assert_eq!(session.next_event(now), Some(Event::Ended(End::Violation(Violation::ControlRate))));
}

#[test]
fn outgoing_queue_stops_sending_and_decoding() {
    let limits = Limits { outgoing_queue: 100, ..Limits::default() };
    let now = Instant::now();
    let mut session = session(limits, now);
    assert_eq!(session.send_binary(&[0; 98], now), Ok(()));
    assert!(session.is_blocked());
    assert_eq!(session.send_text("more", now), Err(SendError::QueueFull));
    session.feed(&client(FIN | TEXT, b"wait"));
    assert_eq!(session.next_event(now), None);
    session.written(1);
    assert!(!session.is_blocked());
    assert!(matches!(session.next_event(now), Some(Event::Message(_))));
    assert_eq!(session.send_text("more", now), Ok(()));
}

#[test]
fn pongs_of_a_client_that_does_not_read_are_bounded() {
    let limits = Limits { outgoing_queue: 1000, control_rate: None, ..Limits::default() };
    let now = Instant::now();
    let mut session = session(limits, now);
    session.feed(&client(FIN | PING, &[b'x'; 125]).repeat(100));
    assert_eq!(session.next_event(now), None);
    assert!(session.is_blocked() && session.outgoing().len() <= 1000 + 127);
    let mut answered = 0;
    while !session.outgoing().is_empty() {
        answered += session.outgoing().len() / 127;
        session.written(session.outgoing().len());
        assert_eq!(session.next_event(now), None);
    }
    assert_eq!(answered, 100, "every ping is answered in the end");
}

#[test]
fn outgoing_message_size() {
    let limits = Limits { outgoing_message: 100, ..Limits::default() };
    let now = Instant::now();
    let mut session = session(limits, now);
    assert_eq!(session.send_binary(&[0; 101], now), Err(SendError::TooLarge { length: 101, limit: 100 }));
    assert!(session.outgoing().is_empty());
    assert_eq!(session.send_binary(&[0; 100], now), Ok(()));
}
