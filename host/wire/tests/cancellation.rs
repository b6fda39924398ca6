//! A client that leaves ends its exchange at once, whatever the exchange is waiting for; a slow client makes it wait
//! without using memory.

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use roadrunner_wire::{BodyError, Ending};
use support::{Client, Harness, Way, read_until, soon, start, url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The promised time, measured from before the client's close.
const PROMPTLY: Duration = Duration::from_millis(50);

/// A phase of an exchange in which a client can leave: the bytes that the client has sent, and what it has waited for.
struct Phase {
    name: &'static str,
    path: &'static str,
    sent: &'static [u8],
    content_length: Option<usize>,
    answer: Option<&'static str>,
    /// Whether the service waits for more of the request; then a client that closes its side has left.
    reads: bool,
}

const PHASES: [Phase; 6] = [
    Phase { name: "before the head", path: "/hang", sent: b"", content_length: None, answer: None, reads: false },
    Phase {
        name: "with a body unread",
        path: "/hang",
        sent: b"some of it",
        content_length: Some(1 << 20),
        answer: None,
        reads: false,
    },
    Phase {
        name: "with a whole body unread",
        path: "/hang",
        sent: b"all of it",
        content_length: Some(9),
        answer: None,
        reads: false,
    },
    Phase {
        name: "in the middle of a body",
        path: "/count",
        sent: b"some of it",
        content_length: Some(1 << 20),
        answer: None,
        reads: true,
    },
    Phase {
        name: "in an idle response",
        path: "/idle",
        sent: b"",
        content_length: None,
        answer: Some("first"),
        reads: false,
    },
    Phase {
        name: "in an echo",
        path: "/echo",
        sent: b"some of it",
        content_length: Some(1 << 20),
        answer: Some("some of it"),
        reads: true,
    },
];

#[tokio::test]
async fn http1_clients_that_close() {
    let mut harness = start().await;
    for way in [Way::H1, Way::H1Tls] {
        for phase in PHASES.into_iter().filter(|phase| phase.reads) {
            let client = enter(&mut harness, way, &phase).await;
            let left = Instant::now();
            drop(client);
            is_gone(&mut harness, &phase, left, &[Ending::PeerClosed, Ending::Lost]).await;
        }
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn http1_clients_that_reset() {
    let mut harness = start().await;
    for phase in PHASES {
        let mut client = harness.tcp().await;
        enter_on(&mut client, &mut harness, &phase).await;
        let left = Instant::now();
        reset(client);
        is_gone(&mut harness, &phase, left, &[Ending::Lost]).await;
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn http1_clients_that_leave_pipelined_requests_behind() {
    let mut harness = start().await;
    let phase = &PHASES[0];
    let mut client = harness.tcp().await;
    enter_on(&mut client, &mut harness, phase).await;
    client.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\nGET /he").await.expect("written");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let left = Instant::now();
    reset(client);
    is_gone(&mut harness, phase, left, &[Ending::Lost]).await;
    harness.is_quiet().await;
}

#[tokio::test]
async fn http2_streams_that_are_reset() {
    let mut harness = start().await;
    for way in [Way::H2, Way::H2Tls] {
        let (client, connection) = h2::client::handshake(harness.connect(way).await).await.expect("a handshake");
        let driver = tokio::spawn(connection);
        let mut client = soon(client.ready()).await.expect("ready");
        for phase in PHASES {
            let (response, mut send) = client.send_request(request(way, &phase), false).expect("sent");
            send.send_data(Bytes::from_static(phase.sent), false).expect("sent");
            harness.began(phase.path).await;
            let mut body = None;
            if phase.answer.is_some() {
                let mut answer = soon(response).await.expect("a head").into_body();
                soon(answer.data()).await.expect("a piece").expect("no error");
                body = Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let left = Instant::now();
            send.send_reset(h2::Reason::CANCEL);
            is_gone(&mut harness, &phase, left, &[Ending::Open]).await;
            drop(body);
        }
        // The connection still works.
        let (response, _) = client.send_request(get(way, "/hello"), true).expect("sent");
        assert_eq!(soon(response).await.expect("a response").status(), 200);
        drop(client);
        driver.abort();
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn http2_connections_that_end() {
    let mut harness = start().await;
    for resets in [false, true] {
        for phase in PHASES {
            let tcp = harness.tcp().await;
            if resets {
                zero_linger(&tcp);
            }
            let (mut client, connection) = h2::client::handshake(tcp).await.expect("a handshake");
            let driver = tokio::spawn(connection);
            let (response, mut send) = client.send_request(request(Way::H2, &phase), false).expect("sent");
            send.send_data(Bytes::from_static(phase.sent), false).expect("sent");
            harness.began(phase.path).await;
            if phase.answer.is_some() {
                let mut answer = soon(response).await.expect("a head").into_body();
                soon(answer.data()).await.expect("a piece").expect("no error");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let left = Instant::now();
            // Ends abruptly: the socket is closed under the protocol.
            driver.abort();
            is_gone(&mut harness, &phase, left, &[Ending::PeerClosed, Ending::Lost]).await;
        }
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_an_error() {
    let mut harness = start().await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(b"POST /count HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n")
        .await
        .expect("written");
    assert!(matches!(harness.body_error("/count").await, BodyError::Malformed(_)));

    let (mut client, connection) = h2::client::handshake(harness.connect(Way::H2).await).await.expect("a handshake");
    tokio::spawn(connection);
    // RFC 9113, 8.1: even a reset with NO_ERROR leaves a body incomplete.
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
        let request = Request::post("http://localhost/count").body(()).expect("a request");
        let (_response, mut send) = client.send_request(request, false).expect("sent");
        send.send_data(Bytes::from_static(b"half"), false).expect("sent");
        harness.began("/count").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        send.send_reset(reason);
        let (ending, _) = harness.dropped("/count", Instant::now()).await;
        assert_eq!(ending, Ending::Open);
    }
    let request = Request::post("http://localhost/count").header("content-length", "3").body(()).expect("a request");
    let (response, mut send) = client.send_request(request, false).expect("sent");
    // More than was announced; the client's h2 does not check.
    send.send_data(Bytes::from_static(b"four"), true).expect("sent");
    soon(response).await.expect_err("a stream error (RFC 9113, 8.1.1)");
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_body_back() {
    let harness = start().await;
    // HTTP/1: as much as fits into the socket's buffers and hyper's.
    let mut client = harness.tcp().await;
    client.write_all(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let given = settled(&harness).await;
    assert!(given < 16 << 20, "{given} bytes for a client that reads nothing");
    let mut buf = vec![0; 1 << 20];
    for _ in 0..8 {
        soon(client.read_exact(&mut buf)).await.expect("read");
    }
    assert!(settled(&harness).await > given, "it goes on when the client reads");
    reset(client);
    harness.is_quiet().await;

    // HTTP/2: the client's window, which is 64 KiB here, and one piece.
    let before = harness.given.load(SeqCst);
    let (mut client, connection) = h2::client::handshake(harness.connect(Way::H2).await).await.expect("a handshake");
    tokio::spawn(connection);
    let (response, _) = client.send_request(get(Way::H2, "/flood"), true).expect("sent");
    let mut body = soon(response).await.expect("a head").into_body();
    let given = settled(&harness).await - before;
    assert!(given <= 65_535 + 2 * 16_384, "{given} bytes for a window of 65535");
    let piece = soon(body.data()).await.expect("a piece").expect("no error");
    body.flow_control().release_capacity(piece.len()).expect("released");
    let piece = soon(body.data()).await.expect("a piece").expect("no error");
    assert!(!piece.is_empty());
}

#[tokio::test]
async fn a_service_that_stops_reading_holds_the_client_back() {
    let harness = start().await;
    let mut client = harness.tcp().await;
    client.write_all(b"POST /hang HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await.expect("written");
    let mut sent = 0;
    let chunk = [0; 65536];
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), client.write(&chunk)).await {
        sent += written.expect("written");
        assert!(sent < 32 << 20, "the server reads what its service does not take");
    }

    let (mut client, connection) = h2::client::handshake(harness.connect(Way::H2).await).await.expect("a handshake");
    tokio::spawn(connection);
    let request = Request::post("http://localhost/hang").body(()).expect("a request");
    let (_response, mut send) = client.send_request(request, false).expect("sent");
    send.reserve_capacity(64 << 20);
    let mut sent = 0;
    while let Ok(Some(capacity)) =
        tokio::time::timeout(Duration::from_millis(300), std::future::poll_fn(|cx| send.poll_capacity(cx))).await
    {
        let capacity = capacity.expect("capacity");
        sent += capacity;
        assert!(sent <= 1 << 20, "more than the window");
        send.send_data(Bytes::from(vec![0; capacity]), false).expect("sent");
    }
    assert_eq!(sent, 1 << 20, "the window of a stream");
}

/// The number of bytes that `/flood` has given once it no longer grows.
async fn settled(harness: &Harness) -> usize {
    let mut last = harness.given.load(SeqCst);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = harness.given.load(SeqCst);
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

async fn enter(harness: &mut Harness, way: Way, phase: &Phase) -> Client {
    let mut client = harness.connect(way).await;
    enter_on(&mut client, harness, phase).await;
    client
}

async fn enter_on(client: &mut impl support::Stream, harness: &mut Harness, phase: &Phase) {
    let length = phase.content_length.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
    let head = format!("POST {} HTTP/1.1\r\nhost: a\r\n{length}\r\n", phase.path);
    client.write_all(&[head.as_bytes(), phase.sent].concat()).await.expect("written");
    harness.began(phase.path).await;
    if let Some(answer) = phase.answer {
        read_until(&mut *client, answer).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn is_gone(harness: &mut Harness, phase: &Phase, left: Instant, endings: &[Ending]) {
    let (ending, after) = harness.dropped(phase.path, left).await;
    assert!(after < PROMPTLY, "{}: dropped after {after:?}", phase.name);
    assert!(endings.contains(&ending), "{}: {ending:?}", phase.name);
}

fn request(way: Way, phase: &Phase) -> Request<()> {
    Request::post(url(way, phase.path)).body(()).expect("a request")
}

fn get(way: Way, path: &str) -> Request<()> {
    Request::get(url(way, path)).body(()).expect("a request")
}

fn reset(tcp: TcpStream) {
    zero_linger(&tcp);
    drop(tcp);
}

/// Makes close send RST.
fn zero_linger(tcp: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(tcp, Some(Duration::ZERO)).expect("set");
}
