//! Sessions: pings, the close handshake (RFC 6455, 5.5 and 7), deadlines, memory that is freed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roadrunner_websocket::{
    CloseCode, Config, DeflateConfig, End, Event, Kind, Limits, Message, Role, SendError, Session, State, Timers,
    Violation,
};

use crate::support::*;

fn server(now: Instant) -> Session {
    Session::new(Role::Server, Arc::new(Config::default()), None, now)
}

fn events(session: &mut Session, now: Instant) -> Vec<Event> {
    std::iter::from_fn(|| session.next_event(now)).collect()
}

fn take(session: &mut Session) -> Vec<u8> {
    let bytes = session.outgoing().to_vec();
    session.written(bytes.len());
    bytes
}

fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(Role::Server, first, payload)
}

fn message(text: &str) -> Event {
    Event::Message(Message::Text(text.into()))
}

#[test]
fn section_5_5_2_every_ping_of_one_read_is_answered_in_order() {
    let now = Instant::now();
    let mut session = server(now);
    let stream =
        [client(FIN | PING, b"1"), client(FIN | PING, b""), client(FIN | TEXT, b"m"), client(FIN | PING, b"3")];
    session.feed(&stream.concat());
    assert_eq!(events(&mut session, now), [message("m")]);
    let pongs = [sent(FIN | PONG, b"1"), sent(FIN | PONG, b""), sent(FIN | PONG, b"3")];
    assert_eq!(take(&mut session), pongs.concat());
}

#[test]
fn section_5_5_1_a_busy_application_answers_before_the_session_ends() {
    for (end, first) in [(client(FIN | CLOSE, b"\x03\xe8"), &b"\x03\xe8"[..]), (client(FIN | 3, b""), b"\x03\xea")] {
        let now = Instant::now();
        let mut session = server(now);
        session.feed(&[client(FIN | TEXT, b"last"), end].concat());
        assert_eq!(session.next_event(now), Some(message("last")));
        session.set_busy(1, now);
        assert_eq!(session.next_event(now), None);
        session.feed_eof();
        assert_eq!(session.next_event(now), None, "the end of the connection is no news behind it");
        assert!(session.is_ending());
        assert_eq!(session.send_text("answer", now), Ok(()));
        session.set_busy(0, now);
        assert!(matches!(session.next_event(now), Some(Event::Ended(End::PeerClosed(_) | End::Violation(_)))));
        let sent = take(&mut session);
        assert!(sent.starts_with(b"\x81\x06answer\x88") && sent[10..].starts_with(first), "{sent:?}");
        assert!(!session.is_ending());
    }
}

#[test]
fn section_5_5_1_the_end_is_not_held_back_for_long() {
    let now = Instant::now();
    let mut session = server(now);
    session.feed(&client(FIN | CLOSE, b"\x03\xe8"));
    session.set_busy(3, now);
    assert_eq!(session.next_event(now), None);
    let deadline = session.deadline().expect("it ends");
    assert_eq!(deadline, now + 3 * Config::default().timers.close, "each message has the time of one");
    session.handle_timeout(deadline - Duration::from_millis(1));
    assert_eq!(session.next_event(now), None);
    session.handle_timeout(deadline);
    assert!(matches!(session.next_event(deadline), Some(Event::Ended(End::PeerClosed(_)))));
    assert_eq!(session.state(), State::Closed);
}

#[test]
fn an_application_with_several_messages_is_not_idle_and_goes_on_when_the_connection_is_lost() {
    let timers = Timers { idle: Some(Duration::from_secs(1)), ..Timers::default() };
    let config = Arc::new(Config { timers: timers.clone(), ..Config::default() });
    let mut now = Instant::now();
    let mut session = Session::new(Role::Server, config, None, now);
    session.set_busy(3, now);
    for _ in 0..3 {
        now += Duration::from_millis(900);
        session.set_busy(3, now);
        session.handle_timeout(now);
        assert_eq!(session.next_event(now), None);
    }
    session.feed_eof();
    assert_eq!(session.next_event(now), None);
    assert_eq!(session.deadline(), Some(now + 2 * timers.close));
    session.set_busy(1, now);
    assert_eq!(session.next_event(now), None);
    session.set_busy(0, now);
    assert_eq!(session.next_event(now), Some(Event::Ended(End::Lost)));
}

