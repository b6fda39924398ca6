//! Every deadline of the transport ends a client that exceeds it, and no other.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use roadrunner_values::{Timeouts, TransportSettings};
use roadrunner_wire::{BodyError, Ending, Protocols, TimeoutName};
use support::frames::{self, ACK, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use support::{Harness, TOTAL, Way, only, read_to_close, read_until, request, soon, start_on, start_with, text, url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// Settings with long deadlines, except those that the test changes.
fn settings(change: impl FnOnce(&mut Timeouts)) -> TransportSettings {
    let mut timeouts = Timeouts {
        handshake: LONG,
        proxy_header: LONG,
        preface: LONG,
        request_head: LONG,
        body_idle: LONG,
        body_min_rate: 0,
        write_stall: LONG,
        keep_alive_idle: LONG,
        h2_idle: LONG,
        h2_ping_interval: LONG,
        h2_ping_timeout: LONG,
        h3_idle: LONG,
        h3_lost: LONG,
        tcp_lost: LONG,
        drain_idle: SHORT,
        unread_body: SHORT,
        linger: SHORT,
    };
    change(&mut timeouts);
    TransportSettings { timeouts, ..TransportSettings::default() }
}

/// Runs a client until the server has closed, and checks that this took as long as the deadline says, and was counted.
async fn is_closed_after<F: Future>(harness: &Harness, deadline: Duration, name: TimeoutName, closed: F) -> F::Output {
    let begun = Instant::now();
    let output = soon(closed).await;
    let took = begun.elapsed();
    assert!(took >= deadline - Duration::from_millis(50), "{name}: closed after {took:?}");
    assert!(took < deadline + Duration::from_secs(1), "{name}: closed after {took:?}");
    assert_eq!(harness.server.stats().timeouts(name), 1, "{name}");
    output
}

#[tokio::test]
async fn silent_after_connect() {
    let harness = start_with(settings(|timeouts| timeouts.preface = SHORT)).await;
    let mut tcp = harness.tcp().await;
    is_closed_after(&harness, SHORT, TimeoutName::Preface, read_to_close(&mut tcp)).await;
    harness.is_quiet().await;
}

#[tokio::test]
async fn silent_before_and_within_the_handshake() {
    for first in [&b""[..], &[0x16, 3, 1, 2, 0, 1, 0]] {
        let harness = start_with(settings(|timeouts| timeouts.handshake = SHORT)).await;
        let mut tcp = tokio::net::TcpStream::connect(harness.address(Way::H1Tls)).await.expect("accepted");
        tcp.write_all(first).await.expect("written");
        is_closed_after(&harness, SHORT, TimeoutName::Handshake, read_to_close(&mut tcp)).await;
        harness.is_quiet().await;
    }
}

#[tokio::test]
async fn silent_after_the_tls_handshake() {
    let harness = start_with(settings(|timeouts| {
        timeouts.request_head = SHORT;
        timeouts.preface = SHORT;
    }))
    .await;
    let mut http1 = harness.connect(Way::H1Tls).await;
    is_closed_after(&harness, SHORT, TimeoutName::RequestHead, read_to_close(&mut http1)).await;
    let mut http2 = harness.connect(Way::H2Tls).await;
    is_closed_after(&harness, SHORT, TimeoutName::Preface, read_to_close(&mut http2)).await;
    harness.is_quiet().await;
}

#[tokio::test]
async fn half_a_head() {
    for way in [Way::H1, Way::H1Tls] {
        let harness = start_with(settings(|timeouts| timeouts.request_head = SHORT)).await;
        let mut client = harness.connect(way).await;
        client.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n").await.expect("written");
        is_closed_after(&harness, SHORT, TimeoutName::RequestHead, read_to_close(&mut client)).await;
    }
}

#[tokio::test]
async fn a_head_that_drips_gets_no_more_time() {
    let harness = start_with(settings(|timeouts| timeouts.request_head = SHORT)).await;
    let mut client = harness.tcp().await;
    // The second request on a connection, so that its first byte starts the clock.
    client.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    read_until(&mut client, "hello, world").await;
    tokio::time::sleep(SHORT * 2).await;
    let (mut read, mut write) = client.into_split();
    let dripping = tokio::spawn(async move {
        for byte in std::iter::repeat_n(b'G', 1000) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    is_closed_after(&harness, SHORT, TimeoutName::RequestHead, read_to_close(&mut read)).await;
    dripping.abort();
}

#[tokio::test]
async fn idle_between_requests() {
    for way in [Way::H1, Way::H1Tls] {
        let harness = start_with(settings(|timeouts| timeouts.keep_alive_idle = SHORT)).await;
        let mut client = harness.connect(way).await;
        client.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        read_until(&mut client, "hello, world").await;
        is_closed_after(&harness, SHORT, TimeoutName::KeepAliveIdle, read_to_close(&mut client)).await;
    }
}

#[tokio::test]
async fn a_connection_in_use_is_not_idle() {
    let harness = start_with(settings(|timeouts| {
        timeouts.keep_alive_idle = SHORT;
        timeouts.request_head = SHORT;
        timeouts.h2_idle = SHORT;
    }))
    .await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        for _ in 0..6 {
            assert_eq!(text(soon(sender.get("/hello")).await.expect("a response")).await, "hello, world\n");
            tokio::time::sleep(SHORT / 3).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_pauses_is_told_to_the_service() {
    for way in Way::ALL {
        let mut harness = start_with(settings(|timeouts| timeouts.body_idle = SHORT)).await;
        let begun = Instant::now();
        let mut sender = harness.sender(way).await;
        let response = soon(sender.send(pausing("/count"))).await.expect("a response");
        assert_eq!(response.status(), 408, "{way:?}");
        assert!(begun.elapsed() > SHORT, "{way:?}");
        assert_eq!(harness.body_error("/count").await, BodyError::TimedOut(TimeoutName::BodyIdle));
        assert_eq!(harness.server.stats().timeouts(TimeoutName::BodyIdle), 1);
        drop((response, sender));
        harness.is_quiet().await;
    }
}

#[tokio::test]
async fn a_body_that_nobody_waits_for_has_no_deadline() {
    for way in Way::ALL {
        let mut harness = start_with(settings(|timeouts| timeouts.body_idle = SHORT)).await;
        let mut sender = harness.sender(way).await;
        let mut hanging = std::pin::pin!(sender.send(pausing("/hang")));
        tokio::time::timeout(SHORT * 4, &mut hanging).await.expect_err("it hangs");
        harness.began("/hang").await;
        assert!(harness.told.try_recv().is_err(), "{way:?}: nothing was dropped");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_too_slow() {
    for way in Way::ALL {
        let mut harness = start_with(settings(|timeouts| {
            timeouts.body_idle = SHORT;
            timeouts.body_min_rate = 1000;
        }))
        .await;
        let mut sender = harness.sender(way).await;
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"."))), ()))
        });
        let body = http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(drip));
        let request = support::request_with("POST", "/count", body);
        let response = soon(sender.send(request)).await.expect("a response");
        assert_eq!(response.status(), 408, "{way:?}");
        assert_eq!(harness.body_error("/count").await, BodyError::TimedOut(TimeoutName::BodyMinRate));
    }
}

