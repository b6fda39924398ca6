//! The opening of a WebSocket: accepted or refused, by the guest or the host; the same over each protocol.

use roadrunner_tests::websocket::Handshake;
use roadrunner_tests::{Setup, Way};

#[tokio::test]
async fn messages_come_back() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        let mut socket = Handshake::to("/echo").open(&server, way).await;
        assert!(socket.text("hello").await);
        assert_eq!(socket.next_text().await, "hello", "{way:?}");
        let large = vec![7; 300_000];
        assert!(socket.send(2, &large).await);
        assert_eq!(socket.next().await.expect("a message").payload, large, "{way:?}");
        assert!(socket.close(1000).await);
        assert_eq!(socket.closed().await.0, 1000, "{way:?}");
        assert_eq!(server.access("/echo").await["shape"], "websocket");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_guest_refuses_with_an_ordinary_response() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        assert_eq!(Handshake::to("/refuse").send(&server, way).await.status, 403, "{way:?}");
        assert_eq!(Handshake::to("/none").send(&server, way).await.status, 404, "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_subprotocol_is_chosen_among_those_offered() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        let offer = |path| Handshake::to(path).header("sec-websocket-protocol", "one, two");
        let answered = offer("/subprotocol").send(&server, way).await;
        assert_eq!(answered.headers["sec-websocket-protocol"], "two", "{way:?}");
        assert_eq!(answered.headers["x-accepted"], "yes", "{way:?}");
        drop(answered);
        // A client would have to refuse a subprotocol that it did not offer.
        assert_eq!(offer("/subprotocol/three").send(&server, way).await.status, 500, "{way:?}");
        let without = Handshake::to("/subprotocol").send(&server, way).await;
        assert!(!without.headers.contains_key("sec-websocket-protocol"), "{way:?}");
    }
    assert_eq!(server.metrics().await.outcome("invalid-response"), 5.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn another_version_is_told_the_right_one() {
    let server = Setup::of("sockets").start().await;
    for way in Way::ALL {
        let answered = Handshake::to("/echo").version("8").send(&server, way).await;
        assert_eq!(answered.status, if way.has_streams() { 400 } else { 426 }, "{way:?}");
        assert_eq!(answered.headers["sec-websocket-version"], "13", "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn pages_of_other_origins_stay_out() {
    let server = Setup::of("sockets")
        .and("[websocket]\norigins = [\"https://example.com\"]")
        .and("[[route]]\npath = \"/greet\"\ncomponent = \"sockets\"\nwebsocket = { origins = [\"*\"] }")
        .start()
        .await;
    for way in Way::ALL {
        let from = |path, origin| Handshake::to(path).header("origin", origin).send(&server, way);
        assert_eq!(from("/echo", "https://evil.test").await.status, 403, "{way:?}");
        assert_eq!(from("/echo", "null").await.status, 403, "{way:?}");
        assert!([101, 200].contains(&from("/echo", "https://example.com").await.status), "{way:?}");
        assert!([101, 200].contains(&from("/greet", "https://evil.test").await.status), "{way:?}: any, on this route");
        let without = Handshake::to("/echo").send(&server, way).await;
        assert!([101, 200].contains(&without.status), "{way:?}: no browser");
    }
    // Refused handshakes never had an instance: only the four sessions for each way have run.
    server.is_quiet().await;
}

#[tokio::test]
async fn held_sessions_are_capped() {
    let server = Setup::of("sockets").limit("held = 1").start().await;
    for way in Way::ALL {
        let mut first = Handshake::to("/echo").open(&server, way).await;
        let second = Handshake::to("/echo").send(&server, way).await;
        assert_eq!((second.status, &second.headers["retry-after"]), (503, &"1".parse().expect("a value")), "{way:?}");
        first.close(1000).await;
        assert_eq!(first.closed().await.0, 1000);
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("held-exceeded"), 5.0);
}
