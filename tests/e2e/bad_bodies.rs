//! Invalid bodies, on routes whose guests read from the wire: as long as no head was sent, the client learns that it is
//! at fault, whatever the guest does.

use roadrunner_tests::{Ask, Setup, Way};

const HEAD: &str = "HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";

/// Chunked bodies that begin well or not at all.
const BODIES: [&str; 5] = [
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\na: \0\r\n\r\n",
];

#[tokio::test]
async fn that_are_malformed_are_400() {
    // Guests that fail because of it, answer anyway, trap, wait for the end of a stream or begin with it.
    for (guest, path) in [
        ("bodies", "/all"),
        ("bodies", "/count"),
        ("bodies", "/error"),
        ("bodies", "/std-read"),
        ("standard", "/sum"),
        ("service", "/sum"),
    ] {
        let server = Setup::of(guest).server("wasi-03 = true").manual().start().await;
        for way in [Way::H1, Way::H1Tls] {
            for body in BODIES {
                let mut client = server.connect(way).await;
                client.h1().write(format!("POST {path} {HEAD}{body}").as_bytes()).await;
                let said = client.h1().to_close().await;
                assert!(said.starts_with("HTTP/1.1 400 "), "{guest}{path} {way:?} {body:?}: {said}");
                assert_eq!(said.matches("HTTP/1.").count(), 1, "{guest}{path} {way:?} {body:?}: {said}");
            }
        }
        server.is_quiet().await;
        let requests = server.metrics().await.sum("roadrunner_requests_total", "outcome=\"malformed\"");
        assert_eq!(requests, 2.0 * BODIES.len() as f64, "{guest}{path}");
        let warned = server.log.settled().await.lines().iter().any(|line| line["level"] == "WARN");
        assert!(!warned, "{guest}{path}: it is not the guest's fault:\n{}", server.log);
    }
}

#[tokio::test]
async fn that_come_too_slowly_are_408() {
    for (guest, path) in [("bodies", "/all"), ("bodies", "/error"), ("standard", "/sum"), ("service", "/sum")] {
        let setup = Setup::of(guest).manual().server("wasi-03 = true");
        let server = setup.and("[timeouts]\nbody-idle = \"200ms\"").start().await;
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::post_open_with_length(path, 10)).await;
            exchange.send("half").await;
            assert_eq!(exchange.head().await, 408, "{guest}{path} {way:?}");
        }
    }
}

#[tokio::test]
async fn that_do_not_fit_what_is_left_are_413() {
    let server = Setup::of("bodies").manual().limit("memory = \"4MiB\"").start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::post("/all", vec![b'x'; 6 << 20])).await;
        assert!(answer.status == 413 || answer.status == 0, "{way:?}: {answer:?}");
        // A guest that handles the error decides the answer.
        let answer = server.fetch(way, Ask::post("/error", vec![b'x'; 6 << 20])).await;
        assert!(answer.status == 0 || answer.text().starts_with("too-large"), "{way:?}: {answer:?}");
    }
}
