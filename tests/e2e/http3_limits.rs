//! Settings of HTTP/3 that bound the memory a client can occupy on the host, and how long it may be silent.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, Client, Exchange, Server, Setup, Way, http3};

/// The server's HTTP/3 client.
async fn connect(server: &Server) -> http3::Connection {
    match server.connect(Way::H3).await {
        Client::H3(connection) => connection,
        _ => unreachable!("it was asked for HTTP/3"),
    }
}

fn fields(path: &str, more: &[(&str, String)]) -> Vec<(String, String)> {
    let fixed = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    fixed.chain(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

#[tokio::test]
async fn max_header_list() {
    let server = Setup::of("hello").and("[http3]\nmax-header-list = \"8KiB\"").start().await;
    for (size, status) in [(6000, 200), (9000, 431), (100, 200)] {
        let answer = server.fetch(Way::H3, Ask::get("/").header("x-large", &"x".repeat(size))).await;
        assert_eq!(answer.status, status, "{size}");
    }
}

#[tokio::test]
async fn max_streams() {
    let server = Setup::of("loops").and("[http3]\nmax-streams = 3").start().await;
    let client = connect(&server).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(client.request(&fields("/idle", &[]), true).await);
    }
    server.has_instances(3).await;
    let fourth = tokio::time::timeout(Duration::from_millis(500), client.quic().open_bi()).await;
    assert!(fourth.is_err(), "the client has no credit for a fourth stream (RFC 9000, 4.6)");
    held.pop().expect("three are held").reset();
    let fourth = tokio::time::timeout(Duration::from_secs(5), client.quic().open_bi()).await;
    assert!(fourth.is_ok_and(|opened| opened.is_ok()), "one that has ended makes room");
}

/// How much a client may send to a guest that does not read: on one stream, and on all of a connection.
#[tokio::test]
async fn windows() {
    let settings = "[http3]\nstream-window = \"64KiB\"\nconnection-window = \"128KiB\"";
    let server = Setup::of("bodies").manual().and(settings).start().await;
    let mut client = server.connect(Way::H3).await;
    let one = sent(&mut client.open(Ask::post_open("/late?ms=20000")).await).await;
    // hyper's and the host's own buffers take the bytes that the window has let in, and open it again as often.
    assert!((32 << 10..=512 << 10).contains(&one), "{one} bytes on one stream");
    let Client::H3(client) = client else { unreachable!("it was asked for HTTP/3") };
    let mut all = one;
    for _ in 0..4 {
        let mut exchange = Exchange::H3(Box::new(client.request(&fields("/late?ms=20000", &[]), false).await));
        all += sent(&mut exchange).await;
        std::mem::forget(exchange);
    }
    assert!(all <= 1 << 20, "{all} bytes on five streams");
}

/// Sends until the server takes no more, and returns the number of bytes.
async fn sent(exchange: &mut Exchange<'_>) -> usize {
    let mut sent = 0;
    while let Ok(true) = tokio::time::timeout(Duration::from_millis(300), exchange.send(vec![b'x'; 4 << 10])).await {
        sent += 4 << 10;
    }
    sent
}

#[tokio::test]
async fn an_idle_connection_gets_goaway() {
    let server = Setup::of("hello").and("[timeouts]\nh3-idle = \"300ms\"").start().await;
    let mut client = connect(&server).await;
    client.request(&fields("/", &[]), true).await;
    let start = Instant::now();
    assert_eq!(client.ended().await, Some(0x100), "H3_NO_ERROR");
    let elapsed = start.elapsed();
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&elapsed), "{elapsed:?}");
    assert_eq!(server.metrics().await.sum("roadrunner_timeouts_total", "timeout=\"h3-idle\""), 1.0);
}

/// A client that vanishes sends nothing, and its session does not wait for it.
#[test]
fn a_client_that_vanishes_is_lost() {
    let here = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let there = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let server = here.block_on(Setup::of("loops").and("[timeouts]\nh3-lost = \"900ms\"").start());
    let address = server.address("tls");
    let session = there.block_on(async move {
        let client = http3::Connection::start_with_window(address, 1 << 20).await;
        let exchange = client.request(&fields("/idle", &[]), true).await;
        (client, exchange)
    });
    here.block_on(server.has_instances(1));
    here.block_on(async { tokio::time::sleep(Duration::from_secs(2)).await });
    assert_eq!(here.block_on(server.instances()).len(), 1, "a quiet session lives while its client answers");
    // Its tasks end where they are, and nothing is left to send a close.
    there.shutdown_background();
    let gone = here.block_on(server.is_empty_after());
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&gone), "{gone:?}");
    drop(session);
}
