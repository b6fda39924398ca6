//! The same exchange over each protocol: heads, bodies, trailers, aborts.

mod support;

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use roadrunner_values::TransportSettings;
use roadrunner_wire::{Protocol, Protocols};
use support::{Way, eventually, only, read_to_close, read_until, request, request_with, soon, start, start_on, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn hello_by_every_way() {
    let harness = start().await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        for _ in 0..3 {
            let response = soon(sender.get("/hello")).await.expect("a response");
            assert_eq!(response.status(), StatusCode::OK, "{way:?}");
            assert_eq!(response.version(), if way.is_h2() { Version::HTTP_2 } else { Version::HTTP_11 });
            assert_eq!(response.headers()["content-length"], "13", "{way:?}");
            assert!(response.headers().contains_key("date"), "{way:?}");
            assert_eq!(text(response).await, "hello, world\n");
        }
    }
    let stats = harness.server.stats();
    assert_eq!((stats.requests(Protocol::Http1), stats.requests(Protocol::Http2)), (6, 6));
    harness.is_quiet().await;
    assert_eq!(stats.open_http1.load(SeqCst) + stats.open_http2.load(SeqCst), 0);
    assert_eq!((stats.requests(Protocol::Http1), stats.requests(Protocol::Http2)), (6, 6));
}

#[tokio::test]
async fn an_exchange_knows_where_it_is() {
    let harness = start().await;
    for way in Way::ALL {
        let response = soon(harness.sender(way).await.get("/whoami?q=1")).await.expect("a response");
        let told = text(response).await;
        let scheme = if way.is_tls() { "https localhost" } else { "http localhost" };
        assert!(told.starts_with(scheme), "{way:?}: {told}");
        assert!(told.contains(if way.is_h2() { "http2 HTTP/2.0" } else { "http1 HTTP/1.1" }), "{way:?}: {told}");
        assert!(told.contains(if way.is_tls() { "tls TLSv1.3" } else { "plain plain" }), "{way:?}: {told}");
        assert!(told.ends_with("/whoami?q=1"), "{way:?}: {told}");
    }
}

#[tokio::test]
async fn bodies_of_two_mebibytes_and_one_byte_both_ways() {
    let harness = start().await;
    let body = Bytes::from(vec![b'y'; 2 * 1024 * 1024 + 1]);
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        let response = soon(sender.send(request("POST", "/echo", body.clone()))).await.expect("a response");
        let echoed = soon(response.into_body().collect()).await.expect("a whole body").to_bytes();
        assert!(echoed == body, "{way:?}: {} bytes", echoed.len());
        let response = soon(sender.get("/big")).await.expect("a response");
        assert_eq!(response.headers()["content-length"], "2097153", "{way:?}");
        let big = soon(response.into_body().collect()).await.expect("a whole body").to_bytes();
        assert_eq!(big.len(), body.len(), "{way:?}");
    }
    harness.is_quiet().await;
}

#[tokio::test]
async fn trailers_both_ways() {
    let harness = start().await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        let mut upload = request_with("POST", "/count", body);
        upload.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        let response = soon(sender.send(upload)).await.expect("a response");
        assert_eq!(text(response).await, "3 1", "{way:?}");

        let mut download = request("GET", "/trailers", Bytes::new());
        download.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let response = soon(sender.send(download)).await.expect("a response");
        let whole = soon(response.into_body().collect()).await.expect("a whole body");
        assert_eq!(whole.trailers().expect("trailers")["x-sum"], "42", "{way:?}");
        assert_eq!(whole.to_bytes(), "data");
    }
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    let harness = start().await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        let response = soon(sender.send(request("HEAD", "/hello", Bytes::new()))).await.expect("a response");
        assert_eq!(response.headers()["content-length"], "13", "{way:?}");
        assert_eq!(text(response).await, "");
        let response = soon(sender.get("/no-content")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert!(!response.headers().contains_key("content-length"), "{way:?}");
        assert_eq!(text(response).await, "");
        assert_eq!(text(soon(sender.get("/hello")).await.expect("the same connection")).await, "hello, world\n");
    }
}

