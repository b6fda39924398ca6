//! Messages that reach a guest together: everything behaves as if they had come one by one.
//!
//! Components of the SDK take several in one call, so all tests of WebSockets cover this too. These tests cover the
//! possible differences: events in the middle of such a call.

use std::time::{Duration, Instant};

use roadrunner_tests::websocket::{Handshake, Socket, frame};
use roadrunner_tests::{Server, Setup, Way, within};
use rustix::process::Signal;

const PING: u8 = 9;
const PONG: u8 = 10;

/// After this many quick messages, a guest gets the largest batches.
const WARM: usize = 63;

/// Opens a session whose guest gets the next messages together.
async fn open(server: &Server, way: Way, path: &str) -> Socket {
    let mut socket = Handshake::to(path).open(server, way).await;
    assert!(socket.write(&frame(true, 1, b"warm").repeat(WARM)).await);
    for _ in 0..WARM {
        assert!(socket.next_text().await.ends_with("warm"), "{way:?}");
    }
    socket
}

/// Writes these messages at once.
async fn write(socket: &mut Socket, texts: &[&str]) {
    let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(true, 1, text.as_bytes())).collect();
    assert!(socket.write(&bytes).await);
}

/// The code of the next frame, which must be the close frame.
async fn close_code(socket: &mut Socket) -> u16 {
    let frame = socket.next().await.expect("a close frame");
    assert_eq!(frame.opcode, 8, "{frame:?}");
    socket.send(8, &frame.payload).await;
    assert_eq!(socket.next().await, None, "nothing follows a close frame");
    u16::from_be_bytes([frame.payload[0], frame.payload[1]])
}

/// The sizes of the batches in which these answers of the guest `batches` were made; each must be whole and in order.
fn calls(answers: &[String], text: impl Fn(usize) -> String) -> Vec<usize> {
    let mut calls = Vec::new();
    let mut expected = (1, 1);
    for (index, answer) in answers.iter().enumerate() {
        let (place, rest) = answer.split_once(": ").expect("the guest's format");
        assert_eq!(rest, text(index), "{answers:?}");
        let (at, of) = match place.split_once(" of ") {
            Some((at, of)) => (at.parse().expect("a number"), of.parse().expect("a number")),
            None => (1, 1),
        };
        if at == 1 {
            expected = (1, of);
            calls.push(of);
        }
        assert_eq!((at, of), expected, "{answers:?}");
        expected.0 += 1;
    }
    assert_eq!(calls.iter().sum::<usize>(), answers.len(), "{answers:?}");
    calls
}

async fn answers(socket: &mut Socket, count: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(socket.next_text().await);
    }
    answers
}

#[tokio::test]
async fn messages_that_are_there_come_in_one_call() {
    let server = Setup::of("batches").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/").open(&server, way).await;
        let texts: Vec<_> = (0..200).map(|index| index.to_string()).collect();
        write(&mut socket, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let small = calls(&answers(&mut socket, 200).await, |index| index.to_string());
        assert!(small[0] == 1 && small.iter().any(|size| (2..=32).contains(size)), "{way:?}: {small:?}");
        assert!(small.iter().all(|size| *size <= 32), "{way:?}: {small:?}");
        assert!(socket.write(&frame(true, 2, &[0; 3000]).repeat(40)).await);
        let large = calls(&answers(&mut socket, 40).await, |_| "3000 bytes".to_owned());
        assert!(large.iter().all(|size| *size <= 6), "{way:?}: 16 KiB and one message: {large:?}");
    }
}

#[tokio::test]
async fn a_guest_that_takes_one_message_in_a_call_gets_one() {
    let server = Setup::of("singles").start().await;
    for way in Way::ALL {
        for (last, code) in [("stop", 1000), ("trap", 1011)] {
            let mut socket = open(&server, way, "/").await;
            write(&mut socket, &["a", "b", last, "c"]).await;
            assert_eq!(answers(&mut socket, 2).await, ["a", "b"], "{way:?}");
            assert_eq!(close_code(&mut socket).await, code, "{way:?} {last}");
            server.is_quiet().await;
        }
    }
}

