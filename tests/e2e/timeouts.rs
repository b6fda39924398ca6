//! Clients that keep the host waiting: each wait has its own limit, and holds only its own socket.

use std::time::{Duration, Instant};

use roadrunner_tests::client::{Io, dial};
use roadrunner_tests::frames::{self, DATA, HEADERS};
use roadrunner_tests::{Ask, Server, Setup, Way};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const WAYS: f64 = Way::ALL.len() as f64;

/// The limit of every wait in these tests.
const LIMIT: Duration = Duration::from_millis(300);

async fn start() -> Server {
    let names = ["handshake", "preface", "request-head", "keep-alive-idle", "h2-idle"];
    let keys: String = names.iter().map(|name| format!("{name} = \"300ms\"\n")).collect();
    Setup::of("hello").and(&format!("[timeouts]\n{keys}")).start().await
}

/// Reads until the server closes; the server must wait, but not for long.
async fn closes_in_time(io: &mut Io, since: Instant, what: &str) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), io.read_to_end(&mut said)).await;
    assert!(read.is_ok(), "{what}: still open after five seconds");
    let elapsed = since.elapsed();
    assert!(elapsed >= LIMIT - Duration::from_millis(20), "{what}: closed after {elapsed:?} already");
    assert!(elapsed < Duration::from_secs(3), "{what}: closed after {elapsed:?} only");
    said
}

async fn tcp(server: &Server, listener: &str) -> Io {
    Box::new(TcpStream::connect(server.address(listener)).await.expect("it listens"))
}

async fn send(io: &mut Io, bytes: &[u8]) {
    use tokio::io::AsyncWriteExt as _;
    io.write_all(bytes).await.expect("the server reads");
    io.flush().await.expect("the server reads");
}

/// The kernel of a vanished client cannot be simulated here. The host's table of sockets shows that its kernel sends
/// probes, and when (Documentation/networking/proc_net_tcp.rst).
#[tokio::test]
async fn the_kernel_asks_after_a_silent_client() {
    const KEEPALIVE: &str = "02";
    let server = Setup::of("hello").and("[timeouts]\ntcp-lost = \"90s\"").start().await;
    for listener in ["plain", "tls"] {
        let client = TcpStream::connect(server.address(listener)).await.expect("it listens");
        let ports = [server.address(listener).port(), client.local_addr().expect("it has one").port()];
        let [own, peer] = ports.map(|port| format!(":{port:04X}"));
        let timer = roadrunner_tests::within(Duration::from_secs(5), async || {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
            let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let mut row = row.filter(|row| row.len() > 5 && row[1].ends_with(&own) && row[2].ends_with(&peer));
            let (kind, ticks) = row.next()?[5].split_once(':')?;
            (kind == KEEPALIVE).then(|| u64::from_str_radix(ticks, 16).expect("hexadecimal"))
        });
        // A hundred ticks per second.
        let (ticks, _) = timer.await.unwrap_or_else(|| panic!("{listener}: no timer for probes"));
        assert!((2000..=3000).contains(&ticks), "{listener}: the first probe is due after a third: {ticks} ticks");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let server = start().await;
    let start = Instant::now();
    let mut plain = tcp(&server, "plain").await;
    let mut tls = tcp(&server, "tls").await;
    let mut http2 = tcp(&server, "plain").await;
    send(&mut http2, b"PRI * HTTP/2").await;
    tokio::join!(
        closes_in_time(&mut plain, start, "plain"),
        closes_in_time(&mut tls, start, "TLS"),
        closes_in_time(&mut http2, start, "half of the preface of HTTP/2"),
    );
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_timeouts_total", "timeout=\"handshake\""), 1.0);
    assert_eq!(metrics.sum("roadrunner_timeouts_total", "timeout=\"preface\""), 2.0);
}

