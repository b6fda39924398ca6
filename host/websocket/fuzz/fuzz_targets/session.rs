//! Arbitrary calls in any order: a session always sends its bytes in order, it ends once, and its memory is bounded.
//!
//! Input: a byte of settings, then steps: an opcode, and for most of them a length and as many bytes.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use roadrunner_websocket::handshake::Extension;
use roadrunner_websocket::{
    CloseCode, Config, Decoder, DeflateConfig, Event, Frame, Limits, Rate, Role, Session, State, Timers,
};

fuzz_target!(|data: &[u8]| {
    let [settings, steps @ ..] = data else {
        return;
    };
    let deflate = DeflateConfig { threshold: 0, ..DeflateConfig::default() };
    let offers = Extension::parse(deflate.offer().as_bytes()).expect("well-formed");
    let params = deflate.accept(&offers).filter(|_| settings & 1 != 0);
    let config = Config {
        limits: Limits {
            frame_size: 1000,
            message_size: 2000,
            outgoing_queue: 500,
            outgoing_message: 100,
            control_rate: Rate::new(10, 50),
            ..Limits::default()
        },
        timers: Timers { idle: Some(Duration::from_secs(100)), ..Timers::default() },
        deflate: Some(deflate),
    };
    let mut now = Instant::now();
    let mut session = Session::new(Role::Server, Arc::new(config), params, now);
    let mut peer = Decoder::new(Role::Client, Limits::default(), params.as_ref());
    let mut ended = false;
    let mut closes = 0;
    let mut rest = steps;
    while let [step, length, next @ ..] = rest {
        let (bytes, next) = next.split_at(next.len().min(usize::from(*length)));
        rest = next;
        match step % 9 {
            0 | 1 => session.feed(bytes),
            2 => session.read_buffer(bytes.len()).extend_from_slice(bytes),
            3 => drop(session.send_binary(bytes, now)),
            4 => drop(session.send_text(&String::from_utf8_lossy(bytes), now)),
            5 if *length < 10 => session.close(CloseCode::NORMAL, &String::from_utf8_lossy(bytes), now),
            6 => {
                now += Duration::from_millis(u64::from(*length) * 200);
                session.handle_timeout(now);
            }
            7 if *length < 3 => session.feed_eof(),
            8 => {
                let count = session.outgoing().len().min(usize::from(*length));
                peer.feed(&session.outgoing()[..count]);
                session.written(count);
                session.release();
            }
            _ => {}
        }
        while let Some(event) = session.next_event(now) {
            assert!(!ended, "the end is the last event");
            ended = matches!(event, Event::Ended(_));
        }
        assert_eq!(ended, session.state() == State::Closed);
        while let Some(frame) = peer.decode().expect("what a session sends is in order") {
            closes += usize::from(matches!(frame, Frame::Close(_)));
        }
        assert!(session.outgoing().len() <= 500 + 400);
        assert!(session.memory() <= 700 << 10);
        assert!(closes <= 1);
    }
});