#[tokio::test]
async fn what_ends_a_session_in_the_middle_comes_after_the_answers_before_it() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        for (last, code) in [("stop", 1000), ("close", 4000), ("fault", 1011), ("trap", 1011)] {
            let mut socket = open(&server, way, "/script").await;
            write(&mut socket, &["a", "b", last, "c", "d"]).await;
            assert_eq!(answers(&mut socket, 2).await, ["a", "b"], "{way:?} {last}");
            assert_eq!(close_code(&mut socket).await, code, "{way:?} {last}");
            server.is_quiet().await;
        }
        for (last, code) in [(frame(true, 8, &1000_u16.to_be_bytes()), 1000), (frame(true, 3, b""), 1002)] {
            let mut socket = open(&server, way, "/script").await;
            let messages = ["a", "sleep 50", "b"];
            let bytes = messages.map(|text| frame(true, 1, text.as_bytes())).concat();
            assert!(socket.write(&[bytes, last].concat()).await);
            assert_eq!(answers(&mut socket, 3).await, messages, "{way:?} {code}");
            assert_eq!(close_code(&mut socket).await, code, "{way:?}");
            server.is_quiet().await;
        }
    }
    assert_eq!(server.metrics().await.outcome("trapped"), 10.0);
}

#[tokio::test]
async fn a_guest_that_goes_on_after_its_close_is_not_heard() {
    let server = Setup::of("batches").start().await;
    for way in Way::ALL {
        let mut socket = open(&server, way, "/").await;
        write(&mut socket, &["a", "close", "b"]).await;
        assert!(socket.next_text().await.ends_with(": a"), "{way:?}");
        assert_eq!(close_code(&mut socket).await, 4000, "{way:?}");
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn each_message_has_the_cpu_time_of_a_callback() {
    let server = Setup::of("sockets").limit("callback-cpu = \"60ms\"").start().await;
    for way in Way::ALL {
        let mut socket = open(&server, way, "/script").await;
        write(&mut socket, &["spin 25"; 6]).await;
        assert_eq!(answers(&mut socket, 6).await, ["spin 25"; 6], "{way:?}");
        drop(socket);
        let mut socket = open(&server, way, "/script").await;
        let start = Instant::now();
        write(&mut socket, &["spin 20000"; 4]).await;
        assert_eq!(close_code(&mut socket).await, 1008, "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(8), "{way:?}: {:?}", start.elapsed());
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("cpu-exceeded"), 5.0);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_guest_in_the_middle() {
    let server = Setup::of("sockets").and("[websocket]\noutgoing-queue = 2048").start().await;
    for way in Way::EACH {
        let mut socket = open(&server, way, "/script").await;
        write(&mut socket, &["large 1000000"; 20]).await;
        write(&mut socket, &["done"]).await;
        let stands_still = || async {
            let before = server.instances().await[0].clone();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let after = server.instances().await[0].clone();
            (before["cpu_us"] == after["cpu_us"]).then_some(after)
        };
        let (after, _) = within(Duration::from_secs(15), stands_still).await.expect("it goes on");
        assert!(after["memory"].as_u64().is_some_and(|memory| memory < 8 << 20), "{way:?}: {after}");
        for _ in 0..20 {
            assert_eq!(socket.next().await.expect("a message").payload.len(), 1_000_000, "{way:?}");
        }
        assert_eq!(socket.next_text().await, "done", "{way:?}");
        drop(socket);
        server.is_quiet().await;
    }
}

/// As far as the host has read: a guest that had to wait for its turn in the last call gets one message in the next, and no
/// more are read meanwhile. That happens on a busy machine, so each way has some tries.
#[tokio::test]
async fn pings_behind_messages_are_answered_while_the_guest_is_busy() {
    let server = Setup::of("sockets").start().await;
    let messages = ["sleep 1500", "a", "b"];
    for way in Way::ALL {
        let mut said = Vec::new();
        while said.len() < 5 {
            let mut socket = open(&server, way, "/script").await;
            for _ in 0..4 {
                write(&mut socket, &["warm"]).await;
                assert_eq!(answers(&mut socket, 1).await, ["warm"], "{way:?}");
            }
            let mut bytes = messages.map(|text| frame(true, 1, text.as_bytes())).concat();
            bytes.extend((0..20).flat_map(|n| frame(true, PING, &[n])));
            let start = Instant::now();
            assert!(socket.write(&bytes).await);
            let mut frames = Vec::new();
            for _ in 0..20 {
                let frame = socket.next().await.expect("a frame");
                frames.push((frame.opcode, frame.payload));
            }
            let took = start.elapsed();
            if took < Duration::from_millis(1450)
                && frames
                    .iter()
                    .enumerate()
                    .all(|(n, (opcode, payload))| (*opcode, payload.as_slice()) == (PONG, &[n as u8]))
            {
                assert_eq!(answers(&mut socket, 3).await, messages, "{way:?}");
                break;
            }
            said.push((took, frames));
        }
        assert!(said.len() < 5, "{way:?}: {said:?}");
    }
}

/// Messages within the rate are answered before the session ends.
#[tokio::test]
async fn message_rate() {
    let server = Setup::of("sockets").and("[websocket]\nmessage-rate = 20").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/script").open(&server, way).await;
        assert!(socket.write(&frame(true, 1, b"x").repeat(100)).await);
        let mut answered = 0;
        let code = loop {
            let frame = socket.next().await.expect("a frame");
            match frame.opcode {
                1 => answered += 1,
                _ => break u16::from_be_bytes([frame.payload[0], frame.payload[1]]),
            }
        };
        // Twice the rate at once, and the tokens that come back meanwhile.
        assert!((40..60).contains(&answered) && code == 1008, "{way:?}: {answered}, {code}");
    }
}

#[tokio::test]
async fn messages_that_come_together_wake_a_session_that_hibernates() {
    let server = Setup::of("sockets").limit("hibernate = \"50ms\"").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/count").open(&server, way).await;
        for round in 0..3 {
            let hibernates = || async {
                let count = server.metrics().await.sum("roadrunner_sessions_hibernated", "gate=\"host\"");
                (count == 1.0).then_some(())
            };
            assert!(within(Duration::from_secs(10), hibernates).await.is_some(), "{way:?} {round}");
            write(&mut socket, &["x"; 40]).await;
            for index in 1..=40 {
                assert_eq!(socket.next_text().await, format!("{} x", 40 * round + index), "{way:?}");
            }
        }
        drop(socket);
        server.is_quiet().await;
    }
}

/// As far as they were read: see [`pings_behind_messages_are_answered_while_the_guest_is_busy`].
#[tokio::test]
async fn a_drain_waits_for_the_messages_before_it() {
    let messages = ["sleep 1000", "a", "b", "c"];
    for way in Way::ALL {
        let mut said = Vec::new();
        while said.len() < 5 {
            let mut server = Setup::of("sockets").server("drain = \"5s\"").start().await;
            let mut socket = open(&server, way, "/script").await;
            for _ in 0..4 {
                write(&mut socket, &["warm"]).await;
                assert_eq!(answers(&mut socket, 1).await, ["warm"], "{way:?}");
            }
            write(&mut socket, &[&["say begun"], &messages[..]].concat()).await;
            server.log.message("said begun").await;
            // All of them have to arrive.
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.signal(Signal::TERM);
            let mut frames = Vec::new();
            while let Some(frame) = socket.next().await
                && frame.opcode == 1
            {
                frames.push(String::from_utf8(frame.payload).expect("a text"));
            }
            drop(socket);
            assert!(server.exit().await.success(), "{way:?}");
            if frames == messages {
                break;
            }
            said.push(frames);
        }
        assert!(said.len() < 5, "{way:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_heard_to_its_last_message() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        let mut socket = open(&server, way, "/script").await;
        let last = format!("say {way:?}");
        write(&mut socket, &["sleep 200", "say one", "sleep 100", "say two", &last]).await;
        // It has to arrive.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(socket);
        server.log.message(&format!("said {way:?}")).await;
        server.is_quiet().await;
    }
    let text = server.log.text();
    assert_eq!(text.matches("said two").count(), Way::ALL.len());
    assert_eq!(text.matches("disconnect: ").count(), Way::ALL.len(), "{text}");
}
