//! Clients that keep the host waiting: each wait has its own limit, and none holds anything but its own socket.

use std::time::{Duration, Instant};

use roadrunner_tests::client::Io;
use roadrunner_tests::{Ask, Server, Setup, Way};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How long every wait is here.
const LIMIT: Duration = Duration::from_millis(300);

async fn start() -> Server {
    let names = ["handshake", "preface", "request-head", "keep-alive-idle", "h2-idle"];
    let keys: String = names.iter().map(|name| format!("{name} = \"300ms\"\n")).collect();
    Setup::of("hello").and(&format!("[timeouts]\n{keys}")).start().await
}

/// Reads until the server closes; it must wait, and not for long.
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

/// Bytes that drip in do not buy more time.
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
        // A client that is late with its own GOAWAY finds the connection closed.
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

/// Hundreds of them, and others are served as if they were not there.
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