#[tokio::test]
async fn connection_fields_and_wrong_lengths_of_the_service_do_not_reach_the_wire() {
    let harness = start().await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        let response = soon(sender.get("/dirty")).await.expect("a response");
        for field in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
            assert!(!response.headers().contains_key(field), "{way:?}: {field}");
        }
        assert_eq!(response.headers()["content-length"], "5", "{way:?}");
        assert_eq!(text(response).await, "clean");
        assert_eq!(text(soon(sender.get("/hello")).await.expect("the same connection")).await, "hello, world\n");
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_goes_on() {
    let harness = start().await;
    for way in Way::ALL {
        let mut sender = harness.sender(way).await;
        let response = soon(sender.get("/panic")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{way:?}");
        let _ = text(response).await;
        assert_eq!(text(soon(sender.get("/hello")).await.expect("the same connection")).await, "hello, world\n");
    }
    assert_eq!(harness.server.stats().panics.load(SeqCst), 4);
}

#[tokio::test]
async fn an_aborted_body_never_looks_whole() {
    let harness = start().await;
    for path in ["/abort", "/panic-in-body"] {
        for way in Way::ALL {
            let mut sender = harness.sender(way).await;
            let response = soon(sender.get(path)).await.expect("a head");
            assert_eq!(response.status(), StatusCode::OK);
            let error = soon(response.into_body().collect()).await.expect_err("the body was aborted");
            if way.is_h2() {
                let h2 = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
                let h2 = h2.unwrap_or_else(|| panic!("{way:?}: {error:?}"));
                assert_eq!(h2.reason(), Some(h2::Reason::INTERNAL_ERROR), "{way:?}");
                let response = soon(sender.get("/hello")).await.expect("the same connection");
                assert_eq!(text(response).await, "hello, world\n");
            }
        }
        let wire = harness.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        assert!(wire.ends_with("5\r\nfirst\r\n"), "no last chunk: {wire:?}");
    }
}

#[tokio::test]
async fn http_1_0_is_delimited_by_close() {
    let harness = start().await;
    let wire = harness.raw(b"GET /trailers HTTP/1.0\r\n\r\n").await;
    assert!(wire.starts_with("HTTP/1.0 200"), "{wire}");
    assert!(wire.ends_with("\r\n\r\ndata"), "{wire}");
    assert!(!wire.contains("transfer-encoding"), "{wire}");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_the_body_is_wanted() {
    let harness = start().await;
    let mut tcp = harness.tcp().await;
    tcp.write_all(b"POST /count HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await
        .expect("written");
    read_until(&mut tcp, "HTTP/1.1 100 Continue\r\n\r\n").await;
    tcp.write_all(b"abc").await.expect("written");
    read_until(&mut tcp, "3 0").await;

    let mut tcp = harness.tcp().await;
    tcp.write_all(b"POST /hello HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await
        .expect("written");
    let wire = read_to_close(&mut tcp).await;
    assert!(wire.starts_with("HTTP/1.1 200"), "{wire}");
}

#[tokio::test]
async fn a_plain_port_takes_pieces_of_any_size() {
    let harness = start().await;
    let mut tcp = harness.tcp().await;
    for byte in b"POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc" {
        tcp.write_all(&[*byte]).await.expect("written");
        tcp.flush().await.expect("flushed");
        tokio::task::yield_now().await;
    }
    assert!(read_to_close(&mut tcp).await.ends_with("3 0"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let harness = start().await;
    let wire = harness
        .raw(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: a\r\n\r\nGET /close HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let statuses: Vec<_> = wire.lines().filter(|line| line.starts_with("HTTP/1.1")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]);
    assert!(wire.ends_with("bye"), "{wire}");
}

#[tokio::test]
async fn a_listener_can_be_for_one_protocol() {
    let certificate = rustls_pki_types::CertificateDer::from(vec![]);
    let harness = start_on(vec![only(Protocols::HTTP1)], TransportSettings::default(), certificate.clone()).await;
    let response = soon(harness.sender(Way::H1).await.get("/hello")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let wire = harness.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!wire.starts_with('\0'), "no SETTINGS frame: {wire:?}");

    let harness = start_on(vec![only(Protocols::HTTP2)], TransportSettings::default(), certificate).await;
    let response = soon(harness.sender(Way::H2).await.get("/hello")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let wire = harness.raw(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!wire.contains("HTTP/1.1"), "HTTP/1 is refused: {wire:?}");
}

#[tokio::test]
async fn a_body_that_is_not_read_does_not_break_the_answer() {
    let harness = start().await;
    let body = vec![b'z'; 4 * 1024 * 1024];
    // The client sends all of it before it reads, as many clients do.
    let mut tcp = harness.tcp().await;
    let head = format!("POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    tcp.write_all(head.as_bytes()).await.expect("written");
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), tcp.write_all(&body[..1024 * 1024])).await;
    let wire = read_to_close(&mut tcp).await;
    assert!(wire.ends_with("hello, world\n"), "{wire:?}");
}

#[tokio::test]
async fn tunnels_on_http1() {
    let harness = start().await;
    for way in [Way::H1, Way::H1Tls] {
        let mut stream = harness.connect(way).await;
        stream
            .write_all(b"GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly")
            .await
            .expect("written");
        let wire = read_until(&mut stream, "early").await;
        assert!(wire.starts_with("HTTP/1.1 101"), "{wire}");
        assert!(wire.contains("upgrade: echo"), "{wire}");
        stream.write_all(b"later").await.expect("written");
        read_until(&mut stream, "later").await;
        assert_eq!(harness.server.stats().open.load(SeqCst), 1);
        drop(stream);
        harness.is_quiet().await;
    }
}

#[tokio::test]
async fn tunnels_on_http2() {
    let harness = start().await;
    for way in [Way::H2, Way::H2Tls] {
        let (client, connection) = h2::client::handshake(harness.connect(way).await).await.expect("a handshake");
        let driver = tokio::spawn(connection);
        let mut client = soon(client.ready()).await.expect("ready");
        let stats = std::sync::Arc::clone(harness.server.stats());
        // The client must have seen SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, 3).
        eventually(|| client.is_extended_connect_protocol_enabled()).await;
        let mut request = http::Request::builder()
            .method("CONNECT")
            .uri(if way.is_tls() { "https://localhost/tunnel" } else { "http://localhost/tunnel" })
            .body(())
            .expect("a request");
        request.extensions_mut().insert(h2::ext::Protocol::from_static("echo"));
        let (response, mut send) = client.send_request(request, false).expect("sent");
        let response = soon(response).await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK, "{way:?}");
        send.send_data(Bytes::from_static(b"ping"), false).expect("sent");
        let mut body = response.into_body();
        let echoed = soon(body.data()).await.expect("data").expect("no error");
        assert_eq!(echoed, "ping");
        assert_eq!(stats.open_http2.load(SeqCst), 1);
        drop((client, send, body));
        driver.abort();
        harness.is_quiet().await;
    }
}

#[tokio::test]
async fn a_unix_socket_is_served_and_an_abandoned_one_replaced() {
    let path = std::env::temp_dir().join(format!("roadrunner-wire-{}.sock", std::process::id()));
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket file"));
    let listener = roadrunner_wire::ListenerConfig::plain("unix", roadrunner_wire::ListenAddress::Unix(path.clone()));
    let certificate = rustls_pki_types::CertificateDer::from(vec![]);
    let harness = start_on(vec![listener], TransportSettings::default(), certificate).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.expect("the server accepts");
    stream.write_all(b"GET /close HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut wire = String::new();
    soon(stream.read_to_string(&mut wire)).await.expect("read");
    assert!(wire.ends_with("bye"), "{wire}");
    drop(harness);
    let _ = std::fs::remove_file(&path);
}
