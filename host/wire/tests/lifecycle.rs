//! Caps, floods, drains and cuts; afterwards nothing is left.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use http::Request;
use roadrunner_values::{Http2, TransportSettings};
use roadrunner_wire::{BindError, DrainOutcome, Ending, ListenAddress, ListenerConfig, Protocols, Server};
use support::frames::{self, ACK, DATA, GOAWAY, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use support::{Harness, Way, only, read_to_close, read_until, soon, start, start_on, start_with, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn with_http2(http2: Http2) -> TransportSettings {
    TransportSettings { http2, ..TransportSettings::default() }
}

#[tokio::test]
async fn caps_on_all_on_a_peer_and_on_a_listener() {
    let mut settings = TransportSettings::default();
    settings.caps.connections = 3;
    holds_at_most(&start_with(settings).await, 3).await;

    let mut settings = TransportSettings::default();
    settings.caps.connections_per_peer = Some(2);
    holds_at_most(&start_with(settings).await, 2).await;

    let listener = ListenerConfig { max_connections: Some(1), ..only(Protocols::BOTH) };
    let certificate = rustls_pki_types::CertificateDer::from(vec![]);
    holds_at_most(&start_on(vec![listener], TransportSettings::default(), certificate).await, 1).await;
}

#[tokio::test]
async fn requests_in_flight_on_a_listener_are_capped() {
    let listener = ListenerConfig { max_requests: Some(2), ..only(Protocols::BOTH) };
    let certificate = rustls_pki_types::CertificateDer::from(vec![]);
    let harness = start_on(vec![listener], TransportSettings::default(), certificate).await;
    let stats = Arc::clone(harness.server.stats());
    for way in [Way::H1, Way::H2] {
        let over = stats.over_cap.load(SeqCst);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut sender = harness.sender(Way::H1).await;
            let response = soon(sender.get("/session")).await.expect("a response");
            held.push((sender, response));
        }
        let mut sender = harness.sender(way).await;
        for _ in 0..2 {
            let response = soon(sender.get("/hello")).await.expect("a response");
            assert_eq!(response.status(), 503, "{way:?}");
            assert_eq!(response.headers()["retry-after"], "1", "{way:?}");
            assert_eq!(text(response).await, "too many requests are in flight\n", "{way:?}");
        }
        assert_eq!(stats.over_cap.load(SeqCst), over + 2, "{way:?}");
        // A released place can be taken, on the same connection.
        held.pop();
        support::eventually(|| stats.in_flight() == 1).await;
        assert_eq!(text(soon(sender.get("/hello")).await.expect("a response")).await, "hello, world\n", "{way:?}");
        drop(held);
        support::eventually(|| stats.in_flight() == 0).await;
    }
}

async fn holds_at_most(harness: &Harness, most: usize) {
    let mut held = Vec::new();
    for _ in 0..most {
        let mut tcp = harness.tcp().await;
        tcp.write_all(b"GET /session HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        read_until(&mut tcp, "first").await;
        held.push(tcp);
    }
    let stats = Arc::clone(harness.server.stats());
    for over in 1..=3 {
        let mut tcp = harness.tcp().await;
        assert_eq!(read_to_close(&mut tcp).await, "");
        assert_eq!(stats.rejected_by_cap.load(SeqCst), over);
    }
    assert_eq!(stats.open.load(SeqCst), most as u64);
    // A released place can be taken.
    held.pop();
    support::eventually(|| stats.open.load(SeqCst) == most as u64 - 1).await;
    let mut sender = harness.sender(Way::H1).await;
    assert_eq!(text(soon(sender.get("/hello")).await.expect("a response")).await, "hello, world\n");
    drop((held, sender));
    harness.is_quiet().await;
}

#[tokio::test]
async fn floods_of_frames_are_told_to_calm_down() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let settings = with_http2(Http2 { control_frames_per_second: 500, resets_per_second: 100, ..Http2::default() });
    let harness = start_with(settings).await;
    let open = frames::request(1, "POST", "/hang", 0);
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("PING", frames::frame(PING, 0, 0, &[0; 8])),
        ("PING answers", frames::frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", frames::frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frames::frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown frames", frames::frame(0xbe, 0, 0, &[])),
        ("empty DATA", frames::frame(DATA, 0, 1, &[])),
        ("WINDOW_UPDATE", frames::frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ];
    for (index, (name, frame)) in floods.into_iter().enumerate() {
        let mut tcp = harness.tcp().await;
        let (mut read, mut write) = tcp.split();
        let many = frame.repeat(200_000 / frame.len());
        let flood = async {
            write.write_all(&[frames::opening(), open.clone()].concat()).await.expect("written");
            for _ in 0..200 {
                if write.write_all(&many).await.is_err() {
                    break;
                }
            }
        };
        let watch = async { frames::until(&mut read, GOAWAY).await };
        let begun = Instant::now();
        let ((), goaway) = soon(async { tokio::join!(flood, watch) }).await;
        match goaway {
            Some(goaway) => assert_eq!(goaway.error(), ENHANCE_YOUR_CALM, "{name}"),
            None => panic!("{name}: no GOAWAY after {:?}", begun.elapsed()),
        }
        assert_eq!(harness.server.stats().floods.load(SeqCst), index as u64 + 1, "{name}");
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn resets_are_budgeted() {
    let settings = with_http2(Http2 { resets_per_second: 100, ..Http2::default() });
    let harness = start_with(settings).await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(&frames::opening()).await.expect("written");
    for round in 0..1000u32 {
        let stream = 2 * round + 1;
        let bytes =
            [frames::request(stream, "GET", "/hang", 1), frames::frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        if tcp.write_all(&bytes).await.is_err() {
            break;
        }
        // Each must be accepted, so that h2's own limit on earlier resets does not matter.
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let goaway = frames::until(&mut tcp, GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.error(), 11);
    drop(tcp);
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_busy_but_honest_client_is_no_flood() {
    let harness = start().await;
    let mut sender = harness.sender(Way::H2).await;
    for _ in 0..3000 {
        assert_eq!(text(soon(sender.get("/hello")).await.expect("a response")).await, "hello, world\n");
    }
    let response = soon(sender.get("/big")).await.expect("a response");
    assert_eq!(text(response).await.len(), 2 * 1024 * 1024 + 1);
    assert_eq!(harness.server.stats().floods.load(SeqCst), 0);
}

#[tokio::test]
async fn a_drain_lets_exchanges_finish() {
    for way in Way::ALL {
        let harness = start().await;
        let mut idle = harness.connect(Way::H1).await;
        idle.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        read_until(&mut idle, "hello, world").await;
        let silent = harness.tcp().await;

        let mut sender = harness.sender(way).await;
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let body = futures_util::stream::once(async move {
            let _ = finished.await;
            Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from_static(b"late")))
        });
        let body = http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(body));
        let upload = support::request_with("POST", "/count", body);
        let answer = tokio::spawn(async move {
            let response = sender.send(upload).await.expect("a response");
            let close = response.headers().get("connection").is_some_and(|value| value == "close");
            (text(response).await, close)
        });
        tokio::time::sleep(Duration::from_millis(50)).await;

        let server = Arc::new(harness.server);
        let drain = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.drain(Duration::from_secs(5)).await }
        });
        // Idle connections close at once, including those without a request, and no new client is accepted.
        assert_eq!(read_to_close(&mut idle).await, "", "{way:?}");
        let mut silent = silent;
        assert_eq!(read_to_close(&mut silent).await, "", "{way:?}");
        assert!(!drain.is_finished(), "{way:?}: the upload is still running");
        finish.send(()).expect("the upload waits");
        let (answer, close) = soon(answer).await.expect("joined");
        assert_eq!(answer, "4 0", "{way:?}");
        assert_eq!(close, !way.is_h2(), "{way:?}");
        assert_eq!(soon(drain).await.expect("joined"), DrainOutcome { cut: 0 }, "{way:?}");
        assert_eq!(server.stats().open.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_finish() {
    for way in Way::ALL {
        let mut harness = start().await;
        let mut sender = harness.sender(way).await;
        let response = soon(sender.get("/idle")).await.expect("a head");
        let begun = Instant::now();
        let outcome = harness.server.drain(Duration::from_millis(300)).await;
        assert_eq!(outcome, DrainOutcome { cut: 1 }, "{way:?}");
        assert!(begun.elapsed() >= Duration::from_millis(300));
        let (ending, _) = harness.dropped("/idle", Instant::now()).await;
        assert_eq!(ending, Ending::Closed, "{way:?}");
        http_body_util::BodyExt::collect(response.into_body()).await.expect_err("the body was cut");
        harness.is_quiet().await;
    }
}

#[tokio::test]
async fn a_drain_stops_accepting() {
    let harness = start().await;
    let address = harness.address(Way::H1);
    assert!(harness.server.drain(Duration::from_secs(1)).await.is_clean());
    let refused = async {
        while let Ok(mut tcp) = TcpStream::connect(address).await {
            // The kernel may have completed a handshake before the listener was closed.
            assert_eq!(tcp.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
    };
    soon(refused).await;
}

#[tokio::test]
async fn an_http2_drain_says_goaway() {
    let harness = start().await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(&[frames::opening(), frames::request(1, "GET", "/idle", 1)].concat()).await.expect("written");
    frames::until(&mut tcp, DATA).await.expect("a piece");
    let server = Arc::new(harness.server);
    let drain = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.drain(Duration::from_millis(300)).await }
    });
    let goaway = frames::until(&mut tcp, GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.error(), 0);
    assert_eq!(soon(drain).await.expect("joined").cut, 1);
}

#[tokio::test]
async fn a_cut_ends_tunnels_too() {
    let harness = start().await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(b"GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .expect("written");
    read_until(&mut tcp, "101 ").await;
    tcp.write_all(b"ping").await.expect("written");
    read_until(&mut tcp, "ping").await;
    assert_eq!(harness.server.drain(Duration::from_millis(100)).await.cut, 1);
    read_to_close(&mut tcp).await;
    harness.is_quiet().await;
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let mut harness = start().await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    harness.began("/hang").await;
    let stats = Arc::clone(harness.server.stats());
    drop(harness.server);
    assert_eq!(read_to_close(&mut tcp).await, "");
    support::eventually(|| stats.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_says_why_and_what_to_do() {
    let harness = start().await;
    let taken = harness.address(Way::H1);
    let error = bind(ListenerConfig::plain("web", taken)).await;
    let text = error.to_string();
    for part in ["`web`", &taken.to_string(), "Address already in use", "choose another port"] {
        assert!(text.contains(part), "{text}");
    }
    let missing = ListenAddress::Unix("/nonexistent-directory/socket".into());
    let text = bind(ListenerConfig::plain("local", missing)).await.to_string();
    assert!(text.contains("`local`") && text.contains("create the directory"), "{text}");
}

async fn bind(listener: ListenerConfig) -> BindError {
    struct Never;
    impl roadrunner_wire::Service for Never {
        async fn call(&self, _: roadrunner_wire::Exchange) -> http::Response<roadrunner_wire::ResponseBody> {
            unreachable!("nothing is bound")
        }
    }
    Server::bind(vec![listener], TransportSettings::default(), Arc::new(Never)).await.expect_err("it cannot be bound")
}

#[tokio::test]
async fn random_aborts_leave_nothing_behind() {
    let harness = start().await;
    let mut random = 0x9e37_79b9_u32;
    let mut next = move |below: u32| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random % below
    };
    let request =
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\n\r\n0123456789012345678901234567890123456789";
    for round in 0..1500 {
        let mut client = harness.connect(Way::ALL[if round % 10 == 0 { 1 } else { 0 }]).await;
        let sent = next(request.len() as u32 + 1) as usize;
        client.write_all(&request[..sent]).await.expect("written");
        if next(2) == 0 {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..50 {
        let (mut client, connection) = h2::client::handshake(harness.tcp().await).await.expect("a handshake");
        let driver = tokio::spawn(connection);
        let mut streams = Vec::new();
        for _ in 0..20 {
            let request = Request::post("http://localhost/echo").body(()).expect("a request");
            let (response, mut send) = client.send_request(request, false).expect("sent");
            send.send_data(bytes::Bytes::from_static(b"some"), false).expect("sent");
            if next(3) == 0 {
                send.send_reset(h2::Reason::CANCEL);
            }
            streams.push((response, send));
        }
        tokio::time::sleep(Duration::from_millis(u64::from(next(3)))).await;
        driver.abort();
    }
    harness.is_quiet().await;
    let sockets = std::fs::read_dir("/proc/self/fd").expect("Linux").count();
    assert!(sockets < 200, "{sockets} descriptors are open");
}