#[tokio::test]
async fn a_reader_that_stops() {
    for way in [Way::H1, Way::H1Tls] {
        let mut harness = start_with(settings(|timeouts| timeouts.write_stall = SHORT)).await;
        let mut client = harness.connect(way).await;
        client.write_all(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        let (ending, _) = harness.dropped("/flood", Instant::now()).await;
        assert_eq!(ending, Ending::TimedOut(TimeoutName::WriteStall), "{way:?}");
        assert_eq!(harness.server.stats().timeouts(TimeoutName::WriteStall), 1);
        harness.is_quiet().await;
    }
}

#[tokio::test]
async fn a_reader_that_is_only_slow() {
    let harness = start_with(settings(|timeouts| timeouts.write_stall = SHORT)).await;
    let mut client = harness.tcp().await;
    client.write_all(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut buf = vec![0; 4 << 20];
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 3).await;
        soon(client.read_exact(&mut buf)).await.expect("still open");
    }
}

/// A response that is complete from the start does not make a connection idle while its client still reads it.
#[tokio::test]
async fn a_slow_reader_of_a_whole_response_is_not_idle() {
    for way in [Way::H1, Way::H1Tls] {
        let harness = start_with(settings(|timeouts| timeouts.keep_alive_idle = SHORT)).await;
        let mut client = harness.connect(way).await;
        client.write_all(b"GET /huge HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        // Not to the end: the sockets' buffers take the rest, and then the connection is idle.
        let mut buf = vec![0; 3 << 20];
        for _ in 0..6 {
            tokio::time::sleep(SHORT / 3).await;
            soon(client.read_exact(&mut buf)).await.unwrap_or_else(|error| panic!("{way:?}: {error}"));
        }
        assert_eq!(harness.server.stats().timeouts(TimeoutName::KeepAliveIdle), 0, "{way:?}");
    }
}

/// Clients that always take a little never stall; only the total time ends them.
#[tokio::test]
async fn an_exchange_that_takes_too_long_in_all() {
    for way in Way::ALL {
        for path in ["/total/flood", "/total/huge"] {
            let mut harness = start_with(settings(|_| {})).await;
            let begun = Instant::now();
            let (received, reset) = if way.is_h2() {
                dribble_h2(&harness, way, path).await
            } else {
                (dribble_h1(&harness, way, path).await, true)
            };
            let took = begun.elapsed();
            assert!(reset, "{way:?} {path}");
            assert!(received > 0, "{way:?} {path}");
            assert!((TOTAL - SHORT / 2..TOTAL * 5).contains(&took), "{way:?} {path}: {took:?}");
            assert_eq!(harness.server.stats().timeouts(TimeoutName::Total), 1, "{way:?} {path}");
            if path == "/total/flood" {
                let (ending, _) = harness.dropped(path, Instant::now()).await;
                assert_eq!(ending, Ending::TimedOut(TimeoutName::Total), "{way:?} {path}");
            }
        }
    }
}

/// A deadline ends with its exchange.
#[tokio::test]
async fn an_exchange_in_time_leaves_no_deadline_behind() {
    let harness = start_with(settings(|_| {})).await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        for path in ["/total/hello", "/hello"] {
            assert_eq!(text(soon(sender.get(path)).await.expect("a response")).await, "hello, world\n", "{way:?}");
        }
        tokio::time::sleep(TOTAL + SHORT).await;
        assert_eq!(text(soon(sender.get("/hello")).await.expect("still open")).await, "hello, world\n", "{way:?}");
    }
    assert_eq!(harness.server.stats().timeouts(TimeoutName::Total), 0);
}

