//! Features of HTTP/3 only. Tests elsewhere show that it behaves like the other protocols in all other respects:
//! [`Way::H3`].

use std::time::{Duration, Instant};

use roadrunner_tests::http3::{Connection, frame};
use roadrunner_tests::{Ask, End, Setup, Way, within};
use rustix::process::Signal;
use tokio::net::TcpStream;

/// Error codes (RFC 9114, 8.1).
const NO_ERROR: u64 = 0x100;
const REQUEST_CANCELLED: u32 = 0x10c;
const REQUEST_REJECTED: u32 = 0x10b;
const MESSAGE_ERROR: u32 = 0x10e;

const DATA: u64 = 0;
const HEADERS: u64 = 1;

fn reset(code: u32) -> End {
    End::Reset(code.into())
}

#[tokio::test]
async fn alt_svc_tells_the_other_protocols_of_it() {
    let server = Setup::of("hello").start().await;
    let port = server.address("tls").port();
    for way in [Way::H1Tls, Way::H2Tls] {
        for path in ["/", "/no/such/route"] {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert_eq!(answer.header("alt-svc"), format!("h3=\":{port}\"; ma=86400"), "{way:?} {path}");
        }
    }
    for way in [Way::H3, Way::H1, Way::H2c] {
        assert_eq!(server.fetch(way, Ask::get("/")).await.header("alt-svc"), "", "{way:?}");
    }
    let server = Setup::of("hello").and("[http3]\nalt-svc-max-age = \"1h\"\nalt-svc-port = 443").start().await;
    assert_eq!(server.fetch(Way::H2Tls, Ask::get("/")).await.header("alt-svc"), "h3=\":443\"; ma=3600");
    let server = Setup::of("hello").and("[http3]\nalt-svc-max-age = \"0s\"").start().await;
    assert_eq!(server.fetch(Way::H2Tls, Ask::get("/")).await.header("alt-svc"), "");
}

#[tokio::test]
async fn a_listener_may_speak_nothing_else() {
    let server = Setup::of("hello")
        .and(
            "[[listener]]\nname = \"quic\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http3\"]\n\
             tls = { certificate = \"certificate.pem\", key = \"key.pem\" }",
        )
        .start()
        .await;
    let address = server.log.text().lines().find_map(|line| {
        let (address, _) = line.strip_prefix("listening on ")?.split_once("/udp (quic)")?;
        address.parse().ok()
    });
    let address: std::net::SocketAddr = address.unwrap_or_else(|| panic!("no such line:\n{}", server.log));
    let answer = roadrunner_tests::Client::connect(address, Way::H3).await.fetch(Ask::get("/")).await;
    assert_eq!(answer.text(), "hello, world\n");
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens on the TCP port");
}

#[tokio::test]
async fn responses_have_what_every_response_has() {
    let server = Setup::of("hello").start().await;
    let mut client = server.connect(Way::H3).await;
    let answer = client.fetch(Ask::get("/")).await;
    assert_eq!(answer.header("content-length"), "13");
    assert!(answer.header("date").ends_with(" GMT"), "{answer:?}");
    let answer = client.fetch(Ask::new("HEAD", "/")).await;
    assert_eq!((answer.header("content-length"), answer.body.len()), ("13", 0));
    // It is counted in the same place as the others.
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_connections_open", "protocol=\"http3\""), 1.0);
    assert_eq!(metrics.sum("roadrunner_wire_requests_total", "protocol=\"http3\""), 2.0);
    drop(client);
    server.is_quiet().await;
    let closed = within(Duration::from_secs(5), || async {
        (server.metrics().await.sum("roadrunner_connections_open", "protocol=\"http3\"") == 0.0).then_some(())
    });
    assert!(closed.await.is_some(), "the connection is closed");
}

