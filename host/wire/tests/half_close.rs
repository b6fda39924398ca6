//! A client that closes its side of an HTTP/1 connection has sent its last request, and still gets its answers. Until
//! something is written to it, it looks the same as a client that has left.

mod support;

use std::time::{Duration, Instant};

use roadrunner_wire::Ending;
use support::{Client, Way, read_to_close, read_until, soon, start};
use tokio::io::AsyncWriteExt;

const WAYS: [Way; 2] = [Way::H1, Way::H1Tls];

/// The promised time for a client that is known to have left.
const PROMPTLY: Duration = Duration::from_millis(50);

/// Sends this and no more.
async fn ask(client: &mut Client, bytes: &[u8]) {
    client.write_all(bytes).await.expect("written");
    client.shutdown().await.expect("closed");
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_answer_is_sent_to_its_end() {
    let harness = start().await;
    let chunked = "POST /count HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    for way in WAYS {
        for (sent, end) in [
            (get("/hello"), "hello, world\n"),
            (get("/slow"), "hello, world\n"),
            (get("/late"), "4\r\nlate\r\n0\r\n\r\n"),
            (post("/count", "four"), "4 0"),
            (post("/slow", "unread"), "hello, world\n"),
            (post("/echo", "echo"), "4\r\necho\r\n0\r\n\r\n"),
            (chunked.to_owned(), "2 0"),
            (get("/slow").replace("1.1", "1.0"), "hello, world\n"),
        ] {
            let mut client = harness.connect(way).await;
            ask(&mut client, sent.as_bytes()).await;
            let wire = read_to_close(&mut client).await;
            assert!(wire.contains(" 200 OK") && wire.ends_with(end), "{way:?} {sent:?}: {wire:?}");
        }
        for path in ["/big", "/huge"] {
            let mut client = harness.connect(way).await;
            ask(&mut client, get(path).as_bytes()).await;
            // Until the socket is full, so that the end of the requests is read before the end of the response is sent.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let wire = read_to_close(&mut client).await;
            let (head, body) = wire.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{way:?} {path}: {} bytes", body.len());
        }
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn requests_that_came_before_are_answered() {
    let harness = start().await;
    for way in WAYS {
        for cut in ["", "GET /hello HT"] {
            let mut client = harness.connect(way).await;
            let sent = [get("/slow"), get("/hello"), post("/count", "four"), get("/late"), cut.to_owned()].concat();
            ask(&mut client, sent.as_bytes()).await;
            let wire = read_to_close(&mut client).await;
            assert_eq!(wire.matches("HTTP/1.1 200 OK").count(), 4, "{way:?} {cut:?}: {wire:?}");
            assert!(wire.contains("4 0") && wire.contains("late"), "{way:?} {cut:?}: {wire:?}");
        }
        // In pieces, as slow clients send.
        let mut client = harness.connect(way).await;
        client.write_all(get("/slow").as_bytes()).await.expect("written");
        tokio::time::sleep(Duration::from_millis(20)).await;
        ask(&mut client, get("/hello").as_bytes()).await;
        let wire = read_to_close(&mut client).await;
        assert_eq!(wire.matches("hello, world").count(), 2, "{way:?}: {wire:?}");
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn sessions_and_idle_connections_end() {
    let mut harness = start().await;
    for way in WAYS {
        let mut client = harness.connect(way).await;
        client.write_all(get("/hello").as_bytes()).await.expect("written");
        read_until(&mut client, "hello, world").await;
        client.shutdown().await.expect("closed");
        assert_eq!(read_to_close(&mut client).await, "", "{way:?}");

        // Before its head is out, and after.
        for early in [true, false] {
            let mut client = harness.connect(way).await;
            client.write_all(get("/session").as_bytes()).await.expect("written");
            if !early {
                read_until(&mut client, "first").await;
            }
            let left = Instant::now();
            client.shutdown().await.expect("closed");
            let (ending, after) = harness.dropped("/session", left).await;
            assert_eq!(ending, Ending::PeerClosed, "{way:?}");
            assert!(after < PROMPTLY, "{way:?}: dropped after {after:?}");
        }
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_request_that_is_cut_short_ends() {
    let mut harness = start().await;
    for way in WAYS {
        for path in ["/count", "/echo"] {
            let mut client = harness.connect(way).await;
            let left = Instant::now();
            ask(&mut client, post(path, "half").replace(": 4", ": 8").as_bytes()).await;
            let (ending, after) = harness.dropped(path, left).await;
            assert_eq!(ending, Ending::PeerClosed, "{way:?} {path}");
            assert!(after < PROMPTLY, "{way:?} {path}: dropped after {after:?}");
        }
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_client_that_has_left_is_known_by_what_is_written_to_it() {
    let mut harness = start().await;
    for way in WAYS {
        let mut client = harness.connect(way).await;
        client.write_all(get("/ticks").as_bytes()).await.expect("written");
        harness.began("/ticks").await;
        client.shutdown().await.expect("closed");
        read_until(&mut client, "tick").await;
        let left = Instant::now();
        drop(client);
        let (ending, after) = harness.dropped("/ticks", left).await;
        assert_eq!(ending, Ending::Lost, "{way:?}");
        assert!(after < 2 * PROMPTLY, "{way:?}: dropped after {after:?}");
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn what_is_silent_goes_on() {
    let mut harness = start().await;
    for path in ["/hang", "/idle"] {
        let mut tcp = harness.tcp().await;
        tcp.write_all(get(path).as_bytes()).await.expect("written");
        tcp.shutdown().await.expect("closed");
        harness.began(path).await;
        if path == "/idle" {
            read_until(&mut tcp, "first").await;
        }
        // It goes on although no more bytes come.
        tokio::time::sleep(4 * PROMPTLY).await;
        assert_eq!(harness.server.stats().in_flight(), 1, "{path}");
        harness.server.cut();
        let (ending, _) = soon(harness.dropped(path, Instant::now())).await;
        assert_eq!(ending, Ending::Closed, "{path}");
        harness = start().await;
    }
}

#[tokio::test]
async fn a_unix_socket_says_whether_the_client_is_there() {
    let path = std::env::temp_dir().join(format!("roadrunner-wire-half-{}.sock", std::process::id()));
    let listener = roadrunner_wire::ListenerConfig::plain("unix", roadrunner_wire::ListenAddress::Unix(path.clone()));
    let certificate = rustls_pki_types::CertificateDer::from(vec![]);
    let mut harness =
        support::start_on(vec![listener], roadrunner_values::TransportSettings::default(), certificate).await;
    let mut client = tokio::net::UnixStream::connect(&path).await.expect("the server accepts");
    client.write_all(get("/slow").as_bytes()).await.expect("written");
    client.shutdown().await.expect("closed");
    assert!(read_to_close(&mut client).await.ends_with("hello, world\n"));
    let mut client = tokio::net::UnixStream::connect(&path).await.expect("the server accepts");
    client.write_all(get("/hang").as_bytes()).await.expect("written");
    harness.began("/hang").await;
    let left = Instant::now();
    drop(client);
    let (ending, after) = harness.dropped("/hang", left).await;
    assert_eq!(ending, Ending::PeerClosed);
    assert!(after < PROMPTLY, "dropped after {after:?}");
    let _ = std::fs::remove_file(&path);
}