async fn dribble_h1(harness: &Harness, way: Way, path: &str) -> usize {
    let mut client = harness.connect(way).await;
    client.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.expect("written");
    let (mut received, mut buf) = (0, vec![0; 64 << 10]);
    loop {
        match soon(client.read(&mut buf)).await {
            Ok(0) | Err(_) => return received,
            Ok(read) => received += read,
        }
        // The kernel's last bytes are read quickly.
        if harness.server.stats().timeouts(TimeoutName::Total) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn dribble_h2(harness: &Harness, way: Way, path: &str) -> (usize, bool) {
    let (client, connection) = h2::client::handshake(harness.connect(way).await).await.expect("a handshake");
    tokio::spawn(connection);
    let mut client = soon(client.ready()).await.expect("ready");
    let get = Request::get(url(way, path)).body(()).expect("a request");
    let (response, _) = client.send_request(get, true).expect("sent");
    let mut body = soon(response).await.expect("a head").into_body();
    let mut received = 0;
    loop {
        match soon(body.data()).await {
            Some(Ok(data)) => {
                received += data.len();
                let _ = body.flow_control().release_capacity(data.len());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Some(Err(error)) => return (received, error.is_reset()),
            None => return (received, false),
        }
    }
}

/// A client whose windows are closed from the start gets a head, and the server does not wait for its body.
#[tokio::test]
async fn a_window_that_never_opens() {
    for path in ["/flood", "/big", "/hello"] {
        let harness = start_with(settings(|timeouts| timeouts.write_stall = SHORT)).await;
        let mut tcp = harness.tcp().await;
        let closed = frames::frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let opening = [frames::PREFACE, &closed, &frames::request(1, "GET", path, 1)].concat();
        tcp.write_all(&opening).await.expect("written");
        let begun = Instant::now();
        soon(frames::until(&mut tcp, RST_STREAM)).await.expect("the stream is reset");
        let took = begun.elapsed();
        assert!((SHORT - SHORT / 4..SHORT * 5).contains(&took), "{path}: {took:?}");
        assert_eq!(harness.server.stats().timeouts(TimeoutName::WriteStall), 1, "{path}");
        assert_eq!(harness.server.stats().in_flight(), 0, "{path}");
    }
}

#[tokio::test]
async fn a_window_that_stays_closed() {
    for way in [Way::H2, Way::H2Tls] {
        let mut harness = start_with(settings(|timeouts| timeouts.write_stall = SHORT)).await;
        let (client, connection) = h2::client::handshake(harness.connect(way).await).await.expect("a handshake");
        tokio::spawn(connection);
        let mut client = soon(client.ready()).await.expect("ready");
        let get = |path: &str| Request::get(url(way, path)).body(()).expect("a request");
        for path in ["/flood", "/big"] {
            let (response, _) = client.send_request(get(path), true).expect("sent");
            let mut body = soon(response).await.expect("a head").into_body();
            let mut received = 0;
            let error = loop {
                match soon(body.data()).await.expect("the body does not end") {
                    Ok(data) => received += data.len(),
                    Err(error) => break error,
                }
            };
            assert!(error.is_reset(), "{way:?}: {error}");
            assert!(received > 0);
        }
        let (ending, _) = harness.dropped("/flood", Instant::now()).await;
        assert_eq!(ending, Ending::TimedOut(TimeoutName::WriteStall), "{way:?}");
        assert_eq!(harness.server.stats().timeouts(TimeoutName::WriteStall), 2);
        assert_eq!(harness.server.stats().in_flight(), 0);
    }
}

#[tokio::test]
async fn an_http2_client_that_does_not_read_its_socket() {
    let mut harness = start_with(settings(|timeouts| timeouts.write_stall = SHORT)).await;
    let mut tcp = harness.tcp().await;
    // Windows as wide as possible, so that only the socket holds the server back.
    let wide = frames::frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    let more = frames::frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    let opening = [frames::PREFACE, &wide, &more, &frames::request(1, "GET", "/flood", 1)].concat();
    tcp.write_all(&opening).await.expect("written");
    let (ending, _) = harness.dropped("/flood", Instant::now()).await;
    assert_eq!(ending, Ending::TimedOut(TimeoutName::WriteStall));
    harness.is_quiet().await;
}

#[tokio::test]
async fn an_http2_client_without_settings() {
    for first in [&b""[..], frames::PREFACE] {
        let certificate = rustls_pki_types::CertificateDer::from(vec![]);
        let settings = settings(|timeouts| timeouts.preface = SHORT);
        let harness = start_on(vec![only(Protocols::HTTP2)], settings, certificate).await;
        let mut tcp = harness.tcp().await;
        tcp.write_all(first).await.expect("written");
        is_closed_after(&harness, SHORT, TimeoutName::Preface, read_to_close(&mut tcp)).await;
    }
}

#[tokio::test]
async fn an_http2_head_that_does_not_end() {
    let harness = start_with(settings(|timeouts| timeouts.request_head = SHORT)).await;
    let fields = frames::fields("GET", "/hello", &[]);
    // A frame cut short, and a field section without its last frame.
    for bytes in [frames::request(1, "GET", "/hello", 1)[..20].to_vec(), frames::frame(HEADERS, 1, 1, &fields)] {
        let before = harness.server.stats().timeouts(TimeoutName::RequestHead);
        let mut tcp = harness.tcp().await;
        tcp.write_all(&[frames::opening(), bytes].concat()).await.expect("written");
        read_to_close(&mut tcp).await;
        assert_eq!(harness.server.stats().timeouts(TimeoutName::RequestHead), before + 1);
    }
}

#[tokio::test]
async fn an_http2_connection_without_streams_is_told_to_go() {
    let harness = start_with(settings(|timeouts| timeouts.h2_idle = SHORT)).await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(&[frames::opening(), frames::request(1, "GET", "/hello", 1)].concat()).await.expect("written");
    let goaway =
        is_closed_after(&harness, SHORT, TimeoutName::H2Idle, frames::until(&mut tcp, GOAWAY)).await.expect("GOAWAY");
    assert_eq!(goaway.error(), 0);
    // PINGs do not keep it open.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if tcp.write_all(&frames::frame(PING, 0, 0, &[0; 8])).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < SHORT + Duration::from_secs(1), "closed at last");
}

#[tokio::test]
async fn a_quiet_response_lives_as_long_as_pings_are_answered() {
    let settings = settings(|timeouts| {
        timeouts.h2_ping_interval = Duration::from_millis(100);
        timeouts.h2_ping_timeout = SHORT;
        timeouts.h2_idle = SHORT;
        timeouts.write_stall = SHORT;
        timeouts.body_idle = SHORT;
    });
    let mut harness = start_with(settings).await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(&[frames::opening(), frames::request(1, "GET", "/idle", 1)].concat()).await.expect("written");
    let begun = Instant::now();
    let mut answered = 0;
    while begun.elapsed() < SHORT * 5 {
        let frame = soon(frames::next(&mut tcp)).await.expect("still open");
        let is_question = frame.flags & ACK == 0;
        match frame.kind {
            PING if is_question => {
                tcp.write_all(&frames::frame(PING, ACK, 0, &frame.payload)).await.expect("written");
                answered += 1;
            }
            SETTINGS if is_question => tcp.write_all(&frames::frame(SETTINGS, ACK, 0, &[])).await.expect("written"),
            RST_STREAM | GOAWAY => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert!(answered > 3, "{answered} PINGs");
    // Now the client falls silent.
    let (ending, after) = harness.dropped("/idle", Instant::now()).await;
    assert_eq!(ending, Ending::TimedOut(TimeoutName::H2PingTimeout));
    assert!(after < Duration::from_secs(1), "{after:?}");
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_quiet_http1_response_is_not_cut() {
    let mut harness = start_with(settings(|timeouts| {
        timeouts.keep_alive_idle = SHORT;
        timeouts.request_head = SHORT;
        timeouts.write_stall = SHORT;
        timeouts.body_idle = SHORT;
        timeouts.preface = SHORT;
    }))
    .await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(b"GET /idle HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    read_until(&mut tcp, "first").await;
    tokio::time::sleep(SHORT * 4).await;
    harness.began("/idle").await;
    assert!(harness.told.try_recv().is_err(), "nothing was dropped");
}

#[tokio::test]
async fn a_normal_client_does_not_notice_a_thousand_slow_ones() {
    let mut settings = settings(|_| {});
    settings.caps.connections = 4096;
    let harness = start_with(settings).await;
    let quiet = slowest_of_100(&harness).await;
    let mut held = Vec::new();
    for index in 0..1000 {
        let way = [Way::H1, Way::H1Tls, Way::H1][index % 3];
        let mut tcp = tokio::net::TcpStream::connect(harness.address(way)).await.expect("accepted");
        let bytes: &[u8] = [&b""[..], b"", b"POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx"][index % 3];
        tcp.write_all(bytes).await.expect("written");
        held.push(tcp);
    }
    let busy = slowest_of_100(&harness).await;
    assert!(busy < quiet * 3 + Duration::from_millis(20), "{busy:?} instead of {quiet:?}");
}

async fn slowest_of_100(harness: &Harness) -> Duration {
    let mut sender = harness.sender(Way::H1).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        let _ = text(soon(sender.get("/hello")).await.expect("a response")).await;
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

/// An upload that sends a piece and then nothing.
fn pausing(path: &str) -> Request<http_body_util::combinators::BoxBody<Bytes, std::io::Error>> {
    let first = Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"first")));
    let stream = futures_util::StreamExt::chain(futures_util::stream::iter([first]), futures_util::stream::pending());
    let body = http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(stream));
    let mut upload = request("POST", path, Bytes::new());
    *upload.body_mut() = body;
    upload
}
