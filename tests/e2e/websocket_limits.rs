//! Every limit of a WebSocket has a test that trips it, over every protocol.

use roadrunner_tests::websocket::{Handshake, Socket, frame};
use roadrunner_tests::{Server, Setup, Way};

/// One setting: a session on `/echo` is closed with this code by `over`, and not by `within`.
async fn closes(setting: &str, within: &[u8], over: &[u8], code: u16) {
    let server = Setup::of("sockets").and(&format!("[websocket]\n{setting}")).start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/echo").open(&server, way).await;
        assert!(socket.write(within).await);
        socket.text("still here").await;
        while socket.next().await.expect("an answer").payload != b"still here" {}
        socket.write(over).await;
        assert_eq!(socket.closed().await.0, code, "{way:?} {setting}");
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn frame_size() {
    closes("frame-size = 1000", &frame(true, 2, &[0; 1000]), &frame(true, 2, &[0; 1001]), 1009).await;
}

#[tokio::test]
async fn message_size() {
    let two = |last: usize| [frame(false, 2, &[0; 500]), frame(true, 0, &vec![0; last])].concat();
    closes("message-size = 1000", &two(500), &two(501), 1009).await;
}

#[tokio::test]
async fn fragments() {
    let many = |n: usize| [frame(false, 2, b"x"), frame(false, 0, b"x").repeat(n - 2), frame(true, 0, b"x")].concat();
    closes("fragments = 10", &many(10), &many(11), 1008).await;
}

#[tokio::test]
async fn control_rate() {
    closes("control-rate = 10", &frame(true, 9, b"").repeat(10), &frame(true, 9, b"").repeat(40), 1008).await;
}

#[tokio::test]
async fn message_rate() {
    closes("message-rate = 10", &frame(true, 1, b"x").repeat(5), &frame(true, 1, b"x").repeat(40), 1008).await;
}

#[tokio::test]
async fn bad_frames() {
    let good = frame(true, 1, b"x");
    for (bad, code) in [
        (frame(true, 3, b""), 1002),
        (frame(true, 0, b"x"), 1002),
        (vec![0x81, 0x01, b'x'], 1002),
        (vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        (frame(true, 1, b"\xc0\x80"), 1007),
        (frame(true, 8, &[0x03]), 1002),
    ] {
        closes("", &good, &bad, code).await;
    }
}

/// One setting, one path: the message makes the guest exceed it.
async fn ends(setup: Setup, path: &str, code: u16, outcome: &str) -> Server {
    let server = setup.start().await;
    for way in Way::ALL {
        let before = server.metrics().await.outcome(outcome);
        let mut socket: Socket = Handshake::to(path).open(&server, way).await;
        socket.text("go").await;
        assert_eq!(socket.closed().await.0, code, "{way:?} {path}");
        assert_eq!(server.metrics().await.outcome(outcome), before + 1.0, "{way:?} {path}: {outcome}");
        server.is_quiet().await;
    }
    server
}

#[tokio::test]
async fn callback_cpu() {
    ends(Setup::of("sockets").limit("callback-cpu = \"30ms\""), "/spin", 1008, "cpu-exceeded").await;
}

#[tokio::test]
async fn traps() {
    ends(Setup::of("sockets"), "/trap", 1011, "trapped").await;
    ends(Setup::of("sockets"), "/trap/open", 1011, "trapped").await;
}

#[tokio::test]
async fn outgoing_message() {
    let setup = || Setup::of("sockets").and("[websocket]\noutgoing-message = 1000");
    let server = ends(setup(), "/large?n=1001", 1009, "host-call-exceeded").await;
    let mut socket = Handshake::to("/large?n=1000").open(&server, Way::H1).await;
    assert_eq!(socket.next().await.expect("it fits").payload.len(), 1000);
}

#[tokio::test]
async fn outgoing_queue() {
    let server =
        Setup::of("sockets").limit("callback-cpu = \"1m\"").and("[websocket]\noutgoing-queue = 1024").start().await;
    for way in Way::EACH {
        let mut socket = Handshake::to("/flood").open(&server, way).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let memory = server.has_instances(1).await[0]["memory"].as_u64().expect("a number");
        // Nothing spins while the queue is full, and everything arrives.
        for _ in 0..100_000 {
            assert_eq!(socket.next_text().await, "again", "{way:?}");
        }
        assert!(memory < 2 << 20, "{way:?}: {memory}");
        drop(socket);
        server.is_quiet().await;
    }
}

/// A message counts as the guest's memory while it arrives.
#[tokio::test]
async fn memory() {
    let server = Setup::of("sockets").limit("memory = \"4MiB\"").start().await;
    for way in Way::ALL {
        let before = server.metrics().await.outcome("memory-exceeded");
        let mut socket = Handshake::to("/echo").open(&server, way).await;
        // The frame is never complete: 6 of 8 MiB.
        let bytes = frame(true, 2, &vec![0; 8 << 20]);
        socket.write(&bytes[..6 << 20]).await;
        assert_eq!(socket.closed().await.0, 1009, "{way:?}");
        assert_eq!(server.metrics().await.outcome("memory-exceeded"), before + 1.0, "{way:?}");
        server.is_quiet().await;
    }
    let peak = server.metrics().await.sum("roadrunner_guest_peak_memory_bytes", "");
    assert!(peak < f64::from(9 << 20), "{peak}");
}

#[tokio::test]
async fn close_wait() {
    let server = Setup::of("sockets").and("[websocket]\nclose-wait = \"300ms\"").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/stop").open(&server, way).await;
        socket.text("go").await;
        assert_eq!(socket.next().await.expect("a close frame").opcode, 8, "{way:?}");
        let start = std::time::Instant::now();
        // It is not answered.
        assert_eq!(socket.next().await, None, "{way:?}");
        let waited = start.elapsed().as_millis();
        assert!((250..3000).contains(&waited), "{way:?}: {waited} ms");
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn deflate_memory() {
    let offer = || Handshake::to("/echo").header("sec-websocket-extensions", "permessage-deflate");
    let server = Setup::of("sockets").and("[websocket]\ndeflate-memory = \"100KiB\"").start().await;
    let counter = "roadrunner_websocket_deflate_refused_total{without=\"compression\"}";
    for (count, way) in (1..).zip(Way::ALL) {
        // 47 KiB each.
        let mut held = Vec::new();
        for _ in 0..2 {
            let answered = offer().send(&server, way).await;
            assert!(answered.headers.contains_key("sec-websocket-extensions"), "{way:?}");
            held.push(answered);
        }
        let third = offer().send(&server, way).await;
        assert!(
            [101, 200].contains(&third.status) && !third.headers.contains_key("sec-websocket-extensions"),
            "{way:?}"
        );
        assert_eq!(server.metrics().await.sample(counter), f64::from(count), "{way:?}");
        drop((held, third));
        server.is_quiet().await;
        assert_eq!(server.metrics().await.sample("roadrunner_websocket_deflate_reserved_bytes"), 0.0, "{way:?}");
    }
}

#[tokio::test]
async fn deflate_can_be_off() {
    let server = Setup::of("sockets").and("[websocket]\ndeflate = false").start().await;
    for way in Way::ALL {
        let offer = Handshake::to("/echo").header("sec-websocket-extensions", "permessage-deflate");
        assert!(!offer.send(&server, way).await.headers.contains_key("sec-websocket-extensions"), "{way:?}");
    }
}

/// The extensions that a server with these settings negotiates with a client that supports everything.
async fn agreed(server: &Server, way: Way) -> (Vec<String>, Socket) {
    let offer = "permessage-deflate; client_max_window_bits; server_max_window_bits=15";
    let answered = Handshake::to("/echo").header("sec-websocket-extensions", offer).send(server, way).await;
    let extension = answered.headers["sec-websocket-extensions"].to_str().expect("text");
    let mut parameters: Vec<_> = extension.split(';').map(|parameter| parameter.trim().to_owned()).collect();
    assert_eq!(parameters.remove(0), "permessage-deflate", "{way:?}");
    parameters.sort();
    (parameters, answered.socket)
}

#[tokio::test]
async fn deflate_is_as_the_manifest_says() {
    let contexts = ["client_no_context_takeover", "server_no_context_takeover"].map(str::to_owned);
    for (settings, wanted, absent) in [
        ("deflate-threshold = 1000", &contexts[..], &["client_max_window_bits=10".to_owned()][..]),
        ("deflate-server-context = true\ndeflate-client-context = true", &[], &contexts),
        (
            "deflate-server-window = 9\ndeflate-client-window = 10",
            &["client_max_window_bits=10".to_owned(), "server_max_window_bits=9".to_owned()],
            &[],
        ),
    ] {
        let server = Setup::of("sockets").and(&format!("[websocket]\n{settings}")).start().await;
        for way in Way::ALL {
            let (parameters, mut socket) = agreed(&server, way).await;
            assert!(wanted.iter().all(|wanted| parameters.contains(wanted)), "{way:?} {settings}: {parameters:?}");
            assert!(!absent.iter().any(|absent| parameters.contains(absent)), "{way:?} {settings}: {parameters:?}");
            // Below the threshold nothing is compressed.
            let threshold = if settings.contains("threshold") { 1000 } else { 128 };
            for (length, compressed) in [(threshold - 1, false), (threshold, true)] {
                assert!(socket.send(2, vec![b'x'; length]).await);
                let frame = socket.next().await.expect("an answer");
                assert_eq!((frame.rsv1, frame.payload.len() < length), (compressed, compressed), "{way:?} {settings}");
            }
        }
    }
}

#[tokio::test]
async fn deflate_level() {
    let mut sizes = Vec::new();
    for level in [1, 9] {
        let server = Setup::of("sockets").and(&format!("[websocket]\ndeflate-level = {level}")).start().await;
        let (_, mut socket) = agreed(&server, Way::H1).await;
        let text: String = (0..4000).map(|n| format!("{} ", n * n % 977)).collect();
        assert!(socket.text(&text).await);
        let frame = socket.next().await.expect("an answer");
        assert!(frame.rsv1);
        sizes.push(frame.payload.len());
    }
    assert!(sizes[1] < sizes[0], "levels 1 and 9: {sizes:?}");
}

#[tokio::test]
async fn compression_ratio() {
    let server =
        Setup::of("sockets").and("[websocket]\ncompression-ratio = 50\ncompression-floor = 10_000").start().await;
    let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &[b'x'; 40_960]).expect("a vector takes it");
    let mut bomb = bomb.finish().expect("it ends");
    // RFC 7692, 7.2.3.4: after a final block.
    bomb.push(0);
    for way in Way::ALL {
        let (_, mut socket) = agreed(&server, way).await;
        let mut bytes = frame(true, 2, &bomb);
        bytes[0] |= 0x40;
        assert!(socket.write(&bytes).await);
        assert_eq!(socket.closed().await.0, 1008, "{way:?}");
        server.is_quiet().await;
    }
}
