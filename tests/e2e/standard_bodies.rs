//! Bodies that a standard component passes on: those of requests and of other servers' answers, from their source to
//! the client.

use std::time::Duration;

use roadrunner_tests::{Answer, Ask, End, Exchange, Server, Setup, Way, pattern};

/// How a service's instances are used.
const USES: [&str; 3] = [
    "",
    "reuse = { requests = 1000, idle = \"10s\" }",
    "reuse = { requests = 1000, concurrency = 10, idle = \"10s\" }",
];

fn service(keys: &str) -> Setup {
    Setup::of("service").server("wasi-03 = true").component(keys)
}

/// Checks that a piece comes back, while the guest is already done.
pub async fn returns(exchange: &mut Exchange<'_>, piece: &str) {
    assert!(exchange.send(piece.to_owned()).await, "{piece}");
    assert_eq!(exchange.read_until(piece).await, piece);
}

/// Checks that everything comes back as it is sent, and the trailer fields at the end.
pub async fn comes_back(server: &Server, way: Way, path: &str) {
    let answer = comes_back_without_trailers(server, way, path).await;
    if way.has_streams() {
        assert_eq!(answer.trailer("x-sum"), "11", "{way:?} {path}");
    }
}

/// Checks that everything comes back as it is sent.
async fn comes_back_without_trailers(server: &Server, way: Way, path: &str) -> Answer {
    let mut client = server.connect(way).await;
    let ask = Ask::post_open(path).header("te", "trailers").header("trailer", "x-sum");
    let mut exchange = client.open(ask).await;
    assert_eq!(exchange.head().await, 200, "{way:?} {path}");
    returns(&mut exchange, "first").await;
    // Longer than the host continues with a finished guest's remaining work.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    returns(&mut exchange, "second").await;
    assert!(exchange.finish(&[("x-sum", "11")]).await, "{way:?} {path}");
    let answer = exchange.rest().await;
    assert_eq!(answer.end, End::streamed(way), "{way:?} {path}");
    answer
}

#[tokio::test]
async fn of_requests_are_passed_on() {
    for keys in USES {
        let server = service(keys).start().await;
        for way in Way::ALL {
            comes_back(&server, way, "/pass").await;
            let sent = pattern(3_000_000);
            let answer = server.fetch(way, Ask::post("/pass", sent.clone())).await;
            assert!(answer.body == sent && answer.end.is_whole(), "{way:?} {keys}: {:?}", answer.end);
            for sent in ["short", ""] {
                let answer = server.fetch(way, Ask::post("/pass", sent)).await;
                assert_eq!((answer.text().as_str(), answer.end.is_whole()), (sent, true), "{way:?} {keys}");
            }
            let answer = server.fetch(way, Ask::get("/pass")).await;
            assert_eq!((answer.body.len(), answer.end.is_whole()), (0, true), "{way:?} {keys}");
        }
        assert_eq!(server.access("/pass").await["outcome"], "ok", "{keys}");
        server.is_quiet().await;
    }
    let server = Setup::of("standard").start().await;
    for way in Way::ALL {
        comes_back(&server, way, "/splice").await;
    }
    server.is_quiet().await;
}

/// The body is the guest's own, but the trailer fields are not.
#[tokio::test]
async fn trailer_fields_are_passed_on_alone() {
    for keys in USES {
        let server = service(keys).start().await;
        for way in Way::EACH {
            let ask = Ask::post_unsized("/pass-trailers", "hello").header("te", "trailers").header("trailer", "x-sum");
            let answer = server.fetch(way, ask.trailer("x-sum", "5")).await;
            assert_eq!((answer.text().as_str(), answer.end.is_whole()), ("read\n", true), "{way:?} {keys}");
            if way.has_streams() {
                assert_eq!(answer.trailer("x-sum"), "5", "{way:?} {keys}");
            }
        }
        server.is_quiet().await;
    }
}

/// A request's body to another server, and that server's answer to the client: the guest makes neither.
#[tokio::test]
async fn of_other_servers_are_passed_on() {
    let upstream = Setup::of("standard").beside().start().await;
    let origin = format!("http://{}", upstream.address("plain"));
    for keys in USES {
        let server = service(&format!("{keys}\noutbound = [\"{origin}\"]")).start().await;
        for way in Way::ALL {
            comes_back_without_trailers(&server, way, &format!("/forward?{origin}/echo")).await;
            let mut client = server.connect(way).await;
            let path = format!("/relay?{origin}/slow");
            let mut exchange = client.open(Ask::get(&path)).await;
            assert_eq!(exchange.head().await, 200, "{way:?} {keys}");
            assert_eq!(exchange.headers()["x-relayed"], "yes", "{way:?} {keys}");
            assert_eq!(exchange.read_until("tick\ntick\ntick\n").await, "tick\ntick\ntick\n", "{way:?} {keys}");
            drop(exchange);
            drop(client);
            let answer = server.fetch(way, Ask::get(&format!("/relay?{origin}/large?3000000"))).await;
            assert!(answer.body == pattern(3_000_000) && answer.end.is_whole(), "{way:?} {keys}: {:?}", answer.end);
            // A truncated answer must not look whole.
            let answer = server.fetch(way, Ask::get(&format!("/relay?{origin}/trap-mid-stream"))).await;
            assert_eq!(answer.end, End::aborted(way), "{way:?} {keys}");
        }
        server.is_quiet().await;
    }
    upstream.is_quiet().await;
}