/// Slowly trickling bytes do not buy more time.
#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let server = start().await;
    let mut io = tcp(&server, "plain").await;
    let start = Instant::now();
    send(&mut io, b"GET / HTTP/1.1\r\nhost: x\r\n").await;
    let (mut read, mut write) = tokio::io::split(io);
    let drip = async {
        use tokio::io::AsyncWriteExt as _;
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let mut said = Vec::new();
    tokio::select! {
        _ = read.read_to_end(&mut said) => {}
        () = drip => {}
        () = tokio::time::sleep(Duration::from_secs(5)) => panic!("it drips for five seconds"),
    }
    let elapsed = start.elapsed();
    assert!((LIMIT - Duration::from_millis(20)..Duration::from_secs(3)).contains(&elapsed), "{elapsed:?}");
    assert!(!String::from_utf8_lossy(&said).contains("200 OK"));
    server.is_quiet().await;
}

#[tokio::test]
async fn an_idle_http2_connection_gets_goaway() {
    let server = start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let mut client = server.connect(way).await;
        let start = Instant::now();
        assert_eq!(client.fetch(Ask::get("/")).await.status, 200);
        let error = client.h2().ended().await;
        // A client that sends its own GOAWAY late finds the connection closed.
        let orderly = |error: &h2::Error| error.is_io() || error.reason() == Some(h2::Reason::NO_ERROR);
        assert!(error.as_ref().is_none_or(orderly), "{way:?}: {error:?}");
        let elapsed = start.elapsed();
        assert!(elapsed >= LIMIT - Duration::from_millis(50), "{way:?}: {elapsed:?}");
        assert!(elapsed < Duration::from_secs(3), "{way:?}: {elapsed:?}");
    }
    let metrics = server.metrics().await;
    let counted = ["h2-idle", "h2_idle"].map(|name| metrics.sum("roadrunner_timeouts_total", name));
    assert_eq!(counted.iter().sum::<f64>(), 2.0);
}

/// Hundreds of them, while others are served as if they were not there.
#[tokio::test]
async fn silent_clients_hold_up_nobody() {
    let server = Setup::of("hello").start().await;
    let mut silent = Vec::new();
    for index in 0..200 {
        let mut io = tcp(&server, if index % 2 == 0 { "plain" } else { "tls" }).await;
        if index % 4 == 0 {
            send(&mut io, b"GET / HTTP/1.1\r\nhost: ").await;
        }
        silent.push(io);
    }
    let start = Instant::now();
    for way in Way::ALL {
        for _ in 0..5 {
            let answer = server.fetch(way, Ask::get("/")).await;
            assert_eq!(answer.text(), "hello, world\n", "{way:?}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(server.instances().await.len(), 0);
}

fn waits(server: &roadrunner_tests::Metrics, name: &str) -> f64 {
    server.sum("roadrunner_timeouts_total", &format!("timeout=\"{name}\""))
}

#[tokio::test]
async fn a_body_that_pauses() {
    let server = Setup::of("bodies").and("[timeouts]\nbody-idle = \"300ms\"").start().await;
    for way in Way::ALL {
        let start = Instant::now();
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open_with_length("/all", 10)).await;
        exchange.send("half").await;
        assert_eq!(exchange.head().await, 408, "{way:?}");
        assert!(start.elapsed() >= LIMIT - Duration::from_millis(20), "{way:?}: {:?}", start.elapsed());
        // On HTTP/2 it concerns only the stream.
        drop(exchange);
        if way.has_streams() {
            assert_eq!(client.fetch(Ask::post("/all", "abc")).await.text(), "3\n", "{way:?}");
        }
    }
    assert_eq!(waits(&server.metrics().await, "body-idle"), WAYS);
    server.is_quiet().await;
}

/// A byte now and then keeps the body from being idle, but does not make it fast.
#[tokio::test]
async fn a_body_that_drips() {
    let server = Setup::of("bodies").and("[timeouts]\nbody-idle = \"300ms\"\nbody-min-rate = \"1KiB\"").start().await;
    for way in Way::ALL {
        let start = Instant::now();
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open_with_length("/all", 1000)).await;
        let mut sent = 0;
        while sent < 100 && exchange.send("x").await {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if waits(&server.metrics().await, "body-min-rate")
                >= 1.0 + Way::ALL.iter().position(|one| *one == way).unwrap_or(0) as f64
            {
                break;
            }
        }
        assert_eq!(exchange.head().await, 408, "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{way:?}: {:?}", start.elapsed());
    }
    let metrics = server.metrics().await;
    assert_eq!((waits(&metrics, "body-min-rate"), waits(&metrics, "body-idle")), (WAYS, 0.0));
    server.is_quiet().await;
}

#[tokio::test]
async fn a_reader_that_stops() {
    let server = Setup::of("streams").and("[timeouts]\nwrite-stall = \"300ms\"").start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/bytes?n=1000000000")).await;
        assert_eq!(exchange.head().await, 200, "{way:?}");
        // Nothing is read from here on.
        assert!(server.is_empty_after().await < Duration::from_secs(5), "{way:?}");
    }
    // A client whose window is closed from the start.
    let mut io = dial(server.address("plain"), Way::H2c).await;
    frames::send(
        &mut io,
        &[frames::opening(&[(4, 0)]), frames::request(Way::H2c, 1, "GET", "/one?size=10", true)].concat(),
    )
    .await;
    let reset = frames::until(&mut io, frames::RST_STREAM).await.expect("the stream is reset");
    assert_eq!(reset.stream, 1);
    assert_eq!(waits(&server.metrics().await, "write-stall"), WAYS + 1.0);
    server.is_quiet().await;
}

