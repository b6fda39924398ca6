//! A client's invalid request is answered with 4xx or 501, and is neither the guest's failure nor a warning.

use roadrunner_tests::server::component;
use roadrunner_tests::websocket::Handshake;
use roadrunner_tests::{Ask, Server, Setup, Way};

async fn start() -> Server {
    Setup::with(&(component("demo") + &component("streams")))
        .and(
            "[[route]]\npath = \"/*rest\"\ncomponent = \"demo\"\n\
             [[route]]\npath = \"/chunks\"\ncomponent = \"streams\"\n",
        )
        .start()
        .await
}

/// Checks that no request counts as a failure of a guest.
async fn is_blameless(server: &Server) {
    server.is_quiet().await;
    let metrics = server.metrics().await;
    for outcome in ["invalid-response", "unsupported", "trapped", "guest-error"] {
        assert_eq!(metrics.outcome(outcome), 0.0, "{outcome}: {}", server.log);
    }
    assert!(!server.log.to_string().contains("WARN"), "{}", server.log);
}

#[tokio::test]
async fn sessions_that_nobody_asks_for() {
    let server = start().await;
    for way in Way::ALL {
        for method in ["GET", "HEAD", "POST"] {
            let answer = server.fetch(way, Ask::new(method, "/ws")).await;
            assert_eq!(answer.status, if way.has_streams() { 400 } else { 426 }, "{way:?} {method}");
            let upgrade = if way.has_streams() { ("", "") } else { ("websocket", "upgrade") };
            assert_eq!((answer.header("upgrade"), answer.header("connection")), upgrade, "{way:?} {method}");
            assert_eq!(server.fetch(way, Ask::new(method, "/wt")).await.status, 400, "{way:?} {method}");
        }
    }
    assert_eq!(server.metrics().await.outcome("handshake-mismatch"), 30.0);
    is_blameless(&server).await;
}

#[tokio::test]
async fn upgrades_that_are_not_in_order() {
    let server = start().await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    for way in [Way::H1, Way::H1Tls] {
        for (version, fields, status) in [
            ("1.1", "upgrade: websocket\r\n", 426),
            ("1.1", "connection: upgrade\r\n", 426),
            ("1.1", "connection: upgrade\r\nupgrade: foo\r\n", 426),
            ("1.0", "connection: upgrade\r\nupgrade: websocket\r\n", 426),
            ("1.1", "connection: upgrade\r\nupgrade: foo, WebSocket\r\n", 101),
            ("1.1", "connection: keep-alive, Upgrade\r\nupgrade: foo/2\r\nupgrade: websocket\r\n", 101),
            ("1.1", "connection: keep-alive\r\nconnection: upgrade\r\nupgrade: websocket/13,foo\r\n", 101),
        ] {
            let mut client = server.connect(way).await;
            let head = format!("GET /ws HTTP/{version}\r\nhost: x\r\n{fields}{key}\r\n");
            client.h1().write(head.as_bytes()).await;
            assert_eq!(client.h1().answer("HEAD").await.status, status, "{way:?} {version} {fields:?}");
        }
        let mut client = server.connect(way).await;
        client.h1().write(b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n").await;
        client.h1().write(b"sec-websocket-key: short\r\nsec-websocket-version: 13\r\n\r\n").await;
        assert_eq!(client.h1().answer("GET").await.status, 400, "{way:?}: a key");
    }
    is_blameless(&server).await;
}

#[tokio::test]
async fn handshakes_where_there_is_no_session() {
    let server = start().await;
    for way in [Way::H2c, Way::H2Tls, Way::H3] {
        for path in ["/hello", "/stream", "/clock", "/chunks"] {
            assert_eq!(Handshake::to(path).send(&server, way).await.status, 400, "{way:?} {path}");
        }
    }
    let standard = Setup::of("standard").beside().start().await;
    for way in [Way::H2c, Way::H2Tls, Way::H3] {
        assert_eq!(Handshake::to("/hello").send(&standard, way).await.status, 400, "{way:?}");
    }
    is_blameless(&standard).await;
    let session = Handshake::to("/hello").protocol("webtransport").send(&server, Way::H3).await;
    assert_eq!(session.status, 400);
    is_blameless(&server).await;
}

#[tokio::test]
async fn protocols_that_are_not_served() {
    let server = start().await;
    for way in [Way::H2c, Way::H2Tls, Way::H3] {
        for path in ["/hello", "/ws", "/nothing"] {
            let answered = Handshake::to(path).protocol("connect-udp").send(&server, way).await;
            assert_eq!(answered.status, 501, "{way:?} {path}");
        }
        if way.is_h2() {
            let answered = Handshake::to("/wt").protocol("webtransport").send(&server, way).await;
            assert_eq!(answered.status, 501, "{way:?}");
        }
    }
    is_blameless(&server).await;
}

#[tokio::test]
async fn methods_that_are_not_served() {
    let server = start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::new("TRACE", "/hello").header("x-secret", "secret")).await;
        assert_eq!(answer.status, 501, "{way:?}");
        assert!(!answer.text().contains("secret"), "{way:?}: {answer:?}");
    }
    for way in [Way::H1, Way::H1Tls] {
        let mut client = server.connect(way).await;
        client.h1().write(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n").await;
        assert_eq!(client.h1().answer("GET").await.status, 501, "{way:?}");
    }
    let mut client = server.connect(Way::H3).await;
    let fields = [(":method", "CONNECT"), (":authority", "example.com:443")];
    let mut exchange =
        client.h3().request(&fields.map(|(name, value)| (name.to_owned(), value.to_owned())), false).await;
    assert_eq!(exchange.status().await, 501);
    is_blameless(&server).await;
}