#[tokio::test]
async fn that_are_passed_on_end_with_their_client_and_their_instance() {
    for keys in USES {
        let server = service(keys).start().await;
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::post_open("/pass")).await;
            assert_eq!(exchange.head().await, 200, "{way:?} {keys}");
            returns(&mut exchange, "first").await;
            assert_eq!(server.has_instances(1).await[0]["shape"], "standard", "{way:?} {keys}");
            drop(exchange);
            drop(client);
            let took = server.is_empty_after().await;
            assert!(took < Duration::from_secs(5), "{way:?} {keys}: gone only after {took:?}");
            assert_eq!(server.access("/pass").await["outcome"], "cancelled", "{way:?} {keys}");

            let mut client = server.connect(way).await;
            let mut exchange = client.open(Ask::post_open("/pass")).await;
            assert_eq!(exchange.head().await, 200, "{way:?} {keys}");
            returns(&mut exchange, "first").await;
            let id = server.has_instances(1).await[0]["id"].clone();
            assert_eq!(server.admin_request("DELETE", &format!("/instances/{id}")).await.0, 204);
            assert!(!exchange.rest().await.end.is_whole(), "{way:?} {keys}");
            server.is_empty_after().await;
        }
        server.is_quiet().await;
    }
}

/// 64 MiB pass through an instance of 16 MiB, and the host holds no more of them than its windows.
#[tokio::test]
async fn that_are_passed_on_take_no_memory() {
    const PIECE: usize = 64 << 10;
    let server = service("limits = { memory = \"16MiB\" }").alone().start().await;
    for way in Way::EACH {
        let piece = pattern(PIECE);
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open("/pass")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}");
        let before = server.resident_anonymous();
        let mut peak = before;
        for round in 0..1024 {
            assert!(exchange.send(piece.clone()).await, "{way:?}");
            let mut left = PIECE;
            while left > 0 {
                left -= exchange.piece().await.expect("it goes on").len();
            }
            if round % 64 == 0 {
                peak = peak.max(server.resident_anonymous());
            }
        }
        assert!(exchange.finish(&[]).await, "{way:?}");
        assert_eq!(exchange.rest().await.end, End::streamed(way), "{way:?}");
        assert!(peak - before < 16 << 20, "{way:?}: from {before} to {peak}");
    }
    server.is_quiet().await;
}

/// The server does not read from a client that does not read.
#[tokio::test]
async fn that_are_passed_on_wait_for_a_client_that_does_not_read() {
    let server = service("limits = { memory = \"16MiB\" }").alone().start().await;
    for way in Way::EACH {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open("/pass")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}");
        let before = server.resident_anonymous();
        let sending = async {
            for _ in 0..1024 {
                exchange.send(pattern(64 << 10)).await;
            }
        };
        let sent = tokio::time::timeout(Duration::from_secs(2), sending).await;
        assert!(sent.is_err(), "{way:?}: 64 MiB were taken, and none of them read");
        let grown = server.resident_anonymous().saturating_sub(before);
        assert!(grown < 16 << 20, "{way:?}: {grown} bytes are held");
        drop(exchange);
        drop(client);
        server.is_empty_after().await;
    }
    server.is_quiet().await;
}

/// RFC 9110, 8.6: a repeated length counts once, and two different lengths are invalid.
#[tokio::test]
async fn a_length_that_is_given_twice_is_one_length() {
    for guest in ["standard", "service"] {
        let server = if guest == "service" { service("") } else { Setup::of(guest) }.start().await;
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get("/repeated-length?5,5")).await;
            let lengths: Vec<_> = answer.headers.get_all("content-length").iter().collect();
            assert_eq!(lengths, ["5"], "{guest} {way:?}");
            assert_eq!(answer.text(), "five!", "{guest} {way:?}");
            assert_eq!(server.text_of(way, Ask::get("/repeated-length?5,6")).await, "refused\n", "{guest} {way:?}");
        }
    }
}
