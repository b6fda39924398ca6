//! The client of the h3 crate against the server: another implementation, without a dynamic QPACK table.

mod support;

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use http::{Request, StatusCode};
use roadrunner_h3::Config;
use support::Server;

type SendRequest = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

struct Client {
    requests: SendRequest,
    /// Held, since dropping it closes the socket.
    _endpoint: quinn::Endpoint,
    driver: tokio::task::JoinHandle<h3::error::ConnectionError>,
}

impl Client {
    async fn connect(server: &Server) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        let quic = endpoint.connect(server.address, "localhost").expect("an address").await.expect("a handshake");
        let (mut connection, requests) =
            h3::client::new(h3_quinn::Connection::new(quic)).await.expect("an HTTP/3 connection");
        let driver = tokio::spawn(async move { std::future::poll_fn(|cx| connection.poll_close(cx)).await });
        Client { requests, _endpoint: endpoint, driver }
    }

    async fn send(&self, method: &str, path: &str, body: &[Bytes]) -> (StatusCode, Vec<u8>, Option<http::HeaderMap>) {
        let request =
            Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).expect("a request");
        let stream = self.requests.clone().send_request(request).await.expect("it is sent");
        let (mut send, mut receive) = stream.split();
        let body = body.to_vec();
        let writer = tokio::spawn(async move {
            for piece in body {
                sent(send.send_data(piece).await);
            }
            sent(send.finish().await);
        });
        let response = receive.recv_response().await.expect("a response");
        let mut received = Vec::new();
        while let Some(mut data) = receive.recv_data().await.expect("data") {
            received.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let trailers = receive.recv_trailers().await.expect("trailers");
        writer.await.expect("no panic");
        (response.status(), received, trailers)
    }
}

/// RFC 9114, 4.1: a server that has answered may stop the rest of a request with H3_NO_ERROR, here an end that was late.
fn sent(result: Result<(), h3::error::StreamError>) {
    if let Err(error) = result {
        assert!(error.is_h3_no_error(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    let server = Server::start(Config::default());
    let client = Client::connect(&server).await;
    assert_eq!(client.send("GET", "/hello", &[]).await.1, b"hello GET");
    assert_eq!(client.send("HEAD", "/hello", &[]).await, (StatusCode::OK, Vec::new(), None));
    assert_eq!(client.send("GET", "/nothing", &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.send("POST", "/echo", &[Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]).await.1, b"abcd");
    let (status, body, trailers) = client.send("GET", "/trailers", &[]).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"body"[..]));
    assert_eq!(trailers.expect("there are some")["x-trailer"], "yes");
    assert_eq!(client.send("GET", "/panic", &[]).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_bodies_both_ways() {
    let server = Server::start(Config::default());
    let client = Client::connect(&server).await;
    let piece = Bytes::from((0..64 * 1024).map(|index| (index % 251) as u8).collect::<Vec<_>>());
    let (_, body, _) = client.send("POST", "/echo", &vec![piece.clone(); 160]).await;
    assert_eq!(body.len(), 160 * piece.len());
    assert!(body.chunks(piece.len()).all(|chunk| chunk == piece));
    assert_eq!(client.send("GET", "/large?10000000", &[]).await.1.len(), 10_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once() {
    let server = Server::start(Config::default());
    let client = Arc::new(Client::connect(&server).await);
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send("POST", "/echo", &[Bytes::from_static(b"x")]).await.1 })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), b"x");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_has_begun() {
    let server = Server::start(Config::default());
    let client = Client::connect(&server).await;
    let slow = client.send("GET", "/slow", &[]);
    let drain = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.drain.drain();
    };
    let ((status, body, _), ()) = tokio::join!(slow, drain);
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"slow"[..]));
    let end = tokio::time::timeout(Duration::from_secs(5), client.driver).await.expect("it closes").expect("no panic");
    assert!(end.is_h3_no_error(), "{end}");
    tokio::time::timeout(Duration::from_secs(5), server.task).await.expect("serve returns").expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed() {
    let server = Server::start(Config { idle_timeout: Duration::from_millis(200), ..Config::default() });
    let client = Client::connect(&server).await;
    assert_eq!(client.send("GET", "/slow", &[]).await.1, b"slow", "a request is not idle");
    let end = tokio::time::timeout(Duration::from_secs(5), client.driver).await.expect("it closes").expect("no panic");
    assert!(end.is_h3_no_error(), "{end}");
}