#[test]
fn section_7_the_peer_closes() {
    for (close, answer) in [(&b"\x03\xe9bye"[..], &b"\x03\xe9"[..]), (b"", b"")] {
        let now = Instant::now();
        let mut session = server(now);
        let stream = [client(FIN | TEXT, b"last"), client(FIN | CLOSE, close), client(FIN | TEXT, b"x")];
        session.feed(&stream.concat());
        let events = events(&mut session, now);
        assert_eq!(events[0], message("last"));
        let [_, Event::Ended(End::PeerClosed(frame))] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(frame.as_ref().map(|frame| frame.code.get()), (!close.is_empty()).then_some(1001));
        assert_eq!(take(&mut session), sent(FIN | CLOSE, answer));
        assert_eq!(session.state(), State::Closed);
        assert_eq!(session.send_text("no", now), Err(SendError::Closed));
        assert_eq!(session.deadline(), None);
    }
}

#[test]
fn section_7_this_side_closes() {
    let now = Instant::now();
    let mut session = server(now);
    session.close(CloseCode::NORMAL, "done", now);
    session.close(CloseCode::POLICY, "a second close does nothing", now);
    assert_eq!(take(&mut session), sent(FIN | CLOSE, b"\x03\xe8done"));
    assert_eq!(session.state(), State::Closing);
    assert_eq!(session.send_text("no", now), Err(SendError::Closed));
    // Nothing is sent after a close frame, and the peer's messages in transit are dropped.
    session.feed(&[client(FIN | TEXT, b"late"), client(FIN | PING, b"")].concat());
    assert_eq!(events(&mut session, now), []);
    session.feed(&client(FIN | CLOSE, b"\x03\xe8"));
    let events = events(&mut session, now);
    assert!(matches!(&events[..], [Event::Ended(End::Closed(Some(frame)))] if frame.code == CloseCode::NORMAL));
    assert!(session.outgoing().is_empty());
}

#[test]
fn section_7_1_1_a_close_that_nobody_answers_ends() {
    let now = Instant::now();
    let mut session = server(now);
    session.close(CloseCode::GOING_AWAY, "", now);
    let deadline = session.deadline().unwrap();
    assert_eq!(deadline, now + Duration::from_secs(5));
    session.handle_timeout(deadline - Duration::from_millis(1));
    assert_eq!(events(&mut session, now), []);
    session.handle_timeout(deadline);
    assert_eq!(events(&mut session, now), [Event::Ended(End::CloseTimeout)]);
}

#[test]
fn section_7_1_7_a_violation_is_told_after_what_came_before_it() {
    let now = Instant::now();
    let mut session = server(now);
    let stream = [
        client(FIN | TEXT, b"one"),
        client(FIN | PING, b"p"),
        client(FIN | TEXT, b"\xff"),
        client(FIN | TEXT, b"never"),
    ];
    session.feed(&stream.concat());
    assert_eq!(events(&mut session, now), [message("one"), Event::Ended(End::Violation(Violation::InvalidUtf8))]);
    let out = take(&mut session);
    let pong = sent(FIN | PONG, b"p");
    assert!(out.starts_with(&pong));
    assert_eq!(out[pong.len()], FIN | CLOSE);
    assert_eq!(out[pong.len() + 2..pong.len() + 4], 1007u16.to_be_bytes());
    session.feed(&client(FIN | TEXT, b"never"));
    assert_eq!(events(&mut session, now), []);
}