/// RFC 9114, 4.1: a server that answers early asks the client to stop, without an error.
#[tokio::test]
async fn bodies_that_are_not_wanted_are_stopped() {
    let server = Setup::of("bodies").limit("body = \"1KiB\"").start().await;
    let client = Connection::start(server.address("tls")).await;
    let fields = |length: &str| {
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/all"),
            ("content-length", length),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let mut exchange = client.request(&fields("1000000"), false).await;
    assert_eq!(exchange.stopped().await, NO_ERROR, "too large by its length");
    assert_eq!(exchange.status().await, 413);
    let mut exchange = client.request(&fields("1000000")[..4], false).await;
    exchange.send_piece(vec![b'x'; 5000]).await;
    assert_eq!(exchange.stopped().await, NO_ERROR, "too large as it comes");
    assert_eq!(exchange.status().await, 413);

    let mut exchange = client.raw(&[&frame(HEADERS, &[0; 20_000])[..100]].concat(), false).await;
    assert_eq!(exchange.stopped().await, NO_ERROR, "a head that is too large by its length");
    assert_eq!(exchange.status().await, 431);
    server.is_quiet().await;
}

#[tokio::test]
async fn malformed_requests_never_reach_a_guest() {
    let server = Setup::of("answers").start().await;
    let client = Connection::start(server.address("tls")).await;
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/counter?hidden")];
    for more in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("host", "another"),
        (":path", "/twice"),
        ("x", " space"),
    ] {
        let fields: Vec<_> = get.iter().chain([&more]).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut exchange = client.request(&fields, true).await;
        assert_eq!(exchange.status().await, 0, "{more:?}");
        assert_eq!(exchange.ended().await, reset(MESSAGE_ERROR), "{more:?}");
    }
    let answer = server.fetch(Way::H3, Ask::get("/counter")).await;
    assert_eq!(answer.status, 200);
    assert!(!server.log.text().contains("hidden"), "{}", server.log);
    assert_eq!(server.metrics().await.sum("roadrunner_requests_malformed_total", ""), 6.0);
}

/// A body that contradicts its `content-length` gives the guest an error when it reads, and not a whole body.
#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says() {
    let server = Setup::of("bodies").manual().start().await;
    let client = Connection::start(server.address("tls")).await;
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/all"),
        ("content-length", "10"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for length in [5, 15] {
        let mut exchange = client.request(&fields, false).await;
        exchange.send_raw(&frame(DATA, &vec![b'x'; length])).await;
        exchange.end().await;
        assert_eq!(exchange.ended().await, reset(MESSAGE_ERROR), "{length}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn waits_have_their_limits() {
    let server = Setup::of("hello").and("[timeouts]\nrequest-head = \"300ms\"\nh3-idle = \"600ms\"").start().await;
    let mut client = Connection::start(server.address("tls")).await;
    let start = Instant::now();
    // Half of a head.
    let mut exchange = client.raw(&frame(HEADERS, &[0; 100])[..10], false).await;
    assert_eq!(exchange.status().await, 408);
    assert!(start.elapsed() >= Duration::from_millis(280), "{:?}", start.elapsed());
    assert_eq!(exchange.stopped().await, NO_ERROR);
    drop(exchange);
    let start = Instant::now();
    // RFC 9114, 5.2: first that it will end, then from which request on.
    assert_eq!(client.goaway().await, (1 << 62) - 4);
    assert_eq!(client.goaway().await, 4);
    assert_eq!(client.ended().await, Some(NO_ERROR));
    assert!(start.elapsed() >= Duration::from_millis(550), "{:?}", start.elapsed());
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_timeouts_total", "timeout=\"request-head\""), 1.0);
    assert_eq!(metrics.sum("roadrunner_timeouts_total", "timeout=\"h3-idle\""), 1.0);
}

/// Bytes that the transport already holds no longer belong to the instance, but they do not wait forever either.
#[tokio::test]
async fn the_end_of_a_response_that_nobody_takes_is_given_up() {
    let server = Setup::of("streams").and("[timeouts]\nwrite-stall = \"300ms\"").start().await;
    let client = Connection::start_with_window(server.address("tls"), 16 * 1024).await;
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/bytes?n=100000")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut exchange = client.request(&fields, true).await;
    assert_eq!(exchange.status().await, 200);
    server.is_quiet().await;
    // Nothing is read for a while, and then there is only the reset.
    let given_up = within(Duration::from_secs(5), || async {
        (server.metrics().await.sum("roadrunner_timeouts_total", "timeout=\"write-stall\"") == 1.0).then_some(())
    });
    assert!(given_up.await.is_some(), "{:?}", server.metrics().await);
    assert_eq!(exchange.ended().await, reset(REQUEST_CANCELLED));
}

#[tokio::test]
async fn a_drain_is_announced_and_finishes_what_has_begun() {
    let mut server = Setup::of("hostile").limit("deadline = \"30s\"").start().await;
    let mut client = Connection::start(server.address("tls")).await;
    let fields = |path: &str| {
        [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let mut first = client.request(&fields("/sleep?ms=1500"), true).await;
    server.has_instances(1).await;
    server.signal(Signal::TERM);
    assert_eq!(client.goaway().await, (1 << 62) - 4);
    assert_eq!(client.goaway().await, 4);
    let mut late = client.request(&fields("/sleep?ms=1"), true).await;
    assert_eq!(late.ended().await, reset(REQUEST_REJECTED), "what comes after it may be sent again elsewhere");
    assert_eq!(first.status().await, 200);
    assert_eq!(first.ended().await, End::EndStream);
    assert_eq!(client.ended().await, Some(NO_ERROR));
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log);
}