const PINGS: &str = "[timeouts]\nh2-ping-interval = \"200ms\"\nh2-ping-timeout = \"300ms\"\nh2-idle = \"300ms\"\n\
                     write-stall = \"300ms\"\nbody-idle = \"300ms\"\nkeep-alive-idle = \"300ms\"\nrequest-head = \"300ms\"";

/// No timer cuts a silent event loop, as long as its client is there.
#[tokio::test]
async fn a_quiet_session_lives_while_pings_are_answered() {
    let server = Setup::of("loops").and(PINGS).start().await;
    let mut clients = Vec::new();
    for way in Way::ALL {
        clients.push((way, server.connect(way).await));
    }
    let mut sessions = Vec::new();
    for (way, client) in &mut clients {
        let mut session = client.open(Ask::get("/subscribe/news")).await;
        assert_eq!(session.head().await, 200, "{way:?}");
        session.read_until("subscribed").await;
        sessions.push((*way, session));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.instances().await.len(), Way::ALL.len());
    server.fetch(Way::H1, Ask::post("/publish/news", "still here")).await;
    for (way, session) in &mut sessions {
        let news = session.read_until("still here").await;
        assert!(news.contains("still here"), "{way:?}");
    }
    assert_eq!(waits(&server.metrics().await, "h2-ping-timeout"), 0.0);
}

#[tokio::test]
async fn a_quiet_session_ends_with_the_pongs() {
    let server = Setup::of("loops").and(PINGS).start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let mut io = dial(server.address(if way.is_tls() { "tls" } else { "plain" }), way).await;
        frames::send(
            &mut io,
            &[frames::opening(&[]), frames::request(way, 1, "GET", "/subscribe/news", true)].concat(),
        )
        .await;
        frames::until(&mut io, HEADERS).await.expect("a head");
        frames::until(&mut io, DATA).await.expect("the first event");
        let start = Instant::now();
        let mut pings = 0;
        while let Some(frame) = frames::next(&mut io).await {
            pings += usize::from(frame.kind == frames::PING);
        }
        assert_eq!(pings, 1, "{way:?}");
        let elapsed = start.elapsed();
        assert!((Duration::from_millis(400)..Duration::from_secs(3)).contains(&elapsed), "{way:?}: {elapsed:?}");
        server.is_quiet().await;
    }
    assert_eq!(waits(&server.metrics().await, "h2-ping-timeout"), 2.0);
}