#[test]
fn a_lost_connection_is_told_after_what_came_before_it() {
    let now = Instant::now();
    let mut session = server(now);
    session.feed(&[client(FIN | TEXT, b"one"), client(TEXT, b"half")].concat());
    session.feed_eof();
    assert_eq!(events(&mut session, now), [message("one"), Event::Ended(End::Lost)]);
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let timers = Timers {
        ping_interval: Some(Duration::from_secs(10)),
        pong_timeout: Duration::from_secs(3),
        ..Timers::default()
    };
    let start = Instant::now();
    let config = Arc::new(Config { timers, ..Config::default() });
    let mut session = Session::new(Role::Server, config, None, start);
    let at = |seconds| start + Duration::from_secs(seconds);

    session.feed(&client(FIN | TEXT, b"m"));
    assert_eq!(events(&mut session, at(4)), [message("m")]);
    assert_eq!(session.deadline(), Some(at(14)));
    session.handle_timeout(at(13));
    assert!(session.outgoing().is_empty());
    session.handle_timeout(at(14));
    assert_eq!(take(&mut session), sent(FIN | PING, b""));
    assert_eq!(session.deadline(), Some(at(17)));
    // Any byte shows that the peer is alive.
    session.feed(&client(FIN | PONG, b"")[..1]);
    assert_eq!(events(&mut session, at(16)), []);
    assert_eq!(session.deadline(), Some(at(26)));
    session.handle_timeout(at(26));
    assert_eq!(take(&mut session), sent(FIN | PING, b""));
    session.handle_timeout(at(29));
    assert_eq!(events(&mut session, at(29)), [Event::Ended(End::Dead)]);
}

#[test]
fn silence_while_nobody_read_is_not_the_peers() {
    let start = Instant::now();
    let mut session = server(start);
    let late = start + Duration::from_secs(500);
    session.resume(late);
    session.handle_timeout(late);
    assert!(session.outgoing().is_empty());
    assert_eq!(session.deadline(), Some(late + Duration::from_secs(30)));
}

#[test]
fn an_idle_session_is_closed_however_alive_its_peer_is() {
    let timers = Timers { idle: Some(Duration::from_secs(60)), ping_interval: None, ..Timers::default() };
    let start = Instant::now();
    let config = Arc::new(Config { timers, ..Config::default() });
    let mut session = Session::new(Role::Server, config, None, start);
    let at = |seconds| start + Duration::from_secs(seconds);

    session.send_text("counts", at(10)).unwrap();
    take(&mut session);
    session.feed(&client(FIN | PING, b""));
    assert_eq!(events(&mut session, at(50)), []);
    take(&mut session);
    assert_eq!(session.deadline(), Some(at(70)));
    session.handle_timeout(at(70));
    assert_eq!(take(&mut session), sent(FIN | CLOSE, b"\x03\xe9idle"));
    session.feed(&client(FIN | CLOSE, b"\x03\xe9"));
    assert_eq!(events(&mut session, at(71)), [Event::Ended(End::Idle)]);
}

#[test]
fn an_idle_session_holds_nothing() {
    let now = Instant::now();
    let mut session = server(now);
    assert_eq!(session.memory(), 0);
    session.read_buffer(16 << 10).extend_from_slice(&client(FIN | TEXT, b"hello"));
    assert_eq!(events(&mut session, now), [message("hello")]);
    session.send_text(&"x".repeat(100_000), now).unwrap();
    assert!(session.memory() > 100_000);
    take(&mut session);
    session.release();
    assert_eq!(session.memory(), 0);
}

#[test]
fn both_ends_talk_and_part() {
    let now = Instant::now();
    let params = agree(&with_takeover());
    let config = Arc::new(Config { deflate: Some(with_takeover()), ..Config::default() });
    let mut client = Session::new(Role::Client, config.clone(), Some(params), now);
    let mut server = Session::new(Role::Server, config, Some(params), now);
    let long = "the same again and ".repeat(1000);
    for text in ["hello", &long, "", &long] {
        client.send_text(text, now).unwrap();
        let bytes = take(&mut client);
        assert!(bytes.len() < 4000);
        server.feed(&bytes);
        assert_eq!(events(&mut server, now), [message(text)]);
        server.send_binary(text.as_bytes(), now).unwrap();
        client.feed(&take(&mut server));
        let payload = text.to_owned().into_bytes().into();
        assert_eq!(events(&mut client, now), [Event::Message(Message::Binary(payload))]);
    }
    client.close(CloseCode::new(4000).unwrap(), "over", now);
    server.feed(&take(&mut client));
    assert!(matches!(&events(&mut server, now)[..], [Event::Ended(End::PeerClosed(Some(_)))]));
    client.feed(&take(&mut server));
    assert!(matches!(&events(&mut client, now)[..], [Event::Ended(End::Closed(Some(_)))]));
    client.release();
    server.release();
    assert_eq!((client.memory(), server.memory()), (0, 0));
}

/// A session of each side that have agreed on permessage-deflate.
fn deflating(now: Instant, takeover: bool) -> (Session, Session) {
    let deflate = if takeover { with_takeover() } else { DeflateConfig::default() };
    let params = agree(&deflate);
    let config = Arc::new(Config {
        deflate: Some(deflate),
        limits: Limits {
            message_size: 8 << 20,
            outgoing_message: 8 << 20,
            compression_ratio: None,
            ..Limits::default()
        },
        ..Config::default()
    });
    let side = |role| Session::new(role, config.clone(), Some(params), now);
    (side(Role::Server), side(Role::Client))
}

/// Continues until there is nothing left to compress; returns the number of pieces.
fn compress(session: &mut Session) -> usize {
    let mut pieces = 0;
    while session.is_spent() {
        session.allow(64 << 10);
        pieces += 1;
        assert!(pieces < 1000, "it does not come to an end");
    }
    pieces
}

#[test]
fn a_long_message_is_compressed_and_inflated_in_pieces() {
    let now = Instant::now();
    // Long when compressed, and short when compressed.
    let letters: Vec<u8> =
        (0..3_000_000u32).map(|at| b'a' + (at.wrapping_mul(2_654_435_761) >> 24) as u8 % 23).collect();
    for (payload, takeover) in [(letters.clone(), false), (letters, true), (vec![0; 3_000_000], false)] {
        let (mut sender, mut receiver) = deflating(now, takeover);
        sender.allow(64 << 10);
        for _ in 0..2 {
            assert_eq!(sender.begin(Kind::Binary, payload.clone().into(), now), Ok(()));
            assert!(sender.outgoing().is_empty() && sender.is_spent() && !sender.takes());
            assert_eq!(sender.send_text("before it", now), Err(SendError::QueueFull));
            assert!(compress(&mut sender) >= 3_000_000 / (64 << 10), "it was compressed at once");
            receiver.feed(&take(&mut sender));
            let mut turns = 0;
            let event = loop {
                receiver.allow(64 << 10);
                turns += 1;
                if let Some(event) = receiver.next_event(now) {
                    break event;
                }
                assert!(receiver.is_spent(), "it waits for bytes that will not come");
            };
            assert_eq!(event, Event::Message(Message::Binary(payload.clone().into())));
            assert!(turns >= 3_000_000 / (64 << 10), "it was inflated at once, in {turns} turns");
        }
    }
}

#[test]
fn a_session_that_closes_drops_what_it_was_compressing() {
    let now = Instant::now();
    let (mut sender, _) = deflating(now, true);
    sender.begin(Kind::Binary, vec![b'x'; 1 << 20].into(), now).expect("it is open");
    sender.close(CloseCode::NORMAL, "", now);
    sender.allow(64 << 10);
    assert!(!sender.is_spent());
    assert_eq!(take(&mut sender)[0], FIN | CLOSE);
}

#[test]
fn the_end_of_the_connection_waits_for_what_is_being_inflated() {
    let now = Instant::now();
    let (mut sender, mut receiver) = deflating(now, false);
    sender.begin(Kind::Text, vec![b'x'; 1 << 20].into(), now).expect("it is open");
    compress(&mut sender);
    receiver.feed(&take(&mut sender));
    receiver.feed_eof();
    receiver.allow(64 << 10);
    assert_eq!(receiver.next_event(now), None, "there is more to inflate");
    receiver.allow(2 << 20);
    assert!(matches!(receiver.next_event(now), Some(Event::Message(_))));
    assert_eq!(receiver.next_event(now), Some(Event::Ended(End::Lost)));
}
